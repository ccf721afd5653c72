"""The handler of a function on AWS Lambda."""

from __future__ import annotations

from typing import Any


def work() -> None:
    """What the function does."""


def handle(event: dict[str, Any], context: object) -> dict[str, int]:
    """Answer an event."""
    work()
    if event.get("fail"):
        raise ValueError("wrong")
    return {"statusCode": 200}
