"""Questions to the ledger, and the SQL that answers them from the smallest cut that can."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from spancost import names
from spancost.errors import LedgerError, suggest
from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    BY_OWNER,
    CHARGES,
    DAY,
    DETAIL,
    ENTRYPOINT_NAME,
    HOUR,
    LABEL_COLUMNS,
    LINE_COLUMNS,
    POSITION_NAME,
    REQUESTS,
    Cut,
)

UTC_NAME: Final = "UTC"
_ORIGIN_KEYS: Final = ("service", "environment", "cloud_account", "namespace")
_OWNER_KEYS: Final = ("feature", "tenant", "team")
LABEL_KEY: Final = "label."
"""Beginning of the key of a free label: `label.cost_center`."""
TIME_KEYS: Final = ("minute", "hour", "day", "month")
_FORMATS: Final = {"minute": "%Y-%m-%dT%H:%M", "hour": "%Y-%m-%dT%H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
_WITH_OFFSET: Final = ("minute", "hour")
REQUEST_KEYS: Final = (*TIME_KEYS, *_ORIGIN_KEYS, *LABEL_COLUMNS, *_OWNER_KEYS)
"""Keys that a request has, whatever it was charged for; free labels, too."""
LEDGER_KEYS: Final = (*REQUEST_KEYS, *LINE_COLUMNS, "cloud_service", "position")
"""Everything rows can be split by, beside free labels. `entrypoint` is `METHOD route` for HTTP and the entrypoint's
name otherwise; `cloud_service` is FOCUS's ServiceName; times are ISO, in the time zone asked for."""
_ALIASES: Final = {"route": "http_route", "method": "http_request_method"}
_LABEL_NAME: Final = re.compile(r"[^\"\\\x00-\x1f]{1,60}")
_STATUS_KEYS: Final = frozenset({"status", "reason"})
_OWNER_LINE_KEYS: Final = ("component", "status", "position")


class Condition(NamedTuple):
    """One thing that rows must be."""

    key: str
    """One of `LEDGER_KEYS` but times, or `label.<name>`."""
    glob: str
    """`*`, `?` and `[...]`; case counts."""
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.negated else '='}{self.glob}"


class Selection(NamedTuple):
    """Which part of the ledger a question is about, and in which terms."""

    since_minute: int | None = None
    """First minute counted, Unix seconds // 60."""
    until_minute: int | None = None
    """First minute no longer counted."""
    where: tuple[Condition, ...] = ()
    """All of them hold. Requests know only keys of requests; other conditions leave their number alone."""
    tz: str = UTC_NAME
    """IANA name of the time zone in which hours, days and months are told."""
    at_list_price: bool = False
    """Amounts are list prices, not what it costs you."""


EVERYTHING: Final = Selection()


def canonical_key(key: str) -> str:
    """Return the name under which the ledger knows a key (`route`, `cloud-service`).

    Raises:

        LedgerError: There is no such key.
    """
    if key.startswith(LABEL_KEY):
        if not _LABEL_NAME.fullmatch(key.removeprefix(LABEL_KEY)):
            raise LedgerError(
                f"{key!r} is not a key of the ledger: a free label is label.NAME, as in label.cost_center"
            )
        return key
    name = key.replace("-", "_")
    name = _ALIASES.get(name, name)
    if name not in LEDGER_KEYS:
        raise LedgerError(f"{key!r} is not a key of the ledger: {suggest(key, LEDGER_KEYS, limit=len(LEDGER_KEYS))}")
    return name


def is_request_key(key: str) -> bool:
    """True for a key that a request has, whatever it was charged for."""
    return key in REQUEST_KEYS or key.startswith(LABEL_KEY)


