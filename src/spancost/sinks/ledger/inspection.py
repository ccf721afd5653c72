"""What a ledger file is: its size, the time it covers, how it grows, and whether it is sound."""

from __future__ import annotations

import math
import os
import sqlite3
from contextlib import closing
from typing import Any, Final, NamedTuple

from spancost.sinks.ledger.migrations import FIRST_WITH_CUTS, show_as_present
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.schema import (
    CHARGES,
    CUTS,
    DAY,
    DETAIL,
    DIMENSIONS,
    LEVEL_NAMES,
    REQUESTS,
    SCHEMA_VERSION,
    connect_to_read,
    ledger_error,
    money_tables,
)

_FILES: Final = ("", "-wal", "-shm")
_SHOWN_PROBLEMS: Final = 20
_REFERENCES: Final = {
    "origin_id": "origins",
    "line_id": "lines",
    "labels_id": "labels",
    "attribution_id": "attributions",
}
_AGREEMENT: Final = 1e-9


class TableInfo(NamedTuple):
    """One table of the file."""

    name: str
    rows: int
    bytes: int | None
    """On disk with its indexes; None where this SQLite cannot tell."""
    level: str
    """`minute`, `hour` or `day` for tables of money and requests; empty for others."""
    first_minute: int | None
    """Unix seconds // 60; None for empty tables and for those without times."""
    end_minute: int | None
    """Behind the last row's time."""


class LedgerInfo(NamedTuple):
    """What a ledger file is."""

    path: str
    file_bytes: int
    """With what SQLite keeps beside it."""
    schema_version: int
    present_schema_version: int
    """The one that this spancost writes."""
    spancost_version: str
    """That began the file."""
    flush_interval_seconds: float
    tables: tuple[TableInfo, ...]
    services: tuple[str, ...]
    requests: int
    first_minute: int | None
    end_minute: int | None
    costliest_traces: int
    """Local roots kept whole because they cost most."""
    sampled_traces: int
    """Local roots kept whole as part of the random sample."""
    newest_days: tuple[tuple[int, int], ...]
    """(UTC day since 1970, rows of money and requests that the file has of it), newest last."""

    @property
    def days(self) -> float:
        """Days between the first and the last row."""
        return (
            0.0 if self.first_minute is None or self.end_minute is None else (self.end_minute - self.first_minute) / DAY
        )

    @property
    def bytes_per_day(self) -> float | None:
        """Growth as it was so far; None under an hour of data."""
        return self.file_bytes / self.days if self.days >= 1 / 24 else None

    @property
    def bytes_per_million_requests(self) -> float | None:
        """Size over requests; None without any."""
        return self.file_bytes / self.requests * 1e6 if self.requests else None


def inspect(path: str) -> LedgerInfo:
    """Read what a ledger file is.

    Raises:

        LedgerError: There is no such file, or it is not a ledger that can be read.
    """
    with LedgerReader(path) as reader:
        meta = reader.meta()
        services = tuple(sorted({row.key[0] for row in reader.rows(["service"])} | {r.service for r in reader.idle()}))
        requests, whole = reader.totals().requests, reader.range_minutes
        version = reader.schema_version
    with closing(_open(path)) as connection:
        try:
            tables = _tables(connection)
            names = {table.name for table in tables}
            sampled = _one(connection, "SELECT count(*) FROM traces WHERE sampled")
            kept = _one(connection, "SELECT count(*) FROM traces")
            days: list[tuple[int, int]] = []
            if "row_counts" in names:
                days = connection.execute(
                    "SELECT day, sum(row_count) FROM row_counts GROUP BY day ORDER BY day DESC LIMIT 7"
                ).fetchall()
        except sqlite3.Error as error:
            raise ledger_error(path, "read it", error) from error
    return LedgerInfo(
        path,
        file_bytes(path),
        version,
        SCHEMA_VERSION,
        meta.get("spancost_version", ""),
        float(meta.get("flush_interval_seconds", "nan")),
        tuple(tables),
        services,
        requests,
        None if whole is None else whole[0],
        None if whole is None else whole[1],
        kept - sampled,
        sampled,
        tuple(reversed(days)),
    )


