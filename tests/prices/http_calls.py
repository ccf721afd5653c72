"""Calls of HTTP APIs as a capture hook sees them."""

from __future__ import annotations

import json
from typing import Any

from spancost.capture.http_clients import CallParts, Side

FORM = "application/x-www-form-urlencoded"


def call(
    request: Any = None,
    response: Any = None,
    *,
    form: str | None = None,
    url: str = "https://api.example/v1/x",
    headers: dict[str, str] | None = None,
    answer_headers: dict[str, str] | None = None,
    attributes: dict[str, Any] | None = None,
) -> CallParts:
    """What a hook sees of a call; a body that is None was not seen."""
    body: object = None if request is None else json.dumps(request).encode()
    if form is not None:
        body, headers = form, {"Content-Type": FORM + "; charset=utf-8"}
    answer = None if response is None else json.dumps(response).encode()
    shown = {"url.full": url, **(attributes or {})}
    return CallParts(shown, Side(body, headers, url), Side(answer, answer_headers))
