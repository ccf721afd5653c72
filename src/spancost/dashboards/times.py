"""Times and steps as Grafana works them out: `now-6h`, `now/d`, the step of a query, `$__rate_interval`."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION: Final = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")
_PART: Final = re.compile(r"(\d+)(ms|[smhdwy])")
_RELATIVE: Final = re.compile(r"now((?:[+-]\d+[smhdwMy]|/[smhdwMy])*)")
_STEP: Final = re.compile(r"([+-])(\d+)([smhdwMy])|/([smhdwMy])")
_ROUND_MS: Final = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
)  # fmt: skip
"""Below how many milliseconds a step is rounded to how many."""
_LONGEST_MS: Final = 2_592_000_000
_MAX_POINTS: Final = 11_000
"""For one series, as Prometheus allows."""
_MONTHS: Final = 12


class Span(NamedTuple):
    """What a panel shows; Unix seconds."""

    start: float
    end: float

    @property
    def length_s(self) -> float:
        return self.end - self.start


def duration_s(text: str) -> float:
    """Return the seconds of a duration such as `1h30m`.

    Args:
        text: As Prometheus writes durations.

    Raises:

        ValueError: It is none.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError("a duration such as 15s, 6h or 1d12h")
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))


def duration_text(seconds: float) -> str:
    """Return seconds as Prometheus reads them, in the largest unit that leaves none over."""
    millis = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        size = round(_SECONDS[unit] * 1000)
        if millis and not millis % size:
            return f"{millis // size}{unit}"
    return f"{millis}ms"


def moment(text: str, now: float, *, is_end: bool = False) -> float:
    """Return what a time such as `now-1d/d` is; Unix seconds. Days and months are those of UTC.

    Args:
        text: Relative to now, in ISO 8601, or Unix milliseconds.

        now: Unix seconds.

        is_end: Whether `/d` goes to the end of the day.

    Raises:

        ValueError: It is no time.
    """
    found = _RELATIVE.fullmatch(text)
    if found is None:
        return _absolute(text)
    at = datetime.fromtimestamp(now, UTC)
    for sign, count, unit, rounded in _STEP.findall(found[1]):
        if rounded:
            at = _floor(at, rounded)
            at = _moved(at, 1, rounded) - timedelta(milliseconds=1) if is_end else at
        else:
            at = _moved(at, int(f"{sign}{count}"), unit)
    return at.timestamp()


def _absolute(text: str) -> float:
    if text.isdecimal():
        return int(text) / 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("a time such as now-6h, now/d or 2026-11-21T12:00:00Z") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _floor(at: datetime, unit: str) -> datetime:
    at = at.replace(microsecond=0)
    if unit == "w":
        return (at - timedelta(days=at.weekday())).replace(hour=0, minute=0, second=0)
    if unit == "s":
        return at
    at = at.replace(second=0)
    if unit == "m":
        return at
    at = at.replace(minute=0)
    if unit == "h":
        return at
    at = at.replace(hour=0)
    if unit == "d":
        return at
    return at.replace(day=1) if unit == "M" else at.replace(day=1, month=1)


def _moved(at: datetime, count: int, unit: str) -> datetime:
    try:
        if unit not in ("M", "y"):
            return at + timedelta(seconds=count * _SECONDS[unit])
        months = at.year * _MONTHS + at.month - 1 + (count if unit == "M" else count * _MONTHS)
        year, month = divmod(months, _MONTHS)
        first = at.replace(year=year, month=month + 1, day=1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        return first.replace(day=min(at.day, last.day))
    except (OverflowError, ValueError):
        raise ValueError("a time that the calendar has") from None


def panel_span(whole: Span, now: float, time_from: str, time_shift: str) -> Span:
    """Return what a panel shows that has a time of its own.

    Args:
        whole: What the dashboard shows.

        now: End of relative times; Unix seconds.

        time_from: `1h` or `now/d`; empty for that of the dashboard.

        time_shift: How much earlier, such as `1d`; empty for nothing.

    Raises:

        ValueError: One of them is no time.
    """
    start, end = whole
    if time_from:
        start, end = moment(time_from if time_from.startswith("now") else f"now-{time_from}", now), now
    if time_shift:
        shift = duration_s(time_shift)
        start, end = start - shift, end - shift
    return Span(start, end)


def step_s(span: Span, max_data_points: int, shortest_s: float) -> float:
    """Return the seconds between two points of a plot.

    Args:
        span: What it shows.

        max_data_points: How many there may be.

        shortest_s: The smallest step.
    """
    wanted_ms = span.length_s * 1000 / max_data_points
    at = bisect_right(_ROUND_MS, wanted_ms, key=lambda row: row[0])
    rounded_ms = _ROUND_MS[at][1] if at < len(_ROUND_MS) else _LONGEST_MS
    return max(rounded_ms / 1000, shortest_s, span.length_s / _MAX_POINTS)


def rate_interval_s(step: float, scrape_interval_s: float) -> float:
    """Return what `$__rate_interval` stands for: always four scrapes or more.

    Args:
        step: Seconds between two points.

        scrape_interval_s: Of the data source.
    """
    return max(step + scrape_interval_s, 4 * scrape_interval_s)
