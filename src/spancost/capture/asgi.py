"""Body sizes of ASGI answers (FastAPI, Starlette, bare `OpenTelemetryMiddleware`): every byte that is sent.

The middleware of the ASGI instrumentation is the outermost one and ends the server span inside its own `send`,
with the last chunk. So the bytes are added up just before that `send`. No instrumentor offers a hook there
(`client_response_hook` sees only the internal send span), hence the wrapper around `_get_otel_send`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from spancost.capture.facts import hook_failed, note_client
from spancost.capture.http_body import RESPONSE_BYTES, has_no_body, parse_length, server_facts
from spancost.client_address import FORWARDING_HEADERS

_PLACE = "asgi"
_FORWARDING = frozenset(name.encode() for name in FORWARDING_HEADERS)

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]


def patch() -> Callable[[], None]:
    """Measure all applications behind `OpenTelemetryMiddleware` from now on; return a function that undoes it."""
    from opentelemetry.instrumentation import asgi

    middleware: Any = asgi.OpenTelemetryMiddleware
    original = middleware._get_otel_send
    if getattr(original, "_spancost", False):  # twice would count every byte twice
        return _nothing

    # Called with (server_span, server_span_name, scope, send, ...); taken loosely, since it is no public interface.
    def _get_otel_send(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = original(self, *args, **kwargs)
        try:
            return counting_send(args[0], args[2], inner)
        except Exception:
            hook_failed(_PLACE)
            return inner

    _get_otel_send.__dict__["_spancost"] = True
    middleware._get_otel_send = _get_otel_send

    def undo() -> None:
        if middleware._get_otel_send is _get_otel_send:
            middleware._get_otel_send = original

    return undo


def _nothing() -> None:
    pass


def counting_send(span: Any, scope: Any, send: _Send) -> _Send:
    """Return an ASGI `send` that adds up body bytes in the facts of a SERVER span and then calls `send`."""
    facts = server_facts(span)
    if facts is None:
        return send
    client = scope.get("client")
    is_forwarded = any(name in _FORWARDING for name, _ in scope.get("headers") or ())
    note_client(facts, client[0] if client else None, is_forwarded=is_forwarded)
    method = scope.get("method")
    no_body = False
    length: int | None = None

    def see(message: _Message) -> None:
        nonlocal no_body, length
        kind = message["type"]
        if kind in ("http.response.body", "websocket.http.response.body"):
            if not no_body:
                facts[RESPONSE_BYTES] = facts.get(RESPONSE_BYTES, 0) + len(message.get("body") or b"")
        elif kind in ("http.response.start", "websocket.http.response.start"):
            no_body = has_no_body(method, message["status"])
            length = _content_length(message)
            facts[RESPONSE_BYTES] = 0
        elif kind == "websocket.send":
            facts[RESPONSE_BYTES] = facts.get(RESPONSE_BYTES, 0) + _payload_length(message)
        elif kind in ("websocket.accept", "websocket.close"):
            facts.setdefault(RESPONSE_BYTES, 0)
        elif kind in ("http.response.pathsend", "http.response.zerocopysend") and not no_body:
            _see_file(facts, message.get("count"), length)

    async def counted(message: _Message) -> None:
        try:
            see(message)
        except Exception:
            hook_failed(_PLACE)
        await send(message)

    return counted


def _content_length(message: _Message) -> int | None:
    for name, value in message.get("headers") or ():
        if name.lower() == b"content-length":
            return parse_length(value)
    return None


def _payload_length(message: _Message) -> int:
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _see_file(facts: dict[str, Any], count: int | None, length: int | None) -> None:
    # The server sends the file by itself: the message names it, the head has told its size.
    if count is not None:
        facts[RESPONSE_BYTES] = facts.get(RESPONSE_BYTES, 0) + count
    elif length is not None:
        facts[RESPONSE_BYTES] = length
    else:
        facts.pop(RESPONSE_BYTES, None)
