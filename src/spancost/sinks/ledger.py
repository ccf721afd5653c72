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
from collections.abc import Hashable
from contextlib import closing
from typing import Any, Final, cast

from spancost import names
from spancost.charge import Charge, PriceLine, changed_line
from spancost.sinks.ledger_reader import LedgerReader
from spancost.sinks.ledger_schema import (
    DIMENSIONS,
    LINE_COLUMNS,
    POSITION_IDS,
    SCHEMA_VERSION,
    check_file,
    connect_to_write,
    create_schema,
    ledger_error,
    spancost_version,
)
from spancost.window import (
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    KeptNode,
    KeptTrace,
    Origin,
    RequestKey,
    RequestSum,
)

__all__ = ["Ledger", "LedgerReader"]

_DEFAULT_MAX_KEYS_PER_DAY: Final = 500_000
_DEFAULT_KEPT_TRACES: Final = 20
_DEFAULT_FLUSH_INTERVAL_SECONDS: Final = 5.0
_DEFAULT_KEEP_DAYS: Final = 400
_MAX_NODES_PER_TRACE: Final = 2_000
_MAX_CACHED_IDS: Final = 32_768
_MINUTES_PER_DAY: Final = 1_440

_ID_STATEMENTS: Final = {
    table: (
        f"SELECT id FROM {table} WHERE {' AND '.join(f'{column} = ?' for column in columns)}",
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})",
    )
    for table, columns in DIMENSIONS.items()
}
_CHARGE_KEY: Final = ("minute", "origin_id", "line_id", "labels_id", "attribution_id", "position")
_REQUEST_KEY: Final = ("minute", "origin_id", "labels_id", "attribution_id", "outcome", "served")
_CHARGE_VALUES: Final = ("quantity", "list_usd", "usd", "count")
_REQUEST_VALUES: Final = ("count", "total_usd")


def _add_statements(table: str, keys: tuple[str, ...], values: tuple[str, ...]) -> tuple[str, str]:
    """Return the statement that adds to a row and the one that begins it; both take values, then keys."""
    added = ", ".join(f"{value} = {value} + ?" for value in values)
    where = " AND ".join(f"{key} = ?" for key in keys)
    places = ", ".join("?" for _ in (*values, *keys))
    return (
        f"UPDATE {table} SET {added} WHERE {where}",
        f"INSERT INTO {table} ({', '.join((*values, *keys))}) VALUES ({places})",
    )


_ADD_CHARGE: Final = _add_statements("charges", _CHARGE_KEY, _CHARGE_VALUES)
_ADD_REQUEST: Final = _add_statements("requests", _REQUEST_KEY, _REQUEST_VALUES)


