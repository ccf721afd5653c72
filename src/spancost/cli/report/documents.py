"""The answer for machines: JSON and CSV, with full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from spancost import names
from spancost.cli.report.asking import COVERED_DETAIL, HOURS_PER_MONTH, Answer
from spancost.cli.report.idle import METHOD_DETAILS, METHOD_IDS, marked_key
from spancost.cli.report.period import Period
from spancost.sinks.ledger.rows import LedgerRow


def row_document(row: LedgerRow, by: Sequence[str], whole_usd: float) -> dict[str, Any]:
    """Return a row for machines: its key under the names in `by`, its figures, its share of the whole."""
    document: dict[str, Any] = dict(zip(by, row.key, strict=True))
    document["requests"] = row.requests
    document["charges"] = row.charge_count
    if "unit" in by:
        document["quantity"] = row.quantity
    document["component_usd"] = row.component_usd
    document["direct_usd"] = row.direct_usd
    document["total_usd"] = row.usd
    document["list_usd"] = row.list_usd
    document["usd_per_1000_requests"] = row.usd / row.requests * 1000 if row.requests else None
    document["share"] = row.usd / whole_usd if whole_usd else None
    document["unpriced"] = row.unpriced
    return document


def _full_row(row: LedgerRow, answer: Answer) -> dict[str, Any]:
    document = row_document(row, answer.by, answer.usd)
    document["idle_usd"] = answer.spent.borne_usd.get(row.key, 0.0)
    factor = answer.rows_per_month
    document["usd_per_month"] = None if factor is None else row.usd * factor
    return document


def _full_idle_row(row: LedgerRow, answer: Answer) -> dict[str, Any]:
    factor = answer.rows_per_month
    return row_document(row, answer.by, answer.usd) | {
        "idle_usd": row.usd,
        "usd_per_month": None if factor is None else row.usd * factor,
    }


def question_document(answer: Answer) -> dict[str, Any]:
    """Return what was asked, and what was really counted."""
    asked, (first, end) = answer.asked, answer.counted
    period = asked.period
    return {
        "by": list(answer.by),
        "period": period.document(),
        "counted": Period(first, end, period.tz).document(),
        "where": [str(condition) for condition in asked.where],
        "cost": asked.cost.value,
        "idle_method": {
            "name": asked.idle.value,
            "AllocatedMethodId": METHOD_IDS[asked.idle],
            "AllocatedMethodDetails": METHOD_DETAILS[asked.idle],
        },
    }


def report_document(answer: Answer, since: str | None) -> dict[str, Any]:
    """Return the whole answer for JSON.

    Args:
        answer: The answer.

        since: `--since` as it was given.
    """
    factor = answer.per_month
    return question_document(answer) | {
        "since": since,
        "rows": [_full_row(row, answer) for row in answer.rows],
        "idle_rows": [_full_idle_row(row, answer) for row in answer.spent.idle_rows],
        "requests": answer.totals.requests,
        "total_usd": answer.usd,
        "idle_usd": answer.spent.idle_usd,
        "late_usd": answer.totals.late_usd,
        "unattributed_usd": answer.totals.unattributed_usd,
        "component_usd": answer.totals.component_usd,
        "usd_per_month": None if factor is None else answer.usd * factor,
        "per_month": {
            "covered_minutes": answer.covered_minutes,
            "covered": COVERED_DETAIL,
            "hours_per_month": HOURS_PER_MONTH,
        },
        "idle": [row._asdict() for row in answer.idle],
        "unpriced": [row._asdict() for row in answer.unpriced],
        "estimated": [row._asdict() for row in answer.estimated],
        "notes": answer.notes(),
    }


def csv_text(answer: Answer) -> str:
    """Return rows as CSV, idle compute under the key `(idle)`."""
    documents = [_full_row(row, answer) for row in answer.rows]
    documents.extend(
        _full_idle_row(row, answer) | dict(zip(answer.by, marked_key(answer.by, row.key), strict=True))
        for row in answer.spent.idle_rows
    )
    header = [*answer.by, "requests", "charges", *(["quantity"] if "unit" in answer.by else [])]
    amounts = ["direct_usd", "total_usd", "list_usd", "usd_per_1000_requests", "share"]
    last = ["idle_usd", "usd_per_month"]
    components = names.COMPONENTS if answer.split else ()
    rows: list[Sequence[object]] = [
        [*header, *(f"{component}_usd" for component in components), *amounts, "unpriced", *last]
    ]
    for document in documents:
        by_component = [document["component_usd"][component] for component in components]
        values = [*(document[name] for name in header), *by_component, *(document[name] for name in amounts)]
        rows.append([*values, sum(document["unpriced"].values()), *(document[name] for name in last)])
    return csv_of(rows)


def csv_of(rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV, header first."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
