"""Figures and sentences of a report for people, the same in every format they read."""

from __future__ import annotations

from math import fsum
from typing import Final

from spancost.cli._currency import display_currency
from spancost.cli._format import UNKNOWN, number, share, usd
from spancost.cli.report.asking import Answer, borne
from spancost.cli.report.idle import merged
from spancost.cli.report.options import Cost, IdleMethod
from spancost.cli.report.quality import quality_lines
from spancost.cli.report.unpriced import not_priced, what_is_estimated
from spancost.sinks.ledger.rows import LedgerRow

NOTHING: Final = "(none)"
TOTAL: Final = "total"
EXACT: Final = "USD"
"""Title of the column that has amounts with all their digits."""
_HOURS_PER_DAY: Final = 24


def row_usd(row: LedgerRow) -> str:
    """Return what a row cost."""
    return UNKNOWN if not row.usd and row.unpriced else usd(row.usd)


def row_share(row: LedgerRow, answer: Answer) -> str:
    """Return a row's part of everything."""
    return UNKNOWN if not row.usd and row.unpriced else share(row.usd, answer.usd)


def per_1000(row: LedgerRow) -> str:
    """Return USD per 1 000 requests; empty where there are none, or the cost is unknown."""
    if not row.requests or (not row.usd and row.unpriced):
        return ""
    return usd(row.usd / row.requests * 1000)


def per_month(row: LedgerRow, answer: Answer) -> str:
    """Return USD per month at this rate; empty where too little is known."""
    factor = answer.rows_per_month
    if factor is None or (not row.usd and row.unpriced):
        return ""
    return usd(row.usd * factor)


def total_row(answer: Answer) -> LedgerRow:
    """Return the sum of all rows and idle compute, with every request once."""
    key = (TOTAL, *[""] * (len(answer.by) - 1))
    row = merged((*answer.rows, *answer.spent.idle_rows), key, requests=False)
    return row._replace(requests=answer.totals.requests, charge_count=answer.totals.charge_count)


def last_lines(answer: Answer) -> list[str]:
    """Return what is to be known beside the rows; the last line is the total and what is not priced."""
    lines = list(answer.notes())
    if answer.asked.cost is Cost.LIST:
        lines.append("Amounts are list prices, not what you pay.")
    if answer.estimated:
        lines.append(what_is_estimated(answer.estimated))
    if (factor := answer.per_month) is not None and answer.usd:
        lines.append(f"At this rate {usd(answer.usd * factor)} a month ({duration(answer.covered_minutes)} of data).")
    lines.extend(quality_lines(answer.quality))
    currency = display_currency()
    figure = "" if currency is None else f" {currency.figure(answer.usd)}"
    return [*lines, f"Total {usd(answer.usd)}{figure}{_idle(answer)}; {not_priced(answer.unpriced)}"]


def _idle(answer: Answer) -> str:
    left = fsum(row.usd for row in answer.spent.idle_rows)
    parts = [f", {usd(left)} of it idle"] if left else []
    if given := borne(answer):
        how = "by compute cost" if answer.asked.idle is IdleMethod.PROPORTIONAL else "by request"
        parts.append(f", {usd(given)} of it idle compute given to the rows {how}")
    return "".join(parts)


def duration(minutes: int) -> str:
    """Return minutes in the largest fitting unit: `11 minutes`, `3.5 hours`, `12 days`."""
    hours = minutes / 60
    if hours < 1:
        return _counted(minutes, "minute")
    if hours < 2 * _HOURS_PER_DAY:
        return _counted(round(hours, 1), "hour")
    return _counted(round(hours / _HOURS_PER_DAY, 1), "day")


def _counted(value: float, unit: str) -> str:
    return f"{number(value)} {unit}{'' if value == 1 else 's'}"
