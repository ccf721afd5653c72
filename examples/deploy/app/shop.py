"""The application that all examples here deploy. It knows nothing of spancost."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/items/<int:item>")
def find(item: int) -> dict[str, int]:
    return {"item": item}
