"""Hooks for `HTTPXClientInstrumentor` and its httpx2 sister: they run before the answer's body is read."""

from __future__ import annotations

from typing import Any

from spancost.capture.facts import hook_failed
from spancost.capture.http_clients import FIRST_FAILURE_STATUS, PLACE, Side, expression_for, keep, note_upload


def response_hook(span: object, request: Any, response: Any) -> None:
    """Measure a call of `Client` by the instrumentation's `RequestInfo` and `ResponseInfo`."""
    try:
        note_upload(span, None, request.headers)
        expression = expression_for(span)
        if expression is None or response.status_code >= FIRST_FAILURE_STATUS:
            return
        answer = Side(_in_memory(response.stream), response.headers)
        keep(span, expression, Side(_in_memory(request.stream), request.headers, str(request.url)), answer)
    except Exception:
        hook_failed(PLACE)


async def async_response_hook(span: object, request: Any, response: Any) -> None:
    """The same for `AsyncClient`."""
    response_hook(span, request, response)


def _in_memory(stream: Any) -> bytes | None:
    """Return the body of a `ByteStream`, the one stream that holds its bytes and can be read again."""
    kind: type = stream.__class__
    if kind.__name__ != "ByteStream" or kind.__module__.partition(".")[0] not in ("httpx", "httpx2"):
        return None
    found = list(stream)
    body = found[0] if len(found) == 1 else None
    return body if isinstance(body, bytes) else None
