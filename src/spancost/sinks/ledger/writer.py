"""Keep what was charged in one SQLite file that several processes share.

Written only by a background thread, one transaction per flush, WAL mode: after `kill -9` the file is
whole and lacks at most what was charged since the last flush (`flush_interval_seconds` in table `meta`).
The connection lives as long as one `write`, so that none is open when the process forks; who forks
while a write runs must wait for it (the engine's before-fork hook does).
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Hashable, Mapping
from contextlib import closing
from typing import Any, Final, cast

from spancost._version import spancost_version
from spancost.charge import PriceLine
from spancost.sinks.ledger import traces
from spancost.sinks.ledger.batch_writer import BatchWriter
from spancost.sinks.ledger.migrations import migrate
from spancost.sinks.ledger.retention import Retention, delete_before, move_on
from spancost.sinks.ledger.schema import (
    DAY,
    DIMENSIONS,
    LINE_COLUMNS,
    SCHEMA_VERSION,
    connect_to_write,
    create_schema,
    ledger_error,
    version_of,
)
from spancost.window import Attribution, Batch, KeptTrace, Origin, as_utf8

_DEFAULT_MAX_ROWS_PER_DAY: Final = 500_000
_DEFAULT_KEPT_TRACES: Final = 20
_DEFAULT_SAMPLED_TRACES: Final = 5
_DEFAULT_FLUSH_INTERVAL_SECONDS: Final = 5.0
_CLOCK_DAY: Final = "clock_day"
"""Key in `meta`: Unix seconds // 86 400 of the last write."""
_JUMP_SEEN: Final = "clock_jump_seen"
"""Key in `meta`: Unix seconds at which the clock was first found far away from that; 0 where it is not."""
_MAX_STEP_DAYS: Final = 31
_DAY_S: Final = 86_400
_MAX_CACHED_IDS: Final = 32_768

_ID_STATEMENTS: Final = {
    table: (
        f"SELECT id FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns)}",
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})",
    )
    for table, columns in DIMENSIONS.items()
}


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
        if not (batch.charges or batch.requests or batch.traces or batch.health):
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
            BatchWriter(connection, self._id, self._origin, self._level_of, self._max_rows_per_day).write(batch)
            self._write_traces(connection, batch.traces)
            self._write_health(connection, batch.health)
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
        if self._is_believed(connection, meta) and oldest_day > int(meta["oldest_day"]):
            delete_before(connection, oldest_day)
            self._ids.clear()
            generation = int(meta["generation"]) + 1
            token = f"{meta['file_id']}/{generation}"
            changed = (("oldest_day", str(oldest_day)), ("generation", str(generation)))
            connection.executemany("UPDATE meta SET value = ?2 WHERE key = ?1", changed)
        self._file_token = token

    def _is_believed(self, connection: sqlite3.Connection, meta: Mapping[str, str]) -> bool:
        """Say whether the clock is to be believed: one that has jumped by years must not empty the file.

        Where it is more than a month away from the last write, it must have been so for a day. A file that nobody has
        written for so long waits that day, too.
        """
        now = int(self._now())
        today, last = now // _DAY_S, int(meta.get(_CLOCK_DAY, now // _DAY_S))
        changed: dict[str, int] = {}
        seen = int(meta.get(_JUMP_SEEN, 0))
        jumped = abs(today - last) > _MAX_STEP_DAYS
        is_same_jump = 0 <= now - seen <= _MAX_STEP_DAYS * _DAY_S
        believed = not jumped or (is_same_jump and now - seen >= _DAY_S)
        if believed and (today != last or seen or _CLOCK_DAY not in meta):
            changed = {_CLOCK_DAY: today, _JUMP_SEEN: 0}
        elif not believed and not is_same_jump:
            changed = {_JUMP_SEEN: now}
        statement = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
        connection.executemany(statement, [(key, str(value)) for key, value in changed.items()])
        return believed

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

    def _write_health(self, connection: sqlite3.Connection, health: Mapping[str, int]) -> None:
        if not health:
            return
        day, origin_id = int(self._now()) // 60 // DAY, self._id(connection, "origins", self._origin)
        connection.executemany(
            "INSERT INTO health (day, origin_id, name, count) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (day, origin_id, name) DO UPDATE SET count = count + excluded.count",
            [(day, origin_id, as_utf8(name), count) for name, count in health.items()],
        )

    def _id(self, connection: sqlite3.Connection, table: str, values: Hashable, create: bool = True) -> int:
        """Return the id of a dimension row; 0 if there is none and `create` is false."""
        cached = self._ids.get((table, values))
        if cached is not None:
            return cached
        texts = tuple([as_utf8(text) for text in _texts(values)])
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


def _texts(values: Hashable) -> tuple[str, ...]:
    """Return the texts of a dimension's row."""
    if isinstance(values, PriceLine):
        return tuple([getattr(values, column) for column in LINE_COLUMNS])
    if isinstance(values, Attribution):
        free = dict(values.labels)
        text = json.dumps(free, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if free else ""
        return (*values[:3], text)
    return cast("tuple[str, ...]", values)
