"""Read OTLP JSON: `ExportTraceServiceRequest`, as the Collector's file exporter and OTLP/HTTP write it.

Ids are hexadecimal (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding); base64, which plain protobuf
JSON has and Tempo answers with, is read as well. 64-bit integers are strings or numbers. `batches` is Tempo's name for
`resourceSpans`, `instrumentationLibrarySpans` that of Collectors before 2022 for `scopeSpans`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from spancost.charge import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER
from spancost.offline.pricing import Pricing, Process
from spancost.offline.table import KIND_BITS, LOCAL, REMOTE

Json = Any
"""What a JSON document holds."""

BAD_SPAN: Final = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading a span of a wrong shape raises."""

_TRACE_MASK: Final = 2**64 - 1
_KINDS: Final[dict[object, int]] = {
    **dict(enumerate((INTERNAL, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER))),
    "SPAN_KIND_UNSPECIFIED": INTERNAL,
    "SPAN_KIND_INTERNAL": INTERNAL,
    "SPAN_KIND_SERVER": SERVER,
    "SPAN_KIND_CLIENT": CLIENT,
    "SPAN_KIND_PRODUCER": PRODUCER,
    "SPAN_KIND_CONSUMER": CONSUMER,
}
_ENTRY_KINDS: Final = (SERVER, CONSUMER)
_NOTHING: Final[Any] = {}
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_ERROR: Final = (2, "STATUS_CODE_ERROR")


def is_otlp(document: Mapping[str, Json]) -> bool:
    """True for a request with spans, and for one element of its list."""
    return "resourceSpans" in document or "batches" in document or "scopeSpans" in document


class OtlpReader:
    """Hands the spans of OTLP documents to `pricing`.

    Args:
        pricing: Who measures spans.

        on_bad_span: Called for each span that cannot be read.
    """

    def __init__(self, pricing: Pricing, on_bad_span: Callable[[], None]) -> None:
        self._pricing = pricing
        self._on_bad_span = on_bad_span

    def read(self, document: Mapping[str, Json]) -> None:
        """Read one document.

        Raises:
            AttributeError, TypeError: Above its spans the document has another shape.
        """
        if "scopeSpans" in document:
            batches: Any = (document,)
        else:
            batches = document.get("resourceSpans") or document.get("batches") or ()
        for batch in batches:
            resource = (batch.get("resource") or _NOTHING).get("attributes") or ()
            process = self._pricing.process_of(_plain(resource))
            for group in batch.get("scopeSpans") or batch.get("instrumentationLibrarySpans") or ():
                scope = group.get("scope") or group.get("instrumentationLibrary") or _NOTHING
                self._read_spans(group.get("spans") or (), str(scope.get("name") or ""), process)

    def _read_spans(self, spans: Any, scope: str, process: Process) -> None:
        pricing = self._pricing
        # Asked for every span: dictionaries first, methods where they do not know.
        wanted, names, add_plain = pricing.wanted, pricing.entries.by_name, pricing.table.add
        number = process.number
        for span in spans:
            try:
                trace_id, span_id, parent_id = span["traceId"], span["spanId"], span.get("parentSpanId")
                try:
                    trace = int(trace_id[-16:], 16)  # the random half
                    own = int(span_id, 16)
                    parent = int(parent_id, 16) if parent_id else 0
                except ValueError:
                    trace = _id(trace_id) & _TRACE_MASK
                    own = _id(span_id)
                    parent = _id(parent_id) if parent_id else 0
                mark = _KINDS[span.get("kind") or 0]
                flags = span.get("flags") or 0
                if flags & _HAS_IS_REMOTE:
                    mark |= REMOTE if flags & _IS_REMOTE else LOCAL
                attributes = span.get("attributes") or ()
                is_wanted: bool | None = mark & KIND_BITS in _ENTRY_KINDS
                if not is_wanted:
                    keys = tuple([one["key"] for one in attributes])
                    is_wanted = wanted.get(keys)
                    if is_wanted is None:
                        is_wanted = pricing.is_wanted(keys)
                if is_wanted:
                    pricing.add(
                        trace,
                        own,
                        parent,
                        mark,
                        process,
                        scope,
                        str(span.get("name") or ""),
                        _plain(attributes),
                        int(span.get("startTimeUnixNano") or 0),
                        int(span.get("endTimeUnixNano") or 0),
                        failed=(span.get("status") or _NOTHING).get("code") in _ERROR,
                    )
                else:
                    name = span.get("name") or ""
                    entry = names.get(name)
                    if entry is None:
                        entry = pricing.entries.of_name(name)
                    add_plain(trace, own, parent, mark, number, entry)
            except BAD_SPAN:
                self._on_bad_span()


def _plain(attributes: Any) -> dict[str, Any]:
    """Return attributes as Python values; empty ones are left out.

    Raises:
        ValueError: A number is none.
    """
    try:
        # Texts are by far the most, and a look into a dictionary is cheaper than a loop over its one item.
        return {
            one["key"]: value["stringValue"] if "stringValue" in value else _converted(value)
            for one in attributes
            for value in (one["value"],)
        }
    except (AttributeError, KeyError, StopIteration):  # one without a value, or with one of a kind to come
        return {
            one["key"]: _CONVERSIONS[kind](raw)
            for one in attributes
            for kind, raw in (one.get("value") or _NOTHING).items()
            if kind in _CONVERSIONS
        }


def _converted(value: Any) -> Any:
    kind, raw = next(iter(value.items()))
    return _CONVERSIONS[kind](raw)


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(
        raw if kind == "stringValue" else _CONVERSIONS[kind](raw)
        for one in value.get("values") or ()
        for kind, raw in one.items()
    )


def _same(value: Any) -> Any:
    return value


_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "stringValue": _same,
    "boolValue": _same,
    "intValue": int,
    "doubleValue": float,
    "bytesValue": _same,
    "arrayValue": _items,
    "kvlistValue": lambda value: _plain(value.get("values") or ()),
}


def _id(text: str) -> int:
    """Return an id in base64; it ends with `=`, and is no hexadecimal number."""
    if not text.endswith("="):
        return int(text, 16)
    return int.from_bytes(base64.b64decode(text, validate=True), "big")
