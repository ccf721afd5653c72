"""When a budget will be gone, and how much will have been spent when its window ends, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import NormalDist
from typing import ClassVar, Final, NamedTuple

from spancost.amounts import usd
from spancost.budgets.checks import inputs
from spancost.budgets.checks.results import CheckResult, percent
from spancost.budgets.rules import FORECAST_METHODS, LINEAR, MAX_CONFIDENCE

NO_HISTORY: Final = "no_history"
TOO_SHORT: Final = "too_short"
NO_SCATTER: Final = "no_scatter"
_HOUR_S: Final = 3600.0
_WEEK: Final = 7 * 24
"""Hours."""
_LONGEST_S: Final = 400 * 86_400.0
_LEAST_FREEDOM: Final = 2
"""Degrees of freedom of the scatter, below which no interval is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(CheckResult):
    """What is expected of a budget until its window ends."""

    kind: ClassVar[str] = "forecast"

    method: str
    spend_usd: float
    limit_usd: float
    confidence: float
    expected_usd: float | None
    """Spent at the end of the window; None: not known yet."""
    low_usd: float | None
    """The interval that holds what will be spent with the confidence asked for; None: the history is too short."""
    high_usd: float | None
    usd_per_hour: float | None
    """What is expected from now on, on average."""
    breach_at: float | None
    """When the budget will be gone, Unix seconds; None: not before its window ends, as far as is known."""
    earliest_breach_at: float | None
    """The same if it goes as badly as the interval allows."""
    latest_breach_at: float | None
    """The same if it goes as well as the interval allows."""
    reason: str
    """Why something is not known: `no_history`, `too_short` (a season is not whole), `no_scatter` (no interval)."""


class _Course(NamedTuple):
    """What is expected beyond the present spend, at hours from now."""

    hours: list[float]
    """0, 1, 2, ... and the end of the window."""
    added: list[float]
    """USD."""
    spread: list[float] | None
    """Half of the interval, USD; None: not known."""


def forecast_breach(
    hourly_usd: Sequence[float],
    *,
    spend_usd: float,
    limit_usd: float,
    now: float,
    window_end: float,
    confidence: float = 0.9,
    method: str = LINEAR,
) -> Forecast:
    """Say when a budget will be gone if spending goes on as it did.

    `linear` goes on with the mean of the history. `seasonal` goes on with the mean of the same hour of the week and
    needs a week at least. The interval comes from the scatter of the hours around that, which are taken as independent
    of each other: from 3 hours on (`linear`), from a week and 2 hours on (`seasonal`). A history whose hours depend on
    each other (a busy day is followed by a busy one) has more to fear than the interval says.

    Args:
        hourly_usd: Money of whole hours, oldest first; the last one ends now. USD.

        spend_usd: Spent in the window so far, USD.

        limit_usd: Limit of the budget, USD.

        now: Unix seconds.

        window_end: When the window ends, Unix seconds; after now, by 400 days at most.

        confidence: Of the interval, above 0 and at most 0.999.

        method: `linear` or `seasonal`.

    Raises:
        ValueError: A number is impossible, or the window ends before now.
    """
    history, spend = inputs.amounts("hourly_usd", hourly_usd), inputs.usd("spend_usd", spend_usd)
    limit, start = inputs.limit("limit_usd", limit_usd), inputs.moment("now", now)
    end = inputs.number("window_end", window_end, start, start + _LONGEST_S, "a moment from now to 400 days from now")
    sure = inputs.between("confidence", confidence, 0.0, MAX_CONFIDENCE)
    inputs.one_of("method", method, FORECAST_METHODS)
    hours = (end - start) / _HOUR_S
    is_gone = spend >= limit
    known = bool(history) and (method == LINEAR or len(history) >= _WEEK)
    if not known:
        reason = NO_HISTORY if not history else TOO_SHORT
        why = "there is no history yet" if not history else f"{len(history)} hours are less than a week"
        gone = f"the budget of {usd(limit)} is gone" if is_gone else f"{usd(spend)} of {usd(limit)} is spent"
        return Forecast(
            is_alarming=is_gone,
            explanation=f"No forecast, as {why}; {gone}.",
            method=method,
            spend_usd=spend,
            limit_usd=limit,
            confidence=sure,
            expected_usd=None,
            low_usd=None,
            high_usd=None,
            usd_per_hour=None,
            breach_at=start if is_gone else None,
            earliest_breach_at=None,
            latest_breach_at=None,
            reason=reason,
        )
    course = (_linear if method == LINEAR else _seasonal)(history, hours, sure)
    expected = spend + course.added[-1]
    left = limit - spend
    breach_at = _moment(start, course.hours, course.added, left)
    low = high = earliest = latest = None
    if course.spread is not None:
        most = [added + spread for added, spread in zip(course.added, course.spread, strict=True)]
        least = [max(0.0, added - spread) for added, spread in zip(course.added, course.spread, strict=True)]
        low, high = spend + least[-1], spend + most[-1]
        earliest, latest = _moment(start, course.hours, most, left), _moment(start, course.hours, least, left)
    return Forecast(
        is_alarming=breach_at is not None,
        explanation=_explained(spend, limit, expected, low, high, sure, breach_at),
        method=method,
        spend_usd=spend,
        limit_usd=limit,
        confidence=sure,
        expected_usd=expected,
        low_usd=low,
        high_usd=high,
        usd_per_hour=course.added[-1] / hours if hours > 0 else math.fsum(history) / len(history),
        breach_at=breach_at,
        earliest_breach_at=earliest,
        latest_breach_at=latest,
        reason="" if course.spread is not None else NO_SCATTER,
    )


