"""Which rules Prometheus works out from counters, and which it takes from the gauges of the processes, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from spancost.budgets.prometheus.durations import duration
from spancost.budgets.prometheus.selectors import Cut, cut_of
from spancost.budgets.rules import MEAN, WARN, AnyRule, BudgetRule, BurnRateRule, RequestRule, SpikeRule
from spancost.budgets.tracks import part_s
from spancost.budgets.windows import CALENDAR, MONTH, UTC_NAME

MAX_HISTORY: Final = 48
"""Stretches of a spike's history that fit into one expression."""


@dataclass(frozen=True, slots=True)
class InPromql:
    """Prometheus works it out from a counter, without the processes' own budgets."""

    cut: Cut


@dataclass(frozen=True, slots=True)
class FromGauges:
    """Prometheus alerts on `spancost_budget_*`."""

    reason: str


Way: TypeAlias = "InPromql | FromGauges"


def how(rule: AnyRule, budgets: Mapping[str, BudgetRule]) -> Way:
    """Return how a rule becomes one of Prometheus.

    Args:
        rule: Any rule.

        budgets: Budget rules by name.
    """
    if isinstance(rule, BudgetRule):
        if not rule.window.is_rolling:
            return FromGauges(f"its window ({rule.window.kind}) does not roll")
        return _of_money(rule)
    if isinstance(rule, BurnRateRule):
        budget = budgets[rule.budget]
        window = budget.window
        if not window.is_rolling and (window.kind not in CALENDAR or _is_month_elsewhere(budget)):
            return FromGauges(
                f"months of {window.time_zone} are not known to PromQL"
                if window.kind == MONTH
                else "a budget for all time has no rate at which it lasts"
            )
        own = _counts(rule)
        return _of_money(budget) if own is None else own
    if isinstance(rule, SpikeRule):
        if rule.method != MEAN:
            return FromGauges(f"method {rule.method} has no exact form in PromQL")
        if rule.history > MAX_HISTORY:
            return FromGauges(f"{rule.history} stretches are too many for one expression (at most {MAX_HISTORY})")
        if not rule.warm_up:
            return FromGauges("without a warm-up, stretches before the first money count")
        if rule.bucket_s % part_s(rule.bucket_s):
            return FromGauges(f"stretches of {duration(rule.bucket_s)} are no whole number of slots")
        return _of_money(rule)
    if isinstance(rule, RequestRule):
        return FromGauges("it speaks while the request runs; counters know requests that are over")
    return FromGauges("the end of its window is known to the processes")


def _is_month_elsewhere(budget: BudgetRule) -> bool:
    return budget.window.kind == MONTH and budget.window.time_zone != UTC_NAME


def _of_money(rule: AnyRule) -> Way:
    otherwise = _counts(rule)
    if otherwise is not None:
        return otherwise
    cut = cut_of(rule)
    if cut is None:
        dimensions = ", ".join(dict.fromkeys((*rule.match.given(), *rule.per)))
        return FromGauges(f"no metric has all of {dimensions}")
    return InPromql(cut)


def _counts(rule: AnyRule) -> FromGauges | None:
    """Return why the counters do not have what a rule counts; None if they do."""
    if rule.include_idle:
        return FromGauges("it counts idle time, which is a metric of its own")
    if rule.on_unpriced != WARN:
        return FromGauges(f"on_unpriced is {rule.on_unpriced}: counters have no money for what has no price")
    return None
