"""In which slots of time a rule's money is added up, and for how long they are kept.

A budget counts in its periods (or the slots of its rolling window), a spike in parts of its stretches, a burn rate in
parts of its short windows, a forecast by the hour. One charge is added once to each track of a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spancost.budgets import windows
from spancost.budgets.rules import SEASONAL, AnyRule, BudgetRule, BurnRateRule, ForecastRule, SpikeRule
from spancost.budgets.windows import Window

_PARTS: Final = 12
"""Slots in the shortest stretch that is compared."""
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_WEEK_S: Final = 7 * 86_400
SEASON_S: Final = {"day": 86_400, "week": _WEEK_S}
_SEASONS_OF_FORECAST: Final = 4
_KEPT_PERIODS: Final = {
    windows.MINUTE: 120 * 60,
    windows.HOUR: 72 * _HOUR_S,
    windows.DAY: 62 * 86_400,
    windows.WEEK: 14 * _WEEK_S,
    windows.MONTH: 400 * 86_400,
}
"""How long past periods stay in the store for `spancost budgets history`, seconds."""


@dataclass(frozen=True, slots=True)
class Track:
    """One row of slots."""

    index: int
    slot_s: int = 0
    """Length of its slots, seconds; 0: the periods of `window`."""
    keep_s: float = float("inf")
    """Slots that began longer ago than this are forgotten, seconds."""
    window: Window | None = None

    def slot_of(self, minute: int) -> int:
        """Return the start of the slot that a UTC minute belongs to, Unix seconds."""
        if self.window is not None:
            return self.window.slot_of(minute)
        unix_s = minute * _MINUTE_S
        return unix_s - unix_s % self.slot_s

    def first_slot(self, unix_s: float, length_s: float) -> int:
        """Return the oldest slot of a stretch that ends at a moment; the slot in which it begins counts whole."""
        begin = int(unix_s - length_s)
        return begin - begin % self.slot_s


def part_s(length_s: float) -> int:
    """Return the length of the slots in which a stretch is counted: a twelfth of it, whole minutes."""
    return max(1, round(length_s / _PARTS / _MINUTE_S)) * _MINUTE_S


def tracks_of(rule: AnyRule, budgets: Mapping[str, BudgetRule]) -> tuple[Track, ...]:
    """Return the tracks of a rule.

    Args:
        rule: Any rule.

        budgets: Budget rules by name, for those that speak about one.
    """
    if isinstance(rule, BudgetRule):
        window = rule.window
        if window.is_rolling:
            return (Track(0, window.slot_s, 2.0 * window.length_s, window),)
        return (Track(0, 0, _KEPT_PERIODS.get(window.kind, float("inf")), window),)
    if isinstance(rule, SpikeRule):
        if rule.method == SEASONAL:
            slot_s = int(rule.bucket_s)
            return (Track(0, slot_s, rule.history * SEASON_S[rule.season] + 2 * rule.bucket_s),)
        slot_s = part_s(rule.bucket_s)
        return (Track(0, slot_s, (rule.history + 1) * rule.bucket_s + 2 * slot_s),)
    if isinstance(rule, BurnRateRule):
        return tuple(
            Track(place, part_s(pair.short_s), pair.long_s + 2 * part_s(pair.short_s))
            for place, pair in enumerate(rule.pairs)
        )
    if isinstance(rule, ForecastRule):
        history_s = _SEASONS_OF_FORECAST * _WEEK_S if rule.method == SEASONAL else rule.over_s
        window = budgets[rule.budget].window
        own = Track(1, window.slot_s, _KEPT_PERIODS.get(window.kind, 2.0 * window.length_s), window)
        return (Track(0, _HOUR_S, history_s + 2 * _HOUR_S), own)
    return ()


def oldest_slot(track: Track, unix_s: float) -> int:
    """Return the oldest slot that is still kept at a moment."""
    return 0 if track.keep_s == float("inf") else int(unix_s - track.keep_s)
