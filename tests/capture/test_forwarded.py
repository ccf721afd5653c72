"""One boolean of forwarding headers is kept, and never what they say."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spancost.client_address import FORWARDING_HEADERS

pytest.importorskip("flask")
pytest.importorskip("django")

import flask
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from spancost.capture import asgi as asgi_hook
from spancost.capture import flask as flask_hook
from tests.capture.harness import Recorder, recording, wsgi_server

SOME = ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP")
Ask = Callable[[dict[str, str]], dict[str, Any]]


def _flask(recorder: Recorder, provider: TracerProvider) -> Iterator[Ask]:
    undo = flask_hook.patch()
    app = flask.Flask("forwarded")
    app.add_url_rule("/", view_func=lambda: "hello")
    FlaskInstrumentor().instrument_app(app, tracer_provider=provider)  # pyright: ignore[reportUnknownMemberType]
    with wsgi_server(app) as port:

        def ask(headers: dict[str, str]) -> dict[str, Any]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/", headers=headers)
            assert connection.getresponse().read() == b"hello"
            connection.close()
            return recorder.server().facts

        yield ask
    undo()


def _asgi(recorder: Recorder, provider: TracerProvider) -> Iterator[Ask]:
    undo = asgi_hook.patch()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    middleware: Any = OpenTelemetryMiddleware(app, tracer_provider=provider)

    def ask(headers: dict[str, str]) -> dict[str, Any]:
        async def nothing(*_: Any) -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": raw, "client": ("127.0.0.1", 1)}
        asyncio.run(middleware(scope | {"server": ("127.0.0.1", 80)}, nothing, nothing))
        return recorder.server().facts

    yield ask
    undo()


@pytest.fixture(params=[_flask, _asgi], ids=["flask", "asgi"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    with recording() as (recorder, provider):
        yield from request.param(recorder, provider)


@pytest.mark.parametrize("header", SOME)
def test_forwarding_header_leaves_one_boolean_and_no_address(ask: Ask, header: str) -> None:
    assert header.lower() in FORWARDING_HEADERS
    assert ask({header: "203.0.113.7"}) == {"response_bytes": 5, "client_private": True, "forwarded": True}


def test_request_without_such_a_header_has_no_such_fact(ask: Ask) -> None:
    assert ask({"X-Request-Id": "203.0.113.7", "traceparent": "none"}) == {"response_bytes": 5, "client_private": True}
