"""What one key of a rule shows at a moment: what was spent, what it is compared with, which thresholds are reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spancost.budgets.checks import check_burn_rate, check_spike_rule, forecast_breach
from spancost.budgets.rules import (
    BLOCK,
    SEASONAL,
    AnyRule,
    BudgetRule,
    BurnRateRule,
    ForecastRule,
    RequestRule,
    SpikeRule,
)
from spancost.budgets.states import Observation
from spancost.budgets.store import Sums
from spancost.budgets.tracks import SEASON_S, Track
from spancost.budgets.view import NOTHING_SPENT, View
from spancost.budgets.windows import Period, Window, duration_text, window_text

_HOUR_S: Final = 3600
_ONE: Final = (1.0,)


@dataclass(frozen=True, slots=True)
class Reading:
    """One key of a rule at a moment."""

    seen: Observation
    value: float
    """What the rule compares."""
    limit: float
    """What it is compared with."""
    spend: Sums
    """Of the window that it is about."""
    limit_usd: float | None = None
    thresholds: tuple[float, ...] = _ONE
    """Parts of the limit, one for each level."""
    severities: tuple[str, ...] = ()
    """One for each level; empty where the rule's own holds."""
    period: Period | None = None
    window: str = ""
    """For people."""
    explanation: str = ""
    forecast_usd: float | None = None
    """Expected spend at the end of the window."""
    forecast_at: float | None = None
    """When the budget will be gone, Unix seconds."""
    burn_rates: tuple[tuple[str, float], ...] = ()
    """Of each pair of windows, `1h/5m`: the lower of its two burn rates."""

    @property
    def ratio(self) -> float | None:
        """Spend over limit."""
        return None if not self.limit_usd else self.spend.usd / self.limit_usd