def _linear(history: list[float], hours: float, confidence: float) -> _Course:
    count = len(history)
    mean = math.fsum(history) / count
    times = _times(hours)
    squares = math.fsum((amount - mean) ** 2 for amount in history)
    # What the coming hours scatter, and by how much their mean may be off.
    variances = [time + time * time / count for time in times]
    return _Course(times, [mean * time for time in times], _spread(squares, count - 1, variances, confidence))


def _seasonal(history: list[float], hours: float, confidence: float) -> _Course:
    count = len(history)
    of_hour: list[list[float]] = [[] for _ in range(_WEEK)]
    for place, amount in enumerate(history):
        of_hour[(place - count) % _WEEK].append(amount)  # the hour that begins now is 0
    means = [math.fsum(amounts) / len(amounts) for amounts in of_hour]
    squares = math.fsum(
        (amount - mean) ** 2 for mean, amounts in zip(means, of_hour, strict=True) for amount in amounts
    )
    times, added, variances = _times(hours), [0.0], [0.0]
    passed = [0.0] * _WEEK
    own, of_means = 0.0, 0.0
    for hour, (begin, end) in enumerate(pairwise(times)):
        place, length = hour % _WEEK, end - begin
        before, passed[place] = passed[place], passed[place] + length
        own += length
        of_means += (passed[place] ** 2 - before**2) / len(of_hour[place])
        added.append(added[-1] + means[place] * length)
        variances.append(own + of_means)
    return _Course(times, added, _spread(squares, count - _WEEK, variances, confidence))


def _times(hours: float) -> list[float]:
    whole = math.floor(hours)
    return [*(float(hour) for hour in range(whole + 1)), *([hours] if hours > whole else [])]


def _spread(squares: float, freedom: int, variances: list[float], confidence: float) -> list[float] | None:
    """Return half of the interval at each time; None if too little is known of the scatter."""
    if freedom < _LEAST_FREEDOM:
        return None
    quantile = _student((1.0 + confidence) / 2.0, freedom)
    deviation = math.sqrt(squares / freedom)
    return [quantile * deviation * math.sqrt(variance) for variance in variances]


def _student(part: float, freedom: int) -> float:
    """Return a quantile of Student's distribution: exact for 2 degrees of freedom, else within 5 % up to 0.995."""
    if freedom == 2:
        doubled = 2.0 * part - 1.0
        return doubled * math.sqrt(2.0 / (1.0 - doubled * doubled))
    z = NormalDist().inv_cdf(part)
    square = z * z
    # Abramowitz and Stegun, 26.7.5.
    first = (square + 1.0) / 4.0
    second = ((5.0 * square + 16.0) * square + 3.0) / 96.0
    third = (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0
    return z * (1.0 + first / freedom + second / freedom**2 + third / freedom**3)


def _moment(start: float, hours: list[float], added: list[float], left: float) -> float | None:
    """Return when so much is spent, Unix seconds; None if not in these hours."""
    if left <= 0:
        return start
    for place in range(1, len(hours)):
        if added[place] >= left:
            begin, end = hours[place - 1], hours[place]
            rise = added[place] - added[place - 1]
            part = min(1.0, max(0.0, (left - added[place - 1]) / rise)) if rise > 0 else 1.0
            return start + (begin + (end - begin) * part) * _HOUR_S
    return None


def _explained(
    spend: float,
    limit: float,
    expected: float,
    low: float | None,
    high: float | None,
    confidence: float,
    breach_at: float | None,
) -> str:
    interval = "" if low is None or high is None else f" ({usd(low)} to {usd(high)} at {percent(confidence)})"
    ends = f"{usd(expected)}{interval} of {usd(limit)} will be spent at the end of the window"
    if spend >= limit:
        return f"{usd(spend)} of {usd(limit)} is spent: the budget is gone."
    if breach_at is None:
        return f"{ends}: the budget lasts."
    return f"{ends}: the budget is gone on {_date(breach_at)}."


def _date(unix_s: float) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):  # after the year 9999
        return f"second {unix_s:.0f}"
