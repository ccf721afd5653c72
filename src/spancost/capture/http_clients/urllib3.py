"""Hooks for `URLLib3Instrumentor`: one sees the request, the other the answer."""

from __future__ import annotations

from typing import Any, Final

from spancost.capture.facts import facts_for, hook_failed
from spancost.capture.http_clients import FIRST_FAILURE_STATUS, PLACE, Side, expression_for, keep, note_upload
from spancost.prices.quantity import Quantity

_EXPRESSION: Final = "http.expression"
"""Fact: the expression that the second hook evaluates again."""


def request_hook(span: object, pool: object, request: Any) -> None:
    """Measure a call by the instrumentation's `RequestInfo`, as far as the request tells."""
    try:
        note_upload(span, request.body, request.headers)
        expression = expression_for(span)
        facts = facts_for(span)
        if expression is None or facts is None:
            return
        facts[_EXPRESSION] = expression
        keep(span, expression, request=Side(request.body, request.headers))
    except Exception:
        hook_failed(PLACE)


def response_hook(span: object, pool: object, response: Any) -> None:
    """Measure it by the `HTTPResponse`; what the answer says is better."""
    try:
        facts = facts_for(span)
        expression: Quantity | None = None if facts is None else facts.pop(_EXPRESSION, None)
        if expression is None or response.status >= FIRST_FAILURE_STATUS:
            return
        # `data` would read a body that the application reads as a stream.
        keep(span, expression, response=Side(getattr(response, "_body", None), response.headers))
    except Exception:
        hook_failed(PLACE)
