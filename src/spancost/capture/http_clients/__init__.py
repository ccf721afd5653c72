"""How many units of a vendor's price an HTTP call used, where only its bodies or headers tell.

One module per client library, with hooks for its instrumentor. They look at hosts of which some price needs a body or
a header, compute the rule's quantity at once, and keep that number alone in the facts of the span, beside the size of
the request's body. Only bodies that lie
in memory already, of at most 256 KB, are looked at. Nothing is read from a stream: the answers of httpx and aiohttp are
read by their applications later, so they are not seen, and neither are aiohttp's requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from spancost.capture.facts import NODE_ATTRIBUTE, facts_for
from spancost.meters.egress import REQUEST_BYTES
from spancost.meters.http_api import HTTP_QUANTITY
from spancost.meters.http_parts import SpanParts, fields_of, host_and_path, split_url
from spancost.prices.http_rules import HttpRules
from spancost.prices.quantity import Quantity
from spancost.prices.quantity_values import UNSEEN, Missing
from spancost.span_attributes import mapping_of

PLACE: Final = "http_clients"
MAX_BODY_BYTES: Final = 256 * 1024
FIRST_FAILURE_STATUS: Final = 400
"""Refused calls are free: their bodies are not looked at."""

_FORM: Final = "application/x-www-form-urlencoded"
_NOT_PARSED: Final = object()
_LENGTH_NAME: Final = len("content-length")

_rules: HttpRules | None = None


def set_rules(rules: HttpRules | None) -> None:
    """Say by which rules calls are measured from now on; None for not at all."""
    global _rules
    _rules = rules


class Headers(Protocol):
    """Headers of any client: a mapping, with its own idea of capital letters."""

    def items(self) -> Any:
        """Return (name, value) pairs."""
        ...


class Side(NamedTuple):
    """A request or an answer, as far as it lies in memory."""

    body: object = None
    """Bytes or text; anything else is not looked at."""
    headers: Headers | None = None
    url: str = ""
    """Of a request, whole; without it the span's counts, which a filter of the user may have shortened."""


_NOTHING: Final = Side()


def expression_for(span: object) -> Quantity | None:
    """Return the quantity of a call that is just being made, if it needs bodies or headers."""
    rules = _rules
    if rules is None or getattr(span, NODE_ATTRIBUTE, None) is None:
        return None
    attributes = mapping_of(span)
    host, path = host_and_path(attributes)
    if not rules.measures(host):
        return None
    method = attributes.get("http.request.method") or attributes.get("http.method")
    match = rules.match(host, str(method), path, getattr(span, "start_time", None))
    expression = None if match is None else match.rule.quantity
    return None if expression is None or expression.from_span else expression


def note_upload(span: object, body: object, headers: Headers | None) -> None:
    """Keep the size of a request body where it is known: it leaves the machine, whatever the answer is."""
    if getattr(span, NODE_ATTRIBUTE, None) is None:
        return
    size = len(body) if isinstance(body, (bytes, bytearray)) else _content_length(headers)
    facts = facts_for(span) if size else None
    if facts is not None:
        facts[REQUEST_BYTES] = size


def _content_length(headers: Headers | None) -> int:
    for name, value in () if headers is None else headers.items():
        if len(name) == _LENGTH_NAME and _text(name).lower() == "content-length":
            length = _text(value)
            return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
    return 0


def keep(span: object, expression: Quantity, request: Side = _NOTHING, response: Side = _NOTHING) -> None:
    """Compute the quantity and leave it with the span, if all it needs was seen."""
    facts = facts_for(span)
    quantity = expression.of(CallParts(mapping_of(span), request, response))
    if facts is not None and quantity is not None:
        facts[HTTP_QUANTITY] = quantity


class CallParts(SpanParts):
    """The parts of a call that its span, and the objects of its client, show."""

    __slots__ = ("_parsed", "_sides")

    def __init__(self, attributes: Mapping[str, Any], request: Side, response: Side) -> None:
        super().__init__(attributes)
        self._sides = {"request": request, "response": response}
        self._parsed: dict[str, Any] = {}

    def json(self, side: str) -> Any:
        """Return the parsed body; parsed once."""
        value = self._parsed.get(side, _NOT_PARSED)
        if value is _NOT_PARSED:
            value = self._parsed[side] = _parsed(self._sides[side].body)
        return value

    def form(self) -> Mapping[str, Sequence[str]] | Missing:
        """Return the fields of an urlencoded request body."""
        body = _small(self._sides["request"].body)
        if not body or self._media_type("request") != _FORM:
            return UNSEEN
        try:
            return fields_of(body if isinstance(body, str) else body.decode())
        except UnicodeDecodeError:
            return UNSEEN

    def query(self) -> Mapping[str, Sequence[str]] | Missing:
        """Return the parameters of the URL."""
        url = self._sides["request"].url
        return fields_of(split_url(url)[2]) if url else super().query()

    def _media_type(self, side: str) -> str:
        shown = self.header(side, "content-type")
        return "" if isinstance(shown, Missing) else shown.partition(";")[0].strip().lower()

    def header(self, side: str, name: str) -> str | Missing:
        """Return a header of the client's objects, else one that was captured on the span."""
        headers = self._sides[side].headers
        for key, value in () if headers is None else headers.items():
            if _text(key).lower() == name:
                return _text(value)
        return super().header(side, name)

    def body_bytes(self, side: str) -> int | Missing:
        """Return the size of a body, by the body itself or its Content-Length."""
        body = self._sides[side].body
        if isinstance(body, (bytes, bytearray)):
            return len(body)
        length = self.header(side, "content-length")
        if isinstance(length, str) and length.isascii() and length.isdigit() and len(length) < 19:
            return int(length)
        return super().body_bytes(side)


def _small(body: object) -> bytes | bytearray | str | None:
    return body if isinstance(body, (bytes, bytearray, str)) and len(body) <= MAX_BODY_BYTES else None


def _parsed(body: object) -> Any:
    text = _small(body)
    if not text:
        return UNSEEN
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return UNSEEN


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
