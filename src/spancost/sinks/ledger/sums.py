"""The statements that add money to the tables of the ledger, row by row or many rows at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    CHARGE_KEY,
    CHARGE_VALUES,
    CHARGES,
    DIMENSIONS,
    LINE_COLUMNS,
    OWNER_LINE_COLUMNS,
    REQUEST_KEY,
    REQUEST_VALUES,
    REQUESTS,
    Cut,
)

KEYS: Final = {CHARGES: CHARGE_KEY, REQUESTS: REQUEST_KEY}
VALUES: Final = {CHARGES: CHARGE_VALUES, REQUESTS: REQUEST_VALUES}


def add_statement(table: str, kind: str) -> str:
    """Return the statement that adds to a row that is there; like the others it takes values, then keys."""
    numbers = _numbers(kind)
    added = ", ".join(f"{value} = {_sum_of_two(value, numbers)}" for value in VALUES[kind])
    return f"UPDATE {table} SET {added} WHERE {' AND '.join(f'{key} = {numbers[key]}' for key in KEYS[kind])}"


def begin_statement(table: str, kind: str) -> str:
    """Return the statement that begins a row."""
    numbers = _numbers(kind)
    return f"INSERT INTO {table} ({', '.join(numbers)}) VALUES ({', '.join(numbers.values())})"


def upsert_statement(table: str, kind: str) -> str:
    """Return the statement that adds to a row, or begins it."""
    return begin_statement(table, kind) + _on_conflict(kind)


def _numbers(kind: str) -> dict[str, str]:
    return {name: f"?{number}" for number, name in enumerate((*VALUES[kind], *KEYS[kind]), 1)}


def _on_conflict(kind: str) -> str:
    excluded = {value: f"excluded.{value}" for value in VALUES[kind]}
    added = ", ".join(f"{value} = {_sum_of_two(value, excluded)}" for value in VALUES[kind])
    return f" ON CONFLICT ({', '.join(KEYS[kind])}) DO UPDATE SET {added}"


def _sum_of_two(value: str, more: Mapping[str, str]) -> str:
    """Return the expression of a row's value with another one added, under its names in `more`."""
    if value == "list_usd":
        both = f"coalesce(list_usd, usd) + coalesce({more['list_usd']}, {more['usd']})"
        return f"CASE WHEN list_usd IS NULL AND {more['list_usd']} IS NULL THEN NULL ELSE {both} END"
    return f"{value} + {more[value]}"


def _sum_of_many(value: str) -> str:
    if value == "list_usd":
        return "CASE WHEN count(list_usd) THEN sum(coalesce(list_usd, usd)) END AS list_usd"
    return f"sum({value}) AS {value}"


def add_rows(connection: sqlite3.Connection, kind: str, target: str, level: int, source: str) -> None:
    """Add the rows of a SELECT to a table, at the times of its level.

    Args:

        connection: In a transaction.

        kind: `charges` or `requests`.

        target: The table.

        level: Minutes that a row of it stands for.

        source: A SELECT with the columns of such a table.
    """
    keys, values = KEYS[kind], VALUES[kind]
    _, *others = keys
    sums = ", ".join(map(_sum_of_many, values))
    connection.execute(
        f"INSERT INTO {target} ({', '.join((*keys, *values))}) "
        f"SELECT time / {level} * {level} AS time, {', '.join(others)}, {sums} FROM ({source}) "
        f"GROUP BY time / {level}, {', '.join(others)}{_on_conflict(kind)}"
    )


def add_to_cut(connection: sqlite3.Connection, kind: str, cut: Cut, level: int, source: str) -> None:
    """Add rows that have every key to a cut that leaves some out.

    Args:

        connection: In a transaction.

        kind: `charges` or `requests`.

        cut: `BY_ENTRY` or `BY_OWNER`.

        level: One of its levels, minutes.

        source: A SELECT with the columns of the cut with every key.
    """
    attribution, labels, line = "attribution_id", "labels_id", "line_id"
    if cut is BY_ENTRY:
        attribution = str(_empty_row(connection, "attributions"))
    else:
        labels = str(_empty_row(connection, "labels"))
        if kind == CHARGES:
            line = _owner_line(connection)
    replaced = {"attribution_id": attribution, "labels_id": labels, "line_id": line}
    columns = ", ".join(f"{replaced.get(name, name)} AS {name}" for name in (*KEYS[kind], *VALUES[kind]))
    add_rows(connection, kind, cut.table(kind, level), level, f"SELECT {columns} FROM ({source})")


def _empty_row(connection: sqlite3.Connection, table: str) -> int:
    columns = DIMENSIONS[table]
    connection.execute(
        f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join(repr('') for _ in columns)})"
    )
    where = " AND ".join(f"{column} = ''" for column in columns)
    return int(connection.execute(f"SELECT id FROM {table} WHERE {where}").fetchone()[0])


def _owner_line(connection: sqlite3.Connection) -> str:
    """Make the lines that have component and status only; returns the expression of such a line's id."""
    kept = ", ".join(column if column in OWNER_LINE_COLUMNS else "''" for column in LINE_COLUMNS)
    connection.execute(f"INSERT OR IGNORE INTO lines ({', '.join(LINE_COLUMNS)}) SELECT DISTINCT {kept} FROM lines")
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS owner_lines (id INTEGER PRIMARY KEY, owner_id INTEGER)")
    connection.execute("DELETE FROM temp.owner_lines")
    same = " AND ".join(
        f"r.{column} = l.{column}" if column in OWNER_LINE_COLUMNS else f"r.{column} = ''" for column in LINE_COLUMNS
    )
    connection.execute(f"INSERT INTO temp.owner_lines SELECT l.id, r.id FROM lines l JOIN lines r ON {same}")
    return "(SELECT w.owner_id FROM temp.owner_lines w WHERE w.id = line_id)"
