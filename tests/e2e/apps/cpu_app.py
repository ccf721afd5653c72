"""A FastAPI application whose answers say how much CPU time they took, milliseconds."""

from __future__ import annotations

import asyncio
import time

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

STEPS = 10
app = FastAPI()


def spin(seconds: float) -> float:
    """Use the CPU of this thread, and return how much, milliseconds."""
    begun_ns = time.thread_time_ns()
    while time.thread_time_ns() < begun_ns + seconds * 1e9:
        pass
    return (time.thread_time_ns() - begun_ns) / 1e6


@app.get("/health")
async def health() -> PlainTextResponse:
    return PlainTextResponse("ok")


@app.get("/pool/{name}")
def in_the_thread_pool(name: str) -> PlainTextResponse:
    return PlainTextResponse(str(sum(spin(0.01) for _ in range(STEPS))))


@app.get("/loop/{name}")
async def in_the_event_loop(name: str) -> PlainTextResponse:
    used_ms = 0.0
    for _ in range(STEPS):
        used_ms += spin(0.01)
        await asyncio.sleep(0.001)
    return PlainTextResponse(str(used_ms))


@app.get("/tasks/{name}")
async def in_tasks_and_threads(name: str) -> PlainTextResponse:
    async def part() -> float:
        await asyncio.sleep(0.001)
        return spin(0.025)

    parts = (*(part() for _ in range(2)), *(asyncio.to_thread(spin, 0.025) for _ in range(2)))
    return PlainTextResponse(str(sum(await asyncio.gather(*parts))))


@app.get("/wait/{name}")
async def waiting(name: str) -> PlainTextResponse:
    await asyncio.sleep(0.2)
    return PlainTextResponse("0")
