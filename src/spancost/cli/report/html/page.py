"""The page as one file: style and plots are in it, scripts are not, and nothing is fetched."""

from __future__ import annotations

from html import escape
from typing import Final

from spancost.cli._format import number, usd
from spancost.cli.html.document import document, made_by
from spancost.cli.html.parts import html_table
from spancost.cli.report.asking import Answer
from spancost.cli.report.html.figures import over_time, top_entrypoints, top_models
from spancost.cli.report.html.plots import bar_table, time_plot
from spancost.cli.report.html.style import STYLE
from spancost.cli.report.idle import marked_key, merged
from spancost.cli.report.wording import (
    NOTHING,
    last_lines,
    per_1000,
    per_month,
    row_share,
    row_usd,
    total_row,
)
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import LedgerRow

_SHOWN_ROWS: Final = 500


def html_page(reader: LedgerReader, answer: Answer) -> str:
    """Return the page.

    Args:
        reader: The ledger, for the plots.

        answer: What is in the table.

    Raises:

        LedgerError: The file cannot be read.
    """
    asked = answer.asked
    period = asked.period.named or "everything in the ledger"
    where = f", where {', '.join(map(str, asked.where))}" if asked.where else ""
    parts = [
        f'<header><h1>What it cost</h1><p class="soft">{escape(period + where)}, {asked.cost.value} cost, '
        f"times in {escape(asked.period.tz)}</p></header>",
        _summary(answer),
    ]
    plot = over_time(reader, asked)
    if plot is not None and plot.usd:
        parts.append(_section(f"Cost by {plot.key}", time_plot(plot)))
    bars = top_entrypoints(reader, asked)
    if bars:
        parts.append(_section("Top entrypoints", bar_table("entrypoint", bars, answer.usd)))
    models = top_models(reader, asked)
    if models:
        parts.append(_section("Models", bar_table("model", models, answer.usd)))
    parts.append(_section(f"By {', '.join(answer.by)}", _rows(answer)))
    notes = "".join(f"<p>{escape(line)}</p>" for line in last_lines(answer))
    parts.append(_section("Notes", notes))
    return document(f"What it cost: {period}", STYLE, [*parts, made_by()])


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _summary(answer: Answer) -> str:
    requests = answer.totals.requests
    figures = [("Total", usd(answer.usd)), ("Idle compute", usd(answer.spent.idle_usd))]
    if (factor := answer.per_month) is not None:
        figures.append(("Per month at this rate", usd(answer.usd * factor)))
    if requests:
        figures.append(("Requests", number(requests)))
        figures.append(("Per 1000 requests", usd(answer.usd / requests * 1000)))
    figures.append(("Charges without a price", number(sum(row.charge_count for row in answer.unpriced))))
    items = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return f"<dl>{items}</dl>"


def _rows(answer: Answer) -> str:
    rows = answer.rows if len(answer.rows) <= _SHOWN_ROWS + 1 else answer.rows[:_SHOWN_ROWS]
    rest = answer.rows[len(rows) :]
    if rest:
        key = (f"({len(rest)} more)", *[""] * (len(answer.by) - 1))
        rows = [*rows, merged(rest, key, requests=not answer.rows_share_requests)]
    idle = [row._replace(key=marked_key(answer.by, row.key)) for row in answer.spent.idle_rows]
    has_rate = answer.rows_per_month is not None
    titles = [*answer.by, "requests", "USD", "per 1000", *(["per month"] if has_rate else []), "share"]

    def cells(row: LedgerRow, nothing: str) -> list[str]:
        rate = [per_month(row, answer)] if has_rate else []
        requests = number(row.requests) if row.requests else ""
        keys = [part or nothing for part in row.key]
        return [*keys, requests, row_usd(row), per_1000(row), *rate, row_share(row, answer)]

    return html_table(
        titles, [cells(row, NOTHING) for row in (*rows, *idle)], cells(total_row(answer), ""), keys=len(answer.by)
    )
