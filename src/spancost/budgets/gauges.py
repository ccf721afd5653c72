"""How budgets stand, as metrics: the same figures from every process that shares a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from spancost import names
from spancost.budgets.rules import BudgetRule, ForecastRule
from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING
from spancost.internals import Gauge

if TYPE_CHECKING:
    from spancost.budgets.book import BudgetBook, Standing

STATE_NUMBERS: Final = {OK: 0.0, WARNING: 1.0, BREACHED: 2.0, RECOVERING: 3.0}
_PAIR: Final = "pair"


def gauges_of(book: BudgetBook, most: int) -> list[Gauge]:
    """Return the gauges of all budgets.

    Args:
        book: Keeps them.

        most: Values per gauge. Where there are more keys, those that are not ok and those nearest to their limit stay.
    """
    standings = book.standings
    if len(standings) > most:
        standings = sorted(standings, key=_urgency, reverse=True)[:most]
    usd = names.USD_UNIT
    budgets = [one for one in standings if isinstance(one.rule, BudgetRule)]
    limited = [one for one in standings if one.reading.limit_usd is not None]
    return [
        _gauge(names.METRIC_BUDGET_SPEND, usd, "Spent in the window of a budget rule", standings, _spend),
        _gauge(names.METRIC_BUDGET_LIMIT, usd, "Limit of a budget rule", limited, _limit),
        _gauge(names.METRIC_BUDGET_USED, "1", "Spent part of the limit", budgets, lambda one: one.reading.ratio or 0.0),
        _gauge(
            names.METRIC_BUDGET_STATE,
            "{state}",
            "0 ok, 1 warning, 2 breached, 3 recovering",
            standings,
            lambda one: STATE_NUMBERS[one.state.state],
        ),
        _gauge(
            names.METRIC_BUDGET_INCOMPLETE,
            "{flag}",
            "1 if something in the window has no price: the true spend is higher",
            standings,
            lambda one: float(one.reading.seen.is_incomplete),
        ),
        _gauge(
            names.METRIC_BUDGET_FORECAST,
            usd,
            "Expected spend at the end of the window",
            [one for one in standings if isinstance(one.rule, ForecastRule)],
            lambda one: one.reading.forecast_usd or 0.0,
        ),
        Gauge(
            names.METRIC_BUDGET_BURN_RATE,
            "{factor}",
            "How many times faster than it lasts a budget is spent, by pair of windows: the slower of the two",
            (*names.BUDGET_LABELS, _PAIR),
            [({**_labels(one), _PAIR: pair}, rate) for one in standings for pair, rate in one.reading.burn_rates],
        ),
    ]


def _gauge(
    name: str, unit: str, description: str, standings: Sequence[Standing], value: Callable[[Standing], float]
) -> Gauge:
    return Gauge(name, unit, description, names.BUDGET_LABELS, [(_labels(one), value(one)) for one in standings])


def _labels(standing: Standing) -> dict[str, str]:
    return {"budget": standing.rule.name, "key": standing.key}


def _spend(standing: Standing) -> float:
    return standing.reading.spend.usd


def _limit(standing: Standing) -> float:
    return standing.reading.limit_usd or 0.0


def _urgency(standing: Standing) -> tuple[bool, float]:
    return standing.state.state != OK, standing.reading.ratio or 0.0
