"""Hook for `RequestsInstrumentor`: it runs once requests has the whole answer, unless that is streamed."""

from __future__ import annotations

from typing import Any

from spancost.capture.facts import hook_failed
from spancost.capture.http_clients import FIRST_FAILURE_STATUS, PLACE, Side, expression_for, keep, note_upload


def response_hook(span: object, request: Any, response: Any) -> None:
    """Measure a call by its `PreparedRequest` and `Response`."""
    try:
        note_upload(span, request.body, request.headers)
        expression = expression_for(span)
        if expression is None or response.status_code >= FIRST_FAILURE_STATUS:
            return
        # `_content` is False until the body has been read; `content` would read it.
        answer = Side(response._content, response.headers)
        keep(span, expression, Side(request.body, request.headers, request.url), answer)
    except Exception:
        hook_failed(PLACE)
