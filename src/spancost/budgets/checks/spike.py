"""Whether the newest stretch of time costs much more than those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Final

from spancost.amounts import usd
from spancost.budgets.checks import inputs
from spancost.budgets.checks.results import CheckResult
from spancost.budgets.rules import MEAN, PERCENTILE, ROBUST, SPIKE_METHODS, SpikeRule

NORMAL_MAD: Final = 0.6745
"""Median absolute deviation of a normal distribution whose standard deviation is 1."""
RELATIVE_MAD: Final = 0.05
"""The median absolute deviation counts as at least this part of the median: a flat history does not make every cent an
alarm."""
NO_HISTORY: Final = "no_history"
WARMING_UP: Final = "warming_up"
NO_BASELINE: Final = "no_baseline"
_MAX_FACTOR: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeCheck(CheckResult):
    """How the newest stretch stands to those before it."""

    kind: ClassVar[str] = "spike"

    is_spike: bool
    method: str
    newest_usd: float
    baseline_usd: float | None
    """What was expected; None: not known yet."""
    limit_usd: float | None
    """More than this is a spike; None: not known yet."""
    reason: str
    """Why nothing can be said: `no_history`, `warming_up`, `no_baseline`; empty if something can."""
    seen: int
    """Stretches of the history with money."""


def check_spike(
    newest_usd: float,
    history_usd: Sequence[float],
    *,
    method: str = MEAN,
    multiplier: float = 3.0,
    z: float = 6.0,
    min_mad_usd: float = 0.0,
    percentile: float = 0.95,
    min_baseline_usd: float = 0.0,
    min_usd: float = 0.01,
    warm_up: int = 3,
) -> SpikeCheck:
    """Compare the newest stretch with a baseline made of the stretches before it.

    The newest is a spike if it is above `max(allowed, min_usd)`, where `allowed` is

    - `mean`, `seasonal`: multiplier x mean of the history,
    - `percentile`: multiplier x percentile of the history, interpolated between neighbours,
    - `robust`: median + z x MAD / 0.6745. The MAD, the median distance from the median, counts as at least
      `min_mad_usd` and as at least 5 % of the median.

    A history without any money has no baseline, unless `min_baseline_usd` or `min_mad_usd` gives one.

    Args:
        newest_usd: The newest stretch, USD.

        history_usd: The stretches before it, oldest first, USD; of `seasonal` those of the same hour of earlier days
            or weeks.

        method: `mean`, `robust`, `percentile` or `seasonal`.

        multiplier: How many times the baseline is too much, above 1.

        z: How many deviations above the median are too much.

        min_mad_usd: A floor for the median absolute deviation, USD.

        percentile: Which part of the history is the baseline, above 0 and at most 1.

        min_baseline_usd: A baseline below this counts as this, USD.

        min_usd: At most so much is never a spike, USD.

        warm_up: Stretches of the history that must have seen money.

    Raises:
        ValueError: A number is impossible.
    """
    newest, history = inputs.usd("newest_usd", newest_usd), inputs.amounts("history_usd", history_usd)
    inputs.one_of("method", method, SPIKE_METHODS)
    factor = inputs.between("multiplier", multiplier, 1.0, _MAX_FACTOR)
    deviations = inputs.between("z", z, 0.0, _MAX_FACTOR)
    mad_floor = inputs.usd("min_mad_usd", min_mad_usd)
    part = inputs.between("percentile", percentile, 0.0, 1.0)
    floor = inputs.usd("min_baseline_usd", min_baseline_usd)
    least = inputs.usd("min_usd", min_usd)
    needed = inputs.whole("warm_up", warm_up, 0)

    seen = sum(amount > 0 for amount in history)
    if not history:
        reason, why = NO_HISTORY, "there is no history yet"
    elif seen < needed:
        reason, why = WARMING_UP, f"{seen} of {needed} stretches have seen money yet"
    else:
        if method == ROBUST:
            middle = median(history)
            mad = median(abs(amount - middle) for amount in history)
            baseline = max(middle, floor)
            allowed = baseline + deviations * max(mad, mad_floor, RELATIVE_MAD * baseline) / NORMAL_MAD
        else:
            found = _quantile(history, part) if method == PERCENTILE else math.fsum(history) / len(history)
            baseline = max(found, floor)
            allowed = factor * baseline
        if allowed > 0:
            return _compared(method, newest, baseline, max(allowed, least), seen)
        reason, why = NO_BASELINE, "the history has no money to compare it with"
    return SpikeCheck(
        is_alarming=False,
        explanation=f"{usd(newest)} in the newest stretch says nothing yet: {why}.",
        is_spike=False,
        method=method,
        newest_usd=newest,
        baseline_usd=None,
        limit_usd=None,
        reason=reason,
        seen=seen,
    )


def check_spike_rule(rule: SpikeRule, newest_usd: float, history_usd: Sequence[float]) -> SpikeCheck:
    """Compare the newest stretch with those before it, as a rule says.

    Args:
        rule: The rule.

        newest_usd: The newest stretch of `rule.bucket_s`, USD.

        history_usd: The `rule.history` stretches before it, oldest first, USD.

    Raises:
        ValueError: A number is impossible.
    """
    return check_spike(
        newest_usd,
        history_usd,
        method=rule.method,
        multiplier=rule.multiplier,
        z=rule.z,
        min_mad_usd=rule.min_mad_usd,
        percentile=rule.percentile,
        min_baseline_usd=rule.min_baseline_usd,
        min_usd=rule.min_usd,
        warm_up=rule.warm_up,
    )


def _compared(method: str, newest: float, baseline: float, limit: float, seen: int) -> SpikeCheck:
    is_spike = newest > limit
    said = f"above the limit of {usd(limit)}" if is_spike else f"not above the limit of {usd(limit)}"
    return SpikeCheck(
        is_alarming=is_spike,
        explanation=f"{usd(newest)} in the newest stretch is {said}; the {method} baseline is {usd(baseline)}.",
        is_spike=is_spike,
        method=method,
        newest_usd=newest,
        baseline_usd=baseline,
        limit_usd=limit,
        reason="",
        seen=seen,
    )


def _quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which a part of the values lies, between neighbours in proportion, as PromQL does it."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
