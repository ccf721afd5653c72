"""Read Jaeger JSON: one trace with its processes, as the query API (`{"data": [...]}`) and the UI's download have it.

Times are microseconds (https://www.jaegertracing.io/docs/latest/architecture/apis/). What OpenTelemetry calls kind,
scope and status are tags there; lists are JSON texts in tags of type string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from spancost.charge import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER
from spancost.offline.files import NOT_JSON, loads
from spancost.offline.otlp import BAD_SPAN, Json
from spancost.offline.pricing import ENTRY_KINDS, Pricing, Process
from spancost.offline.table import TRACE_MASK

_KINDS: Final = {"server": SERVER, "client": CLIENT, "producer": PRODUCER, "consumer": CONSUMER, "internal": INTERNAL}
_SCOPE_TAGS: Final = ("otel.scope.name", "otel.library.name")
_LIST_PREFIXES: Final = ("aws.", "http.request.header.", "http.response.header.")
_US: Final = 1000


def is_jaeger(document: Mapping[str, Json]) -> bool:
    """True for an answer of the query API and for one trace."""
    data = document.get("data")
    if isinstance(data, list):
        return not data or (isinstance(data[0], dict) and "spans" in data[0])
    return "spans" in document and ("processes" in document or "traceID" in document)


class JaegerReader:
    """Hands the spans of Jaeger documents to `pricing`.

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
        traces = document.get("data", (document,))
        for trace in traces:
            named: dict[str, Json] = trace.get("processes") or {}
            processes = {name: self._process(process) for name, process in named.items()}
            for span in trace.get("spans") or ():
                try:
                    own = span.get("process")
                    process = processes.get(span.get("processID")) if own is None else self._process(own)
                    self._read_span(span, self._pricing.process_of({}) if process is None else process)
                except BAD_SPAN:
                    self._on_bad_span()

    def _process(self, process: Mapping[str, Json]) -> Process:
        resource = _tags(process.get("tags") or ())
        resource["service.name"] = process.get("serviceName") or ""
        return self._pricing.process_of(resource)

    def _read_span(self, span: Mapping[str, Json], process: Process) -> None:
        attributes = _tags(span.get("tags") or ())
        kind = _KINDS.get(attributes.pop("span.kind", ""), INTERNAL)
        scope = next((str(attributes[tag]) for tag in _SCOPE_TAGS if tag in attributes), "")
        failed = attributes.get("otel.status_code") == "ERROR" or attributes.get("error") is True
        trace = int(span["traceID"], 16) & TRACE_MASK
        own, parent = int(span["spanID"], 16), _parent(span, trace)
        name = str(span.get("operationName") or "")
        pricing = self._pricing
        if kind in ENTRY_KINDS or pricing.is_wanted(tuple(attributes)):
            start_ns = int(span.get("startTime") or 0) * _US
            end_ns = start_ns + int(span.get("duration") or 0) * _US
            pricing.add(trace, own, parent, kind, process, scope, name, attributes, start_ns, end_ns, failed=failed)
        else:
            pricing.table.add(trace, own, parent, kind, process.number, pricing.entries.of_name(name))


def _parent(span: Mapping[str, Json], trace: int) -> int:
    """Return the parent in the same trace; a span that only follows from another one counts as its child."""
    references = span.get("references") or ()
    for wanted in ("CHILD_OF", "FOLLOWS_FROM"):
        for reference in references:
            if reference.get("refType") == wanted and int(reference["traceID"], 16) & TRACE_MASK == trace:
                return int(reference["spanID"], 16)
    return int(span.get("parentSpanID") or "0", 16)


def _tags(tags: Iterable[Mapping[str, Json]]) -> dict[str, Any]:
    return {tag["key"]: _value(tag) for tag in tags}


def _value(tag: Mapping[str, Json]) -> Any:
    value, kind = tag.get("value"), tag.get("type")
    if isinstance(value, str):
        if kind == "int64":
            return int(value)
        if kind == "float64":
            return float(value)
        if kind == "bool":
            return value == "true"
        if value.startswith("[") and tag["key"].startswith(_LIST_PREFIXES):
            try:
                found: Any = loads(value)
            except NOT_JSON:
                return value
            return tuple(cast("list[Any]", found)) if isinstance(found, list) else value
    return value
