"""The report as a table for a terminal: it gives way in steps until it fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from rich.text import Text

from spancost import names
from spancost.cli._format import UNKNOWN, Column, console, fits, number, print_table, share, show, usd
from spancost.cli.report.asking import Answer
from spancost.cli.report.idle import IDLE_KEY, marked_key, merged
from spancost.cli.report.wording import (
    NOTHING,
    last_lines,
    per_1000,
    per_month,
    row_share,
    row_usd,
    total_row,
)
from spancost.sinks.ledger.rows import LedgerRow

_DIRECT: Final = "DIRECT"
_PER_MONTH: Final = "PER MONTH"
_SMALL_SHARE: Final = 0.001
"""Components below this part of the total share a column where the terminal is narrow."""
_SHOWN_IDLE: Final = 10
"""More rows of idle compute are one."""
_EVERYTHING: Final = 10_000
"""Columns of a terminal that is wide enough for anything."""


class _Lines(NamedTuple):
    """Rows as they are shown."""

    rows: list[LedgerRow]
    """The last one stands for those beyond the limit, if there are any."""
    idle: list[LedgerRow]
    total: LedgerRow

    @property
    def all(self) -> list[LedgerRow]:
        return [*self.rows, *self.idle, self.total]


def print_report(answer: Answer, limit: int, *, wide: bool) -> None:
    """Print the answer.

    Args:
        answer: What was asked.

        limit: Rows; the rest is one row.

        wide: All columns in one table, also beyond the terminal.
    """
    shown = answer.rows if len(answer.rows) <= limit + 1 else answer.rows[:limit]
    rest = answer.rows[len(shown) :]
    more = [merged(rest, _key(f"({len(rest)} more)", answer), requests=not answer.rows_share_requests)] if rest else []
    lines = _Lines([*shown, *more], _idle_lines(answer), total_row(answer))
    keys, left_out = _key_columns(answer, lines, has_rest=bool(rest))
    numbers = _number_columns(answer, lines)
    components = [_component_column(answer, lines, [component]) for component in _components(answer)]
    out = console()
    notes: list[str] = []
    if left_out:
        notes.append(f"{', '.join(left_out)}: {NOTHING} everywhere, left out.")
    blocks = [[*numbers, *components]]
    if wide:
        out.width = _EVERYTHING  # also in a narrow terminal: nothing folded, nothing left out
    elif not fits([*keys, *blocks[0]], out.width):
        blocks, merged_components = _narrowed(answer, lines, keys, numbers, out.width)
        parts = [f"OTHER is {', '.join(merged_components)}"] if merged_components else []
        missing = [title for title in (_DIRECT, _PER_MONTH) if _has(numbers, title) and not _has(blocks[0], title)]
        if missing:
            parts.insert(0, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} left out")
        if parts:
            notes.append(f"{'; '.join(parts)}: --wide shows all columns.")
    if rest:
        notes.append(f"{len(rest)} more rows: --limit {len(answer.rows)}, or --format csv for all of them.")
    for index, block in enumerate(blocks):
        if index:
            show(out, "")
        print_table(out, [*keys, *block], sum_rows=1)
    for line in ("", *notes, *last_lines(answer)):
        show(out, Text(line))


def _key(first: str, answer: Answer) -> tuple[str, ...]:
    return (first, *[""] * (len(answer.by) - 1))


def _idle_lines(answer: Answer) -> list[LedgerRow]:
    found = answer.spent.idle_rows
    if len(found) > _SHOWN_IDLE:
        return [merged(found, _key(IDLE_KEY, answer), requests=False)]
    return [row._replace(key=marked_key(answer.by, row.key)) for row in found]


def _key_columns(answer: Answer, lines: _Lines, *, has_rest: bool) -> tuple[list[Column], list[str]]:
    """Return the columns of keys, and the keys that no row has: they get no column, unless none has any."""
    used = [any(row.key[index] for row in (*answer.rows, *lines.idle)) for index in range(len(answer.by))]
    if not any(used):
        used[0] = True
    shown = [index for index, is_used in enumerate(used) if is_used]
    columns: list[Column] = []
    for index in shown:
        is_first = index == shown[0]
        cells = [row.key[index] or NOTHING for row in lines.rows]
        if has_rest:
            cells[-1] = lines.rows[-1].key[0] if is_first else NOTHING  # the first says how many more
        cells.extend(row.key[index] for row in lines.idle)
        cells.append(lines.total.key[0] if is_first else "")
        columns.append(Column(answer.by[index].upper(), cells, is_key=True))
    return columns, [key for key, is_used in zip(answer.by, used, strict=True) if not is_used]


def _number_columns(answer: Answer, lines: _Lines) -> list[Column]:
    columns: list[Column] = []
    requests_known = answer.totals.requests > 0
    if requests_known:
        columns.append(Column("REQUESTS", [number(row.requests) if row.requests else "" for row in lines.all]))
    if "unit" in answer.by:
        cells = [number(row.quantity) for row in (*lines.rows, *lines.idle)]
        columns.append(Column("QUANTITY", [*cells, ""]))
    elif not answer.split:
        cells = ["" if row in lines.idle else number(row.charge_count) for row in lines.all]
        columns.append(Column("CHARGES", cells))
    columns.append(Column("TOTAL", [*map(row_usd, (*lines.rows, *lines.idle)), usd(lines.total.usd)]))
    if answer.split and "position" not in answer.by:
        cells = [usd(row.direct_usd) if row.charge_count else "" for row in lines.rows]
        columns.append(Column(_DIRECT, [*cells, *("" for _ in lines.idle), usd(lines.total.direct_usd)]))
    if requests_known:
        columns.append(Column("PER 1000", [per_1000(row) for row in lines.all]))
    if answer.rows_per_month is not None:
        columns.append(Column(_PER_MONTH, [per_month(row, answer) for row in lines.all]))
    shares = [row_share(row, answer) for row in (*lines.rows, *lines.idle)]
    columns.append(Column("SHARE", [*shares, share(answer.usd, answer.usd)]))
    return columns


def _components(answer: Answer) -> list[str]:
    """Return the components that have a column."""
    if not answer.split:
        return []
    return [
        component
        for component in names.COMPONENTS
        if any(
            row.component_usd[component] or component in row.unpriced for row in (*answer.rows, *answer.spent.idle_rows)
        )
        or (component == names.COMPUTE and answer.spent.idle_rows)
    ]


def _component_column(answer: Answer, lines: _Lines, components: Sequence[str]) -> Column:
    """Return the column of one component with its sums, or one column of several."""
    cells = [
        _sum_or_unknown([(row.component_usd[name], name in row.unpriced) for name in components]) for row in lines.rows
    ]
    cells.extend(row_usd(row) if names.COMPUTE in components else "" for row in lines.idle)
    unpriced = {row.component for row in answer.unpriced}
    cells.append(
        _sum_or_unknown([(lines.total.component_usd[name], name in unpriced) for name in components]) or usd(0)
    )
    return Column(components[0].upper() if len(components) == 1 else names.OTHER.upper(), cells)


def _narrowed(
    answer: Answer, lines: _Lines, keys: Sequence[Column], numbers: Sequence[Column], width: int
) -> tuple[list[list[Column]], list[str]]:
    """Return at most two blocks of columns for a narrow terminal, and the components that are OTHER there.

    First components below 0.1 % of the total become OTHER, then DIRECT and the rate per month go; if that does not
    help, components are a second block, the smallest of them in OTHER where they do not fit.
    """
    components = _components(answer)
    totals = lines.total.component_usd
    dearest = sorted(components, key=lambda name: -totals[name])
    small = [name for name in dearest if _is_small(answer, totals[name], name)]

    def component_columns(merged: Sequence[str]) -> list[Column]:
        own = [_component_column(answer, lines, [name]) for name in components if name not in merged]
        return [*own, _component_column(answer, lines, merged)] if merged else own

    if len(small) < 2:
        small = []
    narrower = [list(numbers)]
    for title in (_DIRECT, _PER_MONTH):
        narrower.append([column for column in narrower[-1] if column.title != title])
    for base in narrower:
        columns = [*base, *component_columns(small)]
        if fits([*keys, *columns], width):
            return [columns], small
    base = next((base for base in narrower if fits([*keys, *base], width)), narrower[-1])
    if not components:
        return [base], []
    folded = small
    while not fits([*keys, *component_columns(folded)], width) and len(folded) < len(components):
        folded = dearest[-max(2, len(folded) + 1) :]
    return [base, component_columns(folded)], folded


def _has(columns: Iterable[Column], title: str) -> bool:
    return any(column.title == title for column in columns)


def _is_small(answer: Answer, amount: float, component: str) -> bool:
    return amount < _SMALL_SHARE * answer.usd and not any(row.component == component for row in answer.unpriced)


def _sum_or_unknown(parts: Sequence[tuple[float, bool]]) -> str:
    """Return the sum of amounts, with a question mark for those of which nothing is known."""
    amount = sum(amount for amount, _ in parts)
    unknown = any(not amount and has_unpriced for amount, has_unpriced in parts)
    return " + ".join([*([usd(amount)] if amount else []), *([UNKNOWN] if unknown else [])])
