"""Helpers for tests of code that is priced: a stepping clock, sequential ids, and a sink that remembers.

Example:
    >>> from spancost.testing import priced_provider
    >>> with priced_provider(compute="3.6usd/h") as world:
    ...     with world.tracer.start_as_current_span("work"):
    ...         world.clock.advance(2.0)
    >>> world.attributes("work")["spancost.total.usd"]
    0.002
"""

from __future__ import annotations

# Its fork hooks must be older than those of a TracerProvider, which use it in the child.
import concurrent.futures.thread  # pyright: ignore[reportUnusedImport]  # noqa: F401
import itertools
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from spancost import names, usage
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.config import Config
from spancost.engine import CostEngine
from spancost.meters import UsageMeter
from spancost.processor import CostSpanProcessor
from spancost.sinks.totals import MetricTotals
from spancost.window import IDLE, LATE_ENTRY, LATE_INNER, UNATTRIBUTED, Batch, ChargeKey, ChargeSum


class SteppingClock:
    """A monotonic clock that moves only when told, seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the present time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class SequentialIdGenerator(IdGenerator):
    """Trace and span ids 1, 2, 3, ..."""

    def __init__(self) -> None:
        self._trace_ids = itertools.count(1)
        self._span_ids = itertools.count(1)

    def generate_trace_id(self) -> int:
        """Return the next trace id."""
        return next(self._trace_ids)

    def generate_span_id(self) -> int:
        """Return the next span id."""
        return next(self._span_ids)


class RecordingSink:
    """Sink that adds up everything it receives."""

    name = "recording"

    def __init__(self) -> None:
        self.charges: dict[ChargeKey, ChargeSum] = {}
        self.batches: list[Batch] = []

    def write(self, batch: Batch, *, final: bool) -> None:
        """Remember a batch."""
        self.batches.append(batch)
        for key, sums in batch.charges.items():
            total = self.charges.setdefault(key, ChargeSum())
            total.quantity += sums.quantity
            total.list_usd += sums.list_usd
            total.usd += sums.usd
            total.count += sums.count

    def close(self) -> None:
        """Nothing to release."""

    def usd(self, component: str | None = None, *positions: str) -> float:
        """Return USD booked, of one component and some positions, or all but idle."""
        return sum(
            sums.usd
            for key, sums in self.charges.items()
            if component in (None, key.line.component)
            and (key.position in positions if positions else key.position != IDLE)
        )

    def late_usd(self, component: str | None = None) -> float:
        """Return USD charged after the local root was exported, or without any span."""
        return self.usd(component, LATE_ENTRY, LATE_INNER, UNATTRIBUTED)


class World:
    """A TracerProvider whose spans are priced, and everything that came of it."""

    def __init__(self, engine: CostEngine, clock: SteppingClock, resource: Resource) -> None:
        self.engine = engine
        self.clock = clock
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, id_generator=SequentialIdGenerator(), shutdown_on_exit=False
        )
        # A synchronous exporter registered before the processor: the strictest order there is.
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.provider.add_span_processor(CostSpanProcessor(engine))
        self.tracer: Tracer = self.provider.get_tracer("tests")
        self.recorded = next(sink for sink in engine.sinks if isinstance(sink, RecordingSink))
        self.totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """Exported spans, in the order in which they ended."""
        return self.exporter.get_finished_spans()

    def attributes(self, name: str) -> Mapping[str, Any]:
        """Return the exported attributes of the last span of that name."""
        span = next(span for span in reversed(self.spans) if span.name == name)
        return dict(span.attributes or {})

    def publish(self) -> None:
        """Hand everything booked so far to the sinks."""
        assert self.engine.publish(final=True)

    def root_totals_usd(self) -> float:
        """Return the sum of the totals exported on local roots."""
        return sum(
            float((span.attributes or {})[names.TOTAL_USD])  # type: ignore[arg-type]
            for span in self.spans
            if names.TOTAL_NANO_USD in (span.attributes or {})
        )


@contextmanager
def priced_provider(
    *,
    resource: Mapping[str, Any] | None = None,
    reraise: bool = True,
    usage_meters: Sequence[UsageMeter] | None = None,
    **settings: Any,
) -> Generator[World]:
    """Make a priced TracerProvider with a stepping clock, sequential ids and a recording sink.

    Inside, `add_usage` and `current_cost` belong to it.

    Args:
        resource: Attributes of the resource.

        reraise: Raise spancost's own errors instead of swallowing them.

        usage_meters: Third-party meters to try; those that are installed by default.

        **settings: Fields of `Config`.
    """
    clock = SteppingClock()
    config = replace(Config(compute_share=1.0, lease="off", first_value_hold_s=0.0, detect=False), **settings)
    engine = build_engine(config, usage_meters=usage_meters)
    engine.monotonic = clock
    engine.errors = ErrorLog(reraise=reraise)
    engine.background = False
    engine.upkeep.clear()
    engine.add_sink(RecordingSink())
    world = World(engine, clock, Resource(dict(resource or {})))
    before = usage.connect(engine)
    try:
        yield world
    finally:
        usage.connect(before)
        world.provider.shutdown()