def zone(tz: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:

        LedgerError: There is no such zone.
    """
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LedgerError(f"{tz!r} is not a time zone: an IANA name such as UTC or Europe/Berlin") from None


class Question(NamedTuple):
    """A selection with the keys that are asked for, checked."""

    by: tuple[str, ...]
    selection: Selection

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys that are asked for, and those of the conditions."""
        return (*self.by, *(condition.key for condition in self.selection.where))

    def _is_whole(self, minutes: int) -> bool:
        ends = (self.selection.since_minute, self.selection.until_minute)
        return all(end is None or end % minutes == 0 for end in ends)

    def cut(self, more: Sequence[str] = ()) -> Cut:
        """Return the smallest cut that has all keys, and the times that are asked for.

        Args:

            more: Columns that the question reads beside its keys.
        """
        keys = {*self.keys, *more}
        has_owner = any(key in _OWNER_KEYS or key.startswith(LABEL_KEY) for key in keys)
        times = keys.intersection(TIME_KEYS)
        if not has_owner:
            is_hourly = "minute" not in keys and self._is_whole(HOUR)
            return BY_ENTRY if is_hourly and not (times and has_parts_of_hours(self.selection.tz)) else DETAIL
        in_days = times <= {"day", "month"} and (not times or self.selection.tz == UTC_NAME) and self._is_whole(DAY)
        others = keys - {*_OWNER_KEYS, *_ORIGIN_KEYS, *_OWNER_LINE_KEYS, *times}
        if in_days and all(key.startswith(LABEL_KEY) for key in others):
            return BY_OWNER
        return DETAIL


def checked(by: Sequence[str], selection: Selection) -> Question:
    """Check keys, conditions and time zone.

    Raises:

        LedgerError: One of them is unknown.
    """
    where: list[Condition] = []
    for condition in selection.where:
        key = canonical_key(condition.key)
        if key in TIME_KEYS:
            raise LedgerError(f"{condition.key!r} is a time: bound it by a period, not by a pattern")
        where.append(condition._replace(key=key))
    zone(selection.tz)
    return Question(tuple(map(canonical_key, by)), selection._replace(where=tuple(where)))


class Statement:
    """Parts of one SELECT over a cut.

    Args:

        question: What is asked.

        kind: `CHARGES` or `REQUESTS`.

        cut: Where the answer is read.

        range_minutes: First minute of the data and the one after the last, for the time zone's changes.
    """

    def __init__(self, question: Question, kind: str, cut: Cut, range_minutes: tuple[int, int]) -> None:
        self._question = question
        self._kind = kind
        self._cut = cut
        self._range = range_minutes
        self.values: list[object] = []
        """Values of the placeholders, in order."""

    @cached_property
    def _offsets(self) -> list[tuple[int, int]]:
        """(first minute, offset from UTC in minutes) of each stretch of the time zone, in order."""
        return offsets(self._question.selection.tz, *self._range)

    def sql(self, columns: str, more: Iterable[str] = (), grouped_by: Sequence[str] | None = None) -> str:
        """Return the statement.

        Args:

            columns: What is selected behind the keys: sums over `c.` (rows), `l.`, `b.`, `a.`, `o.` (dimensions).

            more: Further conditions.

            grouped_by: SQL expressions; the question's keys by default.
        """
        selection = self._question.selection
        shown = "".join(f"{self._shown(key)}, " for key in self._question.by)
        source = " UNION ALL ".join(self._level(level) for level in self._cut.levels)
        tables = [f"({source}) c", "origins o ON o.id = c.origin_id", "labels b ON b.id = c.labels_id"]
        tables.append("attributions a ON a.id = c.attribution_id")
        if self._kind == CHARGES:
            tables.append("lines l ON l.id = c.line_id")
        conditions = list(more)
        for condition in selection.where:
            if self._kind == REQUESTS and not is_request_key(condition.key):
                continue
            conditions.append(f"{'NOT ' if condition.negated else ''}({self._shown(condition.key)}) GLOB ?")
            self.values.append(condition.glob)
        if self._kind == CHARGES and _STATUS_KEYS.isdisjoint(self._question.keys):
            # A call is counted where it is charged; its other views are seen by who asks for a status or a reason.
            conditions.append(f"l.status <> '{names.DUPLICATE}'")
        groups = [self._grouped(key) for key in self._question.by] if grouped_by is None else list(grouped_by)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {shown}{columns} FROM {' JOIN '.join(tables)}{where}" + (
            f" GROUP BY {', '.join(groups)}" if groups else ""
        )

    def _level(self, level: int) -> str:
        selection, bounds = self._question.selection, list[str]()
        if selection.since_minute is not None:
            bounds.append(f"time >= {int(selection.since_minute)}")
        if selection.until_minute is not None:
            bounds.append(f"time < {int(selection.until_minute)}")
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        return f"SELECT *, {level} AS span FROM {self._cut.table(self._kind, level)}{where}"

    def _shown(self, key: str) -> str:
        if key in TIME_KEYS:
            suffix = self._offset_text() if key in _WITH_OFFSET else "''"
            return f"strftime('{_FORMATS[key]}', {self._local()} * 60, 'unixepoch') || {suffix}"
        if key.startswith(LABEL_KEY):
            name = key.removeprefix(LABEL_KEY).replace("'", "''")
            return f"CASE a.labels WHEN '' THEN '' ELSE coalesce(json_extract(a.labels, '$.\"{name}\"'), '') END"
        if key == "entrypoint":
            return ENTRYPOINT_NAME
        if key == "position":
            return POSITION_NAME
        if key == "cloud_service":
            return "(SELECT s.name FROM temp.cloud_services s WHERE s.line_id = c.line_id)"
        if key in _ORIGIN_KEYS:
            return f"o.{key}"
        if key in LABEL_COLUMNS:
            return f"b.{key}"
        return f"a.{key}" if key in _OWNER_KEYS else f"l.{key}"

    def _grouped(self, key: str) -> str:
        """Return what to group by: numbers where they tell the same as the text that is shown."""
        if key == "position":
            return "c.position"
        if key in ("hour", "day") and len(self._offsets) == 1:
            return f"({self._local()}) / {HOUR if key == 'hour' else DAY}"
        return "c.time" if key == "minute" else self._shown(key)

    def _local(self) -> str:
        return self._unless_day(
            self._stretches(lambda offset: f"(c.time + {offset})" if offset else "c.time"), "c.time"
        )

    def _offset_text(self) -> str:
        tz = self._question.selection.tz
        return self._unless_day(self._stretches(lambda offset: f"'{_offset_name(offset, tz)}'"), "'Z'")

    def _unless_day(self, text: str, of_day: str) -> str:
        """Return an expression for rows of minutes and hours; a row of a day stands for that of UTC, in any zone."""
        if self._question.selection.tz == UTC_NAME:
            return text
        return f"CASE c.span WHEN {DAY} THEN {of_day} ELSE {text} END"

    def _stretches(self, text: Callable[[int], str]) -> str:
        (_, first), *others = self._offsets
        if not others:
            return text(first)
        cases = [f"WHEN c.time < {others[0][0]} THEN {text(first)}"]
        for (_, offset), (until, _) in pairwise(others):
            cases.append(f"WHEN c.time < {until} THEN {text(offset)}")
        return f"CASE {' '.join(cases)} ELSE {text(others[-1][1])} END"


