"""The answer for machines: JSON and CSV, with full precision."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from spancost import names
from spancost.cli.report.asking import COVERED_DETAIL, HOURS_PER_MONTH, Answer
from spancost.cli.report.idle import METHOD_DETAILS, METHOD_IDS, marked_key
from spancost.cli.report.period import Period
from spancost.cli.report.quality import quality_document
from spancost.cost_changes import known_usd
from spancost.sinks.ledger.rows import LedgerRow


def row_document(row: LedgerRow, by: Sequence[str], whole_usd: float) -> dict[str, Any]:
    """Return a row for machines: its key under the names in `by`, its figures, its share of the whole.

    An amount of which nothing is known is None: it is not $0.
    """
    unpriced = sum(row.unpriced.values())
    total = known_usd(row.usd, unpriced)
    document: dict[str, Any] = dict(zip(by, row.key, strict=True))
    document["requests"] = row.requests
    document["charges"] = row.charge_count
    if "unit" in by:
        document["quantity"] = row.quantity
    document["component_usd"] = {
        component: known_usd(amount, row.unpriced.get(component, 0)) for component, amount in row.component_usd.items()
    }
    document["direct_usd"] = None if total is None else row.direct_usd
    document["total_usd"] = total
    document["list_usd"] = known_usd(row.list_usd, unpriced)
    document["usd_per_1000_requests"] = total / row.requests * 1000 if row.requests and total is not None else None
    document["share"] = total / whole_usd if whole_usd and total is not None else None
    document["unpriced"] = row.unpriced
    return document


def _full_row(row: LedgerRow, answer: Answer) -> dict[str, Any]:
    document = row_document(row, answer.by, answer.usd)
    document["idle_usd"] = answer.spent.borne_usd.get(row.key, 0.0)
    document["usd_per_month"] = _per_month(document, answer)
    return document


def _full_idle_row(row: LedgerRow, answer: Answer) -> dict[str, Any]:
    document = row_document(row, answer.by, answer.usd)
    return document | {"idle_usd": document["total_usd"], "usd_per_month": _per_month(document, answer)}


def _per_month(document: Mapping[str, Any], answer: Answer) -> float | None:
    factor, total = answer.rows_per_month, document["total_usd"]
    return None if factor is None or total is None else total * factor


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
    factor, unpriced = answer.per_month, Counter[str]()
    for row in answer.unpriced:
        unpriced[row.component] += row.charge_count
    total = known_usd(answer.usd, unpriced.total())
    return question_document(answer) | {
        "since": since,
        "rows": [_full_row(row, answer) for row in answer.rows],
        "idle_rows": [_full_idle_row(row, answer) for row in answer.spent.idle_rows],
        "requests": answer.totals.requests,
        "total_usd": total,
        "idle_usd": answer.spent.idle_usd,
        "late_usd": answer.totals.late_usd,
        "unattributed_usd": answer.totals.unattributed_usd,
        "component_usd": {
            component: known_usd(amount, unpriced[component])
            for component, amount in answer.totals.component_usd.items()
        },
        "usd_per_month": None if factor is None or total is None else total * factor,
        "per_month": {
            "covered_minutes": answer.covered_minutes,
            "covered": COVERED_DETAIL,
            "hours_per_month": HOURS_PER_MONTH,
        },
        "idle": [row._asdict() for row in answer.idle],
        "unpriced": [row._asdict() for row in answer.unpriced],
        "estimated": [row._asdict() for row in answer.estimated],
        "quality": quality_document(answer.quality),
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
