"""Tables in GitHub's Markdown, for pull requests, tickets and wikis."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from spancost.cli._format import Column, number
from spancost.cli.report.asking import Answer
from spancost.cli.report.idle import marked_key
from spancost.cli.report.wording import EXACT, NOTHING, last_lines, per_1000, per_month, row_share, row_usd, total_row
from spancost.sinks.ledger.rows import LedgerRow

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~])")


def markdown_text(answer: Answer) -> str:
    """Return rows, the sum and the notes. The last column has every amount exactly."""
    idle = [row._replace(key=marked_key(answer.by, row.key)) for row in answer.spent.idle_rows]
    rows = [*answer.rows, *idle, total_row(answer)]
    columns = [
        Column(key, [row.key[index] or ("" if row is rows[-1] else NOTHING) for row in rows], is_key=True)
        for index, key in enumerate(answer.by)
    ]
    columns.append(Column("requests", [number(row.requests) if row.requests else "" for row in rows]))
    columns.append(Column("total", [row_usd(row) for row in rows]))
    columns.append(Column("per 1000", [per_1000(row) for row in rows]))
    if answer.rows_per_month is not None:
        columns.append(Column("per month", [per_month(row, answer) for row in rows]))
    columns.append(Column("share", [row_share(row, answer) for row in rows]))
    columns.append(Column(EXACT, [exact(row) for row in rows]))
    return markdown_of(columns, last_lines(answer))


def exact(row: LedgerRow) -> str:
    """Return an amount with full precision; empty where it is unknown."""
    return "" if not row.usd and row.unpriced else repr(row.usd)


def markdown_of(columns: Sequence[Column], notes: Iterable[str]) -> str:
    """Return columns as a Markdown table, its last row in bold, with notes below.

    Args:
        columns: Keys first.

        notes: One paragraph each.
    """
    lines = [
        _line(_escaped(column.title) for column in columns),
        _line("---" if column.is_key else "---:" for column in columns),
    ]
    count = len(columns[0].cells)
    for index in range(count):
        cells = [_escaped(column.cells[index]) for column in columns]
        is_sum = index == count - 1
        lines.append(
            _line(
                f"**{cell}**" if is_sum and cell and column.title != EXACT else cell
                for cell, column in zip(cells, columns, strict=True)
            )
        )
    return "\n".join([*lines, *(part for note in notes for part in ("", _escaped(note)))]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))
