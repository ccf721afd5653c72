"""Keep what was charged in one SQLite file that several processes share.

Written only by a background thread, one transaction per flush, WAL mode: after `kill -9` the file is
whole and lacks at most what was charged since the last flush (`flush_interval_seconds` in table `meta`).
The connection lives as long as one `write`, so that none is open when the process forks; who forks
while a write runs must wait for it (the engine's before-fork hook does).
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final, NamedTuple, TypeAlias, cast

from spancost import names
from spancost.charge import PriceLine, changed_line, price_line
from spancost.sinks.ledger import traces
from spancost.sinks.ledger.migrations import migrate
from spancost.sinks.ledger.retention import Retention, add_row_count, delete_before, move_on
from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    BY_OWNER,
    CHARGES,
    DAY,
    DETAIL,
    DIMENSIONS,
    HOUR,
    LINE_COLUMNS,
    OWNER_LINE_COLUMNS,
    POSITION_IDS,
    REQUESTS,
    SCHEMA_VERSION,
    connect_to_write,
    create_schema,
    ledger_error,
    money_tables,
    spancost_version,
    version_of,
)
from spancost.sinks.ledger.sums import add_statements
from spancost.window import Attribution, Batch, ChargeKey, ChargeSum, EntryLabels, KeptTrace, Origin, RequestKey

_DEFAULT_MAX_ROWS_PER_DAY: Final = 500_000
_DEFAULT_KEPT_TRACES: Final = 20
_DEFAULT_SAMPLED_TRACES: Final = 5
_DEFAULT_FLUSH_INTERVAL_SECONDS: Final = 5.0
_MAX_CACHED_IDS: Final = 32_768

_NO_LABELS: Final = EntryLabels()
_NOBODY: Final = Attribution()
_ID_STATEMENTS: Final = {
    table: (
        f"SELECT id FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns)}",
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})",
    )
    for table, columns in DIMENSIONS.items()
}
_ADD: Final = {table: add_statements(table, kind) for table, kind, _ in money_tables()}


_Values: TypeAlias = "tuple[float, ...]"
"""Of charges: quantity, USD, USD at list price, count. Of requests: count, USD."""


class _Row(NamedTuple):
    """One row to add to: of charges or of requests."""

    minute: int
    labels: EntryLabels
    attribution: Attribution
    line: PriceLine | None
    """None for requests."""
    rest: tuple[Any, ...]
    """What ends the key: the position, or outcome and whether it was served."""


class Ledger:
    """Adds batches to the ledger file.

    One object per process; `write` is called by one thread at a time. After a fork the child may go on
    using its copy.

    Args:

        path: The file; created at the first write, in a folder that exists.

        origin: Service, environment, account and namespace that all rows of this process carry.

        retention: How long money is kept by the minute, by the hour and by the day.

        max_rows_per_day: Rows a UTC day may have in one table of the file, over all processes (500 000 rows are
            about 20 MB). What is new beyond it is kept by the hour, then by the day, and at last tenant, feature,
            team, route, entrypoint and resource fold into `other`.

        kept_traces: Costliest local roots kept whole per hour and service.

        sampled_traces: Local roots kept whole per hour and service beside them, drawn at random.

        flush_interval_seconds: How often `write` is called; stated in the file, since it bounds what a
            killed process loses.

        now: Clock, Unix seconds.
    """

    name = "ledger"

    def __init__(
        self,
        path: str | os.PathLike[str],
        origin: Origin,
        *,
        retention: Retention | None = None,
        max_rows_per_day: int = _DEFAULT_MAX_ROWS_PER_DAY,
        kept_traces: int = _DEFAULT_KEPT_TRACES,
        sampled_traces: int = _DEFAULT_SAMPLED_TRACES,
        flush_interval_seconds: float = _DEFAULT_FLUSH_INTERVAL_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path: str = os.path.abspath(os.fspath(path))
        """Absolute, since an application may change its working directory."""
        self._origin = origin
        self._retention = Retention() if retention is None else retention
        self._max_rows_per_day = max_rows_per_day
        self._kept_traces = kept_traces
        self._sampled_traces = sampled_traces
        self._flush_interval_seconds = flush_interval_seconds
        self._now = now
        self._ids: dict[tuple[str, Hashable], int] = {}
        self._file_token = ""
        self._writing_pid = 0
        self._abandoned: list[sqlite3.Connection] = []
        self._connection: sqlite3.Connection | None = None

    def write(self, batch: Batch, *, final: bool = False) -> None:
        """Add a batch in one transaction.

        Raises:

            LedgerError: Nothing of the batch was written; the same batch can be given again.
        """
        if not (batch.charges or batch.requests or batch.traces):
            return
        if self._connection is not None and self._writing_pid != os.getpid():
            # Forked in the middle of a write: SQLite forbids even closing the copy, so it is kept aside.
            self._abandoned.append(self._connection)
            self._connection = None
            self._ids.clear()
        self._writing_pid = os.getpid()
        try:
            connection = self._connection = connect_to_write(self.path)
        except sqlite3.Error as error:
            raise ledger_error(self.path, "open it", error) from error
        written = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._begin(connection)
            writing = _Writing(connection, self._id, self._origin, self._level_of, self._max_rows_per_day)
            for row, values in _charge_rows(batch.charges):
                writing.add(CHARGES, row, values)
            for row, values in _request_rows(batch):
                writing.add(REQUESTS, row, values)
            writing.finish()
            self._write_traces(connection, batch.traces)
            move_on(connection, self._retention, int(self._now()) // 60)
            connection.execute("COMMIT")
            written = True
        except (sqlite3.Error, OverflowError) as error:
            raise ledger_error(self.path, "write", error) from error
        finally:
            if not written:
                self._ids.clear()  # they may have been given out by what is rolled back now
            self._connection = None
            connection.close()

    def create(self) -> None:
        """Create the file with its tables, or bring an older one up to the present schema.

        Raises:

            LedgerError: It cannot be written, or it is something else's.
        """
        try:
            with closing(connect_to_write(self.path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                self._ensure_schema(connection)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise ledger_error(self.path, "write", error) from error

    def close(self) -> None:
        """Forget everything cached. No file is open between two writes."""
        self._ids.clear()

    def _level_of(self, minute: int, cut: Any) -> int:
        return self._retention.level_at(minute, cut, int(self._now()) // 60)

    def _ensure_schema(self, connection: sqlite3.Connection) -> None:
        version = version_of(connection, self.path)  # inside the transaction: nobody else changes it now
        if not version:
            create_schema(connection, self._new_meta())
        elif version < SCHEMA_VERSION:
            migrate(connection, version)
            self._ids.clear()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Create or check the schema, forget ids of another file, and delete what is too old."""
        self._ensure_schema(connection)
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        token = f"{meta['file_id']}/{meta['generation']}"
        if token != self._file_token or len(self._ids) > _MAX_CACHED_IDS:
            self._ids.clear()
        oldest_day = self._oldest_day()
        if oldest_day > int(meta["oldest_day"]):
            delete_before(connection, oldest_day)
            self._ids.clear()
            generation = int(meta["generation"]) + 1
            token = f"{meta['file_id']}/{generation}"
            changed = (("oldest_day", str(oldest_day)), ("generation", str(generation)))
            connection.executemany("UPDATE meta SET value = ?2 WHERE key = ?1", changed)
        self._file_token = token

    def _oldest_day(self) -> int:
        return (int(self._now()) // 60 - self._retention.days_for) // DAY

    def _new_meta(self) -> dict[str, str]:
        return {
            "schema_version": str(SCHEMA_VERSION),
            "spancost_version": spancost_version(),
            "flush_interval_seconds": f"{self._flush_interval_seconds:g}",
            "file_id": uuid.uuid4().hex,
            "generation": "0",
            "oldest_day": str(self._oldest_day()),
        }

    def _write_traces(self, connection: sqlite3.Connection, kept: list[KeptTrace]) -> None:
        if not kept or self._kept_traces + self._sampled_traces <= 0:
            return
        origin_id = self._id(connection, "origins", self._origin)
        hours: set[int] = set()
        for trace in kept:
            minute = trace.end_ns // 60_000_000_000
            hours.add(minute // 60)
            connection.execute(
                "INSERT INTO traces (hour, minute, origin_id, labels_id, attribution_id, trace_id, total_usd, sampled, "
                "nodes) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
                (
                    minute // 60,
                    minute,
                    origin_id,
                    self._id(connection, "labels", trace.labels),
                    self._id(connection, "attributions", trace.attribution),
                    format(trace.trace_id, "032x"),
                    trace.total_usd,
                    traces.nodes_json(trace),
                ),
            )
        for hour in hours:
            traces.prune(connection, hour, origin_id, self._kept_traces, self._sampled_traces)

    def _id(self, connection: sqlite3.Connection, table: str, values: Hashable, create: bool = True) -> int:
        """Return the id of a dimension row; 0 if there is none and `create` is false."""
        cached = self._ids.get((table, values))
        if cached is not None:
            return cached
        texts = tuple([_storable(text) for text in _texts(values)])
        select, insert = _ID_STATEMENTS[table]
        found = connection.execute(select, texts).fetchone()
        if found is not None:
            number = int(found[0])
        elif create:
            number = int(connection.execute(insert, texts).lastrowid or 0)
        else:
            return 0
        self._ids[table, values] = number
        return number


class _Writing:
    """One batch on its way into all cuts, inside one transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        id_of: Callable[..., int],
        origin: Origin,
        level_of: Callable[[int, Any], int],
        max_rows_per_day: int,
    ) -> None:
        self._connection = connection
        self._id_of = id_of
        self._origin_id = id_of(connection, "origins", origin)
        self._level_of = level_of
        self._max_rows = max_rows_per_day
        self._counts: dict[tuple[int, str], int] = {}
        self._new: dict[tuple[int, str], int] = {}
        self._small: dict[tuple[str, Any, _Row], list[float]] = {}
        """Sums of the cuts that leave something out, added up before they are written."""

    def add(self, kind: str, row: _Row, values: _Values) -> None:
        """Add a row to every cut."""
        self._put(kind, DETAIL, row, values)
        hour, day = row.minute - row.minute % HOUR, row.minute - row.minute % DAY
        by_entry = row._replace(minute=hour, attribution=_NOBODY)
        by_owner = row._replace(minute=day, labels=_NO_LABELS, line=_owner_line(row.line))
        for cut, smaller in ((BY_ENTRY, by_entry), (BY_OWNER, by_owner)):
            sums = self._small.setdefault((kind, cut, smaller), [0] * len(values))
            for place, value in enumerate(values):
                sums[place] += value

    def finish(self) -> None:
        """Write what was added up, and how many rows each day has now."""
        for (kind, cut, row), values in self._small.items():
            self._put(kind, cut, row, tuple(values))
        for (day, table), change in self._new.items():
            add_row_count(self._connection, day, table, change)

    def _put(self, kind: str, cut: Any, row: _Row, values: _Values) -> None:
        """Add to a row of the finest level that has it, or has room for it; at last to `other`."""
        first = self._level_of(row.minute, cut)
        for level in (level for level in cut.levels if level >= first):
            if self._add(cut.table(kind, level), level, row, values, force=False):
                return
        self._add(cut.table(kind, cut.levels[-1]), cut.levels[-1], _folded(row), values, force=True)

    def _add(self, table: str, level: int, row: _Row, values: _Values, *, force: bool) -> bool:
        connection, minute = self._connection, row.minute - row.minute % level
        place = (row.minute // DAY, table)
        create = force or self._count_of(*place) < self._max_rows
        ids = [
            *([] if row.line is None else [self._id_of(connection, "lines", row.line, create)]),
            self._id_of(connection, "labels", row.labels, create),
            self._id_of(connection, "attributions", row.attribution, create),
        ]
        stored = values if row.line is None else (*values[:2], None if values[2] == values[1] else values[2], values[3])
        full = (*stored, minute, self._origin_id, *ids, *row.rest)
        add, begin = _ADD[table]
        if all(ids) and connection.execute(add, full).rowcount:
            return True
        if not create:
            return False
        connection.execute(begin, full)
        self._counts[place] += 1
        self._new[place] = self._new.get(place, 0) + 1
        return True

    def _count_of(self, day: int, table: str) -> int:
        known = self._counts.get((day, table))
        if known is None:
            found = self._connection.execute(
                "SELECT row_count FROM row_counts WHERE day = ? AND table_name = ?", (day, table)
            ).fetchone()
            known = self._counts[day, table] = int(found[0]) if found else 0
        return known


def _charge_rows(charges: Mapping[ChargeKey, ChargeSum]) -> Iterator[tuple[_Row, _Values]]:
    for original, sums in charges.items():
        key, values = _writable(original, sums)
        yield _Row(key.minute, key.labels, key.attribution, key.line, (POSITION_IDS[key.position],)), values


def _request_rows(batch: Batch) -> Iterator[tuple[_Row, _Values]]:
    for key, sums in batch.requests.items():
        total_usd = sums.total_usd if math.isfinite(sums.total_usd) else 0.0
        yield _request_row(key), (sums.count, total_usd)


def _request_row(key: RequestKey) -> _Row:
    return _Row(key.minute, key.labels, key.attribution, None, (key.outcome, int(key.served)))


def _writable(key: ChargeKey, sums: ChargeSum) -> tuple[ChargeKey, _Values]:
    """Return what SQLite can store: a NaN would be refused and keep this batch out of the file for ever."""
    if all(map(math.isfinite, (sums.quantity, sums.usd, sums.list_usd))):
        return key, (sums.quantity, sums.usd, sums.list_usd, sums.count)
    unpriced = changed_line(key.line, sku="", basis="", source="", status=names.UNPRICED, reason="not_finite")
    return key._replace(line=unpriced), (0.0, 0.0, 0.0, sums.count)


def _owner_line(line: PriceLine | None) -> PriceLine | None:
    if line is None:
        return None
    kept = dict.fromkeys(("component", "provider", "operation"), "")
    return price_line(**(kept | {column: getattr(line, column) for column in OWNER_LINE_COLUMNS}))


def _other(value: str) -> str:
    return names.OTHER if value else ""


def _folded(row: _Row) -> _Row:
    """Return the row without what can be without bound: tenant, feature, team, route, entrypoint and resource."""
    labels, whose, line = row.labels, row.attribution, row.line
    if line is not None and line.resource:
        line = changed_line(line, resource=names.OTHER)
    return row._replace(
        labels=EntryLabels(_other(labels.http_route), labels.http_request_method, _other(labels.entrypoint)),
        attribution=Attribution(_other(whose.feature), _other(whose.tenant), _other(whose.team)),
        line=line,
    )


def _storable(text: object) -> str:
    """Return text that SQLite takes: a lone surrogate would be refused and keep the batch out for ever."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _texts(values: Hashable) -> tuple[str, ...]:
    """Return the texts of a dimension's row."""
    if isinstance(values, PriceLine):
        return tuple([getattr(values, column) for column in LINE_COLUMNS])
    if isinstance(values, Attribution):
        free = dict(values.labels)
        text = json.dumps(free, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if free else ""
        return (*values[:3], text)
    return cast("tuple[str, ...]", values)
