"""Spans written in the formats that `spancost price` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from spancost.config import Config
from spancost.meters import UsageMeter
from spancost.offline.pricing import Pricing
from spancost.offline.reading import Problems, read_files
from spancost.offline.rollup import Rollup, roll_up
from spancost.prices.book import PriceBook
from tests.recorded import EPOCH_NS, NOW_NS, Recorded

KINDS = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
REGION = "us-east-1"


class Span(NamedTuple):
    """One span, whatever the format."""

    id: int
    parent: int = 0
    name: str = "work"
    kind: str = "INTERNAL"
    attributes: Mapping[str, Any] = {}
    scope: str = "test"
    service: str = "shop"
    trace: int = 1
    start_ns: int = NOW_NS
    end_ns: int = NOW_NS + 1_000_000
    failed: bool = False
    parent_is_remote: bool | None = None


def from_recorded(recorded: Recorded) -> Span:
    """Return a recorded span; what never ended was never exported."""
    data = recorded.data
    return Span(
        int(recorded.id, 16),
        int(recorded.parent_id or "0", 16),
        data["name"],
        data["kind"],
        recorded.attributes,
        recorded.scope,
        trace=int(data["trace_id"], 16),
        start_ns=data["start_time_unix_nano"] - EPOCH_NS + NOW_NS,
        end_ns=data["end_time_unix_nano"] - EPOCH_NS + NOW_NS,
        failed=data["status"]["code"] == "ERROR",
        parent_is_remote=data["parent_is_remote"],
    )


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if isfinite(value) else "NaN"}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes(value)}}  # pyright: ignore[reportUnknownArgumentType]
    return {"arrayValue": {"values": [_any_value(one) for one in value]}}


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items()]


def otlp_span(span: Span) -> dict[str, Any]:
    """Return one span as the Collector's file exporter writes it."""
    document: dict[str, Any] = {
        "traceId": f"{span.trace:032x}",
        "spanId": f"{span.id:016x}",
        "parentSpanId": f"{span.parent:016x}" if span.parent else "",
        "name": span.name,
        "kind": KINDS.index(span.kind) + 1,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "status": {"code": 2} if span.failed else {},
    }
    if span.parent_is_remote is not None:
        document["flags"] = 0x301 if span.parent_is_remote else 0x101
    return document


def otlp(spans: Iterable[Span], resource: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return an `ExportTraceServiceRequest`."""
    services: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for span in spans:
        services.setdefault(span.service, {}).setdefault(span.scope, []).append(otlp_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": service, **(resource or {})})},
                "scopeSpans": [{"scope": {"name": scope}, "spans": inside} for scope, inside in scopes.items()],
            }
            for service, scopes in services.items()
        ]
    }


def otlp_lines(spans: Sequence[Span], batch: int = 1) -> str:
    """Return JSON lines, some spans each."""
    batches = [spans[place : place + batch] for place in range(0, len(spans), batch)]
    return "".join(json.dumps(otlp(one)) + "\n" for one in batches)


def _tag(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"key": key, "type": "bool", "value": value}
    if isinstance(value, int):
        return {"key": key, "type": "int64", "value": value}
    if isinstance(value, float):
        return {"key": key, "type": "float64", "value": value}
    return {"key": key, "type": "string", "value": value if isinstance(value, str) else json.dumps(value)}


def jaeger(spans: Iterable[Span]) -> dict[str, Any]:
    """Return an answer of Jaeger's query API."""
    traces: dict[int, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace, []).append(span)
    return {"data": [_jaeger_trace(trace, inside) for trace, inside in traces.items()]}


def _jaeger_trace(trace: int, spans: Sequence[Span]) -> dict[str, Any]:
    services = {span.service: f"p{number}" for number, span in enumerate(spans)}
    return {
        "traceID": f"{trace:032x}",
        "spans": [
            {
                "traceID": f"{trace:032x}",
                "spanID": f"{span.id:016x}",
                "operationName": span.name,
                "references": [{"refType": "CHILD_OF", "traceID": f"{trace:032x}", "spanID": f"{span.parent:016x}"}]
                if span.parent
                else [],
                "startTime": span.start_ns // 1000,
                "duration": (span.end_ns - span.start_ns) // 1000,
                "tags": [
                    *(_tag(key, value) for key, value in span.attributes.items()),
                    _tag("span.kind", span.kind.lower()),
                    _tag("otel.scope.name", span.scope),
                    *([_tag("otel.status_code", "ERROR"), _tag("error", True)] if span.failed else []),
                ],
                "processID": services[span.service],
            }
            for span in spans
        ],
        "processes": {name: {"serviceName": service, "tags": []} for service, name in services.items()},
    }


def priced(
    paths: Iterable[Path],
    by: Sequence[str] = ("service", "entrypoint"),
    *,
    at_ns: int | None = None,
    usage_meters: Sequence[UsageMeter] | None = None,
    **settings: Any,
) -> tuple[Rollup, Problems]:
    """Price files as the command does."""
    pricing, problems = (
        Pricing(
            replace(Config(region=REGION), **settings), PriceBook.shipped(), at_ns=at_ns, usage_meters=usage_meters
        ),
        Problems(),
    )
    read_files([str(path) for path in paths], pricing, problems)
    return roll_up(pricing, by), problems


def priced_spans(folder: Path, spans: Sequence[Span], by: Sequence[str] = ("entrypoint",), **options: Any) -> Rollup:
    """Price spans written as OTLP JSON lines."""
    path = folder / "spans.jsonl"
    path.write_text(otlp_lines(spans, batch=3), encoding="utf-8")
    rollup, problems = priced([path], by, **options)
    assert problems.first == []
    return rollup
