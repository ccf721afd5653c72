"""Which time a report is about: `--since`, `--from/--to`, `--month`, and what it is compared with."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from spancost.cli._ledger import fail, since_minute
from spancost.config.values import parse_seconds
from spancost.errors import LedgerError
from spancost.sinks.ledger.query import UTC_NAME, zone

_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_YEARS: Final = range(1970, 9999)
_TIMES: Final = "a day such as 2026-11-20, or a time such as 2026-11-20T14:05 or 2026-11-20T14:05+01:00"
_MONTHS: Final = "a month such as 2026-11, this or last"
_COMPARED: Final = (
    "previous, a month such as 2026-10, a range such as 2026-11-01..2026-11-07, or 7d for the same length 7 days before"
)
_PREVIOUS: Final = "previous"
_RANGE: Final = ".."


class Period(NamedTuple):
    """A time from a minute up to, not including, another one (Unix seconds // 60)."""

    since_minute: int | None = None
    """None: from the ledger's beginning."""
    until_minute: int | None = None
    """None: up to now."""
    tz: str = UTC_NAME
    """In which times are told."""
    named: str = ""
    """As it was asked for: `the last 1h`, `2026-11`; empty for everything."""
    month: tuple[int, int] | None = None
    """Year and month, if it is one."""

    def document(self) -> dict[str, str | None]:
        """Return it for machines, in ISO format."""
        return {"from": self._iso(self.since_minute), "to": self._iso(self.until_minute), "tz": self.tz}

    def __str__(self) -> str:
        begin = "the beginning" if self.since_minute is None else local_time(self.since_minute, self.tz)
        end = "now" if self.until_minute is None else local_time(self.until_minute, self.tz)
        return f"{begin} to {end} {self.tz}"

    def _iso(self, minute: int | None) -> str | None:
        return None if minute is None else _at(minute, zone(self.tz)).isoformat()


def local_time(minute: int, tz: str) -> str:
    """Return a minute as text, in a time zone: `2026-11-20 14:05`."""
    return _at(minute, zone(tz)).strftime("%Y-%m-%d %H:%M")


def time_order(told: str) -> tuple[float, str]:
    """Return by what times are sorted as the ledger tells them: an hour may be there twice, at two offsets from UTC."""
    return (datetime.fromisoformat(told).timestamp() if "T" in told else 0.0, told)


def time_zone(name: str) -> str:
    """Check `--tz`; an unknown one ends the command with the near miss."""
    try:
        zone(name)
    except LedgerError as error:
        near = get_close_matches(name, available_timezones(), n=3, cutoff=0.6)
        fail(f"--tz: {error}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    return name


def period_of(
    since: str | None,
    begin: str | None,
    end: str | None,
    month: str | None,
    tz: str,
    now: Callable[[], float] = time.time,
) -> Period:
    """Return the period that options ask for; options that contradict each other end the command.

    Args:
        since: `--since`: a duration before now.

        begin: `--from`: a day or time.

        end: `--to`: a time, or a day, which is counted whole.

        month: `--month`: `2026-11`, `this` or `last`.

        tz: Checked name of the time zone in which days and months begin.

        now: Clock, Unix seconds.
    """
    given = [
        name
        for name, is_given in (
            ("--since", since is not None),
            ("--from/--to", begin is not None or end is not None),
            ("--month", month is not None),
        )
        if is_given
    ]
    if len(given) > 1:
        fail(f"{' and '.join(given)}: only one of them says which period: --since, --month, or --from and --to")
    if since is not None:
        return Period(since_minute(since, now), None, tz, f"the last {since}")
    if month is not None:
        return _month(month, tz, "--month", now)
    if begin is None and end is None:
        return Period(tz=tz)
    first = None if begin is None else _minute(begin, tz, "--from", is_end=False)
    last = None if end is None else _minute(end, tz, "--to", is_end=True)
    if first is not None and last is not None and first >= last:
        fail(f"--from {begin} --to {end}: the end is not behind the beginning")
    found = Period(first, last, tz)
    return found._replace(named=str(found))


def compared_period(text: str, period: Period, now: Callable[[], float] = time.time) -> tuple[Period, Period]:
    """Return the period of a report, with an end, and the one that `--compare` sets against it.

    Args:
        text: What to compare with: `previous`, a month, `2026-11-01..2026-11-07`, or a duration such as `7d`.

        period: What is reported. Where nothing was said, a duration is also its length.

        now: Clock, Unix seconds.
    """
    end = int(now() // 60) + 1
    if period.until_minute is not None and period.until_minute > end:
        period = period._replace(until_minute=end)
    if _RANGE in text:
        begin, _, last = (part.strip() for part in text.partition(_RANGE))
        first = _minute(begin, period.tz, "--compare", is_end=False)
        until = _minute(last, period.tz, "--compare", is_end=True)
        if first >= until:
            fail(f"--compare: {text!r}: the end is not behind the beginning")
        return period, _named(Period(first, until, period.tz))
    if _MONTH.fullmatch(text) or text in ("this", "last"):
        return period, _month(text, period.tz, "--compare", now)
    shift = None if text == _PREVIOUS else _shift(text)
    if period.since_minute is None:
        if shift is None or period.until_minute is not None:
            fail("--compare: a period with a beginning is needed: --since, --month, or --from")
        period = Period(end - shift, None, period.tz, f"the last {text}")
    assert period.since_minute is not None
    until = end if period.until_minute is None else period.until_minute
    length = max(1, until - period.since_minute)
    if shift is not None:
        first = period.since_minute - shift
    elif period.month is not None:
        return period, _month_before(period, length if until == end else None)
    else:
        first = period.since_minute - length
    return period._replace(until_minute=until), _named(Period(first, first + length, period.tz))


def _named(period: Period) -> Period:
    return period._replace(named=str(period))


def _shift(text: str) -> int:
    try:
        minutes = int(parse_seconds(text) // 60)
    except ValueError:
        minutes = 0
    if minutes < 1:
        fail(f"--compare: {text!r} is not {_COMPARED}")
    return minutes


def _month(text: str, tz: str, option: str, now: Callable[[], float]) -> Period:
    today = datetime.fromtimestamp(now(), UTC).astimezone(zone(tz)).date()
    if text == "this":
        year, month = today.year, today.month
    elif text == "last":
        year, month = _before(today.year, today.month)
    else:
        match = _MONTH.fullmatch(text.strip())
        if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) not in _YEARS:
            fail(f"{option}: {text!r} is not {_MONTHS}")
        year, month = int(match[1]), int(match[2])
    return _whole_month(year, month, tz)


def _whole_month(year: int, month: int, tz: str) -> Period:
    after = (year + 1, 1) if month == 12 else (year, month + 1)
    begin, end = _midnight(date(year, month, 1), tz), _midnight(date(*after, 1), tz)
    return Period(begin, end, tz, f"{year:04}-{month:02}", (year, month))


def _month_before(period: Period, length: int | None) -> Period:
    """Return the month before; of a running month as much as has passed of it."""
    assert period.month is not None
    found = _whole_month(*_before(*period.month), period.tz)
    if length is None:
        return found
    assert found.since_minute is not None
    assert found.until_minute is not None
    part = min(found.since_minute + length, found.until_minute)
    return found if part == found.until_minute else _named(Period(found.since_minute, part, period.tz))


def _before(year: int, month: int) -> tuple[int, int]:
    return (year - 1, 12) if month == 1 else (year, month - 1)


def _minute(text: str, tz: str, option: str, *, is_end: bool) -> int:
    """Read a day or a time. A day that ends a period is counted whole."""
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return _midnight(day + timedelta(days=1) if is_end else day, tz)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone(tz))
        return int(moment.timestamp() // 60)
    except (ValueError, OverflowError):
        fail(f"{option}: {text!r} is not {_TIMES}")


def _midnight(day: date, tz: str) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone(tz)).timestamp() // 60)


def _at(minute: int, where: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC).astimezone(where)
