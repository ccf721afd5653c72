"""Ask the ledger: sums by any of its keys, what is not priced, idle compute, and kept traces.

Read-only, while applications go on writing. Amounts are USD, quantities are in the unit of their line,
times are UTC. Sums over rows exclude idle compute, which belongs to no request; `idle` returns it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Final, NamedTuple

from spancost import names
from spancost.errors import LedgerError, suggest
from spancost.sinks.ledger_schema import LABEL_COLUMNS, LINE_COLUMNS, connect_to_read, ledger_error
from spancost.window import ENTRY, IDLE, LATE_ENTRY

_ENTRYPOINT: Final = (
    "CASE WHEN http_route <> '' THEN ltrim(http_request_method || ' ' || http_route) ELSE entrypoint END"
)
_TIME_KEYS: Final = {"minute": "minute", "hour": "minute / 60", "day": "minute / 1440"}
_TIME_FORMATS: Final = {
    "minute": "strftime('%Y-%m-%dT%H:%MZ', minute * 60, 'unixepoch')",
    "hour": "strftime('%Y-%m-%dT%H:00Z', minute * 60, 'unixepoch')",
    "day": "strftime('%Y-%m-%d', minute * 60, 'unixepoch')",
}
_REQUEST_KEYS: Final = (
    *_TIME_KEYS,
    "service",
    "environment",
    "cloud_account",
    *LABEL_COLUMNS,
    "feature",
    "tenant",
    "team",
)
LEDGER_KEYS: Final = (*_REQUEST_KEYS, *LINE_COLUMNS, "position")
"""Everything `rows` can split by. `entrypoint` is `METHOD route` for HTTP and the entrypoint's name otherwise;
`minute`, `hour` and `day` are ISO times, UTC."""

_REQUESTS_VIEW: Final = """(SELECT r.minute, o.service, o.environment, o.cloud_account, b.http_route,
    b.http_request_method, b.entrypoint, a.feature, a.tenant, a.team, r.count, r.outcome, r.total_usd
    FROM requests r JOIN labels b ON b.id = r.labels_id JOIN attributions a ON a.id = r.attribution_id
    JOIN origins o ON o.id = r.origin_id)"""


class LedgerRow(NamedTuple):
    """Sums of one combination of keys."""

    key: tuple[str, ...]
    """One value per key asked for, in that order; empty where it does not apply."""
    requests: int
    """Local roots that share the keys which requests have (service, route, tenant, ...), whatever the others."""
    charge_count: int
    """Charges."""
    quantity: float
    """Only meaningful where `unit` is among the keys."""
    direct_usd: float
    """Charged on the local roots' own spans."""
    usd: float
    """Everything: direct, below, late and unattributed."""
    list_usd: float
    """The same at list price."""
    component_usd: dict[str, float]
    """`usd` by component of `names.COMPONENTS`."""
    unpriced: dict[str, int]
    """Charges without a price by component; components that have none are left out."""


class Totals(NamedTuple):
    """Sums over everything asked for."""

    requests: int
    charge_count: int
    usd: float
    """Without idle compute."""
    list_usd: float
    idle_usd: float
    late_usd: float
    unattributed_usd: float
    component_usd: dict[str, float]


class UnpricedRow(NamedTuple):
    """What has no price, and why."""

    component: str
    provider: str
    """The host, for third-party HTTP."""
    operation: str
    model: str
    unit: str
    reason: str
    charge_count: int
    quantity: float


class EstimatedRow(NamedTuple):
    """What is priced on an assumption."""

    component: str
    basis: str
    region: str
    sku: str
    source: str
    charge_count: int
    usd: float


class IdleRow(NamedTuple):
    """Compute of a service that nobody used."""

    service: str
    seconds: float
    usd: float
    list_usd: float
    unpriced: int
    """Charges without a price; their `seconds` count all the same."""


class StoredNode(NamedTuple):
    """One span of a kept trace."""

    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    duration_ns: int
    direct_usd: float
    total_usd: float
    charges: tuple[dict[str, Any], ...]
    """Per charge: the fields of its price line that are not empty, `quantity`, `usd`, `list_usd`, `rate_usd`."""


class StoredTrace(NamedTuple):
    """One local root kept whole."""

    trace_id: str
    service: str
    environment: str
    entrypoint: str
    feature: str
    tenant: str
    team: str
    minute: int
    total_usd: float
    nodes: tuple[StoredNode, ...]
    left_out: int
    """Spans of a huge trace that were not kept; their money is in the totals of their parents."""


