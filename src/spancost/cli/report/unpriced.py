"""Say what has no price, and what was assumed, in a line for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from spancost import names
from spancost.cli._format import number, usd
from spancost.sinks.ledger.rows import EstimatedRow, UnpricedRow

_SHOWN_HOSTS: Final = 3
_SHOWN_ASSUMPTIONS: Final = 6


def not_priced(rows: Sequence[UnpricedRow]) -> str:
    """Say in one line what has no price: `42 spans not priced: unknown_host 30 (127.0.0.1), no_usage 12`."""
    compute = [row for row in rows if row.component == names.COMPUTE]
    spans = [row for row in rows if row.component != names.COMPUTE]
    parts: list[str] = []
    if spans:
        counts: Counter[str] = Counter()
        subjects: dict[str, Counter[str]] = {}
        for row in spans:
            counts[row.reason or "unknown"] += row.charge_count
            subjects.setdefault(row.reason or "unknown", Counter())[subject(row)] += row.charge_count
        total = sum(counts.values())
        reasons = ", ".join(f"{reason} {n:,}{_named(subjects[reason])}" for reason, n in counts.most_common())
        parts.append(f"{total:,} {'span' if total == 1 else 'spans'} not priced: {reasons}")
    timed = [row for row in compute if row.quantity]
    if timed:
        seconds = sum(row.quantity for row in timed)
        parts.append(f"compute of {number(seconds)} s not priced: {_reasons(timed)} (set {names.ENV_COMPUTE})")
    unseen = [row for row in compute if not row.quantity]  # an exporter does not see the machine: nothing to set
    if unseen:
        count = sum(row.charge_count for row in unseen)
        parts.append(f"compute of {count:,} {'request' if count == 1 else 'requests'} not priced: {_reasons(unseen)}")
    return "; ".join(parts) if parts else "everything is priced"


def _reasons(rows: Sequence[UnpricedRow]) -> str:
    return ", ".join(sorted({row.reason or "unknown" for row in rows}))


def subject(row: UnpricedRow) -> str:
    """Return what a person looks for: the host, the model, or the operation."""
    if row.component == names.HTTP:
        return row.provider
    if row.component == names.LLM:
        return row.model or row.operation
    if row.component == names.CUSTOM:
        return f"{row.operation} in {row.unit}" if row.unit else row.operation
    return "" if row.component == names.EGRESS else row.operation


def _named(found: Counter[str]) -> str:
    shown = [name for name, _ in found.most_common() if name]
    if not shown:
        return ""
    more = f", {len(shown) - _SHOWN_HOSTS} more" if len(shown) > _SHOWN_HOSTS else ""
    return f" ({', '.join(shown[:_SHOWN_HOSTS])}{more})"


def what_is_estimated(rows: Sequence[EstimatedRow]) -> str:
    """Say in one line what was assumed: `$1.20 of it is estimated: compute m6i.large (assumed_machine) $1.20`."""
    parts: dict[str, float] = {}
    for row in rows:  # dearest first
        parts[_assumption(row)] = parts.get(_assumption(row), 0.0) + row.usd
    named = ", ".join(f"{what} {usd(amount)}" for what, amount in list(parts.items())[:_SHOWN_ASSUMPTIONS])
    more = f", {len(parts) - _SHOWN_ASSUMPTIONS} more" if len(parts) > _SHOWN_ASSUMPTIONS else ""
    return f"{usd(sum(parts.values()))} of it is estimated: {named}{more}"


def _assumption(row: EstimatedRow) -> str:
    where = " ".join(part for part in (row.sku, row.region) if part)
    assumed_machine = row.component == names.COMPUTE and where
    return f"{row.component} {where} ({row.basis})" if assumed_machine else f"{row.component} ({row.basis})"
