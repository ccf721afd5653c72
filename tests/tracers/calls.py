"""A program that makes real calls under some tracers and prints what was charged as JSON; see `charged`.

    python -m tests.tracers.calls TRACER[+TRACER ...] WAY [WAY ...]

Tracers are instrumented in the order given. Each way is a function below; each is run inside a span of the
application, and without one.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from examples.shop.llm_server import LlmServer, chat_usage, message_usage
from spancost import names
from spancost.testing import World, priced_provider

CONCURRENT: Final = 50
BATCH: Final = 8
_LIMIT_S: Final = 120
_ROOT: Final = Path(__file__).resolve().parents[2]
_MODEL: Final = "gpt-5-mini"
_CLAUDE: Final = "claude-haiku-4-5"
_MESSAGES: Final = [{"role": "user", "content": "What does this request cost?"}]
_CHARGE_PATH: Final = "/payments/v1/charges"

TRACERS: Final = {
    "openinference-langchain": "openinference.instrumentation.langchain:LangChainInstrumentor",
    "openinference-openai": "openinference.instrumentation.openai:OpenAIInstrumentor",
    "traceloop-langchain": "opentelemetry.instrumentation.langchain:LangchainInstrumentor",
    "traceloop-openai": "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    "genai-langchain": "opentelemetry.instrumentation.genai.langchain:LangChainInstrumentor",
    "genai-openai": "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
    "genai-anthropic": "opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor",
    "httpx": "opentelemetry.instrumentation.httpx:HTTPXClientInstrumentor",
    "httpx2": "opentelemetry.instrumentation.httpx:HTTPX2ClientInstrumentor",
    "aiohttp": "opentelemetry.instrumentation.aiohttp_client:AioHttpClientInstrumentor",
    "threading": "opentelemetry.instrumentation.threading:ThreadingInstrumentor",
}


_runner: Final = asyncio.Runner()
"""One for all: LangChain keeps its connections, which belong to their loop."""


def charged(tracers: str, *ways: str) -> list[dict[str, Any]]:
    """Run this program and return, for each way inside a span and without one, what was charged.

    Each has `way`, `inside`, `calls` (real calls made), `usd` and `expected_usd` of the model calls, `unpriced` (count
    of model calls by reason), `http` (count of HTTP charges by reason or status) and `statuses` (count of spans by
    scope, status and reason).
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracers.calls", tracers, *ways],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _openai(url: str) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{url}/v1", api_key="none")


def _openai_async(url: str) -> Any:
    import openai

    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")


def _langchain(url: str) -> Any:
    from langchain_openai import ChatOpenAI  # type: ignore[import-not-found] # pyright: ignore

    return ChatOpenAI(model=_MODEL, base_url=f"{url}/v1", api_key="none", stream_usage=True)  # pyright: ignore


def _chat(url: str) -> int:
    _openai(url).chat.completions.create(model=_MODEL, messages=_MESSAGES)
    return 1


def _chat_streamed(url: str) -> int:
    options = {"include_usage": True}
    for _ in _openai(url).chat.completions.create(
        model=_MODEL, messages=_MESSAGES, stream=True, stream_options=options
    ):
        pass
    return 1


def _stream_without_usage(url: str) -> int:
    for _ in _openai(url).chat.completions.create(model=_MODEL, messages=_MESSAGES, stream=True):
        pass
    return 1


def _stream_left(url: str) -> int:
    options = {"include_usage": True}
    stream = _openai(url).chat.completions.create(model=_MODEL, messages=_MESSAGES, stream=True, stream_options=options)
    next(iter(stream))
    stream.close()
    return 1


def _stream_forgotten(url: str) -> int:
    stream = _openai(url).chat.completions.create(model=_MODEL, messages=_MESSAGES, stream=True)
    next(iter(stream))
    del stream
    gc.collect()
    return 1


def _stream_broken(url: str) -> int:
    import openai

    stream = _openai(url).chat.completions.create(
        model=_MODEL, messages=_MESSAGES, stream=True, extra_headers={"x-break-after": "3"}
    )
    with suppress(openai.APIConnectionError):
        for _ in stream:
            pass
    return 1


def _message_streamed(url: str) -> int:
    import anthropic

    with anthropic.Anthropic(base_url=url, api_key="none").messages.stream(**_claude()) as stream:
        for _ in stream:
            pass
    return 1


def _message_stream_left(url: str) -> int:
    import anthropic

    with anthropic.Anthropic(base_url=url, api_key="none").messages.stream(**_claude()) as stream:
        next(iter(stream))
    return 1


def _responses(url: str) -> int:
    _openai(url).responses.create(model=_MODEL, input=_MESSAGES)
    return 1


def _concurrent(call: Callable[[], Awaitable[object]], times: int = CONCURRENT) -> int:
    async def run() -> None:
        await asyncio.gather(*(call() for _ in range(times)))

    _runner.run(run())
    return times


def _chats(url: str) -> int:
    async def run() -> None:
        # Closed in time: a client that is collected later may close a socket whose number another one has by then.
        async with _openai_async(url) as client:
            await asyncio.gather(
                *(client.chat.completions.create(model=_MODEL, messages=_MESSAGES) for _ in range(CONCURRENT))
            )

    _runner.run(run())
    return CONCURRENT


