# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from starlette.types import Receive, Scope, Send

from spancost.capture import asgi as asgi_hook
from spancost.capture.instrumentors import hook_instrumentors
from tests.capture.harness import Recorder, fetch, read_some_and_leave, recording, wait_until


@pytest.fixture
def traced() -> Iterator[tuple[Recorder, TracerProvider]]:
    with recording() as (recorder, provider):
        undo = hook_instrumentors()
        try:
            yield recorder, provider
        finally:
            undo()


@contextmanager
def uvicorn_server(app: Any) -> Generator[int]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(5)


def make_app(provider: TracerProvider, **options: Any) -> FastAPI:
    app = FastAPI()
    part = FastAPI()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000
            await asyncio.sleep(0)

    async def sized() -> Response:
        return PlainTextResponse("é" * 100)

    async def stream() -> Response:
        return StreamingResponse(chunks())

    async def forever() -> Response:
        return StreamingResponse(endless())

    async def none() -> Response:
        return Response(status_code=204)

    async def boom() -> Response:
        raise ValueError("boom")

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("é" * 10)
        await socket.send_bytes(b"b" * 7)
        await socket.close()

    app.add_api_route("/sized", sized, methods=["GET", "HEAD"])
    app.add_api_route("/stream", stream)
    app.add_api_route("/endless", forever)
    app.add_api_route("/none", none, status_code=204)
    app.add_api_route("/boom", boom)
    app.add_api_websocket_route("/talk", talk)
    part.add_api_route("/stream", stream)
    app.mount("/part", part)
    for each in (app, part):
        FastAPIInstrumentor.instrument_app(each, tracer_provider=provider, **options)
    return app


@pytest.mark.parametrize("options", [{}, {"exclude_spans": ["send", "receive"]}])
@pytest.mark.parametrize(("path", "size_bytes"), [("/sized", 200), ("/stream", 5000), ("/none", 0)])
def test_every_byte_is_known_when_the_server_span_ends(
    traced: tuple[Recorder, TracerProvider], path: str, size_bytes: int, options: dict[str, Any]
) -> None:
    recorder, provider = traced
    with uvicorn_server(make_app(provider, **options)) as port:
        assert len(fetch(port, path).body) == size_bytes
    assert recorder.server().facts == {"response_bytes": size_bytes, "client_private": True}
    assert recorder.late == []


def test_head_answer_has_no_body_bytes(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with uvicorn_server(make_app(provider)) as port:
        assert fetch(port, "/sized", "HEAD").headers["content-length"] == "200"
    assert recorder.server().facts["response_bytes"] == 0


def test_error_page_counts_its_own_bytes(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with uvicorn_server(make_app(provider)) as port:
        answer = fetch(port, "/boom")
    assert answer.status == 500
    assert recorder.server().facts["response_bytes"] == len(answer.body) > 0


def test_mounted_application_is_counted_once_on_the_outer_span(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with uvicorn_server(make_app(provider)) as port:
        assert len(fetch(port, "/part/stream").body) == 5000
    assert recorder.server().facts["response_bytes"] == 5000
    assert all("response_bytes" not in span.facts for span in recorder.seen if span.kind is not SpanKind.SERVER)


def test_stream_left_by_the_client_keeps_what_was_sent(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with uvicorn_server(make_app(provider)) as port:
        read_some_and_leave(port, "/endless", 250_000)
        sent = recorder.server().facts["response_bytes"]
    assert sent >= 250_000
    assert sent % 100_000 == 0


def test_websocket_messages_add_up(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    app = make_app(provider)
    sent: list[str] = []

    async def talk() -> None:
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/talk",
            "raw_path": b"/talk",
            "scheme": "ws",
            "query_string": b"",
            "headers": [],
            "client": ("93.184.216.34", 5000),
            "server": ("127.0.0.1", 80),
            "subprotocols": [],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app(scope, receive, send)

    asyncio.run(talk())
    assert sent == ["websocket.accept", "websocket.send", "websocket.send", "websocket.close"]
    assert recorder.server().facts == {"response_bytes": 20 + 7, "client_private": False}


def run_bare(provider: TracerProvider, messages: list[dict[str, Any]], method: str = "GET") -> list[dict[str, Any]]:
    """Send messages through a bare middleware, as a server with extensions would get them."""
    received: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        received.append(message)

    middleware: Any = OpenTelemetryMiddleware(app, tracer_provider=provider)
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/",
        "headers": [],
        "client": None,
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(middleware(scope, receive, send))
    return received


START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"4096")]}


@pytest.mark.parametrize(
    ("messages", "method", "size_bytes"),
    [
        ([START, {"type": "http.response.pathsend", "path": "/srv/file"}], "GET", 4096),
        ([START, {"type": "http.response.pathsend", "path": "/srv/file"}], "HEAD", 0),
        ([START, {"type": "http.response.zerocopysend", "file": 3, "count": 100}] * 1, "GET", 100),
        ([START | {"headers": []}, {"type": "http.response.pathsend", "path": "/srv/file"}], "GET", None),
        ([START | {"status": 304}, {"type": "http.response.body", "body": b"x"}], "GET", 0),
        ([START, {"type": "http.response.body"}], "GET", 0),
        ([], "GET", None),
    ],
)
def test_files_sent_by_the_server_count_as_announced(
    traced: tuple[Recorder, TracerProvider], messages: list[dict[str, Any]], method: str, size_bytes: int | None
) -> None:
    recorder, provider = traced
    assert run_bare(provider, messages, method) == messages
    assert recorder.server().facts.get("response_bytes") == size_bytes


def test_odd_message_is_passed_on_and_counted_as_a_failure(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    odd = {"type": "http.response.body", "body": 5}
    assert run_bare(provider, [START, odd]) == [START, odd]
    assert recorder.failures == ["capture.asgi"]
    recorder.failures.clear()


def test_undo_restores_the_middleware() -> None:
    before = OpenTelemetryMiddleware.__dict__["_get_otel_send"]
    undo = hook_instrumentors()
    assert OpenTelemetryMiddleware.__dict__["_get_otel_send"] is not before
    undo()
    assert OpenTelemetryMiddleware.__dict__["_get_otel_send"] is before


def test_patching_twice_counts_each_byte_once() -> None:
    from opentelemetry.instrumentation import asgi

    middleware: Any = asgi.OpenTelemetryMiddleware
    undo = asgi_hook.patch()
    patched = middleware._get_otel_send
    try:
        asgi_hook.patch()()
        assert middleware._get_otel_send is patched
    finally:
        undo()
