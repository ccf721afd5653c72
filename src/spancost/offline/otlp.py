"""Read OTLP JSON: `ExportTraceServiceRequest`, as the Collector's file exporter and OTLP/HTTP write it.

Ids are hexadecimal (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding); base64, which plain protobuf
JSON has and Tempo answers with, is read as well. 64-bit integers are strings or numbers. `batches` is Tempo's name for
`resourceSpans`, `instrumentationLibrarySpans` that of Collectors before 2022 for `scopeSpans`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from spancost.charge import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER
from spancost.offline.otlp_shape import Attribute, Span, Traces, Value, attributes_of, span_of
from spancost.offline.pricing import ENTRY_KINDS, Pricing, Process
from spancost.offline.table import KIND_BITS, LOCAL, REMOTE, TRACE_MASK

Json = Any
"""What a JSON document holds."""

BAD_SPAN: Final = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading a span of a wrong shape raises."""

_KINDS: Final[dict[object, int]] = {
    **dict(enumerate((INTERNAL, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER))),
    "SPAN_KIND_UNSPECIFIED": INTERNAL,
    "SPAN_KIND_INTERNAL": INTERNAL,
    "SPAN_KIND_SERVER": SERVER,
    "SPAN_KIND_CLIENT": CLIENT,
    "SPAN_KIND_PRODUCER": PRODUCER,
    "SPAN_KIND_CONSUMER": CONSUMER,
}
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

    def read(self, document: Traces | Mapping[str, Json]) -> None:
        """Read one document.

        Raises:
            AttributeError, TypeError, ValueError: Above its spans the document has another shape.
        """
        if isinstance(document, Traces):
            for batch in document.resourceSpans:
                resource = batch.resource.attributes if batch.resource is not None else None
                process = self._pricing.process_of(_plain(resource or ()))
                for group in batch.scopeSpans:
                    scope = group.scope.name if group.scope is not None else None
                    self._read_spans(group.spans or (), scope or "", process)
            return
        batches: Any = (document,)
        if "scopeSpans" not in document:
            batches = document.get("resourceSpans") or document.get("batches") or ()
        for batch in batches:
            resource = (batch.get("resource") or _NOTHING).get("attributes")
            process = self._pricing.process_of(_plain(attributes_of(resource)))
            for group in batch.get("scopeSpans") or batch.get("instrumentationLibrarySpans") or ():
                scope = group.get("scope") or group.get("instrumentationLibrary") or _NOTHING
                self._read_spans(self._spans_of(group.get("spans") or ()), str(scope.get("name") or ""), process)

    def _spans_of(self, values: Iterable[Json]) -> Iterator[Span]:
        for value in values:
            try:
                yield span_of(value)
            except ValueError:
                self._on_bad_span()

    def _read_spans(self, spans: Iterable[Span], scope: str, process: Process) -> None:
        pricing = self._pricing
        # Asked for every span: dictionaries first, methods where they do not know.
        wanted, names, add_plain = pricing.wanted, pricing.entries.by_name, pricing.table.add
        number = process.number
        for span in spans:
            try:
                try:
                    trace = int(span.traceId[-16:], 16)  # the random half
                    own = int(span.spanId, 16)
                    parent = int(span.parentSpanId, 16) if span.parentSpanId else 0
                except ValueError:
                    trace = _id(span.traceId) & TRACE_MASK
                    own = _id(span.spanId)
                    parent = _id(span.parentSpanId) if span.parentSpanId else 0
                mark = _KINDS[span.kind or 0]
                flags = span.flags
                if flags and flags & _HAS_IS_REMOTE:
                    mark |= REMOTE if flags & _IS_REMOTE else LOCAL
                attributes = span.attributes or ()
                is_wanted: bool | None = mark & KIND_BITS in ENTRY_KINDS
                if not is_wanted:
                    keys = tuple([one.key for one in attributes])
                    is_wanted = wanted.get(keys)
                    if is_wanted is None:
                        is_wanted = pricing.is_wanted(keys)
                name = span.name or ""
                if is_wanted:
                    pricing.add(
                        trace,
                        own,
                        parent,
                        mark,
                        process,
                        scope,
                        name,
                        _plain(attributes),
                        int(span.startTimeUnixNano or 0),
                        int(span.endTimeUnixNano or 0),
                        failed=span.status is not None and span.status.code in _ERROR,
                    )
                else:
                    entry = names.get(name)
                    if entry is None:
                        entry = pricing.entries.of_name(name)
                    add_plain(trace, own, parent, mark, number, entry)
            except BAD_SPAN:
                self._on_bad_span()


def _plain(attributes: Iterable[Attribute]) -> dict[str, Any]:
    """Return attributes as Python values; empty ones, and those of a kind to come, are left out.

    Raises:
        ValueError: A number is none.
    """
    plain = {
        one.key: _of_other_kind(value) if value.stringValue is None else value.stringValue
        for one in attributes
        if (value := one.value) is not None
    }
    if None in plain.values():
        return {key: value for key, value in plain.items() if value is not None}
    return plain


def _of_other_kind(value: Value) -> Any:
    if value.intValue is not None:
        return int(value.intValue)
    if value.boolValue is not None:
        return value.boolValue
    if value.doubleValue is not None:
        return float(value.doubleValue)
    if value.arrayValue is not None:
        items = msgspec.convert(value.arrayValue.get("values") or (), tuple[Value, ...])
        return tuple(item.stringValue if item.stringValue is not None else _of_other_kind(item) for item in items)
    if value.kvlistValue is not None:
        return _plain(attributes_of(value.kvlistValue.get("values")))
    return value.bytesValue


def _id(text: str) -> int:
    """Return an id in base64; it ends with `=`, and is no hexadecimal number."""
    if not text.endswith("="):
        return int(text, 16)
    return int.from_bytes(base64.b64decode(text, validate=True), "big")
