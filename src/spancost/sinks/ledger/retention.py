"""Minutes become hours, hours become days, and days end: a little with each write, so that nobody waits long.

Rows move within one transaction with the write that triggers it, an hour of them at a time; sums stay equal. What is
late goes straight to the level at which its time is kept.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Final

from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    CHARGES,
    CUTS,
    DAY,
    HOUR,
    MINUTE,
    REQUESTS,
    Cut,
    money_tables,
)
from spancost.sinks.ledger.sums import add_rows

_BUDGET_S: Final = 0.25
"""Rows are moved for about this long with one write; the next one goes on."""
_KINDS: Final = (CHARGES, REQUESTS)
_ID_COLUMNS: Final = {"lines": "line_id", "labels": "labels_id", "attributions": "attribution_id"}
_FEW_TEXTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long money is kept at which level, minutes."""

    minutes_for: int = 2 * DAY
    """Rows by the minute, with every key."""
    hours_for: int = 8 * DAY
    """Rows by the hour, with every key."""
    entry_hours_for: int = 62 * DAY
    """Rows by the hour without attribution: small, and what a month in another time zone is told from."""
    days_for: int = 400 * DAY
    """Everything, traces included."""

    def limit_of(self, cut: Cut, level: int) -> int:
        """Return for how long rows of a level are kept before they move on, minutes."""
        if level == DAY:
            return self.days_for
        if level == MINUTE:
            return min(self.minutes_for, self.days_for)
        # Never shorter than what has every key: both must tell the same hours.
        entry = max(self.entry_hours_for, self.hours_for, self.minutes_for)
        return min(entry if cut is BY_ENTRY else self.hours_for, self.days_for)

    def level_at(self, minute: int, cut: Cut, now_minute: int) -> int:
        """Return the level at which something new of that minute is kept."""
        for level in cut.levels[:-1]:
            if minute >= now_minute - self.limit_of(cut, level):
                return level
        return cut.levels[-1]


def move_on(connection: sqlite3.Connection, retention: Retention, now_minute: int) -> bool:
    """Move what is too old for its level to the next one; in the transaction of a write.

    Returns:

        True if nothing is left to move.
    """
    deadline = time.monotonic() + _BUDGET_S
    for cut in CUTS:
        for level, next_level in zip(cut.levels, cut.levels[1:], strict=False):
            limit = now_minute - retention.limit_of(cut, level)
            # Whole hours and, into days, whole days: an hour that is half moved is right, but half as useful.
            limit -= limit % next_level
            for kind in _KINDS:
                while (first := _first(connection, cut.table(kind, level))) is not None and first < limit:
                    if time.monotonic() > deadline:
                        return False
                    _move_hour(connection, kind, cut, level, next_level, first - first % HOUR)
    return True


def _first(connection: sqlite3.Connection, table: str) -> int | None:
    first = connection.execute(f"SELECT min(time) FROM {table}").fetchone()[0]
    return None if first is None else int(first)


def _move_hour(
    connection: sqlite3.Connection, kind: str, cut: Cut, level: int, next_level: int, first_minute: int
) -> None:
    source, target = cut.table(kind, level), cut.table(kind, next_level)
    within = f"time >= {first_minute} AND time < {first_minute + HOUR}"
    begin = first_minute - first_minute % next_level
    before = _count(connection, target, f"time = {begin}")
    add_rows(connection, kind, target, next_level, f"SELECT * FROM {source} WHERE {within}")
    moved = connection.execute(f"DELETE FROM {source} WHERE {within}").rowcount
    day = first_minute // DAY
    add_row_count(connection, day, source, -moved)
    add_row_count(connection, day, target, _count(connection, target, f"time = {begin}") - before)


def _count(connection: sqlite3.Connection, table: str, where: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])


def add_row_count(connection: sqlite3.Connection, day: int, table: str, change: int) -> None:
    """Remember how many rows a table has of a UTC day."""
    if change:
        connection.execute(
            "INSERT INTO row_counts (day, table_name, row_count) VALUES (?1, ?2, max(?3, 0)) "
            "ON CONFLICT (day, table_name) DO UPDATE SET row_count = max(row_count + ?3, 0)",
            (day, table, change),
        )


def delete_before(connection: sqlite3.Connection, day: int) -> None:
    """Delete everything before a UTC day, and texts that nothing refers to any more."""
    minute = day * DAY
    for table, _, _ in money_tables():
        connection.execute(f"DELETE FROM {table} WHERE time < ?", (minute,))
    connection.execute("DELETE FROM traces WHERE minute < ?", (minute,))
    for table in ("row_counts", "health"):
        connection.execute(f"DELETE FROM {table} WHERE day < ?", (day,))
    for table, column in _ID_COLUMNS.items():
        if int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) <= _FEW_TEXTS:
            continue  # they take little room; the look through every row would take seconds
        used = [
            f"SELECT {column} FROM {name}" for name, kind, _ in money_tables() if kind == CHARGES or column != "line_id"
        ]
        if column != "line_id":
            used.append(f"SELECT {column} FROM traces")
        connection.execute(f"DELETE FROM {table} WHERE id NOT IN ({' UNION '.join(used)})")