@lru_cache(maxsize=64)
def has_parts_of_hours(tz: str) -> bool:
    """True for a zone whose days begin within an hour of UTC, at some time of the last years."""
    now = int(time.time()) // 60
    return any(offset % HOUR for _, offset in offsets(tz, now - 4 * 365 * DAY, now + DAY))


def _offset_name(offset: int, tz: str) -> str:
    if tz == UTC_NAME:
        return "Z"
    sign = "-" if offset < 0 else "+"
    return f"{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"


def offsets(tz: str, first_minute: int, end_minute: int) -> list[tuple[int, int]]:
    """Return the stretches of a time zone in which its offset from UTC is the same.

    Args:

        tz: IANA name.

        first_minute: Where the first stretch must have begun.

        end_minute: Behind the last minute looked at.

    Returns:

        (first minute, offset in minutes), at least one.
    """
    if tz == UTC_NAME:
        return [(first_minute, 0)]
    found: list[tuple[int, int]] = []
    where = zone(tz)
    at = first_minute - first_minute % HOUR
    # No zone changes twice within a day; the exact minute is looked for by halving.
    while True:
        offset = _offset_at(where, at)
        if not found or found[-1][1] != offset:
            found.append((_change(where, at - DAY, at) if found else first_minute, offset))
        if at >= end_minute:
            return found
        at += DAY


def _offset_at(where: ZoneInfo, minute: int) -> int:
    offset = datetime.fromtimestamp(minute * 60, UTC).astimezone(where).utcoffset() or timedelta()
    return round(offset.total_seconds() / 60)


def _change(where: ZoneInfo, before: int, after: int) -> int:
    """Return the first minute with the offset of `after`."""
    old = _offset_at(where, before)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset_at(where, middle) == old:
            before = middle
        else:
            after = middle
    return after
