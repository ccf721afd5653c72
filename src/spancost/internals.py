"""What spancost tells of itself: gauges for evictions, queues, folded series, the last flush and the build."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from spancost import names
from spancost._version import spancost_version

if TYPE_CHECKING:
    from spancost.engine import CostEngine
    from spancost.sinks.totals import MetricTotals


class Gauge(NamedTuple):
    """One gauge with its present values by labels."""

    name: str
    unit: str
    description: str
    labels: tuple[str, ...]
    values: list[tuple[dict[str, str], float]]


def gauges(engine: CostEngine, totals: MetricTotals) -> list[Gauge]:
    """Return all gauges with their present values: those about ourselves, and those of budgets where there are any."""
    return [*own_gauges(engine, totals), *budget_gauges(engine)]


def budget_gauges(engine: CostEngine) -> list[Gauge]:
    """Return how budgets stand; nothing where there are none."""
    book = engine.budgets
    if book is None:
        return []
    from spancost.budgets.gauges import gauges_of

    return gauges_of(book, engine.config.max_series_per_metric)


def _alerts(engine: CostEngine) -> Mapping[str, int]:
    deliverer = None if engine.budgets is None else engine.budgets.deliverer
    return {} if deliverer is None else deliverer.counts._asdict()


def own_gauges(engine: CostEngine, totals: MetricTotals) -> list[Gauge]:
    """Return the gauges about ourselves."""
    now = time.time()
    folded = [({"metric": name}, float(count)) for name, count in totals.folded().items() if count]
    return [
        Gauge(
            names.METRIC_INTERNAL_EVICTIONS,
            "{root}",
            "Local roots settled before they ended",
            (),
            [({}, float(engine.evictions))],
        ),
        Gauge(names.METRIC_INTERNAL_OTHER, "{addition}", "Additions folded into `other`", ("metric",), folded),
        Gauge(
            names.METRIC_INTERNAL_QUEUE,
            "{batch}",
            "Batches that a failing sink has not taken yet",
            (),
            [({}, float(engine.waiting_batches))],
        ),
        Gauge(
            names.METRIC_INTERNAL_FLUSH_TIME,
            "s",
            "Unix time of the last flush",
            (),
            [({}, engine.last_flush_at)],
        ),
        Gauge(
            names.METRIC_INTERNAL_FLUSH_OK,
            "{flag}",  # Prometheus would append `_ratio` to a gauge of unit 1
            "1 if the last flush reached every sink",
            (),
            [({}, float(engine.last_flush_ok))],
        ),
        Gauge(
            names.METRIC_INTERNAL_SAMPLED_ONLY,
            "{flag}",
            "1 if only sampled spans can be seen",
            (),
            [({}, float(engine.sampled_only))],
        ),
        Gauge(
            names.METRIC_INTERNAL_COMPUTE_DEBT,
            "s",
            "Instance-seconds attributed beyond this process's share, which its idle time will repay",
            (),
            [({}, engine.compute_debt_s)],
        ),
        Gauge(
            names.METRIC_INTERNAL_PRICE_AGE,
            "s",
            "Age of the newest price of the `book` and of the refreshed prices in the `cache`",
            ("prices",),
            [({"prices": kind}, max(0.0, now - since)) for kind, since in engine.prices_since().items()],
        ),
        Gauge(
            names.METRIC_INTERNAL_ALERTS,
            "{alert}",
            "Alerts of budgets by what became of them here: `sent`, `failed` attempts, `given_up`, `dropped`",
            ("outcome",),
            [({"outcome": name}, float(count)) for name, count in _alerts(engine).items()],
        ),
        Gauge(
            names.METRIC_INTERNAL_BUILD,
            "{build}",
            "Version of spancost and of its prices",
            ("version", "prices"),
            [({"version": spancost_version(), "prices": engine.price_date}, 1.0)],
        ),
    ]