class LedgerReader:
    """Reads a ledger file; a context manager.

    Raises:

        LedgerError: No such file, not a ledger, written by a newer spancost, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._connection = connect_to_read(self.path)

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

    def rows(
        self, by: Sequence[str], *, since_minute: int | None = None, until_minute: int | None = None
    ) -> list[LedgerRow]:
        """Return sums per combination of the keys `by`, costliest first, without idle compute.

        Args:

            by: Names out of `LEDGER_KEYS`.

            since_minute: First minute counted, Unix seconds // 60.

            until_minute: First minute no longer counted.

        Raises:

            LedgerError: A key is unknown, or the file cannot be read.
        """
        for key in by:
            if key not in LEDGER_KEYS:
                raise LedgerError(f"{key!r} is not a key of the ledger: {suggest(key, LEDGER_KEYS, limit=99)}")
        components = ", ".join(
            f"sum(CASE WHEN component = '{name}' THEN usd ELSE 0 END), "
            f"sum(CASE WHEN component = '{name}' AND status = '{names.UNPRICED}' THEN count ELSE 0 END)"
            for name in names.COMPONENTS
        )
        where, values = _period(since_minute, until_minute, f"position <> '{IDLE}'")
        shown, grouped = _select(by)
        found = self._all(
            f"SELECT {shown}sum(count), sum(quantity), "
            f"sum(CASE WHEN position IN ('{ENTRY}', '{LATE_ENTRY}') THEN usd ELSE 0 END), sum(usd), sum(list_usd), "
            f"{components} FROM ledger_rows{where}{grouped}",
            values,
        )
        shared = [key for key in by if key in _REQUEST_KEYS]
        requests = self._requests(shared, since_minute, until_minute)
        width = len(by)
        rows: list[LedgerRow] = []
        for row in found:
            if row[width] is None:  # the one row of an aggregate over nothing
                continue
            key = tuple(str(value) for value in row[:width])
            amounts = row[width + 5 :]
            own = tuple(value for name, value in zip(by, key, strict=True) if name in _REQUEST_KEYS)
            rows.append(
                LedgerRow(
                    key,
                    requests.get(own, 0),
                    *row[width : width + 5],
                    component_usd=dict(zip(names.COMPONENTS, amounts[::2], strict=True)),
                    unpriced={name: n for name, n in zip(names.COMPONENTS, amounts[1::2], strict=True) if n},
                )
            )
        if len(shared) == len(by):
            seen = {row.key for row in rows}
            nothing: dict[str, float] = dict.fromkeys(names.COMPONENTS, 0.0)
            rows.extend(
                LedgerRow(key, count, 0, 0.0, 0.0, 0.0, 0.0, nothing, {})
                for key, count in requests.items()
                if key not in seen
            )
        return sorted(rows, key=lambda row: (-row.usd, -row.requests, row.key))

    def totals(self, *, since_minute: int | None = None, until_minute: int | None = None) -> Totals:
        """Return the sums of everything in a period."""
        where, values = _period(since_minute, until_minute)
        busy = f"position <> '{IDLE}'"
        row = self._all(
            f"SELECT total(CASE WHEN {busy} THEN count END), total(CASE WHEN {busy} THEN usd END), "
            f"total(CASE WHEN {busy} THEN list_usd END), total(CASE WHEN position = '{IDLE}' THEN usd END), "
            "total(CASE WHEN position LIKE 'late%' THEN usd END), "
            f"total(CASE WHEN position = 'unattributed' THEN usd END) FROM ledger_rows{where}",
            values,
        )[0]
        where, values = _period(since_minute, until_minute, busy)
        found = dict(self._all(f"SELECT component, sum(usd) FROM ledger_rows{where} GROUP BY component", values))
        requests = sum(self._requests([], since_minute, until_minute).values())
        components = {name: float(found.get(name, 0.0)) for name in names.COMPONENTS}
        return Totals(requests, int(row[0]), *row[1:], component_usd=components)

    def unpriced(self, *, since_minute: int | None = None, until_minute: int | None = None) -> list[UnpricedRow]:
        """Return what was used without a known price, most frequent first; idle compute included."""
        where, values = _period(since_minute, until_minute, f"status = '{names.UNPRICED}'")
        return [
            UnpricedRow(*row)
            for row in self._all(
                "SELECT component, provider, operation, model, unit, reason, sum(count), sum(quantity) "
                f"FROM ledger_rows{where} GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 7 DESC, 1, 2, 3, 4, 5, 6",
                values,
            )
        ]

    def estimated(self, *, since_minute: int | None = None, until_minute: int | None = None) -> list[EstimatedRow]:
        """Return what was assumed, dearest first; idle compute included."""
        where, values = _period(since_minute, until_minute, f"status = '{names.ESTIMATED}'")
        return [
            EstimatedRow(*row)
            for row in self._all(
                "SELECT component, basis, region, sku, source, sum(count), sum(usd) "
                f"FROM ledger_rows{where} GROUP BY 1, 2, 3, 4, 5 ORDER BY 7 DESC, 1, 2, 3, 4, 5",
                values,
            )
        ]

    def idle(self, *, since_minute: int | None = None, until_minute: int | None = None) -> list[IdleRow]:
        """Return idle compute per service, dearest first."""
        where, values = _period(since_minute, until_minute, f"position = '{IDLE}'")
        return [
            IdleRow(*row)
            for row in self._all(
                "SELECT service, sum(quantity), sum(usd), sum(list_usd), "
                f"sum(CASE WHEN status = '{names.UNPRICED}' THEN count ELSE 0 END) "
                f"FROM ledger_rows{where} GROUP BY service ORDER BY 3 DESC, 1",
                values,
            )
        ]

    def costliest(
        self, count: int = 1, *, since_minute: int | None = None, until_minute: int | None = None
    ) -> list[str]:
        """Return the ids of the kept traces that cost most, all their local roots together."""
        where, values = _period(since_minute, until_minute)
        return [
            str(row[0])
            for row in self._all(
                f"SELECT trace_id FROM traces{where} GROUP BY trace_id ORDER BY sum(total_usd) DESC, trace_id LIMIT ?",
                (*values, count),
            )
        ]

    def find_traces(self, prefix: str, limit: int = 10) -> list[str]:
        """Return ids of kept traces that begin with these hex digits."""
        statement = "SELECT DISTINCT trace_id FROM traces WHERE substr(trace_id, 1, ?) = ? ORDER BY trace_id LIMIT ?"
        return [str(row[0]) for row in self._all(statement, (len(prefix), prefix.lower(), limit))]

    def trace(self, trace_id: str) -> list[StoredTrace]:
        """Return all kept local roots of a trace, of all services, earliest first; empty if none is kept.

        A local root's first ancestor elsewhere is the span whose id is its root's `parent_span_id`.
        """
        entrypoint = _ENTRYPOINT.replace("http_", "b.http_").replace("ELSE entrypoint", "ELSE b.entrypoint")
        found = self._all(
            f"SELECT t.trace_id, o.service, o.environment, {entrypoint}, a.feature, a.tenant, a.team, t.minute, "
            "t.total_usd, t.nodes FROM traces t JOIN origins o ON o.id = t.origin_id "
            "JOIN labels b ON b.id = t.labels_id JOIN attributions a ON a.id = t.attribution_id "
            "WHERE t.trace_id = ? ORDER BY t.id",
            (trace_id.lower(),),
        )
        traces = [_stored_trace(row) for row in found]
        return sorted(traces, key=lambda trace: min((node.start_ns for node in trace.nodes), default=0))

    def _requests(
        self, keys: Sequence[str], since_minute: int | None, until_minute: int | None
    ) -> dict[tuple[str, ...], int]:
        where, values = _period(since_minute, until_minute)
        shown, grouped = _select(keys)
        rows = self._all(f"SELECT {shown}sum(count) FROM {_REQUESTS_VIEW}{where}{grouped}", values)
        return {tuple(str(value) for value in row[:-1]): int(row[-1]) for row in rows if row[-1] is not None}

    def _all(self, statement: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with closing(self._connection.execute(statement, tuple(values))) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise ledger_error(self.path, "read it", error) from error


def _select(keys: Sequence[str]) -> tuple[str, str]:
    """Return the selected columns, each followed by a comma, and the clause that groups by them."""
    if not keys:
        return "", ""
    columns = ", ".join(_expression(key, _TIME_FORMATS) for key in keys)
    return f"{columns}, ", f" GROUP BY {', '.join(_expression(key, _TIME_KEYS) for key in keys)}"


def _expression(key: str, times: dict[str, str]) -> str:
    return _ENTRYPOINT if key == "entrypoint" else times.get(key, key)


def _period(since_minute: int | None, until_minute: int | None, *more: str) -> tuple[str, tuple[int, ...]]:
    clauses, values = list(more), list[int]()
    if since_minute is not None:
        clauses.append("minute >= ?")
        values.append(since_minute)
    if until_minute is not None:
        clauses.append("minute < ?")
        values.append(until_minute)
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), tuple(values)


def _stored_trace(row: tuple[Any, ...]) -> StoredTrace:
    document: dict[str, Any] = json.loads(row[9])
    nodes = tuple(StoredNode(**(node | {"charges": tuple(node["charges"])})) for node in document["nodes"])
    return StoredTrace(*row[:9], nodes=nodes, left_out=int(document.get("left_out", 0)))
