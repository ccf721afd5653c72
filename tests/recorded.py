"""Replays the recorded spans of tests/data/spans through the real SDK, in the order in which they happened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from spancost.testing import World

FOLDER = Path(__file__).parent / "data" / "spans"
EPOCH_NS = 1_700_000_000_000_000_000
"""What all recorded times were shifted to."""
NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
"""Where the replay puts them: prices are chosen by span start."""


@dataclass(frozen=True)
class Recorded:
    """One span as it was recorded."""

    file: str
    data: dict[str, Any]

    @property
    def id(self) -> str:
        return self.data["span_id"]

    @property
    def parent_id(self) -> str | None:
        return self.data["parent_span_id"]

    @property
    def scenario(self) -> str:
        return self.data["scenario"]

    @property
    def scope(self) -> str:
        return self.data["scope"]["name"]

    @property
    def attributes(self) -> dict[str, Any]:
        return self.data["attributes"] or {}

    @property
    def ended(self) -> bool:
        return self.data.get("end_order") is not None


def recorded_spans(file: str) -> list[Recorded]:
    spans = json.loads((FOLDER / file).read_text(encoding="utf-8"))["spans"]
    return [Recorded(file, span) for span in spans]


def _moved(time_ns: int) -> int:
    return time_ns - EPOCH_NS + NOW_NS


def _events(spans: list[Recorded]) -> list[tuple[int, bool, Recorded]]:
    """Starts by time and ends by their recorded order, merged."""
    events = [(span.data["start_time_unix_nano"], 0, number, span) for number, span in enumerate(spans)]
    latest = 0
    for span in sorted((span for span in spans if span.ended), key=lambda span: span.data["end_order"]):
        latest = max(latest, span.data["end_time_unix_nano"])
        events.append((latest, 1, span.data["end_order"], span))
    events.sort(key=lambda event: event[:3])
    return [(time_ns, bool(is_end), span) for time_ns, is_end, _, span in events]


def replay(world: World, spans: list[Recorded]) -> dict[str, ReadableSpan]:
    """Send spans through the provider and return what was exported, by recorded span id."""
    live: dict[str, Span] = {}
    by_own_id: dict[int, str] = {}
    for time_ns, is_end, recorded in _events(spans):
        data = recorded.data
        if is_end:
            span = live[recorded.id]
            span.set_attributes(recorded.attributes)
            if data["status"]["code"] != "UNSET":
                span.set_status(Status(StatusCode[data["status"]["code"]]))
            span.end(_moved(time_ns))
            continue
        parent: trace.Span = trace.INVALID_SPAN
        if data["parent_is_remote"]:
            parent = NonRecordingSpan(
                SpanContext(int(data["trace_id"], 16), int(recorded.parent_id or "1", 16), True, TraceFlags(1))
            )
        elif recorded.parent_id in live:
            parent = live[recorded.parent_id]
        scope = data["scope"]
        tracer = world.provider.get_tracer(scope["name"], scope["version"] or "", scope["schema_url"] or "")
        span = tracer.start_span(
            data["name"],
            trace.set_span_in_context(parent),
            SpanKind[data["kind"]],
            data["start_attributes"],
            start_time=_moved(time_ns),
        )
        assert isinstance(span, Span)
        live[recorded.id] = span
        by_own_id[span.get_span_context().span_id] = recorded.id
    return {by_own_id[span.context.span_id]: span for span in world.spans if span.context is not None}
