"""Two periods beside each other: what changed, in USD and percent, the biggest movers first."""

from __future__ import annotations

import time
from collections.abc import Iterable
from math import fsum
from typing import Any, Final, NamedTuple

from rich.text import Text

from spancost.cli._format import UNKNOWN, Column, console, number, print_table, show, usd
from spancost.cli.report.asking import Answer
from spancost.cli.report.documents import csv_of, question_document
from spancost.cli.report.idle import marked_key
from spancost.cli.report.markdown import markdown_of
from spancost.cli.report.unpriced import not_priced
from spancost.cli.report.wording import NOTHING, TOTAL, duration
from spancost.sinks.ledger.rows import LedgerRow

NEW: Final = "new"
GONE: Final = "gone"
_EQUAL_PART: Final = 0.01
"""Lengths that differ by less are called equal."""


class Change(NamedTuple):
    """One combination of keys in both periods."""

    key: tuple[str, ...]
    before: LedgerRow | None
    """None: it is new."""
    now: LedgerRow | None
    """None: it is gone."""

    @property
    def before_usd(self) -> float:
        """What it cost before."""
        return 0.0 if self.before is None else self.before.usd

    @property
    def usd(self) -> float:
        """What it costs in the period that is reported."""
        return 0.0 if self.now is None else self.now.usd

    @property
    def change_usd(self) -> float:
        """How much more."""
        return self.usd - self.before_usd

    @property
    def ratio(self) -> float | None:
        """Change as part of what it was; None where that was nothing."""
        return self.change_usd / self.before_usd if self.before_usd else None

    @property
    def state(self) -> str:
        """`new`, `gone`, or empty."""
        if self.before is None:
            return NEW
        return GONE if self.now is None else ""


class Comparison(NamedTuple):
    """What changed from one period to another."""

    now: Answer
    before: Answer
    changes: list[Change]
    """Biggest movers first, idle compute among them."""

    @property
    def usd(self) -> float:
        """Everything in the period that is reported."""
        return fsum(change.usd for change in self.changes)

    @property
    def before_usd(self) -> float:
        """Everything before."""
        return fsum(change.before_usd for change in self.changes)

    def notes(self) -> list[str]:
        """Say where the ledger knows times less exactly than was asked, and where periods are not equally long."""
        found = list(dict.fromkeys((*self.before.notes(), *self.now.notes())))
        lengths = (_minutes(self.before), _minutes(self.now))
        if abs(lengths[0] - lengths[1]) > _EQUAL_PART * max(lengths):
            found.append(f"The periods are not equally long: {duration(lengths[0])} and {duration(lengths[1])}.")
        return found


def compare(now: Answer, before: Answer) -> Comparison:
    """Put the rows of two answers with the same keys side by side."""
    current, former = _by_key(now), _by_key(before)
    changes = [Change(key, former.get(key), current.get(key)) for key in (current | former)]
    changes.sort(key=lambda change: (-abs(change.change_usd), -change.usd, change.key))
    return Comparison(now, before, changes)


def _by_key(answer: Answer) -> dict[tuple[str, ...], LedgerRow]:
    idle = {marked_key(answer.by, row.key): row for row in answer.spent.idle_rows}
    return {row.key: row for row in answer.rows} | idle


def print_changes(comparison: Comparison, limit: int) -> None:
    """Print the biggest movers; the rest is one row."""
    out = console()
    for line in _heads(comparison):
        show(out, Text(line))
    show(out, "")
    columns, left_out = _columns(comparison, limit)
    print_table(out, columns, sum_rows=1)
    notes = [*([f"{left_out} more rows: --limit {len(comparison.changes)}."] if left_out else []), *_notes(comparison)]
    for line in ("", *notes):
        show(out, Text(line))


