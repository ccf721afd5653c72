"""Whether a budget is spent faster than it lasts, over a long and a short window at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from spancost.amounts import times, usd
from spancost.budgets.checks import inputs
from spancost.budgets.checks.results import CheckResult
from spancost.budgets.rules import SEVERITIES

ROUNDING: Final = 1e-9
"""A rate above its factor by no more than this part is the rounding of sums."""
_MAX_FACTOR: Final = 1e6
_HOUR_S: Final = 3600.0


class BurnWindows(NamedTuple):
    """What was spent in a long and in a short window that both end now."""

    long_usd: float
    long_s: float
    short_usd: float
    short_s: float
    factor: float
    """How many times as fast as the budget lasts is too fast."""
    severity: str = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCheck:
    """One pair of windows."""

    is_firing: bool
    long_rate: float
    """Spending of the long window over what the budget allows in that time: 1 spends it exactly in its window."""
    short_rate: float
    factor: float
    severity: str
    usd_per_hour: float
    """Of the long window."""
    is_too_slow: bool
    """Both rates are above the factor, but it is less than `min_usd_per_hour`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRateCheck(CheckResult):
    """How fast a budget is spent."""

    kind: ClassVar[str] = "burn_rate"

    limit_usd: float
    window_s: float
    severity: str | None
    """The most serious of the pairs that fire; None: none does."""
    pairs: tuple[PairCheck, ...]
    """In the order they were given."""


def check_burn_rate(
    windows: Sequence[BurnWindows | tuple[float, float, float, float, float]],
    *,
    limit_usd: float,
    window_s: float,
    min_usd_per_hour: float = 0.0,
) -> BurnRateCheck:
    """Compare rates of spending with the rate at which a budget lasts exactly as long as its window.

    A pair fires if both its windows are above its factor: the long one says that it matters, the short one that it
    goes on.

    Args:
        windows: Spend and length of a long and a short window, and a factor, for each pair.

        limit_usd: Limit of the budget, USD.

        window_s: Length of the budget's window, seconds.

        min_usd_per_hour: Slower spending than this in the long window does not fire, USD per hour.

    Raises:
        ValueError: A number is impossible, there is no pair, or a short window is not shorter than its long one.
    """
    limit, length_s = inputs.limit("limit_usd", limit_usd), inputs.seconds("window_s", window_s)
    slowest = inputs.usd("min_usd_per_hour", min_usd_per_hour)
    if not windows:
        raise ValueError("windows: () is not accepted: at least one pair of windows")
    pairs = tuple(
        _pair(f"windows[{number}]", _named(number, given), limit / length_s, slowest)
        for number, given in enumerate(windows)
    )
    firing = [pair for pair in pairs if pair.is_firing]
    worst = max(firing or pairs, key=lambda pair: (SEVERITIES.index(pair.severity), pair.long_rate))
    rates = f"{times(worst.long_rate)} times (long window) and {times(worst.short_rate)} times (short window)"
    verdict = f"both above {worst.factor:g}" if firing else "no pair of windows is above its factor"
    if not firing and any(pair.is_too_slow for pair in pairs):
        verdict = f"less than {usd(slowest)} an hour does not count"
    return BurnRateCheck(
        is_alarming=bool(firing),
        explanation=f"The budget of {usd(limit)} is spent {rates} as fast as it lasts: {verdict}.",
        limit_usd=limit,
        window_s=length_s,
        severity=worst.severity if firing else None,
        pairs=pairs,
    )


def _named(number: int, given: BurnWindows | tuple[float, float, float, float, float]) -> BurnWindows:
    if isinstance(given, BurnWindows):
        return given
    if not isinstance(given, tuple) or len(given) != 5:  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
        accepted = "a tuple of long_usd, long_s, short_usd, short_s and factor"
        raise ValueError(f"windows[{number}]: {given!r} is not accepted: {accepted}")
    long_usd, long_s, short_usd, short_s, factor = given
    return BurnWindows(long_usd, long_s, short_usd, short_s, factor)


def _pair(name: str, given: BurnWindows, usd_per_s: float, slowest: float) -> PairCheck:
    long_s = inputs.seconds(f"{name}.long_s", given.long_s)
    short_s = inputs.seconds(f"{name}.short_s", given.short_s)
    if short_s >= long_s:
        raise ValueError(f"{name}.short_s: {given.short_s!r} is not accepted: shorter than the long window")
    factor = inputs.between(f"{name}.factor", given.factor, 0.0, _MAX_FACTOR)
    inputs.one_of(f"{name}.severity", given.severity, SEVERITIES)
    long_per_s = inputs.usd(f"{name}.long_usd", given.long_usd) / long_s
    short_per_s = inputs.usd(f"{name}.short_usd", given.short_usd) / short_s
    long_rate, short_rate = long_per_s / usd_per_s, short_per_s / usd_per_s
    is_fast = min(long_rate, short_rate) > factor * (1.0 + ROUNDING)
    is_slow = long_per_s * _HOUR_S < slowest
    return PairCheck(
        is_firing=is_fast and not is_slow,
        long_rate=long_rate,
        short_rate=short_rate,
        factor=factor,
        severity=given.severity,
        usd_per_hour=long_per_s * _HOUR_S,
        is_too_slow=is_fast and is_slow,
    )
