"""Body sizes of `aiohttp.web` answers.

The middleware of the instrumentation ends its span when the handler has returned, before anything of a plain answer is
sent. The size of a body in memory is known by then, and so are the chunks that a handler has written itself. Files,
payloads and compressed bodies get their size when they are sent: it is read off the answer then and reported late.
Left out: WebSockets, whose frames pass by
the answer, and compressed streams.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from opentelemetry import trace

from spancost.capture.facts import hook_failed, note_client, report_late
from spancost.capture.http_body import (
    RESPONSE_BYTES,
    RESPONSE_STREAMING,
    has_no_body,
    parse_length,
    server_facts,
    settle,
)
from spancost.client_address import FORWARDING_HEADERS

_PLACE: Final = "aiohttp_server"
_MODULE: Final = "opentelemetry.instrumentation.aiohttp_server"
_SPAN: Final = "_spancost_span"
_WRITTEN: Final = "_spancost_written"

_Handler = Callable[[Any], Awaitable[Any]]


def patch() -> Callable[[], None]:
    """Measure all applications that are instrumented from now on; return a function that undoes it."""
    from aiohttp import web, web_protocol

    server: Any = web_protocol.RequestHandler
    # While its instrumentor class is being defined, the module is not importable yet.
    instrumentation: Any = sys.modules[_MODULE]
    make_middleware = instrumentation.create_aiohttp_middleware
    write = web.StreamResponse.write
    finish_response = server.finish_response

    def create_aiohttp_middleware(*args: Any, **kwargs: Any) -> Any:
        middleware = make_middleware(*args, **kwargs)

        @web.middleware
        async def measured(request: Any, handler: _Handler) -> Any:
            return await middleware(request, _seen(handler))

        return measured

    async def counted_write(self: Any, data: Any) -> None:
        await write(self, data)
        try:
            setattr(self, _WRITTEN, getattr(self, _WRITTEN, 0) + memoryview(data).nbytes)
        except Exception:
            hook_failed(_PLACE)

    async def finish(self: Any, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await finish_response(self, request, response, *args, **kwargs)
        finally:
            _finish(request, response)

    instrumentation.create_aiohttp_middleware = create_aiohttp_middleware
    web.StreamResponse.write = counted_write
    server.finish_response = finish

    def undo() -> None:
        if instrumentation.create_aiohttp_middleware is create_aiohttp_middleware:
            instrumentation.create_aiohttp_middleware = make_middleware
        if web.StreamResponse.write is counted_write:
            web.StreamResponse.write = write
        if server.finish_response is finish:
            server.finish_response = finish_response

    return undo


def _seen(handler: _Handler) -> _Handler:
    """Return a handler whose answers are looked at inside the server span."""
    from aiohttp.web import HTTPException

    async def seen(request: Any) -> Any:
        try:
            response = await handler(request)
        except HTTPException as error:  # an answer, too
            _see(request, error)
            raise
        except Exception:  # the server answers, after the span
            _see(request, None)
            raise
        _see(request, response)
        return response

    return seen


def _see(request: Any, response: Any) -> None:
    try:
        _observe(trace.get_current_span(), request, response)
    except Exception:
        hook_failed(_PLACE)


def _observe(span: Any, request: Any, response: Any) -> None:
    from aiohttp.web import WebSocketResponse

    facts = server_facts(span)
    if facts is None:
        return
    is_forwarded = any(name.lower() in FORWARDING_HEADERS for name in request.headers)
    note_client(facts, request.remote, is_forwarded=is_forwarded)
    if isinstance(response, WebSocketResponse):
        return
    if response is not None:
        size_bytes = _size_by_now(request, response)
        if size_bytes is not None:
            facts[RESPONSE_BYTES] = size_bytes
            return
    facts[RESPONSE_STREAMING] = True
    request.__dict__[_SPAN] = span  # plain assignment warns, and so does the request's own storage


def _size_by_now(request: Any, response: Any) -> int | None:
    """Return the size of a body that is in memory or was written by the handler; None if it comes later."""
    from aiohttp.web import Response

    if has_no_body(request.method, response.status):
        return 0
    if response.compression:
        return None
    if isinstance(response, Response):
        body: Any = response.body
        return len(body or b"") if body is None or isinstance(body, (bytes, bytearray)) else None
    return getattr(response, _WRITTEN, 0) if response.prepared else None


def _finish(request: Any, response: Any) -> None:
    """Report what an answer has sent of which the size was not known inside the span."""
    try:
        span = request.__dict__.pop(_SPAN, None)
        if span is None:
            return
        length = parse_length(response.headers.get("Content-Length"))
        if length is None and not response.compression:
            length = getattr(response, _WRITTEN, None)
        if length is None:
            report_late(span, {RESPONSE_STREAMING: False})  # nobody knows: unpriced
        else:
            settle(span, 0 if has_no_body(request.method, response.status) else length)
    except Exception:
        hook_failed(_PLACE)
