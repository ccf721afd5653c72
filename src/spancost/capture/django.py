"""Body sizes of Django answers, under WSGI and ASGI.

The response hook of the Django instrumentation runs in its middleware, by default the outermost one. A streamed
body is read after the server span has ended: its bytes are counted then and reported late.
"""

from __future__ import annotations

from typing import Any

from spancost.capture.facts import FORWARDING_VARIABLES, hook_failed, note_client
from spancost.capture.http_body import (
    RESPONSE_BYTES,
    RESPONSE_STREAMING,
    CountedAsyncBody,
    CountedBody,
    has_no_body,
    parse_length,
    server_facts,
    settle,
)

_PLACE = "django"


def response_hook(span: Any, request: Any, response: Any) -> None:
    """Leave the body size of a Django answer in the facts of its server span."""
    try:
        _observe(span, request, response)
    except Exception:
        hook_failed(_PLACE)


def _observe(span: Any, request: Any, response: Any) -> None:
    facts = server_facts(span)
    if facts is None:
        return
    is_forwarded = not FORWARDING_VARIABLES.isdisjoint(request.META)
    note_client(facts, request.META.get("REMOTE_ADDR"), is_forwarded=is_forwarded)
    if has_no_body(request.method, response.status_code):
        facts[RESPONSE_BYTES] = 0
        return
    if not response.streaming:
        facts[RESPONSE_BYTES] = len(response.content)
        return
    length = parse_length(response.headers.get("Content-Length"))
    if length is not None:
        facts[RESPONSE_BYTES] = length
        return
    if getattr(response, "file_to_stream", None) is not None:
        return  # a file of unknown size which the server may send by itself; counting it would prevent that

    def finish(size_bytes: int) -> None:
        settle(span, size_bytes)

    # Assigning `streaming_content` is Django's documented way for a middleware to wrap a stream. Django closes the
    # original itself, and our `close` after it.
    if response.is_async:
        response.streaming_content = CountedAsyncBody(response.streaming_content, finish, _PLACE)
    else:
        response.streaming_content = CountedBody(response.streaming_content, finish, _PLACE, close_body=False)
    facts[RESPONSE_STREAMING] = True