def _message(url: str) -> int:
    import anthropic

    anthropic.Anthropic(base_url=url, api_key="none").messages.create(**_claude())
    return 1


def _messages(url: str) -> int:
    import anthropic

    async def run() -> None:
        client: Any = anthropic.AsyncAnthropic(base_url=url, api_key="none")
        async with client:
            await asyncio.gather(*(client.messages.create(**_claude()) for _ in range(CONCURRENT)))

    _runner.run(run())
    return CONCURRENT


def _claude() -> dict[str, Any]:
    return {"model": _CLAUDE, "max_tokens": 40, "messages": _MESSAGES}


def _httpx_posts(url: str) -> int:
    import httpx

    async def run() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            await asyncio.gather(*(client.post(f"{url}{_CHARGE_PATH}") for _ in range(CONCURRENT)))

    _runner.run(run())
    return CONCURRENT


def _aiohttp_posts(url: str) -> int:
    import aiohttp

    async def run() -> None:
        async with aiohttp.ClientSession() as session:

            async def post() -> None:
                async with session.post(f"{url}{_CHARGE_PATH}") as answer:
                    await answer.read()

            await asyncio.gather(*(post() for _ in range(CONCURRENT)))

    _runner.run(run())
    return CONCURRENT


def _invoke(url: str) -> int:
    _langchain(url).invoke(_MESSAGES)
    return 1


def _ainvoke(url: str) -> int:
    return _concurrent(lambda: _langchain(url).ainvoke(_MESSAGES), 1)


def _stream(url: str) -> int:
    for _ in _langchain(url).stream(_MESSAGES):
        pass
    return 1


def _astream(url: str) -> int:
    async def run() -> None:
        async for _ in _langchain(url).astream(_MESSAGES):
            pass

    return _concurrent(run, 1)


def _batch(url: str) -> int:
    _langchain(url).batch([_MESSAGES] * BATCH)
    return BATCH


def _abatch(url: str) -> int:
    _concurrent(lambda: _langchain(url).abatch([_MESSAGES] * BATCH), 1)
    return BATCH


WAYS: Final[dict[str, Callable[[str], int]]] = {
    "chat": _chat,
    "chat streamed": _chat_streamed,
    "stream without usage": _stream_without_usage,
    "stream left": _stream_left,
    "stream forgotten": _stream_forgotten,
    "stream broken": _stream_broken,
    "message streamed": _message_streamed,
    "message stream left": _message_stream_left,
    "responses": _responses,
    "concurrent chats": _chats,
    "message": _message,
    "concurrent messages": _messages,
    "concurrent httpx": _httpx_posts,
    "concurrent aiohttp": _aiohttp_posts,
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
    "batch": _batch,
    "abatch": _abatch,
}


def _expected_usd(way: str, calls: int) -> float:
    """What the model calls of a way cost: the server's own counts times the list prices of 2026-11."""
    if "message" in way:
        usage = message_usage(_claude())
        return calls * (usage.input * 1e-6 + usage.output * 5e-6)
    if way.endswith(("httpx", "aiohttp")):
        return 0.0
    counts = chat_usage({"model": _MODEL, "messages": _MESSAGES})
    return calls * (counts.prompt * 0.25e-6 + counts.completion * 2e-6)


def _run(world: World, way: str, url: str, *, inside: bool) -> dict[str, Any]:
    world.exporter.clear()
    world.recorded.charges.clear()
    with world.tracer.start_as_current_span("request") if inside else nullcontext():
        calls = WAYS[way](url)
    world.publish()
    statuses: dict[str, int] = {}
    for span in world.spans:
        attributes = span.attributes or {}
        scope = "" if span.instrumentation_scope is None else span.instrumentation_scope.name
        said = f"{scope} {attributes.get(names.STATUS)} {attributes.get(names.REASON)}"
        statuses[said] = statuses.get(said, 0) + 1
    unpriced: dict[str, int] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == names.LLM and key.line.status == names.UNPRICED:
            unpriced[key.line.reason] = unpriced.get(key.line.reason, 0) + sums.count
    http: dict[str, int] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == names.HTTP:
            said = key.line.reason or key.line.status
            http[said] = http.get(said, 0) + sums.count
    return {
        "way": way,
        "inside": inside,
        "calls": calls,
        "usd": world.recorded.usd(names.LLM),
        "expected_usd": _expected_usd(way, calls),
        "unpriced": unpriced,
        "http": http,
        "statuses": statuses,
    }


def _instrument(tracers: str, provider: TracerProvider) -> None:
    for tracer in tracers.split("+"):
        module, name = TRACERS[tracer].split(":")
        getattr(importlib.import_module(module), name)().instrument(tracer_provider=provider)


def main(tracers: str, *ways: str) -> None:
    """Make the calls and print what was charged."""
    logging.disable(logging.WARNING)
    with LlmServer() as server, priced_provider() as world:
        trace.set_tracer_provider(world.provider)
        _instrument(tracers, world.provider)
        found = [_run(world, way, server.url, inside=inside) for way in ways for inside in (True, False)]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
