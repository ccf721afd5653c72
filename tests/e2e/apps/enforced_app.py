# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""A FastAPI application that asks a model and knows nothing of budgets."""

from __future__ import annotations

import os

import openai
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from spancost import BudgetExceeded

app = FastAPI()
_client = openai.AsyncOpenAI(base_url=os.environ["LLM_URL"], api_key="none", max_retries=0)


@app.get("/health")
async def health() -> Response:
    return PlainTextResponse("ok")


@app.get("/ask/{name}")
async def ask(name: str) -> Response:
    try:
        await _client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "x" * 300}], max_tokens=100
        )
    except BudgetExceeded as refused:
        return PlainTextResponse(refused.decision.reason, headers={"X-Worker": str(os.getpid())})
    return PlainTextResponse("answered", headers={"X-Worker": str(os.getpid())})
