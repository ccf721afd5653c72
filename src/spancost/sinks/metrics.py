"""Metrics through the OpenTelemetry SDK: observable instruments over the running totals.

Observable instruments cost the span path nothing; a synchronous `Counter.add` would cost as much as a span. The
request histogram has no observable form: its records wait in a queue and are made off the span path, each with the
context of its request, so that exemplars lead to the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import set_span_in_context

from spancost import names
from spancost.sinks.totals import Family, MetricTotals, label_dict
from spancost.window import Batch

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_SCOPE = "spancost"


class OtelMetrics:
    """Publishes the totals of an engine through a MeterProvider.

    Args:
        engine: Its sums are brought up to date when the provider collects.

        totals: The engine's metric totals.

        provider: Any MeterProvider; instruments are made at once.
    """

    name = "otel_metrics"

    def __init__(self, engine: CostEngine, totals: MetricTotals, provider: MeterProvider) -> None:
        self._engine = engine
        self._totals = totals
        self._queue = engine.open_request_queue()
        meter = provider.get_meter(_SCOPE, version("spancost"))
        for position, family in enumerate(totals.counters):
            meter.create_observable_counter(
                family.name,
                # The first instrument brings the totals up to date; the others then show the same moment.
                callbacks=[self._callback(_family_getter(family.name), refresh=position == 0)],
                unit=family.unit,
                description=family.description,
            )
        for name, unit, description, observe in self._internals():
            meter.create_observable_gauge(name, callbacks=[observe], unit=unit, description=description)
        meter.create_observable_counter(
            names.METRIC_INTERNAL_ERRORS,
            callbacks=[self._errors],
            unit="{error}",
            description="Errors of spancost itself, by place",
        )
        self._histogram = meter.create_histogram(
            totals.requests.name,
            unit=totals.requests.unit,
            description=totals.requests.description,
            explicit_bucket_boundaries_advisory=list(names.REQUEST_COST_BUCKETS_USD),
        )

    def _callback(
        self, family_of: Callable[[MetricTotals], Family], *, refresh: bool
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            try:
                if refresh:
                    self._engine.refresh(self._totals)
                    self._engine.refresh(self)
                family = family_of(self._totals)
                return [
                    Observation(reading.value, label_dict(family, reading.labels))
                    for reading in self._totals.read(family)
                ]
            except Exception:
                self._engine.errors.caught("metrics.callback")
                return []

        return observe

    def _internals(self) -> list[tuple[str, str, str, Callable[[CallbackOptions], Iterable[Observation]]]]:
        from spancost.internals import gauges

        def observer(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
            def observe(_: CallbackOptions) -> Iterable[Observation]:
                found = next(gauge for gauge in gauges(self._engine, self._totals) if gauge.name == name)
                return [Observation(value, dict(labels)) for labels, value in found.values]

            return observe

        return [
            (gauge.name, gauge.unit, gauge.description, observer(gauge.name))
            for gauge in gauges(self._engine, self._totals)
        ]

    def _errors(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"place": place}) for place, count in dict(self._engine.errors.counts).items()]

    def write(self, batch: Batch, *, final: bool) -> None:
        """Record the requests that ended since the last time; sums come by the callbacks."""
        family = self._totals.requests
        while self._queue:
            record = self._queue.popleft()
            labels = family.label_values((*record.labels, record.outcome))
            attributes: dict[str, Any] = label_dict(family, labels)
            self._histogram.record(record.total_usd, attributes, context=set_span_in_context(record.span))

    def close(self) -> None:
        """Nothing to release: the instruments belong to the provider."""


def _family_getter(name: str) -> Callable[[MetricTotals], Family]:
    """Look the family up at each collection: a fork replaces the families."""

    def get(totals: MetricTotals) -> Family:
        return next(family for family in totals.counters if family.name == name)

    return get
