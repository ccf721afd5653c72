"""Periods as people write them: `2026-10`, `2026-10-05`, `yesterday`, `7d`, `2026-10-01..2026-10-15`, `14d..7d`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from spancost.config.values import parse_seconds
from spancost.sinks.ledger.query import UTC_NAME, zone

ACCEPTED: Final = (
    "a month (2026-10, this, last), a day (2026-10-05, today, yesterday), the last 90s, 5m, 1h or 7d, or FROM..TO, "
    "where TO is counted whole if it is a day or a month, and 14d means 14 days ago"
)
_BETWEEN: Final = ".."
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}(:\d{2})?")
_AGO: Final = re.compile(r"\d+(\.\d+)?\s*(ms|s|m|min|h|d)")
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}
_MONTHS_AGO: Final = {"this": 0, "last": 1}
_NAMED: Final = frozenset({*_DAYS_AGO, *_MONTHS_AGO})


class Period(NamedTuple):
    """From a minute to the one behind the last, Unix seconds // 60."""

    text: str
    """As it was written."""
    since_minute: int
    until_minute: int
    """At most the end of the present minute: nothing is spent later."""


def period(text: str, tz: str = UTC_NAME, now: Callable[[], float] = time.time) -> Period:
    """Read a period.

    Args:
        text: One of `ACCEPTED`.

        tz: IANA name of the zone in which days and months begin.

        now: Clock, Unix seconds.

    Raises:
        ValueError: It is none; the message says what is accepted.

        LedgerError: There is no such time zone.
    """
    where, moment = zone(tz), now()
    written = text.strip()
    first, between, last = written.partition(_BETWEEN)
    if between:
        since, _ = _ends(first.strip(), where, moment)
        until = _until(last.strip(), where, moment) if last.strip() else moment
    else:
        since, until = _ends(written, where, moment)
    begin, end = int(since // 60), -int(-min(until, moment) // 60)
    if end <= begin:
        raise ValueError(f"it ends before it begins, or lies in the future; accepted is {ACCEPTED}")
    return Period(written, begin, end)


def is_period(text: str) -> bool:
    """True for what is written like a period, whether it is one or not."""
    ends = text.strip().split(_BETWEEN)
    shapes = (_MONTH, _DAY, _TIME, _AGO)
    return len(ends) <= 2 and all(
        end.strip() in _NAMED or any(shape.fullmatch(end.strip()) for shape in shapes)
        for end in (ends[:1] if len(ends) == 2 and not ends[1] else ends)
    )


def _ends(text: str, where: ZoneInfo, now: float) -> tuple[float, float]:
    """Return both ends of a period without `..`, Unix seconds."""
    try:
        if text in _DAYS_AGO:
            begin = datetime.fromtimestamp(now, where).replace(hour=0, minute=0, second=0, microsecond=0)
            begin -= timedelta(days=_DAYS_AGO[text])  # by the calendar: a day has 23 to 25 hours
            return begin.timestamp(), (begin + timedelta(days=1)).timestamp()
        if text in _MONTHS_AGO:
            begin = datetime.fromtimestamp(now, where).replace(day=1)
            begin -= timedelta(days=_MONTHS_AGO[text])  # the day before the first is in the month before
            text = begin.strftime("%Y-%m")
        if match := _MONTH.fullmatch(text):
            begin = datetime(int(match[1]), int(match[2]), 1, tzinfo=where)
            return begin.timestamp(), (begin + timedelta(days=32)).replace(day=1).timestamp()
        if _DAY.fullmatch(text):
            begin = datetime.fromisoformat(text).replace(tzinfo=where)
            return begin.timestamp(), (begin + timedelta(days=1)).timestamp()
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=where).timestamp(), now
        if _AGO.fullmatch(text):
            return now - parse_seconds(text), now
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{error}; accepted is {ACCEPTED}") from None
    raise ValueError(f"accepted is {ACCEPTED}")


def _until(text: str, where: ZoneInfo, now: float) -> float:
    begin, end = _ends(text, where, now)
    return end if text in _NAMED or _MONTH.fullmatch(text) or _DAY.fullmatch(text) else begin
