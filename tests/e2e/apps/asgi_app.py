# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""A FastAPI application that knows nothing of prices but `attribute`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import prometheus_client
from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from opentelemetry import trace

from spancost import attribute
from tests.e2e.apps.llm_call import call_llm
from tests.e2e.apps.worker import tenant_of_this_process

BODY_BYTES = 4000
STREAM_BYTES = 3 * 1000
WORK_S = 0.01

_tracer = trace.get_tracer("e2e.app")
_later: set[asyncio.Task[None]] = set()
app = FastAPI()


def _who() -> dict[str, str]:
    return {"X-Worker": str(os.getpid())}


@app.get("/health")
async def health() -> Response:
    return PlainTextResponse("ok", headers=_who())


@app.get("/work/{name}")
async def work(name: str) -> Response:
    with _tracer.start_as_current_span("compute"):
        await asyncio.sleep(WORK_S)
    call_llm()
    return PlainTextResponse("x" * BODY_BYTES, headers=_who())


@app.get("/stream/{name}")
async def stream(name: str) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"s" * (STREAM_BYTES // 3)
        # Ends after the answer and its span: a late child.
        task = asyncio.create_task(_call_later())
        _later.add(task)
        task.add_done_callback(_later.discard)

    return StreamingResponse(chunks(), headers=_who())


async def _call_later() -> None:
    await asyncio.sleep(5 * WORK_S)
    call_llm()


@app.get("/tenant")
async def of_this_worker() -> Response:
    with attribute(tenant=tenant_of_this_process()):
        call_llm()
    return PlainTextResponse("t" * BODY_BYTES, headers=_who())


@app.get("/metrics")
def metrics() -> Response:
    return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)
