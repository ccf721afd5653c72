"""The two sides of a benchmark: the same SDK with a batch processor only, and with spancost added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer

from spancost import names
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.config import Config
from spancost.processor import CostSpanProcessor
from spancost.sampler import meter_all
from spancost.testing import RecordingSink
from tests.benchmarks.budget_rules import hundred_rules

MACHINE = Config(compute="aws:m6i.large", region="us-east-1", compute_share=1.0, lease="off", detect=False)
CPU_MODEL = replace(MACHINE, compute_model=names.CPU_MODEL)
HUNDRED_RULES = replace(MACHINE, budget_rules=hundred_rules(), budget_store="memory")
NO_RATE = Config(region="us-east-1", compute_share=1.0, lease="off", detect=False)

Patch = Callable[[], Callable[[], None]]


class DroppingExporter(SpanExporter):
    """Exports to nowhere; keeps spans only while results are checked."""

    def __init__(self) -> None:
        self.kept: list[ReadableSpan] | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.kept is not None:
            self.kept.extend(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


class _Witness(SpanProcessor):
    """Gives an exporter the spans that no exporter receives, while results are checked."""

    def __init__(self, exporter: DroppingExporter) -> None:
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        if self._exporter.kept is not None:
            self._exporter.kept.append(span)


class Side:
    """A TracerProvider set up as an application would, priced or not.

    Args:
        config: How spancost is set up; None for the SDK alone.

        patch: Puts the capture hooks of a framework in place; they are active on the priced side only.

        sampler: Which spans are exported; all by default.
    """

    def __init__(
        self, config: Config | None, scope: str, patch: Patch | None = None, sampler: Sampler | None = None
    ) -> None:
        self.exporter = DroppingExporter()
        self.provider = TracerProvider(
            sampler=sampler, resource=Resource({"service.name": "benchmark"}), shutdown_on_exit=False
        )
        self.provider.add_span_processor(BatchSpanProcessor(self.exporter))
        if sampler is not None:
            self.provider.add_span_processor(_Witness(self.exporter))
        self.engine = None
        self.recorded = RecordingSink()
        self._patch = patch
        self._undo: Callable[[], None] | None = None
        self.on_close: list[Callable[[], None]] = []
        if config is not None:
            self.engine = build_engine(config)
            self.engine.errors = ErrorLog(reraise=True)
            # What the background thread does is done between the timed blocks, by `settle`.
            self.engine.background = False
            self.engine.upkeep.clear()
            self.engine.add_sink(self.recorded)
            self.provider.add_span_processor(CostSpanProcessor(self.engine))
            meter_all(self.provider)
        self.tracer: Tracer = self.provider.get_tracer(scope)

    def prepare(self) -> None:
        """Put hooks in place before a timed block."""
        if self.engine is not None:
            self.engine.connect()
            if self.engine.config.compute_model == names.CPU_MODEL:
                self.engine.watch_cpu()
            if self._patch is not None:
                self._undo = self._patch()

    def flush(self) -> None:
        """Do what the background thread does every few seconds."""
        if self.engine is not None:
            for call in self.engine.upkeep:
                call()
            self.engine.publish()

    def settle(self) -> None:
        """Export and publish what a timed block has left, and take the hooks off."""
        if self._undo is not None:
            self._undo()
            self._undo = None
        if self.engine is not None:
            self.engine.leave_cpu_alone()
        self.provider.force_flush()

    def close(self) -> None:
        """Stop the provider's threads and what a case has opened."""
        self.provider.shutdown()
        for call in self.on_close:
            call()

    def check(self, run: Callable[[int], None], count: int, expected: Mapping[str, int]) -> None:
        """Fail unless every span and every call of `count` operations is charged once, and the totals agree.

        Args:
            run: The benchmark.

            count: Operations to carry out.

            expected: Calls charged by one operation, by component other than compute.
        """
        assert self.engine is not None
        spans: list[ReadableSpan] = []
        self.exporter.kept = spans
        self.prepare()
        run(count)
        self.settle()
        self.exporter.kept = None
        counts: dict[str, int] = {}
        for key, sums in self.recorded.charges.items():
            counts[key.line.component] = counts.get(key.line.component, 0) + sums.count
        # Without a rate only requests as a whole are timed.
        timed = len(spans) if self.engine.meters.compute.is_split else sum(map(_is_local_root, spans))
        made = {names.COMPUTE: timed, **{component: calls * count for component, calls in expected.items()}}
        assert counts == made, f"charges booked {counts}, calls made {made}"
        exported_usd = sum(
            float((span.attributes or {})[names.TOTAL_USD])  # type: ignore[arg-type]
            for span in spans
            if names.TOTAL_NANO_USD in (span.attributes or {})
        )
        booked_usd = self.recorded.usd()
        assert abs(exported_usd - booked_usd) <= 1e-9 * booked_usd, f"exported {exported_usd}, booked {booked_usd}"
        if self.engine.meters.compute.usd_per_s is not None:
            assert booked_usd > 0


def _is_local_root(span: ReadableSpan) -> bool:
    return names.TOTAL_NANO_USD in (span.attributes or {})