class Evaluator:
    """Reads rules off a view.

    Args:
        rules: All rules.

        tracks: Of each rule.

        view: What everybody has spent.
    """

    def __init__(self, rules: Sequence[AnyRule], tracks: Sequence[Sequence[Track]], view: View) -> None:
        self._budgets = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
        self._tracks = {rule.name: tuple(one) for rule, one in zip(rules, tracks, strict=True)}
        self._view = view

    def read(self, rule: AnyRule, key: str, now: float) -> Reading | None:
        """Return what a key of a rule shows; None where that is not known from sums (`max_request_usd`)."""
        if isinstance(rule, BudgetRule):
            return self._budget(rule, key, now)
        if isinstance(rule, SpikeRule):
            return self._spike(rule, key, now)
        if isinstance(rule, BurnRateRule):
            return self._burn_rate(rule, key, now)
        if isinstance(rule, ForecastRule):
            return self._forecast(rule, key, now)
        return None

    def _budget(self, rule: BudgetRule, key: str, now: float) -> Reading:
        window = rule.window
        spend = self._spent(rule.name, 0, window, key, now)
        ratio = spend.usd / rule.limit_usd
        level = reached(ratio, rule.thresholds)
        held = reached(ratio, rule.thresholds, rule.hysteresis)
        breach = rule.thresholds.index(1.0) + 1
        is_incomplete = spend.unpriced > 0
        if is_incomplete and rule.on_unpriced == BLOCK:
            level = held = max(level, breach)
        period = window.period_at(now)
        start = 0 if window.is_rolling else period.start
        return Reading(
            Observation(level, held, breach, start, is_incomplete),
            spend.usd,
            rule.limit_usd,
            spend,
            rule.limit_usd,
            rule.thresholds,
            period=period,
            window=window_text(window),
        )

    def _spent(self, name: str, track: int, window: Window, key: str, now: float) -> Sums:
        # Of a calendar window that is one slot, unless the rule had shorter ones before; guards count alike.
        return self._view.since(name, track, key, window.first_slot(now))

    def _spike(self, rule: SpikeRule, key: str, now: float) -> Reading:
        track = self._tracks[rule.name][0]
        bucket_s = int(rule.bucket_s)
        view, name = self._view, rule.name
        if rule.method == SEASONAL:
            begin = int(now) - int(now) % bucket_s
            step_s = SEASON_S[rule.season]
            newest = view.at(name, 0, key, begin)
            history = [view.at(name, 0, key, begin - step_s * back).usd for back in range(rule.history, 0, -1)]
            is_known = [begin - step_s * back for back in range(rule.history, 0, -1)]
        else:
            # The stretches end with the present slot: the newest one is not over, the others are whole.
            end = (int(now) // track.slot_s + 1) * track.slot_s
            slots = view.slots(name, 0, key)
            newest, past = _stretches(slots, end, bucket_s, rule.history)
            history = [sums.usd for sums in past]
            is_known = [end - bucket_s * (back + 1) for back in range(rule.history, 0, -1)]
        first = min(view.slots(name, 0, key), default=None)
        # What was before the first money that was ever seen is not known to be nothing.
        history = [
            usd for usd, begin in zip(history, is_known, strict=True) if first is not None and begin + bucket_s > first
        ]
        spike = check_spike_rule(rule, _money(newest.usd), [_money(usd) for usd in history])
        limit = spike.limit_usd
        is_spike = spike.is_spike
        held = is_spike or (limit is not None and newest.usd > limit * (1 - rule.hysteresis))
        return Reading(
            Observation(int(is_spike), int(held), 1, 0, newest.unpriced > 0),
            newest.usd,
            math.inf if limit is None else limit,
            newest,
            limit,
            window=f"newest {duration_text(bucket_s)}",
            explanation=spike.explanation,
        )

    def _burn_rate(self, rule: BurnRateRule, key: str, now: float) -> Reading:
        budget = self._budgets[rule.budget]
        windows: list[tuple[float, float, float, float, float]] = []
        longest = NOTHING_SPENT
        for track, pair in zip(self._tracks[rule.name], rule.pairs, strict=True):
            long = self._view.since(rule.name, track.index, key, track.first_slot(now, pair.long_s))
            slots = self._view.between(
                rule.name, track.index, key, track.first_slot(now, pair.short_s), int(now) + track.slot_s
            )
            windows.append((_money(long.usd), pair.long_s, _money(slots.usd), pair.short_s, pair.factor))
            if long.usd >= longest.usd:
                longest = long
        period_s = budget.window.length_s if budget.window.is_rolling else budget.window.period_at(now).seconds
        burn = check_burn_rate(
            windows, limit_usd=budget.limit_usd, window_s=period_s, min_usd_per_hour=rule.min_usd_per_hour
        )
        eased = check_burn_rate(
            [(*one[:4], one[4] * (1 - rule.hysteresis)) for one in windows],
            limit_usd=budget.limit_usd,
            window_s=period_s,
            min_usd_per_hour=rule.min_usd_per_hour * (1 - rule.hysteresis),
        )
        severities = tuple(
            one for one in ("info", "warning", "critical") if any(pair.severity == one for pair in rule.pairs)
        )
        levels = [severities.index(pair.severity) + 1 for pair in rule.pairs]
        level = max((at for at, pair in zip(levels, burn.pairs, strict=True) if pair.is_firing), default=0)
        held = max((at for at, pair in zip(levels, eased.pairs, strict=True) if pair.is_firing), default=0)
        rates = tuple(
            (pair.name, min(found.long_rate, found.short_rate))
            for pair, found in zip(rule.pairs, burn.pairs, strict=True)
        )
        worst = max(
            range(len(rates)),
            key=lambda place: (burn.pairs[place].is_firing, rates[place][1] / rule.pairs[place].factor),
        )
        breach = severities.index("critical") + 1 if "critical" in severities else len(severities)
        return Reading(
            Observation(level, held, breach, 0, longest.unpriced > 0),
            rates[worst][1],
            rule.pairs[worst].factor,
            longest,
            budget.limit_usd,
            tuple(1.0 for _ in severities),
            severities,
            window=f"{rates[worst][0]} of {window_text(budget.window)}",
            explanation=burn.explanation,
            burn_rates=rates,
        )

    def _forecast(self, rule: ForecastRule, key: str, now: float) -> Reading | None:
        budget = self._budgets[rule.budget]
        period = budget.window.period_at(now)
        if period.end is None:
            return None
        spend = self._spent(rule.name, 1, budget.window, key, now)
        hour = int(now) - int(now) % _HOUR_S
        slots = self._view.slots(rule.name, 0, key)
        first = min(slots, default=hour)
        hours = range(max(first, hour - int(self._tracks[rule.name][0].keep_s)), hour, _HOUR_S)
        hourly = [slots.get(begin, NOTHING_SPENT).usd for begin in hours]
        forecast = forecast_breach(
            [_money(usd) for usd in hourly],
            spend_usd=_money(spend.usd),
            limit_usd=budget.limit_usd,
            now=now,
            window_end=float(period.end),
            confidence=rule.confidence,
            method=rule.method,
        )
        is_breach = forecast.breach_at is not None
        expected = spend.usd if forecast.expected_usd is None else forecast.expected_usd
        held = is_breach or expected >= budget.limit_usd * (1 - rule.hysteresis)
        start = 0 if budget.window.is_rolling else period.start
        return Reading(
            Observation(int(is_breach), int(held), 1, start, spend.unpriced > 0),
            expected,
            budget.limit_usd,
            spend,
            budget.limit_usd,
            period=period,
            window=window_text(budget.window),
            explanation=forecast.explanation,
            forecast_usd=expected,
            forecast_at=forecast.breach_at,
        )


def reached(ratio: float, thresholds: Sequence[float], hysteresis: float = 0.0) -> int:
    """Return how many rising thresholds a ratio has reached, each lowered by a part of itself."""
    return sum(ratio >= threshold * (1.0 - hysteresis) for threshold in thresholds)


def request_reading(rule: RequestRule, usd: float) -> Reading:
    """Return what one request shows that has cost so much, USD."""
    level = int(usd > rule.max_request_usd)
    return Reading(
        Observation(level, level, 1), usd, rule.max_request_usd, Sums(usd=usd, calls=1), rule.max_request_usd
    )


def _money(usd: float) -> float:
    """Return a sum without what rounding may have left below zero."""
    return max(0.0, usd)


def _stretches(slots: Mapping[int, Sums], end: int, length_s: int, history: int) -> tuple[Sums, list[Sums]]:
    """Return the sums of the newest stretch before `end` and of those before it, oldest first."""
    found = [NOTHING_SPENT] * (history + 1)
    for slot, sums in slots.items():
        back = (end - 1 - slot) // length_s
        if 0 <= back <= history:
            found[back] = found[back].plus(sums)
    return found[0], found[:0:-1]
