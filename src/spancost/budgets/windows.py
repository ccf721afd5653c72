"""Windows of time: which period or slot a minute falls into, when it ends, and what a rolling window still counts.

Minutes are UTC minutes (Unix seconds // 60), slots are Unix seconds of their start. Calendar windows begin at local
midnight of their time zone, so that a day may have 23 or 25 hours. Every question is answered in O(1): the present
period is remembered.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

MINUTE: Final = "minute"
HOUR: Final = "hour"
DAY: Final = "day"
WEEK: Final = "week"
MONTH: Final = "month"
ROLLING: Final = "rolling"
TOTAL: Final = "total"
CALENDAR: Final = (MINUTE, HOUR, DAY, WEEK, MONTH)
KINDS: Final = (*CALENDAR, ROLLING, TOTAL)

UTC_NAME: Final = "UTC"
_MINUTE_S: Final = 60
_ROLLING_SLOTS: Final = 288
"""A rolling window is counted in at most about so many slots: 24 hours in slots of five minutes."""


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time, Unix seconds: from `start` up to, not including, `end`."""

    start: int
    end: int | None
    """None: it never ends."""

    @property
    def seconds(self) -> float:
        """Its length, infinite if it never ends."""
        return float("inf") if self.end is None else float(self.end - self.start)


@dataclass(frozen=True, slots=True)
class Window:
    """The time over which money is added up."""

    kind: str
    """One of `KINDS`."""
    length_s: int = 0
    """Of a rolling window: its length in seconds, whole minutes."""
    time_zone: str = UTC_NAME
    """IANA name, such as `Europe/Berlin`: where days, weeks (from Monday) and months begin."""
    _cache: dict[str, Period] = field(default_factory=dict[str, Period], compare=False, repr=False, hash=False)

    @property
    def is_rolling(self) -> bool:
        """True if it ends now, whenever that is."""
        return self.kind == ROLLING

    @property
    def slot_s(self) -> int:
        """Length of the slots in which a rolling window is counted, seconds; 0 for others, where a slot is a period."""
        return rolling_slot_s(self.length_s) if self.kind == ROLLING else 0

    def period_at(self, unix_s: float) -> Period:
        """Return the period that a moment falls into; for a rolling window the one that ends with its present slot."""
        if self.kind == TOTAL:
            return Period(0, None)
        if self.kind == ROLLING:
            slot_s = self.slot_s
            end = (int(unix_s) // slot_s + 1) * slot_s
            return Period(end - self.length_s, end)
        known = self._cache.get("last")
        if known is not None and known.end is not None and known.start <= unix_s < known.end:
            return known
        period = _calendar_period(self.kind, self.time_zone, unix_s)
        self._cache["last"] = period
        return period

    def slot_of(self, minute: int) -> int:
        """Return the start of the slot that a UTC minute is added to, Unix seconds."""
        unix_s = minute * _MINUTE_S
        if self.kind == ROLLING:
            return unix_s - unix_s % self.slot_s
        return self.period_at(unix_s).start

    def first_slot(self, unix_s: float) -> int:
        """Return the oldest slot that counts at a moment.

        A rolling window counts the whole of the slot that it begins in: up to one slot more than its length.
        """
        if self.kind != ROLLING:
            return self.period_at(unix_s).start
        slot_s = self.slot_s
        begin = int(unix_s) - self.length_s
        return begin - begin % slot_s


def rolling_slot_s(length_s: float) -> int:
    """Return the length of the slots in which so long a rolling window is counted: whole minutes."""
    return max(1, round(length_s / _ROLLING_SLOTS / _MINUTE_S)) * _MINUTE_S


@functools.cache
def _zone(name: str) -> tzinfo:
    return timezone.utc if name == UTC_NAME else ZoneInfo(name)  # noqa: UP017


def _calendar_period(kind: str, time_zone: str, unix_s: float) -> Period:
    zone = _zone(time_zone)
    local = datetime.fromtimestamp(unix_s, zone)
    if kind in (MINUTE, HOUR):
        # Never repeated or skipped by a change of the clocks: counted in absolute time from the local offset.
        length = _MINUTE_S if kind == MINUTE else 3600
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        start = int(unix_s) - (int(unix_s) + offset) % length
        return Period(start, start + length)
    midnight = datetime(local.year, local.month, local.day)
    if kind == WEEK:
        midnight -= timedelta(days=midnight.weekday())
    elif kind == MONTH:
        midnight = midnight.replace(day=1)
    if kind == DAY:
        following = midnight + timedelta(days=1)
    elif kind == WEEK:
        following = midnight + timedelta(days=7)
    else:
        following = (midnight + timedelta(days=32)).replace(day=1)
    return Period(_first_moment(midnight, zone), _first_moment(following, zone))


def _first_moment(midnight: datetime, zone: tzinfo) -> int:
    """Return when a local day begins, Unix seconds: where midnight is skipped, at the first moment after it."""
    return int(midnight.replace(tzinfo=zone).timestamp())


_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration_text(seconds: float) -> str:
    """Return a duration in one unit, as labels and alerts name it: `5m`, `24h`, `90m`, `30d`."""
    if seconds == 86_400:
        return "24h"
    for length, unit in _UNITS:
        if seconds >= length and seconds % length == 0:
            return f"{round(seconds / length)}{unit}"
    return f"{seconds:g}s"


def window_text(window: Window) -> str:
    """Return a window for people: `month`, `rolling 24h`."""
    return f"rolling {duration_text(window.length_s)}" if window.is_rolling else window.kind
