"""Metrics through the OpenTelemetry SDK: observable instruments over the running totals.

Observable instruments cost the span path nothing; a synchronous `Counter.add` would cost as much as a span. The
request histogram has no observable form: its records wait in a queue and are made off the span path, each with the
context of its request, so that exemplars lead to the trace.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import set_span_in_context

from spancost import names
from spancost._version import spancost_version
from spancost.sinks.sdk_after_fork import close_until_renewed, renew
from spancost.sinks.totals import Family, MetricTotals, label_dict
from spancost.window import Batch

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_SCOPE = "spancost"
_OF_BUDGETS = "spancost.budget."


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
        self.provider = provider
        self._queue = engine.open_request_queue()
        self._carried: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        """What former engines have counted, by instrument and labels."""
        _by_provider[provider] = weakref.ref(self)
        close_until_renewed(provider)
        meter = provider.get_meter(_SCOPE, spancost_version())
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
        self._budgets_shown = engine.budgets is not None
        self._histogram = meter.create_histogram(
            totals.request_cost.name,
            unit=totals.request_cost.unit,
            description=totals.request_cost.description,
            explicit_bucket_boundaries_advisory=list(names.REQUEST_COST_BUCKETS_USD),
        )

    def _callback(
        self, family_of: Callable[[MetricTotals], Family], *, refresh: bool
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            try:
                if refresh:
                    self._engine.refresh(self._totals, self)
                family = family_of(self._totals)
                return self._observations(family.name, self._readings(family))
            except Exception:
                self._engine.errors.caught("metrics.callback")
                return []

        return observe

    def _show_budgets(self) -> None:
        """Make the gauges of budgets once there are any: they come with the first span."""
        from spancost.internals import budget_gauges

        meter = self.provider.get_meter(_SCOPE, spancost_version())
        for gauge in budget_gauges(self._engine):
            callback = self._gauge(gauge.name)
            meter.create_observable_gauge(
                gauge.name, callbacks=[callback], unit=gauge.unit, description=gauge.description
            )

    def take_over(self, engine: CostEngine, totals: MetricTotals) -> None:
        """Show a later engine on the same instruments: an SDK makes each only once, and a counter must not fall."""
        for family in self._totals.counters:
            self._carry(family.name, self._readings(family))
        self._carry(names.METRIC_INTERNAL_ERRORS, self._error_counts())
        self._engine, self._totals, self._queue = engine, totals, engine.open_request_queue()

    def is_of_stopped_engine(self) -> bool:
        """True if another engine may take these instruments over."""
        return self._engine.is_stopped

    def _readings(self, family: Family) -> dict[tuple[tuple[str, str], ...], float]:
        readings = self._totals.read(family)
        return {tuple(label_dict(family, reading.labels).items()): reading.value for reading in readings}

    def _error_counts(self) -> dict[tuple[tuple[str, str], ...], float]:
        return {(("place", place),): count for place, count in dict(self._engine.errors.counts).items()}

    def _carry(self, name: str, values: dict[tuple[tuple[str, str], ...], float]) -> None:
        carried = self._carried.setdefault(name, {})
        for labels, value in values.items():
            carried[labels] = carried.get(labels, 0) + value

    def _observations(self, name: str, values: dict[tuple[tuple[str, str], ...], float]) -> list[Observation]:
        carried = self._carried.get(name)
        if carried:
            values = {labels: carried.get(labels, 0) + values.get(labels, 0) for labels in {**carried, **values}}
        return [Observation(value, dict(labels)) for labels, value in values.items()]

    def _internals(self) -> list[tuple[str, str, str, Callable[[CallbackOptions], Iterable[Observation]]]]:
        from spancost.internals import gauges

        return [
            (gauge.name, gauge.unit, gauge.description, self._gauge(gauge.name))
            for gauge in gauges(self._engine, self._totals)
        ]

    def _gauge(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        from spancost.internals import budget_gauges, own_gauges

        is_own = not name.startswith(_OF_BUDGETS)

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            try:
                known = own_gauges(self._engine, self._totals) if is_own else budget_gauges(self._engine)
                found = (gauge for gauge in known if gauge.name == name)
                return [Observation(value, dict(labels)) for gauge in found for labels, value in gauge.values]
            except Exception:
                self._engine.errors.caught("metrics.callback")
                return []

        return observe

    def _errors(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observations(names.METRIC_INTERNAL_ERRORS, self._error_counts())

    def write(self, batch: Batch, *, final: bool) -> None:
        """Record the requests that ended since the last time; sums come by the callbacks."""
        if not self._budgets_shown and self._engine.budgets is not None:
            self._budgets_shown = True
            self._show_budgets()
        family = self._totals.request_cost
        while self._queue:
            record = self._queue.popleft()
            labels = family.label_values((*record.labels, record.outcome))
            attributes: dict[str, Any] = label_dict(family, labels)
            self._histogram.record(record.total_usd, attributes, context=set_span_in_context(record.span))

    def close(self) -> None:
        """Nothing to release: the instruments belong to the provider."""

    def after_fork_in_child(self) -> None:
        """The child starts at zero, and does not wait for threads of its parent."""
        self._carried.clear()
        renew(self.provider, _SCOPE)


_by_provider: weakref.WeakKeyDictionary[MeterProvider, weakref.ref[OtelMetrics]] = weakref.WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> OtelMetrics | None:
    """Return the sink that has made its instruments on a provider, if there is one."""
    found = _by_provider.get(provider)
    return None if found is None else found()


def _family_getter(name: str) -> Callable[[MetricTotals], Family]:
    """Look the family up at each collection: a fork replaces the families."""

    def get(totals: MetricTotals) -> Family:
        return next(family for family in totals.counters if family.name == name)

    return get
