"""An alert such as a rule would send, with made-up figures and marked as a test."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from spancost.amounts import usd
from spancost.budgets.alert import FIRING, RESOLVED, Alert
from spancost.budgets.alerting import AlertFacts, alert_of
from spancost.budgets.evaluation import Reading, duration_text, request_reading, window_text
from spancost.budgets.rules import AnyRule, BudgetRule, BurnRateRule, ForecastRule, RequestRule, SpikeRule
from spancost.budgets.states import Event, Observation
from spancost.budgets.store import BREACHED, OK, RECOVERING, StateRecord, Sums
from spancost.window import Origin

_KEY: Final = "example"
_OVER: Final = 1.02
"""Part of its limit that a rule has reached in the example."""
_WELL: Final = 0.2
_EXAMPLE_USD: Final = 1.0
_CALLS: Final = 1000


def example_alert(
    rule: AnyRule,
    budgets: dict[str, BudgetRule],
    *,
    key: str | None,
    is_resolved: bool,
    origin: Origin,
    scope: str,
    now: Callable[[], float] = time.time,
) -> Alert:
    """Return what people are told when a rule is breached, or well again.

    Each one has an id of its own; all of one rule and key have the same episode, so that receivers close with the end
    what they have opened with the beginning.

    Args:
        rule: Any rule.

        budgets: By name, for rules about one.

        key: Of a split rule; None for an example.

        is_resolved: The end of it.

        origin: Service and environment that are named.

        scope: Whose money the store knows.

        now: Clock, Unix seconds.
    """
    at = now()
    shape = budgets[rule.budget] if isinstance(rule, BurnRateRule | ForecastRule) else rule
    key = (key or " | ".join([_KEY] * len(shape.per))) if shape.per else ""
    reading = _reading(rule, budgets, _WELL if is_resolved else _OVER, at)
    level = reading.seen.breach_level
    episode = f"test-{rule.name}-{key}" if key else f"test-{rule.name}"
    begun = StateRecord(rule.name, key, RECOVERING if is_resolved else OK, level if is_resolved else 0, episode=episode)
    after = replace(begun, state=OK if is_resolved else BREACHED, level=0 if is_resolved else level, version=1)
    event = Event(RESOLVED if is_resolved else FIRING, begun, level, episode, reading.seen.period_start)
    alert = alert_of(AlertFacts(rule, key, shape.per, reading, origin, scope, at), event, after)
    return replace(alert, id=f"{episode}.{uuid.uuid4().hex}", is_test=True)


def _reading(rule: AnyRule, budgets: dict[str, BudgetRule], part: float, at: float) -> Reading:
    """Return a reading of a rule at a part of its limit."""
    if isinstance(rule, RequestRule):
        return request_reading(rule, rule.max_request_usd * part)
    if isinstance(rule, SpikeRule):
        limit = max(rule.min_usd, rule.min_baseline_usd * rule.multiplier) or _EXAMPLE_USD
        said = f"{usd(limit * part)} in the newest {duration_text(rule.bucket_s)}, at most {usd(limit)} expected."
        return Reading(
            Observation(1, 1, 1), limit * part, limit, Sums(limit * part, calls=_CALLS), limit,
            window=f"newest {duration_text(rule.bucket_s)}", explanation=said,
        )  # fmt: skip
    budget = rule if isinstance(rule, BudgetRule) else budgets[rule.budget]
    limit, period = budget.limit_usd, budget.window.period_at(at)
    if isinstance(rule, BudgetRule):
        breach = rule.thresholds.index(1.0) + 1
        return Reading(
            Observation(breach, breach, breach, period.start), limit * part, limit, Sums(limit * part, calls=_CALLS),
            limit, rule.thresholds, period=period, window=window_text(rule.window),
        )  # fmt: skip
    if isinstance(rule, BurnRateRule):
        pair = rule.pairs[0]
        name = f"{duration_text(pair.long_s)}/{duration_text(pair.short_s)}"
        said = f"spent {pair.factor * part:.3g} times as fast as it lasts over {name}, limit {pair.factor:g}."
        severities = tuple(one for one in ("info", "warning", "critical") if any(p.severity == one for p in rule.pairs))
        breach = severities.index("critical") + 1 if "critical" in severities else len(severities)
        return Reading(
            Observation(breach, breach, breach), pair.factor * part, pair.factor, Sums(limit / 10, calls=_CALLS), limit,
            tuple(1.0 for _ in severities), severities, window=f"{name} of {window_text(budget.window)}",
            explanation=said, burn_rates=((name, pair.factor * part),),
        )  # fmt: skip
    end = at if period.end is None else float(period.end)
    gone_at = at + (end - at) / 2 if part >= 1 else None
    said = f"{usd(limit * part)} expected at the end of the window, limit {usd(limit)}."
    return Reading(
        Observation(1, 1, 1, period.start), limit * part, limit, Sums(limit / 2, calls=_CALLS), limit, period=period,
        window=window_text(budget.window), explanation=said, forecast_usd=limit * part, forecast_at=gone_at,
    )  # fmt: skip
