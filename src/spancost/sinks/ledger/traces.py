"""Traces that are kept whole: the costliest and a random sample of each hour and service.

The sample is drawn by trace id, so that all services keep the same traces, and it is the same wherever it is drawn:
the ids that are smallest after a mixing step win.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from spancost import names
from spancost.charge import Charge
from spancost.sinks.ledger.rows import StoredNode, StoredTrace, TraceSummary
from spancost.sinks.ledger.schema import ENTRYPOINT_NAME, LINE_COLUMNS
from spancost.trace_choice import lot_of
from spancost.window import KeptNode, KeptTrace

MAX_NODES_PER_TRACE: Final = 2_000
WHOLE: Final = (
    f"SELECT t.trace_id, o.service, o.environment, {ENTRYPOINT_NAME}, a.feature, a.tenant, a.team, t.minute, "
    "t.total_usd, t.sampled, t.nodes FROM traces t JOIN origins o ON o.id = t.origin_id "
    "JOIN labels b ON b.id = t.labels_id JOIN attributions a ON a.id = t.attribution_id "
    "WHERE t.trace_id = ? ORDER BY t.id"
)
"""All kept local roots of one trace."""
SUMMARY: Final = (
    "SELECT t.trace_id, max(t.minute), sum(t.total_usd), "
    f"(SELECT {ENTRYPOINT_NAME} FROM traces x JOIN labels b ON b.id = x.labels_id WHERE x.trace_id = t.trace_id "
    "ORDER BY x.total_usd DESC, x.id LIMIT 1), count(DISTINCT t.origin_id), min(t.sampled) "
    "FROM traces t{where} GROUP BY t.trace_id ORDER BY 3 DESC, 1 LIMIT ?"
)
"""Kept traces, costliest first."""


def period(since_minute: int | None, until_minute: int | None, column: str = "minute") -> tuple[str, tuple[int, ...]]:
    """Return the clause that bounds a column of minutes, with its values."""
    bounds = ((f"{column} >= ?", since_minute), (f"{column} < ?", until_minute))
    given = [(clause, value) for clause, value in bounds if value is not None]
    where = f" WHERE {' AND '.join(clause for clause, _ in given)}" if given else ""
    return where, tuple(value for _, value in given)


def stored(row: tuple[Any, ...]) -> StoredTrace:
    """Return the local root in a row of `WHOLE`."""
    document: dict[str, Any] = json.loads(row[10])
    nodes = tuple(StoredNode(**(node | {"charges": tuple(node["charges"])})) for node in document["nodes"])
    return StoredTrace(*row[:9], sampled=bool(row[9]), nodes=nodes, left_out=int(document.get("left_out", 0)))


def summary(row: tuple[Any, ...]) -> TraceSummary:
    """Return the trace in a row of `SUMMARY`."""
    return TraceSummary(*row[:5], sampled=bool(row[5]))


def prune(connection: sqlite3.Connection, hour: int, origin_id: int, costliest: int, sampled: int) -> None:
    """Keep the costliest of an hour and service, its sample, and a few that belong to other services' kept ones.

    A called service's part ends, and is written, before its caller's: for two minutes nobody knows whether a cheap
    part belongs to a costly trace, so as many again are kept for that long.
    """
    newest = connection.execute("SELECT max(minute) FROM traces WHERE hour = ?", (hour,)).fetchone()[0]
    rows = connection.execute(
        "SELECT t.id, t.minute >= ? - 1, EXISTS (SELECT 1 FROM traces x WHERE x.trace_id = t.trace_id "
        "AND x.origin_id <> t.origin_id), t.trace_id, t.sampled FROM traces t WHERE t.hour = ? AND t.origin_id = ? "
        "ORDER BY t.total_usd DESC, t.id",
        (newest, hour, origin_id),
    ).fetchall()
    drawn = sorted((lot_of(int(row[3], 16)), row[0]) for row in rows)[:sampled]
    kept = {number for _, number in drawn}
    spare = [row for row in rows[costliest:] if row[0] not in kept]
    changed = [(0, row[0]) for row in rows[:costliest] if row[4]]
    changed += [(1, row[0]) for row in rows[costliest:] if row[0] in kept and not row[4]]
    connection.executemany("UPDATE traces SET sampled = ? WHERE id = ?", changed)
    spare.sort(key=lambda row: (not row[2], not row[1]))  # stable: still costliest first within each kind
    kept.update(row[0] for row in [row for row in spare if row[1] or row[2]][:costliest])
    connection.executemany("DELETE FROM traces WHERE id = ?", [(row[0],) for row in spare if row[0] not in kept])


def nodes_json(trace: KeptTrace) -> str:
    """Return the trace's nodes as JSON; of a huge trace the costliest, which are closed under parenthood."""
    nodes = trace.nodes
    left_out = len(nodes) - MAX_NODES_PER_TRACE
    if left_out > 0:
        last = len(nodes) - 1  # parents end after their children: at equal totals the later one is the ancestor
        costliest = sorted(range(len(nodes)), key=lambda i: (i != last, -nodes[i].total_usd, -i))
        nodes = tuple(nodes[i] for i in sorted(costliest[:MAX_NODES_PER_TRACE]))
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
        "charges": [charge_document(charge) for charge in node.charges],
    }


def charge_document(charge: Charge) -> dict[str, Any]:
    """Return a charge as a stored span has it: what is not empty of its line, and its amounts."""
    line = {column: value for column in LINE_COLUMNS if (value := getattr(charge.line, column))}
    amounts: dict[str, Any] = {"quantity": charge.quantity, "usd": charge.usd, "list_usd": charge.list_usd}
    if charge.quantity and charge.line.status in (names.PRICED, names.ESTIMATED):
        amounts["rate_usd"] = charge.usd / charge.quantity
    return line | amounts
