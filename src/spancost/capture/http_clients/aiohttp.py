"""Hook for `AioHttpClientInstrumentor`: it sees headers alone, bodies pass by its trace events."""

from __future__ import annotations

from typing import Any

from spancost.capture.facts import hook_failed
from spancost.capture.http_clients import FIRST_FAILURE_STATUS, PLACE, Side, expression_for, keep, note_upload


def response_hook(span: object, params: Any) -> None:
    """Measure a call by `TraceRequestEndParams`; failed calls have no answer and cost nothing."""
    try:
        note_upload(span, None, params.headers)
        response = getattr(params, "response", None)
        if response is None or response.status >= FIRST_FAILURE_STATUS:
            return
        expression = expression_for(span)
        if expression is not None:
            keep(span, expression, Side(headers=params.headers, url=str(params.url)), Side(headers=response.headers))
    except Exception:
        hook_failed(PLACE)