def comparison_markdown(comparison: Comparison) -> str:
    """Return all changes as a Markdown table."""
    columns, _ = _columns(comparison, len(comparison.changes))
    return markdown_of(columns, (*_heads(comparison), *_notes(comparison)))


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return all changes for JSON."""
    return question_document(comparison.now) | {
        "compared": {name: question_document(comparison.before)[name] for name in ("period", "counted")},
        "rows": [
            dict(zip(comparison.now.by, change.key, strict=True)) | _figures(change) for change in comparison.changes
        ],
        "before_usd": comparison.before_usd,
        "total_usd": comparison.usd,
        "change_usd": comparison.usd - comparison.before_usd,
        "change_ratio": _ratio(comparison),
        "notes": comparison.notes(),
    }


def comparison_csv(comparison: Comparison) -> str:
    """Return all changes as CSV."""
    rows: list[list[object]] = []
    for change in comparison.changes:
        figures = _figures(change)
        if not rows:
            rows.append([*comparison.now.by, *figures])
        rows.append([*change.key, *figures.values()])
    return csv_of(rows or [[*comparison.now.by]])


def _figures(change: Change) -> dict[str, Any]:
    return {
        "before_requests": change.before.requests if change.before else 0,
        "requests": change.now.requests if change.now else 0,
        "before_usd": change.before_usd,
        "total_usd": change.usd,
        "change_usd": change.change_usd,
        "change_ratio": change.ratio,
        "state": change.state,
        "unpriced": sum(change.now.unpriced.values()) if change.now else 0,
    }


def _ratio(comparison: Comparison) -> float | None:
    before = comparison.before_usd
    return (comparison.usd - before) / before if before else None


def _columns(comparison: Comparison, limit: int) -> tuple[list[Column], int]:
    """Return the table with its sum row, and how many rows are folded into one."""
    changes = comparison.changes
    shown = changes if len(changes) <= limit + 1 else changes[:limit]
    rest = changes[len(shown) :]
    columns: list[Column] = []
    for index, name in enumerate(comparison.now.by):
        cells = [change.key[index] or NOTHING for change in shown]
        cells.extend([f"({len(rest)} more)" if index == 0 else ""] if rest else [])
        columns.append(Column(name.upper(), [*cells, TOTAL if index == 0 else ""], is_key=True))
    sums = [(fsum(one.before_usd for one in rest), fsum(one.usd for one in rest))] if rest else []
    sums.append((comparison.before_usd, comparison.usd))
    columns.append(Column("BEFORE", [*(_usd(one.before) for one in shown), *(usd(before) for before, _ in sums)]))
    columns.append(Column("NOW", [*(_usd(one.now) for one in shown), *(usd(now) for _, now in sums)]))
    columns.append(
        Column(
            "CHANGE",
            [*(_moved(one) for one in shown), *(_signed(now - before) for before, now in sums)],
        )
    )
    percents = [one.state or (_percent(one.before_usd, one.usd) if _moved(one) != UNKNOWN else "") for one in shown]
    columns.append(Column("CHANGE %", [*percents, *(_percent(before, now) for before, now in sums)]))
    return columns, len(rest)


def _usd(row: LedgerRow | None) -> str:
    if row is None:
        return ""
    return UNKNOWN if not row.usd and row.unpriced else usd(row.usd)


def _moved(change: Change) -> str:
    """Return the change; unknown where one of the two is."""
    unknown = any(row is not None and not row.usd and row.unpriced for row in (change.before, change.now))
    return UNKNOWN if unknown else _signed(change.change_usd)


def _signed(amount: float) -> str:
    return f"+{usd(amount)}" if amount > 0 else usd(amount)


def _percent(before: float, now: float) -> str:
    if not before:
        return "" if not now else NEW
    percent = 100 * (now - before) / before
    text = f"{percent:,.1f}" if abs(percent) >= 0.05 or not percent else f"{percent:.1g}"
    return f"{'+' if percent > 0 else ''}{text} %"


def _heads(comparison: Comparison) -> Iterable[str]:
    for name, answer in (("BEFORE", comparison.before), ("NOW", comparison.now)):
        since, until = answer.counted
        counted = answer.asked.period._replace(since_minute=since, until_minute=until)
        requests = f"{number(answer.totals.requests)} request{'' if answer.totals.requests == 1 else 's'}"
        yield f"{name} is {counted}: {duration(_minutes(answer))}, {requests}."


def _minutes(answer: Answer) -> int:
    since, until = answer.counted
    assert since is not None
    return (int(time.time() // 60) + 1 if until is None else until) - since


def _notes(comparison: Comparison) -> Iterable[str]:
    yield from comparison.notes()
    change = _signed(comparison.usd - comparison.before_usd)
    percent = _percent(comparison.before_usd, comparison.usd)
    moved = f"{change} ({percent})" if percent else change
    yield f"Total {usd(comparison.usd)}, {moved}; {not_priced(comparison.now.unpriced)}"
