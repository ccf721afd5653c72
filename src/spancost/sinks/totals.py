"""Running totals behind all metrics: bounded series that start at zero.

Every batch is folded into families of cumulative series. A label keeps a bounded number of values and a family a
bounded number of series; everything beyond goes to `other`, so that sums stay whole. A new series reads 0 for a while
before it shows its value, because `increase()` of Prometheus cannot see the first value of a series.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from spancost import names
from spancost.bounds import bound_of
from spancost.charge import PriceLine
from spancost.window import IDLE, LATE_ENTRY, LATE_INNER, UNATTRIBUTED, Batch, ChargeKey, ChargeSum, as_utf8

_KEPT_LABELS: Final = frozenset({"component", "status", "reason", "bound", "outcome", "http_request_method"})
"""Labels whose values are few by nature: they survive when a series is folded into `other`."""


class Series:
    """One cumulative sum, and the buckets of a histogram."""

    __slots__ = ("born", "buckets", "count", "value")

    def __init__(self, born: float, bucket_count: int) -> None:
        self.value = 0.0
        self.count = 0
        self.buckets = [0] * bucket_count
        self.born = born
        """Monotonic seconds from which the time of reading 0 counts; -inf once it is over."""


class Reading(NamedTuple):
    """What a reader sees of a series."""

    labels: tuple[str, ...]
    value: float
    observations: int
    """Of a histogram; 0 for a counter."""
    buckets: tuple[int, ...]


class Family:
    """All series of one metric.

    Args:
        name: OpenTelemetry name.

        unit: Unit in UCUM.

        description: One sentence.

        labels: Label names, in the order of the series' label values.

        max_values: Distinct values kept per label.

        max_series: Distinct label sets kept.

        bucket_count: Buckets of a histogram; 0 for a counter.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        labels: tuple[str, ...],
        *,
        max_values: int,
        max_series: int,
        bucket_count: int = 0,
    ) -> None:
        self.name = name
        self.unit = unit
        self.description = description
        self.labels = labels
        self.bucket_count = bucket_count
        self.folded = 0
        """Additions that went to `other`."""
        self._max_values = max_values
        # One place is kept for what is folded: per kept label value there can be one more `other`.
        self._max_series = max_series
        self._values: tuple[set[str], ...] = tuple(set() for _ in labels)
        self._series: dict[tuple[str, ...], Series] = {}
        if not labels:
            self._series[()] = Series(float("-inf"), bucket_count)

    def at(self, labels: tuple[str, ...], now: float) -> Series:
        """Return the series for these label values, or the one they are folded into."""
        series = self._series.get(labels)
        if series is not None:
            return series
        labels = tuple(map(as_utf8, labels))
        folded = list(labels)
        for position, value in enumerate(labels):
            known = self._values[position]
            if value in known or not value:
                continue
            if len(known) < self._max_values:
                known.add(value)
            else:
                folded[position] = names.OTHER
        key = tuple(folded)
        if key not in self._series and len(self._series) >= self._max_series:
            key = tuple(
                value if name in _KEPT_LABELS or not value else names.OTHER
                for name, value in zip(self.labels, folded, strict=True)
            )
        if key != labels:
            self.folded += 1
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(now, self.bucket_count)
        return series

    def label_values(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return the label values under which these are kept."""
        if labels in self._series:
            return labels
        labels = tuple(map(as_utf8, labels))
        folded = tuple(
            value if not value or value in known else names.OTHER
            for value, known in zip(labels, self._values, strict=True)
        )
        if folded in self._series:
            return folded
        return tuple(
            value if name in _KEPT_LABELS or not value else names.OTHER
            for name, value in zip(self.labels, folded, strict=True)
        )

    def release(self) -> None:
        """Let every series show its value from now on."""
        for series in self._series.values():
            series.born = float("-inf")

    def readings(self, now: float, hold_s: float) -> Iterator[Reading]:
        """Yield what a reader may see now; series younger than `hold_s` read 0."""
        zeros = (0,) * self.bucket_count
        for labels, series in list(self._series.items()):
            if now - series.born < hold_s:
                yield Reading(labels, 0.0, 0, zeros)
            else:
                yield Reading(labels, series.value, series.count, tuple(series.buckets))

    def __len__(self) -> int:
        return len(self._series)


class MetricTotals:
    """Sink that keeps the cumulative totals of one process for every metric path.

    Args:
        max_values_per_label: Distinct values kept per label.

        max_series_per_metric: Distinct label sets kept per metric.

        hold_s: A new series reads 0 for this long, seconds.

        kept: Which of feature, tenant and team are kept; the others are empty on every series.

        monotonic: Clock, seconds.
    """

    name = "metrics"

    def __init__(
        self,
        *,
        max_values_per_label: int = 1000,
        max_series_per_metric: int = 1500,
        hold_s: float = 60.0,
        kept: tuple[str, ...] = names.ATTRIBUTION_LABELS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hold_s = hold_s
        self._limits = (max_values_per_label, max_series_per_metric)
        self._kept = kept
        self._monotonic = monotonic
        self._reset()

    def _reset(self) -> None:
        # Re-entrant: a flush from a signal handler may interrupt a reader on its own thread.
        self.lock = threading.RLock()
        self._released = False
        usd = names.USD_UNIT
        self.cost = self._family(names.METRIC_COST, usd, "Direct cost of spans", names.COST_LABELS)
        self.attributed = self._family(
            names.METRIC_ATTRIBUTED,
            usd,
            "The same cost by who caused it",
            (*names.ATTRIBUTION_LABELS, "component"),
        )
        # The count of the histogram once more: through the SDK a histogram cannot show a 0 first.
        self.requests = self._family(
            names.METRIC_REQUESTS, "{request}", "Requests served to their end", names.REQUEST_LABELS
        )
        self.usage = self._family(
            names.METRIC_USAGE, "1", "Units used", ("component", "provider", "operation", "usage_unit")
        )
        self.idle = self._family(names.METRIC_IDLE, usd, "Cost of the machine while no request was open", ())
        self.late = self._family(
            names.METRIC_LATE, usd, "Cost charged after its local root was exported", ("component",)
        )
        self.unattributed = self._family(names.METRIC_UNATTRIBUTED, usd, "Cost without a span", ("component",))
        self.spans = self._family(names.METRIC_SPANS, "{span}", "Charged spans by status", ("status", "component"))
        self.unpriced = self._family(
            names.METRIC_UNPRICED,
            "{span}",
            "Spans whose price is not known, by reason",
            ("reason", "component", "provider", "operation"),
        )
        self.duplicates = self._family(
            names.METRIC_DUPLICATES,
            "{span}",
            "Spans whose call is charged on another span, by how that was known",
            ("reason", "component", "provider", "operation"),
        )
        self.estimated = self._family(
            names.METRIC_ESTIMATED,
            usd,
            "Cost that rests on an assumption, by whether the true one is `at_most` or `at_least` that, or `unknown`",
            ("component", "bound"),
        )
        self.request_cost = self._family(
            names.METRIC_REQUEST_COST,
            usd,
            "Total cost of a request",
            names.REQUEST_LABELS,
            bucket_count=len(names.REQUEST_COST_BUCKETS_USD) + 1,
        )

    def _family(
        self, name: str, unit: str, description: str, labels: tuple[str, ...], *, bucket_count: int = 0
    ) -> Family:
        values, series = self._limits
        return Family(name, unit, description, labels, max_values=values, max_series=series, bucket_count=bucket_count)

    @property
    def families(self) -> tuple[Family, ...]:
        """All families: counters, and the histogram of requests."""
        return (
            self.cost,
            self.attributed,
            self.requests,
            self.request_cost,
            self.usage,
            self.idle,
            self.late,
            self.unattributed,
            self.spans,
            self.unpriced,
            self.duplicates,
            self.estimated,
        )

    @property
    def counters(self) -> tuple[Family, ...]:
        """All counter families."""
        return tuple(family for family in self.families if not family.bucket_count)

    def read(self, family: Family) -> list[Reading]:
        """Return what a reader may see of a family now."""
        with self.lock:
            hold_s = 0.0 if self._released else self.hold_s
            return list(family.readings(self._monotonic(), hold_s))

    def release_for_good(self) -> None:
        """The process ends: nothing is held back any more."""
        self._released = True

    def write(self, batch: Batch, *, final: bool) -> None:
        """Fold a batch into the totals; `final` lets every series show its value."""
        now = self._monotonic()
        with self.lock:
            for key, sums in batch.charges.items():
                self._fold(key, sums, now)
            for component, usd in batch.not_exported.items():
                self.late.at((component,), now).value += usd
            for request, record in batch.requests.items():
                if not request.served:
                    continue
                labels = (*request.labels, request.outcome)
                self.requests.at(labels, now).value += record.count
                series = self.request_cost.at(labels, now)
                series.value += record.total_usd
                series.count += record.count
                for index, count in enumerate(record.buckets):
                    series.buckets[index] += count
            if final:
                for family in self.families:
                    family.release()

    def _fold(self, key: ChargeKey, sums: ChargeSum, now: float) -> None:
        line = key.line
        component = line.component
        if key.position == IDLE:
            self.idle.at((), now).value += sums.usd
            return
        if sums.count:
            self.spans.at((line.status, component), now).value += sums.count
        if line.status == names.DUPLICATE:
            if sums.count:
                self.duplicates.at((line.reason, component, line.provider, line.operation), now).value += sums.count
            return
        if line.status == names.UNPRICED and sums.count:
            self.unpriced.at((line.reason, component, line.provider, line.operation), now).value += sums.count
        if sums.quantity:
            self.usage.at((component, line.provider, line.operation, line.unit), now).value += sums.quantity
        if line.status not in _WITH_MONEY:
            return
        self.cost.at(_cost_labels(line, key), now).value += sums.usd
        if line.status == names.ESTIMATED:
            self.estimated.at((component, bound_of(line.basis, line.model)), now).value += sums.usd
        whose = key.attribution
        attribution = tuple(
            value if name in self._kept else "" for name, value in zip(names.ATTRIBUTION_LABELS, whose[:3], strict=True)
        )
        self.attributed.at((*attribution, component), now).value += sums.usd
        if key.position in (LATE_ENTRY, LATE_INNER):
            self.late.at((component,), now).value += sums.usd
        elif key.position == UNATTRIBUTED:
            self.unattributed.at((component,), now).value += sums.usd

    def folded(self) -> dict[str, int]:
        """Return, by metric, how many additions went to `other`."""
        return {family.name: family.folded for family in self.families}

    def close(self) -> None:
        """Show everything in the readers' last look."""
        self.release_for_good()

    def after_fork_in_child(self) -> None:
        """Start at zero in a forked child."""
        self._reset()


_WITH_MONEY: Final = (names.PRICED, names.ESTIMATED)


def _cost_labels(line: PriceLine, key: ChargeKey) -> tuple[str, ...]:
    return (line.component, line.provider, line.operation, line.model, *key.labels)


def label_dict(family: Family, labels: Iterable[str]) -> dict[str, str]:
    """Return label values by name."""
    return dict(zip(family.labels, labels, strict=True))
