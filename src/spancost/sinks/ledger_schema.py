"""The SQLite file behind the ledger: its tables, its version, and how it is opened.

A star: four dimension tables hold each distinct text once, and a row of `charges` is six small
integers and four numbers, about 50 bytes. The view `ledger_rows` joins everything under the names by
which people ask. Amounts are USD; `minute` is Unix seconds // 60, UTC.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from spancost.errors import LedgerError
from spancost.window import POSITIONS

SCHEMA_VERSION: Final = 1
"""Written to `PRAGMA user_version`. A file with a higher one is refused."""
APPLICATION_ID: Final = 0x53504E43
"""`SPNC`: written to `PRAGMA application_id`, so that other SQLite files are not taken for a ledger."""
BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a writer or reader waits for another process before it gives up."""

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
ATTRIBUTION_COLUMNS: Final = ("feature", "tenant", "team")
ORIGIN_COLUMNS: Final = ("service", "environment", "cloud_account")
DIMENSIONS: Final = {
    "lines": LINE_COLUMNS,
    "labels": LABEL_COLUMNS,
    "attributions": ATTRIBUTION_COLUMNS,
    "origins": ORIGIN_COLUMNS,
}
POSITION_IDS: Final = {position: number for number, position in enumerate(POSITIONS)}


def _dimension_table(table: str, columns: tuple[str, ...]) -> str:
    texts = ", ".join(f"{column} TEXT NOT NULL" for column in columns)
    return f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {texts}, UNIQUE ({', '.join(columns)}))"


def _position_name() -> str:
    cases = " ".join(f"WHEN {number} THEN '{position}'" for position, number in POSITION_IDS.items())
    return f"CASE c.position {cases} END"


_SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    *(_dimension_table(table, columns) for table, columns in DIMENSIONS.items()),
    """CREATE TABLE charges (
        minute INTEGER NOT NULL,
        origin_id INTEGER NOT NULL,
        line_id INTEGER NOT NULL,
        labels_id INTEGER NOT NULL,
        attribution_id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        quantity REAL NOT NULL,
        list_usd REAL NOT NULL,
        usd REAL NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (minute, origin_id, line_id, labels_id, attribution_id, position)
    ) WITHOUT ROWID""",
    """CREATE TABLE requests (
        minute INTEGER NOT NULL,
        origin_id INTEGER NOT NULL,
        labels_id INTEGER NOT NULL,
        attribution_id INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        served INTEGER NOT NULL,
        count INTEGER NOT NULL,
        total_usd REAL NOT NULL,
        PRIMARY KEY (minute, origin_id, labels_id, attribution_id, outcome, served)
    ) WITHOUT ROWID""",
    """CREATE TABLE traces (
        id INTEGER PRIMARY KEY,
        hour INTEGER NOT NULL,
        minute INTEGER NOT NULL,
        origin_id INTEGER NOT NULL,
        labels_id INTEGER NOT NULL,
        attribution_id INTEGER NOT NULL,
        trace_id TEXT NOT NULL,
        total_usd REAL NOT NULL,
        nodes TEXT NOT NULL
    )""",
    "CREATE INDEX traces_by_cost ON traces (hour, origin_id, total_usd)",
    "CREATE INDEX traces_by_id ON traces (trace_id)",
    "CREATE TABLE days (day INTEGER PRIMARY KEY, row_count INTEGER NOT NULL)",
    f"""CREATE VIEW ledger_rows AS SELECT
        c.minute AS minute, o.service AS service, o.environment AS environment, o.cloud_account AS cloud_account,
        l.region AS region, l.component AS component, l.provider AS provider, l.operation AS operation,
        l.model AS model, l.sku AS sku, l.resource AS resource, b.http_route AS http_route,
        b.http_request_method AS http_request_method, b.entrypoint AS entrypoint, a.feature AS feature,
        a.tenant AS tenant, a.team AS team, l.status AS status, l.reason AS reason, l.basis AS basis,
        l.source AS source, l.unit AS unit, {_position_name()} AS position, c.quantity AS quantity,
        c.list_usd AS list_usd, c.usd AS usd, c.count AS count
    FROM charges c JOIN lines l ON l.id = c.line_id JOIN labels b ON b.id = c.labels_id
        JOIN attributions a ON a.id = c.attribution_id JOIN origins o ON o.id = c.origin_id""",
)


def spancost_version() -> str:
    """Return the version of the installed distribution, `0` where it runs from a source folder only."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("spancost")
    except PackageNotFoundError:
        return "0"


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


def check_file(connection: sqlite3.Connection, path: str) -> bool:
    """Say whether the open file already is a ledger; False for an empty one.

    Raises:

        LedgerError: The file belongs to something else, or to a newer spancost.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application_id = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application_id == APPLICATION_ID and version > SCHEMA_VERSION:
        raise LedgerError(
            f"ledger {path}: schema version {version} is newer than {SCHEMA_VERSION}, the newest this spancost knows: "
            "update spancost, or name another file"
        )
    if application_id == APPLICATION_ID:
        return True
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if tables or version or application_id:
        raise LedgerError(f"ledger {path}: is an SQLite file, but not a ledger of spancost: name another file")
    return False


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
        if not check_file(connection, path):
            connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL: a killed process loses nothing that was committed; only a power cut may lose the newest
        # transactions, and never damages the file.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> sqlite3.Connection:
    """Open the file read-only; it may be written at the same time. The caller closes it.

    Raises:

        LedgerError: There is no such file, or it is not a ledger this spancost can read.
    """
    if not os.path.exists(path):
        raise LedgerError(f"ledger {path}: no such file")
    uri = Path(path).absolute().as_uri() + "?mode=ro"
    try:
        try:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            is_ledger = _check_and_close_on_error(connection, path)
        except sqlite3.OperationalError:
            # A WAL file needs a small shared file beside it. On read-only media without one nobody can be writing.
            if os.access(os.path.dirname(os.path.abspath(path)), os.W_OK) or os.path.exists(f"{path}-wal"):
                raise
            connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
            is_ledger = _check_and_close_on_error(connection, path)
    except (sqlite3.Error, OSError) as error:
        raise ledger_error(path, "open it", error) from error
    if not is_ledger:
        connection.close()
        raise LedgerError(f"ledger {path}: nothing has been written to it yet")
    return connection


def _check_and_close_on_error(connection: sqlite3.Connection, path: str) -> bool:
    try:
        return check_file(connection, path)
    except BaseException:
        connection.close()
        raise