class Ledger:
    """Adds batches to the ledger file.

    One object per process; `write` is called by one thread at a time. After a fork the child may go on
    using its copy.

    Args:

        path: The file; created at the first write, in a folder that exists.

        origin: Service, environment and account that all rows of this process carry.

        max_keys_per_day: Rows a UTC day may have in the whole file, over all processes (500 000 rows are
            about 25 MB). Beyond it tenant, feature, team, route, entrypoint and resource fold into `other`.

        kept_traces: Costliest local roots kept whole per hour and service.

        flush_interval_seconds: How often `write` is called; stated in the file, since it bounds what a
            killed process loses.

        keep_days: Days after which rows and traces are deleted.
    """

    name = "ledger"

    def __init__(
        self,
        path: str | os.PathLike[str],
        origin: Origin,
        *,
        max_keys_per_day: int = _DEFAULT_MAX_KEYS_PER_DAY,
        kept_traces: int = _DEFAULT_KEPT_TRACES,
        flush_interval_seconds: float = _DEFAULT_FLUSH_INTERVAL_SECONDS,
        keep_days: int = _DEFAULT_KEEP_DAYS,
    ) -> None:
        self.path: str = os.path.abspath(os.fspath(path))
        """Absolute, since an application may change its working directory."""
        self._origin = origin
        self._max_keys_per_day = max_keys_per_day
        self._kept_traces = kept_traces
        self._flush_interval_seconds = flush_interval_seconds
        self._keep_days = keep_days
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
            rows = _DayRows(connection, self._max_keys_per_day)
            self._write_charges(connection, rows, batch.charges)
            self._write_requests(connection, rows, batch.requests)
            self._write_traces(connection, batch.traces)
            rows.save()
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
        """Create the file with its tables, if it is not there.

        Raises:

            LedgerError: It cannot be written, or it is something else's.
        """
        try:
            with closing(connect_to_write(self.path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                if not check_file(connection, self.path):
                    create_schema(connection, self._new_meta())
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise ledger_error(self.path, "write", error) from error

    def close(self) -> None:
        """Forget everything cached. No file is open between two writes."""
        self._ids.clear()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Create or check the schema, forget ids of another file, and delete what is too old."""
        if not check_file(connection, self.path):  # again: now inside the transaction, nobody else creates it
            create_schema(connection, self._new_meta())
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        token = f"{meta['file_id']}/{meta['generation']}"
        if token != self._file_token or len(self._ids) > _MAX_CACHED_IDS:
            self._ids.clear()
        oldest_day = int(time.time()) // 86_400 - self._keep_days
        if oldest_day > int(meta["oldest_day"]):
            self._delete_before(connection, oldest_day)
            generation = int(meta["generation"]) + 1
            token = f"{meta['file_id']}/{generation}"
            changed = (("oldest_day", str(oldest_day)), ("generation", str(generation)))
            connection.executemany("UPDATE meta SET value = ?2 WHERE key = ?1", changed)
        self._file_token = token

    def _new_meta(self) -> dict[str, str]:
        return {
            "schema_version": str(SCHEMA_VERSION),
            "spancost_version": spancost_version(),
            "flush_interval_seconds": f"{self._flush_interval_seconds:g}",
            "file_id": uuid.uuid4().hex,
            "generation": "0",
            "oldest_day": str(int(time.time()) // 86_400 - self._keep_days),
        }

    def _delete_before(self, connection: sqlite3.Connection, day: int) -> None:
        minute = day * _MINUTES_PER_DAY
        for table in ("charges", "requests", "traces"):
            connection.execute(f"DELETE FROM {table} WHERE minute < ?", (minute,))
        connection.execute("DELETE FROM days WHERE day < ?", (day,))
        used = {
            "lines": "SELECT line_id FROM charges",
            "labels": "SELECT labels_id FROM charges UNION SELECT labels_id FROM requests UNION "
            "SELECT labels_id FROM traces",
            "attributions": "SELECT attribution_id FROM charges UNION SELECT attribution_id FROM requests UNION "
            "SELECT attribution_id FROM traces",
        }
        for table, ids in used.items():
            connection.execute(f"DELETE FROM {table} WHERE id NOT IN ({ids})")
        self._ids.clear()

    def _write_charges(
        self, connection: sqlite3.Connection, rows: _DayRows, charges: dict[ChargeKey, ChargeSum]
    ) -> None:
        add, begin = _ADD_CHARGE
        origin_id = self._id(connection, "origins", self._origin)
        for original, amounts in charges.items():
            key, values = _writable(original, amounts)
            folded = False
            while True:
                create = folded or rows.have_room(key.minute)
                line_id = self._id(connection, "lines", key.line, create=create)
                labels_id = self._id(connection, "labels", key.labels, create=create)
                attribution_id = self._id(connection, "attributions", key.attribution, create=create)
                known = line_id and labels_id and attribution_id
                position = POSITION_IDS[key.position]
                row = (*values, key.minute, origin_id, line_id, labels_id, attribution_id, position)
                if known and connection.execute(add, row).rowcount:
                    break
                if create:
                    connection.execute(begin, row)
                    rows.count(key.minute)
                    break
                key, folded = _folded_charge(key), True

    def _write_requests(
        self, connection: sqlite3.Connection, rows: _DayRows, requests: dict[RequestKey, RequestSum]
    ) -> None:
        add, begin = _ADD_REQUEST
        origin_id = self._id(connection, "origins", self._origin)
        for original, sums in requests.items():
            key, folded = original, False
            while True:
                create = folded or rows.have_room(key.minute)
                labels_id = self._id(connection, "labels", key.labels, create=create)
                attribution_id = self._id(connection, "attributions", key.attribution, create=create)
                row = (
                    *(sums.count, sums.total_usd if math.isfinite(sums.total_usd) else 0.0),
                    *(key.minute, origin_id, labels_id, attribution_id, key.outcome, int(key.served)),
                )
                if labels_id and attribution_id and connection.execute(add, row).rowcount:
                    break
                if create:
                    connection.execute(begin, row)
                    rows.count(key.minute)
                    break
                key, folded = _folded_request(key), True

    def _write_traces(self, connection: sqlite3.Connection, traces: list[KeptTrace]) -> None:
        if not traces or self._kept_traces <= 0:
            return
        origin_id = self._id(connection, "origins", self._origin)
        hours: set[int] = set()
        for trace in traces:
            minute = trace.end_ns // 60_000_000_000
            hours.add(minute // 60)
            connection.execute(
                "INSERT INTO traces (hour, minute, origin_id, labels_id, attribution_id, trace_id, total_usd, nodes) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    minute // 60,
                    minute,
                    origin_id,
                    self._id(connection, "labels", trace.labels),
                    self._id(connection, "attributions", trace.attribution),
                    format(trace.trace_id, "032x"),
                    trace.total_usd,
                    _nodes_json(trace),
                ),
            )
        for hour in hours:
            self._prune_traces(connection, hour, origin_id)

    def _prune_traces(self, connection: sqlite3.Connection, hour: int, origin_id: int) -> None:
        """Keep the costliest of this hour and service, and a few that belong to other services' kept ones.

        A called service's part ends, and is written, before its caller's: for two minutes nobody knows
        whether a cheap part belongs to a costly trace, so as many again are kept for that long.
        """
        newest = connection.execute("SELECT max(minute) FROM traces WHERE hour = ?", (hour,)).fetchone()[0]
        rows = connection.execute(
            "SELECT t.id, t.minute >= ? - 1, EXISTS (SELECT 1 FROM traces x WHERE x.trace_id = t.trace_id "
            "AND x.origin_id <> t.origin_id) FROM traces t WHERE t.hour = ? AND t.origin_id = ? "
            "ORDER BY t.total_usd DESC, t.id",
            (newest, hour, origin_id),
        ).fetchall()
        spare = rows[self._kept_traces :]
        spare.sort(key=lambda row: (not row[2], not row[1]))  # stable: still costliest first within each kind
        kept = [row for row in spare if row[1] or row[2]][: self._kept_traces]
        deleted = {row[0] for row in spare} - {row[0] for row in kept}
        connection.executemany("DELETE FROM traces WHERE id = ?", [(number,) for number in deleted])

    def _id(self, connection: sqlite3.Connection, table: str, values: Hashable, *, create: bool = True) -> int:
        """Return the id of a dimension row; 0 if there is none and `create` is false."""
        cached = self._ids.get((table, values))
        if cached is not None:
            return cached
        texts = _line_texts(values) if isinstance(values, PriceLine) else cast("tuple[str, ...]", values)
        texts = tuple([_storable(text) for text in texts])
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


class _DayRows:
    """How many rows each UTC day has, inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, max_per_day: int) -> None:
        self._connection = connection
        self._max_per_day = max_per_day
        self._counts: dict[int, int] = {}
        self._changed: set[int] = set()

    def have_room(self, minute: int) -> bool:
        return self._count_of(minute // _MINUTES_PER_DAY) < self._max_per_day

    def count(self, minute: int) -> None:
        day = minute // _MINUTES_PER_DAY
        self._counts[day] = self._count_of(day) + 1
        self._changed.add(day)

    def save(self) -> None:
        self._connection.executemany(
            "INSERT INTO days (day, row_count) VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET row_count = ?2",
            [(day, self._counts[day]) for day in self._changed],
        )

    def _count_of(self, day: int) -> int:
        known = self._counts.get(day)
        if known is None:
            row = self._connection.execute("SELECT row_count FROM days WHERE day = ?", (day,)).fetchone()
            known = self._counts[day] = int(row[0]) if row else 0
        return known


def _writable(key: ChargeKey, sums: ChargeSum) -> tuple[ChargeKey, tuple[float, float, float, int]]:
    """Return what SQLite can store: a NaN would be refused and keep this batch out of the file for ever."""
    values = (sums.quantity, sums.list_usd, sums.usd)
    if all(map(math.isfinite, values)):
        return key, (*values, sums.count)
    unpriced = changed_line(key.line, sku="", basis="", source="", status=names.UNPRICED, reason="not_finite")
    return key._replace(line=unpriced), (0.0, 0.0, 0.0, sums.count)


def _storable(text: object) -> str:
    """Return text that SQLite takes: a lone surrogate would be refused and keep the batch out for ever."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _other(value: str) -> str:
    return names.OTHER if value else ""


def _folded_labels(labels: EntryLabels) -> EntryLabels:
    return EntryLabels(_other(labels.http_route), labels.http_request_method, _other(labels.entrypoint))


def _folded_attribution(attribution: Attribution) -> Attribution:
    return Attribution(*map(_other, attribution))


def _folded_charge(key: ChargeKey) -> ChargeKey:
    line = key.line
    if line.resource:
        line = changed_line(line, resource=names.OTHER)
    return key._replace(line=line, labels=_folded_labels(key.labels), attribution=_folded_attribution(key.attribution))


def _folded_request(key: RequestKey) -> RequestKey:
    return key._replace(labels=_folded_labels(key.labels), attribution=_folded_attribution(key.attribution))


def _line_texts(line: PriceLine) -> tuple[str, ...]:
    return tuple([getattr(line, column) for column in LINE_COLUMNS])


def _nodes_json(trace: KeptTrace) -> str:
    """Return the trace's nodes as JSON; of a huge trace the costliest, which are closed under parenthood."""
    nodes = trace.nodes
    left_out = len(nodes) - _MAX_NODES_PER_TRACE
    if left_out > 0:
        last = len(nodes) - 1  # parents end after their children: at equal totals the later one is the ancestor
        costliest = sorted(range(len(nodes)), key=lambda i: (i != last, -nodes[i].total_usd, -i))
        nodes = tuple(nodes[i] for i in sorted(costliest[:_MAX_NODES_PER_TRACE]))
    document: dict[str, Any] = {"nodes": [_node_json(node) for node in nodes]}
    if left_out > 0:
        document["left_out"] = left_out
    return json.dumps(document, separators=(",", ":"))


def _node_json(node: KeptNode) -> dict[str, Any]:
    return {
        "span_id": format(node.span_id, "016x"),
        "parent_span_id": format(node.parent_span_id, "016x") if node.parent_span_id else "",
        "name": node.name,
        "start_ns": node.start_ns,
        "duration_ns": node.end_ns - node.start_ns,
        "direct_usd": node.direct_usd,
        "total_usd": node.total_usd,
        "charges": [_charge_json(charge) for charge in node.charges],
    }


def _charge_json(charge: Charge) -> dict[str, Any]:
    line = {column: value for column in LINE_COLUMNS if (value := getattr(charge.line, column))}
    amounts: dict[str, Any] = {"quantity": charge.quantity, "usd": charge.usd, "list_usd": charge.list_usd}
    if charge.quantity and charge.line.status in (names.PRICED, names.ESTIMATED):
        amounts["rate_usd"] = charge.usd / charge.quantity
    return line | amounts
