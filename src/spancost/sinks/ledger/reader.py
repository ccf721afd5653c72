"""Ask the ledger: sums by any of its keys, what is not priced, idle compute, and kept traces.

Read-only, while applications go on writing. Sums over rows exclude idle compute, which belongs to no request; `idle`
returns it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from spancost import names
from spancost.bounds import BOUNDS, bound_of
from spancost.errors import LedgerError
from spancost.focus import cloud_service
from spancost.sinks.ledger import traces
from spancost.sinks.ledger.migrations import FIRST_WITH_CUTS, show_as_present
from spancost.sinks.ledger.query import (
    EVERYTHING,
    LEDGER_KEYS,
    UTC_NAME,
    Question,
    Selection,
    Statement,
    canonical_key,
    checked,
    has_parts_of_hours,
    is_request_key,
)
from spancost.sinks.ledger.rows import (
    ChargeRow,
    EstimatedRow,
    IdleRow,
    IdleSums,
    LedgerRow,
    Quality,
    StoredTrace,
    Totals,
    TraceSummary,
    UnpricedRow,
)
from spancost.sinks.ledger.schema import (
    BY_ENTRY,
    CHARGES,
    DAY,
    DETAIL,
    HOUR,
    LEVEL_NAMES,
    MINUTE,
    ORIGIN_COLUMNS,
    POSITION_IDS,
    REQUESTS,
    SCHEMA_VERSION,
    Cut,
    connect_to_read,
    ledger_error,
)
from spancost.window import ENTRY, IDLE, LATE_ENTRY, LATE_INNER, UNATTRIBUTED

__all__ = ["LEDGER_KEYS", "LedgerReader"]

_LIST: Final = "coalesce(c.list_usd, c.usd)"
_IS_IDLE: Final = f"c.position = {POSITION_IDS[IDLE]}"
_IS_BUSY: Final = f"c.position <> {POSITION_IDS[IDLE]}"
_IS_DIRECT: Final = f"c.position IN ({POSITION_IDS[ENTRY]}, {POSITION_IDS[LATE_ENTRY]})"
_IS_LATE: Final = f"c.position IN ({POSITION_IDS[LATE_ENTRY]}, {POSITION_IDS[LATE_INNER]})"
_IS_UNATTRIBUTED: Final = f"c.position = {POSITION_IDS[UNATTRIBUTED]}"
_IS_UNPRICED: Final = f"l.status = '{names.UNPRICED}'"
_LEVEL_OF_KEY: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY, "month": DAY}


def _unpriced_count(condition: str) -> str:
    """Return the expression of how many charges have no price: one at least where there is any, which may count 0."""
    return f"max(sum(CASE WHEN {condition} THEN c.count ELSE 0 END), max(CASE WHEN {condition} THEN 1 ELSE 0 END))"


def _detail_tables() -> list[tuple[str, int]]:
    """Return the tables of the cut with every key, with the minutes that a row of each stands for."""
    return [(DETAIL.table(kind, level), level) for kind in (CHARGES, REQUESTS) for level in DETAIL.levels]


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _in_one_state(
    method: Callable[Concatenate[LedgerReader, _P], _R],
) -> Callable[Concatenate[LedgerReader, _P], _R]:
    """Have a method that asks several times see one state of the file."""

    @wraps(method)
    def asked(self: LedgerReader, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self.one_state():
            return method(self, *args, **kwargs)

    return asked


class LedgerReader:
    """Reads a ledger file; a context manager.

    All answers to one selection agree: where the file keeps hours or days, the ends of a period are moved back to
    where such a row begins (`bounds`).

    Raises:

        LedgerError: No such file, not a ledger, written by a newer spancost, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._connection, self.schema_version = connect_to_read(self.path)
        if self.schema_version < SCHEMA_VERSION:
            try:
                show_as_present(self._connection, self.schema_version)
            except sqlite3.Error as error:
                self._connection.close()
                raise ledger_error(self.path, "read it", error) from error

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def meta(self) -> dict[str, str]:
        """Return what the file says of itself: schema and spancost version, flush interval in seconds."""
        return {str(key): str(value) for key, value in self._all("SELECT key, value FROM meta")}

    # --- money ----------------------------------------------------------------------------------

    @_in_one_state
    def rows(self, by: Sequence[str], selection: Selection = EVERYTHING) -> list[LedgerRow]:
        """Return sums per combination of the keys `by`, costliest first, without idle compute.

        Args:

            by: Names out of `LEDGER_KEYS`, or `label.<name>` for a free label.

            selection: Which part of the ledger.

        Raises:

            LedgerError: A key is unknown, or the file cannot be read.
        """
        question = self._question(by, selection)
        usd = self._usd(selection)
        components = ", ".join(
            f"sum(CASE WHEN l.component = '{name}' THEN {usd} ELSE 0.0 END), "
            + _unpriced_count(f"l.component = '{name}' AND {_IS_UNPRICED}")
            for name in names.COMPONENTS
        )
        sums = (
            f"sum(c.count), sum(c.quantity), sum(CASE WHEN {_IS_DIRECT} THEN {usd} ELSE 0.0 END), "
            f"sum({usd}), sum({_LIST}), {components}"
        )
        found = self._ask(question, CHARGES, question.cut(), sums, [_IS_BUSY])
        requests = self._requests([key for key in question.by if is_request_key(key)], selection)
        width = len(by)
        rows: list[LedgerRow] = []
        for row in found:
            if row[width] is None:  # the one row of an aggregate over nothing
                continue
            key = tuple(str(value) for value in row[:width])
            amounts = row[width + 5 :]
            own = tuple(value for name, value in zip(question.by, key, strict=True) if is_request_key(name))
            rows.append(
                LedgerRow(
                    key,
                    requests.get(own, 0),
                    *row[width : width + 5],
                    component_usd=dict(zip(names.COMPONENTS, amounts[::2], strict=True)),
                    unpriced={name: n for name, n in zip(names.COMPONENTS, amounts[1::2], strict=True) if n},
                )
            )
        if all(map(is_request_key, question.by)) and all(is_request_key(one.key) for one in question.selection.where):
            seen = {row.key for row in rows}
            nothing: dict[str, float] = dict.fromkeys(names.COMPONENTS, 0.0)
            rows.extend(
                LedgerRow(key, count, 0, 0.0, 0.0, 0.0, 0.0, nothing, {})
                for key, count in requests.items()
                if key not in seen
            )
        return sorted(rows, key=lambda row: (-row.usd, -row.requests, row.key))

    @_in_one_state
    def totals(self, selection: Selection = EVERYTHING) -> Totals:
        """Return the sums of everything selected."""
        question = self._question((), selection)
        cut = question.cut()
        usd = self._usd(selection)
        row = self._ask(
            question,
            CHARGES,
            cut,
            f"total(CASE WHEN {_IS_BUSY} THEN c.count END), total(CASE WHEN {_IS_BUSY} THEN {usd} END), "
            f"total(CASE WHEN {_IS_BUSY} THEN {_LIST} END), total(CASE WHEN {_IS_IDLE} THEN {usd} END), "
            f"total(CASE WHEN {_IS_LATE} THEN {usd} END), total(CASE WHEN {_IS_UNATTRIBUTED} THEN {usd} END)",
        )[0]
        found = dict(self._ask(question, CHARGES, cut, f"l.component, sum({usd})", [_IS_BUSY], ["l.component"]))
        requests = sum(self._requests([], selection).values())
        components = {name: float(found.get(name, 0.0)) for name in names.COMPONENTS}
        return Totals(requests, int(row[0]), *row[1:], component_usd=components)

    @_in_one_state
    def unpriced(self, selection: Selection = EVERYTHING) -> list[UnpricedRow]:
        """Return what was used without a known price, most frequent first; idle compute included."""
        keys = ("component", "provider", "operation", "model", "unit", "reason")
        question = self._question(keys, selection)
        found = self._ask(question, CHARGES, question.cut(), "max(sum(c.count), 1), sum(c.quantity)", [_IS_UNPRICED])
        return sorted((UnpricedRow(*row) for row in found), key=lambda row: (-row.charge_count, row))

    @_in_one_state
    def estimated(self, selection: Selection = EVERYTHING) -> list[EstimatedRow]:
        """Return what was assumed, dearest first; idle compute included."""
        question = self._question(("component", "basis", "region", "sku", "source"), selection)
        usd = self._usd(selection)
        is_estimated = f"l.status = '{names.ESTIMATED}'"
        found = self._ask(question, CHARGES, question.cut(), f"sum(c.count), sum({usd})", [is_estimated])
        return sorted((EstimatedRow(*row) for row in found), key=lambda row: (-row.usd, row))

    @_in_one_state
    def quality(self, selection: Selection = EVERYTHING) -> Quality:
        """Return how far the figures can be relied on; idle compute is not in it."""
        question = self._question(("component", "status", "reason", "basis", "model", "position"), selection)
        sums = f"sum(c.count), max(c.count), sum({self._usd(selection)})"
        spans: dict[str, dict[str, int]] = {}
        duplicates: dict[str, int] = {}
        estimated: dict[str, float] = dict.fromkeys(BOUNDS, 0.0)
        late_usd = unattributed_usd = 0.0
        sampled_only = False
        for component, status, reason, basis, model, position, count, most, usd in self._ask(
            question, CHARGES, question.cut(), sums, [_IS_BUSY]
        ):
            # What has no price is told even where another charge of the span counts it.
            count = max(count, 1) if status == names.UNPRICED and not most else count
            of_component = spans.setdefault(component, dict.fromkeys(names.STATUSES, 0))
            of_component[status] = of_component.get(status, 0) + count
            if status == names.DUPLICATE:
                duplicates[reason] = duplicates.get(reason, 0) + count
            elif status == names.ESTIMATED:
                estimated[bound_of(basis, model)] += usd
            late_usd += usd if position in (LATE_ENTRY, LATE_INNER) else 0.0
            unattributed_usd += usd if position == UNATTRIBUTED else 0.0
            sampled_only = sampled_only or reason == names.EXPORTER
        question = self._question(("http_route", "entrypoint"), selection)
        folded = f"(b.http_route = '{names.OTHER}' OR b.entrypoint = '{names.OTHER}')"
        rows = self._ask(question, CHARGES, question.cut(), f"sum({self._usd(selection)})", [_IS_BUSY, folded])
        other_usd = sum(float(row[-1]) for row in rows)
        health = self._health(selection)
        return Quality(
            spans,
            estimated,
            duplicates,
            late_usd,
            unattributed_usd,
            other_usd,
            sampled_only=sampled_only,
            health=health,
        )

    def _health(self, selection: Selection) -> dict[str, int]:
        """Return what went wrong in spancost itself on the days of a period; conditions on services hold."""
        conditions, values = ["1"], list[object]()
        if selection.since_minute is not None:
            conditions.append("h.day >= ?")
            values.append(selection.since_minute // DAY)
        if selection.until_minute is not None:
            conditions.append("h.day <= ?")
            values.append((selection.until_minute - 1) // DAY)
        for condition in selection.where:
            if condition.key in ORIGIN_COLUMNS:
                conditions.append(f"{'NOT ' if condition.negated else ''}o.{condition.key} GLOB ?")
                values.append(condition.glob)
        statement = (
            "SELECT h.name, sum(h.count) FROM health h JOIN origins o ON o.id = h.origin_id "
            f"WHERE {' AND '.join(conditions)} GROUP BY h.name ORDER BY h.name"
        )
        return {str(name): int(count) for name, count in self._all(statement, values)}

    @_in_one_state
    def idle(self, selection: Selection = EVERYTHING) -> list[IdleRow]:
        """Return idle compute per service, dearest first."""
        sums = self.idle_sums(["service"], selection)
        return sorted(
            (IdleRow(service, *idle) for (service,), idle in sums.items()), key=lambda row: (-row.usd, row.service)
        )

    @_in_one_state
    def idle_rows(self, by: Sequence[str], selection: Selection = EVERYTHING) -> dict[tuple[str, ...], float]:
        """Return idle compute in USD per combination of keys; only times and those of a process tell idle time apart.

        Args:

            by: Names out of `LEDGER_KEYS`.

            selection: Which part of the ledger.
        """
        return {key: idle.usd for key, idle in self.idle_sums(by, selection).items()}

    @_in_one_state
    def idle_sums(self, by: Sequence[str], selection: Selection = EVERYTHING) -> dict[tuple[str, ...], IdleSums]:
        """Return idle compute per combination of keys, with its seconds and its list price.

        Args:

            by: Names out of `LEDGER_KEYS`; keys of requests but times and those of a process are empty here.

            selection: Which part of the ledger.
        """
        question = self._question(by, selection)
        usd = self._usd(selection)
        sums = f"sum(c.quantity), sum({usd}), sum({_LIST}), {_unpriced_count(_IS_UNPRICED)}"
        width = len(question.by)
        return {
            tuple(map(str, row[:width])): IdleSums(*row[width:])
            for row in self._ask(question, CHARGES, question.cut(), sums, [_IS_IDLE])
            if row[width] is not None
        }

    def _requests(self, keys: Sequence[str], selection: Selection) -> dict[tuple[str, ...], int]:
        kept = tuple(condition for condition in selection.where if is_request_key(canonical_key(condition.key)))
        question = self._question(keys, selection._replace(where=kept))
        found = self._ask(question, REQUESTS, question.cut(), "sum(c.count)")
        return {tuple(str(value) for value in row[:-1]): int(row[-1]) for row in found if row[-1] is not None}

    # --- row by row -----------------------------------------------------------------------------

    def each_charge(self, by: Sequence[str], selection: Selection = EVERYTHING) -> Generator[ChargeRow]:
        """Yield every row of money as the file keeps it, idle compute included.

        By the day, the hour or the minute, as far back as each is kept; one state of the file, whatever its size.

        Args:

            by: Names out of `LEDGER_KEYS`, or `label.<name>`: what the key of a row has.

            selection: Which part of the ledger.

        Raises:

            LedgerError: A key is unknown, or the file cannot be read.
        """
        usd, unpriced = self._usd(selection), f"CASE WHEN {_IS_UNPRICED} THEN max(c.count, 1) ELSE 0 END"
        with self.one_state():
            question = self._question(by, selection)
            for level in sorted(DETAIL.levels, reverse=True):
                columns = f"a.labels, c.time, c.time + {level}, {_IS_IDLE}, c.quantity, {usd}, {_LIST}, c.count"
                cut = DETAIL._replace(levels=(level,))
                yield from self._each(question, cut, f"{columns}, {unpriced}", ())

    def each_sum(self, by: Sequence[str], selection: Selection = EVERYTHING) -> Generator[ChargeRow]:
        """Yield sums per combination of keys, idle compute apart, in the order of the keys.

        Args:

            by: Names out of `LEDGER_KEYS`, or `label.<name>`.

            selection: Which part of the ledger.

        Raises:

            LedgerError: A key is unknown, or the file cannot be read.
        """
        width = len(by)
        columns = (
            f"'', min(c.time), max(c.time) + 1, {_IS_IDLE}, sum(c.quantity), sum({self._usd(selection)}), "
            f"sum({_LIST}), sum(c.count), {_unpriced_count(_IS_UNPRICED)}"
        )
        # By number: the keys as they are shown, and whether it is idle, the fourth behind them.
        groups = [str(place) for place in (*range(1, width + 1), width + 4)]
        with self.one_state():
            question = self._question(by, selection)
            yield from self._each(question, question.cut(), columns, groups)

    @staticmethod
    def _usd(selection: Selection) -> str:
        return _LIST if selection.at_list_price else "c.usd"

    @contextmanager
    def one_state(self) -> Generator[None]:
        """See the file as it is now until the block ends, while others write: retention moves rows between tables."""
        if self._connection.in_transaction:  # within another such block
            yield
            return
        self._all("BEGIN")
        try:
            yield
        finally:
            with suppress(LedgerError):  # who stops in the middle may have closed the file already
                self._all("COMMIT")

    def _each(self, question: Question, cut: Cut, columns: str, grouped_by: Sequence[str]) -> Generator[ChargeRow]:
        text, values = self._statement(question, CHARGES, cut, columns, (), grouped_by)
        width = len(question.by)
        try:
            with closing(self._connection.execute(text, values)) as cursor:
                for row in cursor:
                    key = tuple(map(str, row[:width]))
                    labels, begin, end, is_idle, *amounts = row[width:]
                    yield ChargeRow(key, labels, begin, end, bool(is_idle), *amounts)
        except sqlite3.Error as error:
            raise ledger_error(self.path, "read it", error) from error

    # --- times ----------------------------------------------------------------------------------

    @property
    def range_minutes(self) -> tuple[int, int] | None:
        """First minute of the ledger's money and the one after its last; None for an empty ledger.

        Where hours or days are kept, they are whole.
        """
        firsts: list[int] = []
        ends: list[int] = []
        for table, level in _detail_tables():
            first, last = self._all(f"SELECT (SELECT min(time) FROM {table}), (SELECT max(time) FROM {table})")[0]
            if first is not None:
                firsts.append(int(first))
                ends.append(int(last) + level)
        return (min(firsts), max(ends)) if firsts else None

    @_in_one_state
    def bounds(self, selection: Selection) -> tuple[int | None, int | None]:
        """Return the first and the end minute that are really counted for a selection: where rows of the file begin."""
        return self._whole(selection.since_minute), self._whole(selection.until_minute)

    def _whole(self, minute: int | None) -> int | None:
        """Move the end of a period back to the beginning of the coarsest row that it would cut."""
        if minute is None:
            return None
        for level in (DAY, HOUR):
            begin = minute - minute % level
            if begin == minute:
                continue
            tables = [table for table, one in _detail_tables() if one == level]
            if level == DAY and self.schema_version >= FIRST_WITH_CUTS:
                tables += [BY_ENTRY.table(kind, DAY) for kind in (CHARGES, REQUESTS)]
            if any(self._all(f"SELECT 1 FROM {table} WHERE time = ? LIMIT 1", (begin,)) for table in tables):
                return begin
        return minute

    @_in_one_state
    def stretches(self, selection: Selection = EVERYTHING, *, longest_gap: int = HOUR) -> list[tuple[int, int]]:
        """Return the times within a period in which something was charged, whatever it was, in order.

        Args:

            selection: Its period; conditions are not looked at.

            longest_gap: Minutes without data that do not end a stretch.

        Returns:

            (first minute, minute after the last) of each stretch.
        """
        since, until = self.bounds(selection)
        first = -1 if since is None else since - 1
        # One seek in the primary key for each time there is, however many rows share it.
        within = "" if until is None else f" AND time < {int(until)}"
        times: list[tuple[int, int]] = []
        for level in DETAIL.levels:
            table = DETAIL.table(CHARGES, level)
            statement = (
                f"WITH RECURSIVE times(time) AS (SELECT min(time) FROM {table} WHERE time > {first}{within} UNION ALL "
                f"SELECT (SELECT min(time) FROM {table} WHERE time > times.time{within}) FROM times "
                "WHERE times.time IS NOT NULL) SELECT time FROM times WHERE time IS NOT NULL"
            )
            times.extend((int(row[0]), int(row[0]) + level) for row in self._all(statement))
        found: list[tuple[int, int]] = []
        for begin, end in sorted(times):
            if found and begin - found[-1][1] <= longest_gap:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((begin, end))
        return found

    @_in_one_state
    def coarser(self, by: Sequence[str], selection: Selection = EVERYTHING) -> tuple[str, int] | None:
        """Say whether some rows of an answer stand for more time than its keys tell apart.

        Returns:

            (`hour` or `day`, minute at which the last such row ends); None if all are as fine as asked for.
        """
        question = self._question(by, selection)
        wanted = [_LEVEL_OF_KEY[key] for key in question.by if key in _LEVEL_OF_KEY]
        if not wanted:
            return None
        finest = min(wanted)
        if selection.tz != UTC_NAME:
            finest = min(finest, MINUTE if has_parts_of_hours(selection.tz) else HOUR)
        cut = question.cut() if self.schema_version >= FIRST_WITH_CUTS else DETAIL
        where, values = traces.period(question.selection.since_minute, question.selection.until_minute, "time")
        for level in reversed(cut.levels):
            if level <= finest:
                break
            last = self._all(f"SELECT max(time) FROM {cut.table(CHARGES, level)}{where}", values)[0][0]
            if last is not None:
                return LEVEL_NAMES[level], int(last) + level
        return None

    # --- traces ---------------------------------------------------------------------------------

    def costliest(self, count: int = 1, selection: Selection = EVERYTHING) -> list[str]:
        """Return the ids of the kept traces that cost most, all their local roots together."""
        where, values = traces.period(selection.since_minute, selection.until_minute)
        return [
            str(row[0])
            for row in self._all(
                f"SELECT trace_id FROM traces{where} GROUP BY trace_id ORDER BY sum(total_usd) DESC, trace_id LIMIT ?",
                (*values, count),
            )
        ]

    def kept_traces(self, selection: Selection = EVERYTHING, *, limit: int = 100) -> list[TraceSummary]:
        """Return kept traces without their spans, costliest first."""
        where, values = traces.period(selection.since_minute, selection.until_minute)
        return [traces.summary(row) for row in self._all(traces.SUMMARY.format(where=where), (*values, limit))]

    def find_traces(self, prefix: str, limit: int = 10) -> list[str]:
        """Return ids of kept traces that begin with these hex digits."""
        statement = "SELECT DISTINCT trace_id FROM traces WHERE substr(trace_id, 1, ?) = ? ORDER BY trace_id LIMIT ?"
        return [str(row[0]) for row in self._all(statement, (len(prefix), prefix.lower(), limit))]

    def trace(self, trace_id: str) -> list[StoredTrace]:
        """Return all kept local roots of a trace, of all services, earliest first; empty if none is kept.

        A local root's first ancestor elsewhere is the span whose id is its root's `parent_span_id`.
        """
        found = [traces.stored(row) for row in self._all(traces.WHOLE, (trace_id.lower(),))]
        return sorted(found, key=lambda trace: min((node.start_ns for node in trace.nodes), default=0))

    # --- statements -----------------------------------------------------------------------------

    def _question(self, by: Sequence[str], selection: Selection) -> Question:
        question = checked(by, selection)
        since, until = self.bounds(question.selection)
        return question._replace(selection=question.selection._replace(since_minute=since, until_minute=until))

    def _ask(
        self,
        question: Question,
        kind: str,
        cut: Cut,
        columns: str,
        more: Sequence[str] = (),
        grouped_by: Sequence[str] | None = None,
    ) -> list[tuple[Any, ...]]:
        return self._all(*self._statement(question, kind, cut, columns, more, grouped_by))

    def _statement(
        self,
        question: Question,
        kind: str,
        cut: Cut,
        columns: str,
        more: Sequence[str] = (),
        grouped_by: Sequence[str] | None = None,
    ) -> tuple[str, list[object]]:
        if self.schema_version < FIRST_WITH_CUTS and cut.name:
            cut = DETAIL  # the only one that older files have
        if any(key == "cloud_service" for key in (*question.by, *(one.key for one in question.selection.where))):
            self._name_cloud_services()
        is_utc = question.selection.tz == UTC_NAME
        statement = Statement(question, kind, cut, (0, 0) if is_utc else self.range_minutes or (0, 0))
        return statement.sql(columns, more, grouped_by), statement.values

    def _name_cloud_services(self) -> None:
        """Make the table of the names under which a bill has each line."""
        lines = self._all("SELECT id, component, provider, operation, sku FROM lines")
        self._all("CREATE TEMP TABLE IF NOT EXISTS cloud_services (line_id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        named = [(number, cloud_service(*texts).name) for number, *texts in lines]
        try:
            self._connection.executemany("INSERT OR REPLACE INTO temp.cloud_services VALUES (?, ?)", named)
        except sqlite3.Error as error:
            raise ledger_error(self.path, "read it", error) from error

    def _all(self, statement: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with closing(self._connection.execute(statement, tuple(values))) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise ledger_error(self.path, "read it", error) from error
