"""How much more may be spent on a key, and until when, before it is worth to read its rule again.

A rule that is well and far from its limit has nothing to say after a few more cents. What follows here is never more
than what is left until it could speak, so that looking later says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from spancost.budgets.rules import AnyRule, BudgetRule, BurnRateRule, ForecastRule, SpikeRule
from spancost.budgets.store import OK

if TYPE_CHECKING:
    from spancost.budgets.evaluation import Reading
    from spancost.budgets.store import StateRecord
    from spancost.budgets.tracks import Track

_HOUR_S: Final = 3600
_NEVER: Final = float("inf")
_MARGIN: Final = 1e-9
"""Part of a limit that rounding may hide."""


class Quiet:
    """What a key may do without being looked at."""

    __slots__ = ("left_usd", "slot", "touch_until", "until")

    def __init__(
        self, left_usd: float, until: float, slot: int | None = None, touch_until: float = float("inf")
    ) -> None:
        self.left_usd = left_usd
        """It may grow by less than this, USD."""
        self.until = until
        """It is to be looked at then, Unix seconds; infinite: time alone changes nothing."""
        self.slot = slot
        """Money of another slot of the first track is to be looked at; None: of none."""
        self.touch_until = touch_until
        """Any money that comes from then on is to be looked at, Unix seconds."""


def quiet_of(
    rule: AnyRule,
    reading: Reading,
    record: StateRecord,
    now: float,
    track: Track,
    budgets: Mapping[str, BudgetRule],
) -> Quiet | None:
    """Return for how long a key need not be read again; None if it is to be read whenever something changes.

    Args:
        rule: The rule.

        reading: What the key shows now.

        record: Where it stands.

        now: Unix seconds.

        track: The rule's first track.

        budgets: Budget rules by name.
    """
    if record.state != OK or record.level or record.is_incomplete or reading.seen.is_incomplete or reading.seen.level:
        return None
    if isinstance(rule, BudgetRule):
        left = rule.thresholds[0] * rule.limit_usd - reading.spend.usd
        if rule.window.is_rolling:
            return _quiet(left, rule.limit_usd, _NEVER)
        period = rule.window.period_at(now)
        return _quiet(left, rule.limit_usd, _NEVER if period.end is None else float(period.end), period.start)
    if isinstance(rule, SpikeRule):
        slot = int(now) - int(now) % track.slot_s
        until = float(slot + track.slot_s)  # then the stretches are others
        if reading.limit_usd is None:  # too little history, which money of this slot does not make longer
            return Quiet(_NEVER, until, slot)
        return _quiet(reading.limit_usd - reading.value, reading.limit_usd, until, slot)
    if isinstance(rule, BurnRateRule):
        budget = budgets[rule.budget]
        window = budget.window
        period = window.period_at(now)
        usd_per_s = budget.limit_usd / (window.length_s if window.is_rolling else period.seconds)
        # Both windows of a pair have to be above its factor: what is missing in the slower one, at least.
        left = min(
            (pair.factor - rate) * usd_per_s * pair.short_s
            for pair, (_, rate) in zip(rule.pairs, reading.burn_rates, strict=True)
        )
        return _quiet(left, budget.limit_usd, _NEVER if window.is_rolling or period.end is None else float(period.end))
    if isinstance(rule, ForecastRule):
        limit = budgets[rule.budget].limit_usd
        hour = int(now) - int(now) % _HOUR_S  # the history is that of whole hours
        expected = reading.spend.usd if reading.forecast_usd is None else reading.forecast_usd
        period = reading.period
        until = _NEVER if period is None or period.end is None else float(period.end)
        return _quiet(limit - expected, limit, until, hour, hour + _HOUR_S)
    return None


def _quiet(
    left_usd: float, limit_usd: float, until: float, slot: int | None = None, touch_until: float = _NEVER
) -> Quiet | None:
    left_usd -= limit_usd * _MARGIN
    return Quiet(left_usd, until, slot, touch_until) if left_usd > 0 else None
