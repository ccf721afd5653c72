"""The SQLite file behind the ledger: its tables, its version, and how it is opened.

A star: dimension tables hold each distinct text once, and a row of money is seven small integers and four numbers,
some 40 bytes. Amounts are USD; times are Unix seconds // 60, UTC.

Money is kept in *cuts*, each at its own levels of time (decision 0010). The cut `charges` has everything by which money
can be split. The two others answer the questions about long periods without reading all of it: `by_entry` leaves
attribution out, `by_owner` leaves out what was called and where. Every write adds the same money to each cut, so each
of them has all of it. Requests have the same three cuts. A row lives in one level of its cut only: retention moves it
from minutes to hours and from hours to days.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from spancost.errors import LedgerError
from spancost.window import POSITIONS

SCHEMA_VERSION: Final = 3
"""Written to `PRAGMA user_version`. A file with a higher one is refused, one with a lower one is brought up to it."""
APPLICATION_ID: Final = 0x53504E43
"""`SPNC`: written to `PRAGMA application_id`, so that other SQLite files are not taken for a ledger."""
BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a writer or reader waits for another process before it gives up."""

MINUTE: Final = 1
HOUR: Final = 60
DAY: Final = 1_440
LEVEL_NAMES: Final = {MINUTE: "minute", HOUR: "hour", DAY: "day"}
"""Minutes that a row stands for -> the last word of its table's name."""

LINE_COLUMNS: Final = (
    "component",
    "provider",
    "operation",
    "model",
    "unit",
    "region",
    "sku",
    "resource",
    "status",
    "reason",
    "basis",
    "source",
)
LABEL_COLUMNS: Final = ("http_route", "http_request_method", "entrypoint")
ATTRIBUTION_COLUMNS: Final = ("feature", "tenant", "team", "labels")
"""`labels` is a JSON object of the free labels; empty without any."""
ORIGIN_COLUMNS: Final = ("service", "environment", "cloud_account", "namespace")
DIMENSIONS: Final = {
    "lines": LINE_COLUMNS,
    "labels": LABEL_COLUMNS,
    "attributions": ATTRIBUTION_COLUMNS,
    "origins": ORIGIN_COLUMNS,
}
POSITION_IDS: Final = {position: number for number, position in enumerate(POSITIONS)}

CHARGE_KEY: Final = ("time", "origin_id", "line_id", "labels_id", "attribution_id", "position")
CHARGE_VALUES: Final = ("quantity", "usd", "list_usd", "count")
"""`list_usd` is NULL where it equals `usd`, which is nearly everywhere: a sixth of the file."""
REQUEST_KEY: Final = ("time", "origin_id", "labels_id", "attribution_id", "outcome", "served")
REQUEST_VALUES: Final = ("count", "total_usd")


class Cut(NamedTuple):
    """The same money, split by some of the keys."""

    name: str
    levels: tuple[int, ...]
    """Minutes that a row stands for, finest first."""

    def table(self, kind: str, level: int) -> str:
        """Return the table of `charges` or `requests` at a level."""
        return f"{kind}{self.name}_{LEVEL_NAMES[level]}"


DETAIL: Final = Cut("", (MINUTE, HOUR, DAY))
"""Everything."""
BY_ENTRY: Final = Cut("_by_entry", (HOUR, DAY))
"""Without attribution."""
BY_OWNER: Final = Cut("_by_owner", (DAY,))
"""Attribution by component, status and position; requests by attribution."""
CUTS: Final = (DETAIL, BY_ENTRY, BY_OWNER)
OWNER_LINE_COLUMNS: Final = ("component", "status")
"""Columns of a line that `BY_OWNER` keeps."""
CHARGES: Final = "charges"
REQUESTS: Final = "requests"


def money_tables() -> Iterator[tuple[str, str, int]]:
    """Yield (table, kind, level) of every table that holds money or requests."""
    for kind in (CHARGES, REQUESTS):
        for cut in CUTS:
            for level in cut.levels:
                yield cut.table(kind, level), kind, level


def dimension_table(table: str, columns: tuple[str, ...]) -> str:
    """Return the statement that makes a dimension table."""
    texts = ", ".join(f"{column} TEXT NOT NULL" for column in columns)
    return f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {texts}, UNIQUE ({', '.join(columns)}))"


def _money_table(table: str, kind: str) -> str:
    if kind == CHARGES:
        keys, values = CHARGE_KEY, CHARGE_VALUES
    else:
        keys, values = REQUEST_KEY, REQUEST_VALUES
    types = {"outcome": "TEXT", "count": "INTEGER"} | dict.fromkeys(CHARGE_VALUES[:3], "REAL") | {"total_usd": "REAL"}
    columns = ", ".join(
        f"{column} {types.get(column, 'INTEGER')}{'' if column == 'list_usd' else ' NOT NULL'}"
        for column in (*keys, *values)
    )
    return f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({', '.join(keys)})) WITHOUT ROWID"


def _position_name() -> str:
    cases = " ".join(f"WHEN {number} THEN '{position}'" for position, number in POSITION_IDS.items())
    return f"CASE c.position {cases} END"


POSITION_NAME: Final = _position_name()
ENTRYPOINT_NAME: Final = (
    "CASE WHEN b.http_route <> '' THEN ltrim(b.http_request_method || ' ' || b.http_route) ELSE b.entrypoint END"
)
"""What reports call the entrypoint, of the row `b` of labels."""
_EVERY_CHARGE: Final = " UNION ALL ".join(f"SELECT * FROM {DETAIL.table(CHARGES, level)}" for level in DETAIL.levels)
TRACES_TABLE: Final = """CREATE TABLE traces (
        id INTEGER PRIMARY KEY,
        hour INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        origin_id INTEGER NOT NULL,
        labels_id INTEGER NOT NULL,
        attribution_id INTEGER NOT NULL,
        trace_id TEXT NOT NULL,
        total_usd REAL NOT NULL,
        sampled INTEGER NOT NULL,
        nodes TEXT NOT NULL
    )"""
