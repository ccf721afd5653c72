"""How amounts and tables look: significant digits, right-aligned, as wide as the terminal allows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spancost.amounts import share, significant, usd

__all__ = [
    "UNKNOWN",
    "Column",
    "Hanging",
    "clock",
    "console",
    "fits",
    "number",
    "print_json",
    "print_table",
    "rate",
    "share",
    "show",
    "usd",
]

UNKNOWN: Final = "?"
"""Used, but without a price: never shown as $0."""
_PIPED_WIDTH = 240
_MIN_FOLDED_WIDTH = 16
"""Keys are folded down to this width, and shortened with an ellipsis below it."""
_MIN_SHORT_WIDTH = 8
_GAP = 2
_HANGING = 4


def rate(amount: float) -> str:
    """Return a rate in USD with up to six significant digits: `$0.000000625`."""
    if amount == 0 or abs(amount) < 1e-15:
        return f"${amount:g}"
    return f"${significant(amount, 6, at_least_decimals=0)}"


def number(value: float) -> str:
    """Return a quantity: whole numbers whole, others with four significant digits."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    if abs(value) < 1e-12:
        return f"{value:.2e}"
    return significant(value, 4, at_least_decimals=0)


def clock(minute: int) -> str:
    """Return a minute (Unix seconds // 60) as text, UTC."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%d %H:%M UTC")


def console() -> Console:
    """Return a console for stdout: no colour when piped or `NO_COLOR` is set, and then nothing is cut."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPED_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False)


def print_json(document: object) -> None:
    """Print one JSON object with full precision."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


class Column(NamedTuple):
    """One column of a table."""

    title: str
    cells: list[str]
    """One per row; the last row may be a sum."""
    is_key: bool = False
    """Keys are left-aligned, and give way where the table is too wide."""
    styles: Sequence[str] = ()
    """One per row, or none at all."""
    is_text: bool = False
    """Left-aligned as keys are, and whole as numbers are."""


def print_table(out: Console, columns: Sequence[Column], *, sum_rows: int = 0) -> None:
    """Print columns as one table. Numbers stay whole: keys give way first, then the table is wider than the terminal.

    Args:
        out: Where to print.

        columns: Keys first.

        sum_rows: How many rows at the end are sums; they are bold.
    """
    widths, folds = _key_widths(columns, out.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        if column.is_key:
            overflow = "fold" if folds else "ellipsis"
            table.add_column(column.title, overflow=overflow, no_wrap=not folds, width=widths[column.title])
        else:
            justify = "left" if column.is_text else "right"
            table.add_column(column.title, justify=justify, no_wrap=True, width=_width(column))
    count = len(columns[0].cells)
    for index in range(count):
        style = "bold" if index >= count - sum_rows else ""
        table.add_row(
            *(Text(column.cells[index], style=column.styles[index] if column.styles else style) for column in columns)
        )
    width = out.width
    out.width = max(width, sum(widths.get(column.title, _width(column)) + _GAP for column in columns))
    try:
        show(out, table)
    finally:
        out.width = width


def fits(columns: Sequence[Column], width: int) -> bool:
    """Say whether columns fit beside each other with keys that are whole or folded, not shortened."""
    keys = (min(_width(column), _MIN_FOLDED_WIDTH) for column in columns if column.is_key)
    values = (_width(column) for column in columns if not column.is_key)
    return sum((*keys, *values)) + _GAP * (len(columns) - 1) <= width


def _key_widths(columns: Sequence[Column], width: int) -> tuple[dict[str, int], bool]:
    """Return the width of each key column, and whether long keys are folded (else they are shortened)."""
    natural = {column.title: _width(column) for column in columns if column.is_key}
    others = sum(_width(column) for column in columns if not column.is_key)
    room = width - others - _GAP * (len(columns) - 1)
    widest = max(natural.values(), default=0)
    while widest > _MIN_SHORT_WIDTH and sum(min(size, widest) for size in natural.values()) > room:
        widest -= 1
    widths = {title: min(size, widest) for title, size in natural.items()}
    return widths, widest >= _MIN_FOLDED_WIDTH


class Hanging:
    """Text whose further lines are indented below its first one."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first, *more = self._text.wrap(console, options.max_width)
        yield first
        if more:
            rest = Text(self._text.plain[len(first.plain.rstrip()) :].strip(), style=self._text.style)
            yield Padding(rest, (0, 0, 0, _HANGING))


def show(out: Console, renderable: RenderableType) -> None:
    """Print; without the blanks at line ends with which rich fills up what is piped, too."""
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as captured:
        out.print(renderable)
    for line in captured.get().splitlines():
        out.file.write(f"{line.rstrip()}\n")


def _width(column: Column) -> int:
    return max(map(cell_len, (column.title, *column.cells)))