def file_bytes(path: str) -> int:
    """Return the bytes of a ledger on disk, with what SQLite keeps beside it."""
    return sum(os.path.getsize(path + end) for end in _FILES if os.path.exists(path + end))


def problems(path: str) -> list[str]:
    """Look for damage: SQLite's own check, rows that refer to nothing, and cuts that do not add up to the same money.

    Returns:

        One line per problem, at most 20 of SQLite's; empty for a sound file.

    Raises:

        LedgerError: It cannot be read at all.
    """
    with LedgerReader(path) as reader:
        version = reader.schema_version
    with closing(_open(path)) as connection:
        try:
            found = [
                str(row[0])
                for row in connection.execute(f"PRAGMA integrity_check({_SHOWN_PROBLEMS})")
                if row[0] != "ok"
            ]
            if found or version < FIRST_WITH_CUTS:
                return found
            connection.execute("BEGIN")
            return [*_dangling(connection), *_disagreeing(connection)]
        except sqlite3.Error as error:
            return [str(error)]


def _open(path: str) -> sqlite3.Connection:
    connection, version = connect_to_read(path)
    if version < SCHEMA_VERSION:
        show_as_present(connection, version)
    return connection


def _one(connection: sqlite3.Connection, statement: str) -> Any:
    return connection.execute(statement).fetchone()[0]


def _tables(connection: sqlite3.Connection) -> list[TableInfo]:
    names = [
        str(row[0])
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        if not str(row[0]).startswith("sqlite_")
    ]
    levels = {table: level for table, _, level in money_tables()}
    sizes = _sizes(connection)
    tables: list[TableInfo] = []
    for name in names:
        first, end, level = None, None, levels.get(name, 0)
        if level:
            first, last = connection.execute(
                f"SELECT (SELECT min(time) FROM {name}), (SELECT max(time) FROM {name})"
            ).fetchone()
            end = None if last is None else last + level
        rows = _one(connection, f"SELECT count(*) FROM {name}")
        tables.append(TableInfo(name, rows, sizes.get(name), LEVEL_NAMES.get(level, ""), first, end))
    return tables


def _sizes(connection: sqlite3.Connection) -> dict[str, int]:
    """Return bytes by table, indexes with their tables; empty where SQLite was built without `dbstat`."""
    try:
        return dict(
            connection.execute(
                "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
            ).fetchall()
        )
    except sqlite3.OperationalError:
        return {}


def _dangling(connection: sqlite3.Connection) -> list[str]:
    found: list[str] = []
    for table, kind, _ in money_tables():
        for column, dimension in _REFERENCES.items():
            if kind == REQUESTS and column == "line_id":
                continue
            count = _one(connection, f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM {dimension})")
            if count:
                found.append(f"{table}: {count} rows refer to {dimension} that are not there")
    assert set(_REFERENCES.values()) == set(DIMENSIONS)
    return found


def _disagreeing(connection: sqlite3.Connection) -> list[str]:
    """Compare the money and the requests of each cut: every write adds the same to all of them."""
    found: list[str] = []
    for kind, columns in ((CHARGES, ("usd", "coalesce(list_usd, usd)", "count")), (REQUESTS, ("count", "total_usd"))):
        for column in columns:
            sums: dict[str, float] = {}
            for cut in CUTS:
                tables = " UNION ALL ".join(f"SELECT {column} AS v FROM {cut.table(kind, one)}" for one in cut.levels)
                sums[cut.name] = float(_one(connection, f"SELECT total(v) FROM ({tables})"))
            whole = sums[DETAIL.name]
            found += [
                f"{kind}{name}: sum of {column} is {value!r}, and {whole!r} in {kind}"
                for name, value in sums.items()
                if not math.isclose(value, whole, rel_tol=_AGREEMENT, abs_tol=_AGREEMENT)
            ]
    return found
