"""One batch on its way into all cuts of the ledger, inside one transaction.

Each row goes to the finest level that is kept of its time and has room that day. Where a day has room for everything,
as nearly all have, the rows of a table are added at once.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from spancost import names
from spancost.charge import PriceLine, changed_line, price_line
from spancost.sinks.ledger.retention import add_row_count
from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    BY_OWNER,
    CHARGES,
    DAY,
    DETAIL,
    HOUR,
    POSITION_IDS,
    REQUESTS,
    Cut,
    money_tables,
)
from spancost.sinks.ledger.sums import add_statement, begin_statement, upsert_statement
from spancost.window import Attribution, Batch, ChargeKey, ChargeSum, EntryLabels, Origin

_NO_LABELS: Final = EntryLabels()
_NOBODY: Final = Attribution()
_ADD: Final = {table: add_statement(table, kind) for table, kind, _ in money_tables()}
_BEGIN: Final = {table: begin_statement(table, kind) for table, kind, _ in money_tables()}
_UPSERT: Final = {table: upsert_statement(table, kind) for table, kind, _ in money_tables()}

_Values: TypeAlias = "tuple[float, ...]"
"""Of charges: quantity, USD, USD at list price, count. Of requests: count, USD."""


class _Row(NamedTuple):
    """What tells a row of a cut from others."""

    minute: int
    line: PriceLine | None
    """None for requests."""
    labels: EntryLabels
    attribution: Attribution
    rest: tuple[Any, ...]
    """What ends the key: the position, or outcome and whether it was served."""


_Rows: TypeAlias = "dict[_Row, _Values]"


class BatchWriter:
    """Adds one batch to the tables.

    Args:

        connection: In a transaction.

        id_of: Returns the id of a dimension's row: (connection, table, values, create), 0 if it is not there and not
            to be made.

        origin: Where the batch comes from.

        level_of: Returns the level at which something new of a minute is kept in a cut.

        max_rows_per_day: Rows that a UTC day may have in one table.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        id_of: Callable[..., int],
        origin: Origin,
        level_of: Callable[[int, Cut], int],
        max_rows_per_day: int,
    ) -> None:
        self._connection = connection
        self._id_of = id_of
        self._origin_id = id_of(connection, "origins", origin)
        self._level_of = level_of
        self._max_rows = max_rows_per_day
        self._counts: dict[tuple[int, str], int] = {}
        self._new: dict[tuple[int, str], int] = {}

    def write(self, batch: Batch) -> None:
        """Add a batch to every cut."""
        for kind, rows in ((CHARGES, dict(_charge_rows(batch))), (REQUESTS, dict(_request_rows(batch)))):
            self._put_all(kind, DETAIL, rows)
            self._put_all(kind, BY_ENTRY, _summed(rows, _by_entry))
            self._put_all(kind, BY_OWNER, _summed(rows, _by_owner))
        for (day, table), change in self._new.items():
            add_row_count(self._connection, day, table, change)

    def _put_all(self, kind: str, cut: Cut, rows: _Rows) -> None:
        by_level: dict[tuple[int, int], _Rows] = {}
        for row, values in rows.items():
            by_level.setdefault((self._level_of(row.minute, cut), row.minute // DAY), {})[row] = values
        for (level, day), same in by_level.items():
            self._put_same(kind, cut, level, day, same)

    def _put_same(self, kind: str, cut: Cut, first: int, day: int, rows: _Rows) -> None:
        """Add rows of one day that begin at one level."""
        levels = [level for level in cut.levels if level >= first]
        while levels:
            table = cut.table(kind, levels[0])
            if self._count_of(day, table) + len(rows) <= self._max_rows:
                self._add_at_once(table, levels[0], day, rows)
                return
            if self._count_of(day, table) < self._max_rows or self._rows_at(table, self._times(levels[0], rows)):
                break  # some of them may find their row, or room
            levels.pop(0)
        for row, values in rows.items():
            if not any(self._add(cut.table(kind, level), level, row, values, force=False) for level in levels):
                last = cut.levels[-1]
                self._add(cut.table(kind, last), last, _folded(row), values, force=True)

    def _add_at_once(self, table: str, level: int, day: int, rows: _Rows) -> None:
        times = self._times(level, rows)
        before = self._rows_at(table, times)
        self._connection.executemany(
            _UPSERT[table], [self._stored(row, values, level, self._ids(row)) for row, values in rows.items()]
        )
        self._count(day, table, self._rows_at(table, times) - before)

    @staticmethod
    def _times(level: int, rows: _Rows) -> set[int]:
        return {row.minute - row.minute % level for row in rows}

    def _rows_at(self, table: str, times: set[int]) -> int:
        count = f"SELECT count(*) FROM {table} WHERE time = ?"
        return sum(int(self._connection.execute(count, (time,)).fetchone()[0]) for time in times)

    def _ids(self, row: _Row, *, create: bool = True) -> list[int]:
        connection, id_of = self._connection, self._id_of
        ids = [
            id_of(connection, "labels", row.labels, create),
            id_of(connection, "attributions", row.attribution, create),
        ]
        return ids if row.line is None else [id_of(connection, "lines", row.line, create), *ids]

    def _stored(self, row: _Row, values: _Values, level: int, ids: Sequence[int]) -> tuple[Any, ...]:
        if row.line is not None and values[1] == values[2]:
            values = (*values[:2], None, values[3])  # type: ignore[assignment]
        return (*values, row.minute - row.minute % level, self._origin_id, *ids, *row.rest)

    def _add(self, table: str, level: int, row: _Row, values: _Values, *, force: bool) -> bool:
        """Add to a row that is there, or begin it if there is room or it must be; False if neither."""
        connection, day = self._connection, row.minute // DAY
        create = force or self._count_of(day, table) < self._max_rows
        ids = self._ids(row, create=create)
        full = self._stored(row, values, level, ids)
        if all(ids) and connection.execute(_ADD[table], full).rowcount:
            return True
        if create:
            connection.execute(_BEGIN[table], full)
            self._count(day, table, 1)
        return create

    def _count(self, day: int, table: str, change: int) -> None:
        self._counts[day, table] = self._count_of(day, table) + change
        self._new[day, table] = self._new.get((day, table), 0) + change

    def _count_of(self, day: int, table: str) -> int:
        known = self._counts.get((day, table))
        if known is None:
            found = self._connection.execute(
                "SELECT row_count FROM row_counts WHERE day = ? AND table_name = ?", (day, table)
            ).fetchone()
            known = self._counts[day, table] = int(found[0]) if found else 0
        return known


def _by_entry(row: _Row) -> _Row:
    return _Row(row.minute - row.minute % HOUR, row.line, row.labels, _NOBODY, row.rest)


def _by_owner(row: _Row) -> _Row:
    line = None if row.line is None else price_line(row.line.component, "", "", status=row.line.status)
    return _Row(row.minute - row.minute % DAY, line, _NO_LABELS, row.attribution, row.rest)


def _summed(rows: _Rows, smaller: Callable[[_Row], _Row]) -> _Rows:
    found: _Rows = {}
    for row, values in rows.items():
        key = smaller(row)
        before = found.get(key)
        found[key] = values if before is None else tuple([one + more for one, more in zip(before, values, strict=True)])
    return found


def _charge_rows(batch: Batch) -> Iterator[tuple[_Row, _Values]]:
    for original, sums in batch.charges.items():
        key, values = _writable(original, sums)
        yield _Row(key.minute, key.line, key.labels, key.attribution, (POSITION_IDS[key.position],)), values


def _request_rows(batch: Batch) -> Iterator[tuple[_Row, _Values]]:
    for key, sums in batch.requests.items():
        total_usd = sums.total_usd if math.isfinite(sums.total_usd) else 0.0
        row = _Row(key.minute, None, key.labels, key.attribution, (key.outcome, int(key.served)))
        yield row, (sums.count, total_usd)


def _writable(key: ChargeKey, sums: ChargeSum) -> tuple[ChargeKey, _Values]:
    """Return what SQLite can store: a NaN would be refused and keep this batch out of the file for ever."""
    if all(map(math.isfinite, (sums.quantity, sums.usd, sums.list_usd))):
        return key, (sums.quantity, sums.usd, sums.list_usd, sums.count)
    unpriced = changed_line(key.line, sku="", basis="", source="", status=names.UNPRICED, reason="not_finite")
    return key._replace(line=unpriced), (0.0, 0.0, 0.0, sums.count)


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
