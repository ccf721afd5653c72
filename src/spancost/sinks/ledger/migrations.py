"""Ledger files of earlier versions: brought up to the present schema when written, shown as the present one when read.

| version | spancost | what it lacked |
|---|---|---|
| 1 | 0.1 | hours and days, cuts, free labels, namespaces, the random sample of traces |
| 2 | 0.1 | what went wrong in spancost itself |
"""

from __future__ import annotations

import sqlite3
from typing import Final

from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    BY_OWNER,
    CHARGE_KEY,
    CHARGES,
    DAY,
    DETAIL,
    DIMENSIONS,
    HEALTH_TABLE,
    INDEXES,
    MINUTE,
    REQUEST_KEY,
    REQUESTS,
    SCHEMA_VERSION,
    TABLES,
    TRACES_TABLE,
    VIEW,
    dimension_table,
    money_tables,
)
from spancost.sinks.ledger.sums import add_to_cut

FIRST_WITH_CUTS: Final = 2
"""Version from which on files have every cut."""
_NEW_COLUMNS: Final = {"attributions": "labels", "origins": "namespace"}
"""Dimension tables of version 1 that had one column less at the end."""
_CHARGES_1: Final = (
    "SELECT minute AS time, origin_id, line_id, labels_id, attribution_id, position, quantity, usd, "
    "nullif(list_usd, usd) AS list_usd, count FROM main.charges"
)
_REQUESTS_1: Final = (
    "SELECT minute AS time, origin_id, labels_id, attribution_id, outcome, served, count, total_usd FROM main.requests"
)


_NO_HEALTH: Final = "CREATE TEMP VIEW health AS SELECT 0 AS day, 0 AS origin_id, '' AS name, 0 AS count WHERE 0"


def show_as_present(connection: sqlite3.Connection, version: int) -> None:
    """Let a reader see the present tables in an older file, of version 1 those of the cut with every key.

    Nothing is written to it.
    """
    connection.execute(_NO_HEALTH)
    if version == 1:
        _show_1(connection)


def _show_1(connection: sqlite3.Connection) -> None:
    views = {
        DETAIL.table(CHARGES, MINUTE): _CHARGES_1,
        DETAIL.table(REQUESTS, MINUTE): _REQUESTS_1,
        "traces": "SELECT *, 0 AS sampled FROM main.traces",
    }
    for kind in (CHARGES, REQUESTS):
        for level in DETAIL.levels[1:]:
            views[DETAIL.table(kind, level)] = f"SELECT * FROM {DETAIL.table(kind, MINUTE)} WHERE 0"
    for table, column in _NEW_COLUMNS.items():
        views[table] = f"SELECT *, '' AS {column} FROM main.{table}"
    for name, statement in views.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {statement}")


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file up to the present schema, inside the transaction that is already open."""
    if version == 1:
        _migrate_1(connection)
    connection.execute(HEALTH_TABLE)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _migrate_1(connection: sqlite3.Connection) -> None:
    connection.execute("DROP VIEW ledger_rows")
    for index in ("traces_by_cost", "traces_by_id"):
        connection.execute(f"DROP INDEX {index}")
    old = {*_NEW_COLUMNS, "charges", "requests", "traces"}
    for table in old:
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
    for table, column in _NEW_COLUMNS.items():
        connection.execute(dimension_table(table, DIMENSIONS[table]))
        before = ", ".join(("id", *(name for name in DIMENSIONS[table] if name != column)))
        connection.execute(f"INSERT INTO {table} ({before}, {column}) SELECT {before}, '' FROM {table}_1")
    for statement in (TRACES_TABLE, *TABLES):
        connection.execute(statement)
    traces = "id, hour, minute, origin_id, labels_id, attribution_id, trace_id, total_usd, nodes"
    connection.execute(f"INSERT INTO traces ({traces}, sampled) SELECT {traces}, 0 FROM traces_1")
    for kind, statement, key in ((CHARGES, _CHARGES_1, CHARGE_KEY), (REQUESTS, _REQUESTS_1, REQUEST_KEY)):
        source = statement.replace(f"main.{kind}", f"{kind}_1")
        connection.execute(f"INSERT INTO {DETAIL.table(kind, MINUTE)} {source} ORDER BY {', '.join(key)}")
        for cut in (BY_ENTRY, BY_OWNER):
            add_to_cut(connection, kind, cut, cut.levels[0], f"SELECT * FROM {DETAIL.table(kind, MINUTE)}")
    for table in (*sorted(old), "days"):
        name = table if table == "days" else f"{table}_1"
        connection.execute(f"DROP TABLE {name}")
    for table, _, _ in money_tables():
        connection.execute(
            f"INSERT INTO row_counts SELECT time / {DAY}, '{table}', count(*) FROM {table} GROUP BY time / {DAY}"
        )
    for statement in (*INDEXES, VIEW):
        connection.execute(statement)