TABLES: Final = (
    *(_money_table(table, kind) for table, kind, _ in money_tables()),
    "CREATE TABLE row_counts (day INTEGER NOT NULL, table_name TEXT NOT NULL, row_count INTEGER NOT NULL, "
    "PRIMARY KEY (day, table_name)) WITHOUT ROWID",
)
HEALTH_TABLE: Final = (
    "CREATE TABLE health (day INTEGER NOT NULL, origin_id INTEGER NOT NULL, name TEXT NOT NULL, "
    "count INTEGER NOT NULL, PRIMARY KEY (day, origin_id, name)) WITHOUT ROWID"
)
"""What went wrong in spancost itself, by UTC day: evictions, errors by place, additions that went to `other`."""
INDEXES: Final = (
    "CREATE INDEX traces_by_cost ON traces (hour, origin_id, total_usd)",
    "CREATE INDEX traces_by_id ON traces (trace_id)",
)
VIEW: Final = f"""CREATE VIEW ledger_rows AS SELECT
        c.time AS minute, o.service AS service, o.environment AS environment, o.cloud_account AS cloud_account,
        o.namespace AS namespace, l.region AS region, l.component AS component, l.provider AS provider,
        l.operation AS operation, l.model AS model, l.sku AS sku, l.resource AS resource, b.http_route AS http_route,
        b.http_request_method AS http_request_method, b.entrypoint AS entrypoint, a.feature AS feature,
        a.tenant AS tenant, a.team AS team, a.labels AS labels, l.status AS status, l.reason AS reason,
        l.basis AS basis, l.source AS source, l.unit AS unit, {POSITION_NAME} AS position, c.quantity AS quantity,
        coalesce(c.list_usd, c.usd) AS list_usd, c.usd AS usd, c.count AS count
    FROM ({_EVERY_CHARGE}) c JOIN lines l ON l.id = c.line_id JOIN labels b ON b.id = c.labels_id
        JOIN attributions a ON a.id = c.attribution_id JOIN origins o ON o.id = c.origin_id"""
_SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    *(dimension_table(table, columns) for table, columns in DIMENSIONS.items()),
    TRACES_TABLE,
    *TABLES,
    HEALTH_TABLE,
    *INDEXES,
    VIEW,
)


def ledger_error(path: str, doing: str, error: Exception) -> LedgerError:
    """Turn an error of SQLite or the file system into one line that says what to look at."""
    text = str(error)
    hints = (
        ("not a database", "the file is not an SQLite database; move it away or name another file"),
        ("malformed", "the file is damaged; move it away, a new one is begun at the next write"),
        ("readonly", "the file or its folder is read-only for this process"),
        ("unable to open", "the folder is missing or not writable for this process"),
        ("full", "the disk is full"),
        ("locked", f"another process has held it for more than {BUSY_TIMEOUT_SECONDS:g} s"),
    )
    hint = next((hint for part, hint in hints if part in text), "")
    return LedgerError(f"ledger {path}: cannot {doing}: {text}" + (f" ({hint})" if hint else ""))


def version_of(connection: sqlite3.Connection, path: str) -> int:
    """Return the schema version of the open file; 0 for an empty one.

    Raises:

        LedgerError: The file belongs to something else, or to a newer spancost.
    """
    # Tables first: another process that creates the file meanwhile makes them and its mark in one transaction.
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application_id = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application_id == APPLICATION_ID and version > SCHEMA_VERSION:
        raise LedgerError(
            f"ledger {path}: schema version {version} is newer than {SCHEMA_VERSION}, the newest this spancost knows: "
            "update spancost, or name another file"
        )
    if application_id == APPLICATION_ID:
        return version
    if tables or version or application_id:
        raise LedgerError(f"ledger {path}: is an SQLite file, but not a ledger of spancost: name another file")
    return 0


def create_schema(connection: sqlite3.Connection, meta: dict[str, str]) -> None:
    """Create tables and view inside the transaction that is already open."""
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta.items())
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def connect_to_write(path: str) -> sqlite3.Connection:
    """Open the file in WAL mode with explicit transactions. The caller closes it."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        if not version_of(connection, path):
            connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a killed process loses nothing that was committed; only a power cut may lose the newest
        # transactions, and never damages the file.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> tuple[sqlite3.Connection, int]:
    """Open the file read-only; it may be written at the same time. The caller closes it.

    Returns:

        The connection, and the schema version of the file.

    Raises:

        LedgerError: There is no such file, or it is not a ledger this spancost can read.
    """
    if not os.path.exists(path):
        raise LedgerError(f"ledger {path}: no such file")
    uri = Path(path).absolute().as_uri() + "?mode=ro"
    try:
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            version = _version_or_close(connection, path)
        except sqlite3.OperationalError:
            # A WAL file needs a small shared file beside it. On read-only media without one nobody can be writing.
            if os.access(os.path.dirname(os.path.abspath(path)), os.W_OK) or os.path.exists(f"{path}-wal"):
                raise
            connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
            version = _version_or_close(connection, path)
    except (sqlite3.Error, OSError) as error:
        raise ledger_error(path, "open it", error) from error
    if not version:
        connection.close()
        raise LedgerError(f"ledger {path}: nothing has been written to it yet")
    return connection, version


def _version_or_close(connection: sqlite3.Connection, path: str) -> int:
    try:
        return version_of(connection, path)
    except BaseException:
        connection.close()
        raise
