"""One key's values as columns: rows by columns, with the sum of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import fsum
from typing import Any, Final, NamedTuple

from rich.text import Text

from spancost.cli._format import UNKNOWN, Column, console, fits, print_table, show, usd
from spancost.cli.report.asking import Answer
from spancost.cli.report.documents import csv_of, question_document
from spancost.cli.report.idle import IDLE_KEY, marked_key
from spancost.cli.report.markdown import markdown_of
from spancost.cli.report.period import time_order
from spancost.cli.report.wording import NOTHING, TOTAL, last_lines
from spancost.sinks.ledger.query import TIME_KEYS

OTHER: Final = "OTHER"
_LONGEST_TITLE: Final = 20
_EVERYTHING: Final = 10_000

_Key = tuple[str, ...]


class _Cell(NamedTuple):
    usd: float
    unknown: bool
    """Something in it has no price."""

    @property
    def known_usd(self) -> float | None:
        """USD; None where nothing in it has a price, which is not $0."""
        return None if self.unknown and not self.usd else self.usd

    def __str__(self) -> str:
        return UNKNOWN if self.known_usd is None else usd(self.usd)


class Pivot(NamedTuple):
    """Amounts by row and column."""

    answer: Answer
    """Its keys are those of the rows, and at last the one whose values are columns."""
    rows: dict[_Key, dict[str, _Cell]]
    """Row -> value -> amount; costliest first, idle compute at the end; or in the order of time."""
    values: list[str]
    """All of them: costliest first, or in the order of time."""
    columns: int
    """How many have a column of their own where people read it."""

    @property
    def by(self) -> tuple[str, ...]:
        """Keys of the rows."""
        return self.answer.by[:-1]

    @property
    def key(self) -> str:
        """Whose values are columns."""
        return self.answer.by[-1]

    def sum_of(self, value: str) -> _Cell:
        """Return the sum of a column."""
        return _added([cells[value] for cells in self.rows.values() if value in cells])

    @property
    def is_partly_unknown(self) -> bool:
        """Whether something has no price."""
        return any(cell.unknown for cells in self.rows.values() for cell in cells.values())

    def parts(self, count: int) -> tuple[list[str], list[str]]:
        """Return the values with a column of their own, and those in OTHER: of times the oldest, else the cheapest."""
        if len(self.values) <= count:
            return self.values, []
        if self.key in TIME_KEYS:
            return self.values[-count:], self.values[:-count]
        return self.values[:count], self.values[count:]


def pivoted(answer: Answer, columns: int) -> Pivot:
    """Turn the values of an answer's last key into columns.

    Args:
        answer: At least two keys.

        columns: How many values have their own; the rest is OTHER.
    """
    cells: dict[_Key, dict[str, list[_Cell]]] = defaultdict(lambda: defaultdict(list))
    for row in answer.rows:
        cells[row.key[:-1]][row.key[-1]].append(_Cell(row.usd, bool(row.unpriced)))
    idle: dict[_Key, dict[str, list[_Cell]]] = defaultdict(lambda: defaultdict(list))
    for row in answer.spent.idle_rows:
        key = marked_key(answer.by[:-1], row.key[:-1])
        idle[key][row.key[-1]].append(_Cell(row.usd, bool(row.unpriced)))
    rows = {key: {value: _added(parts) for value, parts in found.items()} for key, found in cells.items()}
    by_time = answer.by[0] in TIME_KEYS
    ordered = sorted(rows, key=lambda key: (-_added(list(rows[key].values())).usd, key))
    result = {key: rows[key] for key in ordered}
    result |= {key: {value: _added(parts) for value, parts in found.items()} for key, found in idle.items()}
    if by_time:
        result = {key: result[key] for key in sorted(result, key=_row_time)}
    sums: dict[str, list[float]] = defaultdict(list)
    for found in result.values():
        for value, cell in found.items():
            sums[value].append(cell.usd)
    values = sorted(sums, key=time_order) if answer.by[-1] in TIME_KEYS else sorted(sums)
    if answer.by[-1] not in TIME_KEYS:
        values.sort(key=lambda value: -fsum(sums[value]))
    return Pivot(answer, result, values, columns)


def _row_time(key: _Key) -> tuple[float, str]:
    return time_order(key[0].removesuffix(f" {IDLE_KEY}"))


def _added(cells: Sequence[_Cell]) -> _Cell:
    return _Cell(fsum(cell.usd for cell in cells), any(cell.unknown for cell in cells))


def print_pivot(pivot: Pivot, limit: int, *, wide: bool) -> None:
    """Print rows by columns; what the terminal has no room for is OTHER."""
    out = console()
    count = len(pivot.values) if wide else pivot.columns
    columns, left_out = _columns(pivot, count, limit)
    if wide:
        out.width = _EVERYTHING
    while count > 1 and not fits(columns, out.width):
        count -= 1
        columns, left_out = _columns(pivot, count, limit)
    print_table(out, columns, sum_rows=1)
    notes: list[str] = []
    if left_out:
        notes.append(f"{left_out} more rows: --limit {len(pivot.rows)}, or --format csv for all of them.")
    _, other = pivot.parts(count)
    if other:
        notes.append(f"{OTHER} is {len(other)} more of {pivot.key}: --wide, --columns N, or --format json shows them.")
    for line in ("", *notes, *last_lines(pivot.answer)):
        show(out, Text(line))


def pivot_markdown(pivot: Pivot) -> str:
    """Return rows by columns as a Markdown table."""
    columns, _ = _columns(pivot, pivot.columns, len(pivot.rows), longest=1000)
    return markdown_of(columns, last_lines(pivot.answer))


def pivot_csv(pivot: Pivot) -> str:
    """Return rows by columns with full precision; what has no price is empty."""
    own, other = pivot.parts(pivot.columns)
    rows: list[list[object]] = [[*pivot.by, *(value or NOTHING for value in own), *([OTHER] if other else []), TOTAL]]
    for key, cells in pivot.rows.items():
        amounts = [_of(cells, [value]).known_usd for value in own]
        amounts.extend([_of(cells, other).known_usd] if other else [])
        rows.append([*key, *amounts, _of(cells, pivot.values).known_usd])
    return csv_of(rows)


def pivot_document(pivot: Pivot) -> dict[str, Any]:
    """Return rows with all values for JSON; what has no price is null."""
    return question_document(pivot.answer) | {
        "by": list(pivot.by),
        "pivot": pivot.key,
        "rows": [
            dict(zip(pivot.by, key, strict=True))
            | {
                "usd": {value: cell.known_usd for value, cell in cells.items()},
                "total_usd": _of(cells, pivot.values).known_usd,
            }
            for key, cells in pivot.rows.items()
        ],
        "usd": {value: pivot.sum_of(value).known_usd for value in pivot.values},
        "total_usd": _Cell(pivot.answer.usd, pivot.is_partly_unknown).known_usd,
        "idle_usd": pivot.answer.spent.idle_usd,
        "unpriced": [row._asdict() for row in pivot.answer.unpriced],
        "notes": pivot.answer.notes(),
    }


def _of(cells: dict[str, _Cell], values: Sequence[str]) -> _Cell:
    return _added([cells[value] for value in values if value in cells])


def _columns(pivot: Pivot, count: int, limit: int, longest: int = _LONGEST_TITLE) -> tuple[list[Column], int]:
    keys = list(pivot.rows)
    shown = keys if len(keys) <= limit + 1 else keys[:limit]
    rest = keys[len(shown) :]
    columns: list[Column] = []
    for index, name in enumerate(pivot.by):
        cells = [key[index] or NOTHING for key in shown]
        cells.extend([f"({len(rest)} more)" if index == 0 else ""] if rest else [])
        columns.append(Column(name.upper(), [*cells, TOTAL if index == 0 else ""], is_key=True))
    own, other = pivot.parts(count)
    groups = [(_title(value, longest), [value]) for value in own]
    groups.extend([(OTHER, other)] if other else [])
    groups.append((TOTAL.upper(), pivot.values))
    for title, values in groups:
        cells = [_text(pivot.rows[key], values) for key in shown]
        if rest:
            cells.append(str(_added([_of(pivot.rows[key], values) for key in rest])))
        cells.append(str(_added([_of(found, values) for found in pivot.rows.values()])))
        columns.append(Column(title, cells))
    return columns, len(rest)


def _text(cells: dict[str, _Cell], values: Sequence[str]) -> str:
    return str(_of(cells, values)) if any(value in cells for value in values) else ""


def _title(value: str, longest: int) -> str:
    text = value or NOTHING
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
