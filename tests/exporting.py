"""A provider with nothing of spancost but its exporter, and finished spans without any provider."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from spancost import CostSpanExporter, names
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.config import Config
from spancost.engine import CostEngine
from spancost.meters import UsageMeter
from spancost.sinks.totals import MetricTotals
from spancost.testing import RecordingSink, SequentialIdGenerator, SteppingClock
from spancost.window import ChargeKey, RequestKey, RequestSum
from tests.offline.traces import Span
from tests.spans import REGION

Sums = dict[tuple[Any, ...], tuple[float, float]]
"""Calls and USD by some of what charges can be split by."""


class ExportingWorld:
    """A provider whose spans an exporter charges, and everything that came of it."""

    def __init__(self, engine: CostEngine, clock: SteppingClock) -> None:
        self.engine = engine
        self.clock = clock
        self.exporter = CostSpanExporter(engine)
        self.in_memory = InMemorySpanExporter()
        self.provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource({}), id_generator=SequentialIdGenerator(), shutdown_on_exit=False
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.provider.add_span_processor(SimpleSpanProcessor(self.in_memory))
        self.tracer = self.provider.get_tracer("tests")
        self.recorded = next(sink for sink in engine.sinks if isinstance(sink, RecordingSink))
        self.totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.in_memory.get_finished_spans()

    def publish(self, *, final: bool = False) -> None:
        """Hand to the sinks what is due; with `final` all complete trees."""
        assert self.engine.publish(final=final)

    def usd(self, component: str | None = None) -> float:
        return self.recorded.usd(component)

    def requests(self) -> dict[RequestKey, RequestSum]:
        found: dict[RequestKey, RequestSum] = {}
        for batch in self.recorded.batches:
            for key, record in batch.requests.items():
                found.setdefault(key, RequestSum(len(record.buckets))).add(record)
        return found

    def calls(self, component: str) -> int:
        return sum(sums.count for key, sums in self.recorded.charges.items() if key.line.component == component)


@contextmanager
def exporting_world(
    *, reraise: bool = True, usage_meters: Sequence[UsageMeter] | None = None, **settings: Any
) -> Generator[ExportingWorld]:
    """Make a provider with the exporter alone, a stepping clock and a recording sink."""
    clock = SteppingClock()
    config = replace(Config(region=REGION, lease="off", first_value_hold_s=0.0, detect=False), **settings)
    engine = build_engine(config, usage_meters=usage_meters)
    engine.monotonic = clock
    engine.errors = ErrorLog(reraise=reraise)
    engine.background = False
    engine.upkeep.clear()
    engine.add_sink(RecordingSink())
    world = ExportingWorld(engine, clock)
    try:
        yield world
    finally:
        world.provider.shutdown()


def sums_by(charges: Mapping[ChargeKey, Any], fields: Iterable[str]) -> Sums:
    """Add charges but compute up by fields of their line, their labels and their attribution, and `position`."""
    found: Sums = {}
    for key, sums in charges.items():
        if key.line.component == names.COMPUTE:
            continue
        row = tuple(_value(key, field) for field in fields)
        calls, usd = found.get(row, (0.0, 0.0))
        found[row] = (calls + sums.count, usd + sums.usd)
    return found


def _value(key: ChargeKey, field: str) -> str:
    for part in (key, key.line, key.labels, key.attribution):
        if hasattr(part, field):
            return str(getattr(part, field))
    raise KeyError(field)


def context_of(trace_id: int, span_id: int, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))


def finished_spans(spans: Iterable[Span]) -> dict[int, ReadableSpan]:
    """Return spans as exporters receive them, by span id."""
    resource = Resource({})
    return {
        span.id: ReadableSpan(
            name=span.name,
            context=context_of(span.trace, span.id),
            parent=context_of(span.trace, span.parent, is_remote=bool(span.parent_is_remote)) if span.parent else None,
            resource=resource,
            attributes=span.attributes,
            kind=SpanKind[span.kind],
            status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=InstrumentationScope(span.scope),
        )
        for span in spans
    }
