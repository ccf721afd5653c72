"""`spancost budgets history`: what was spent in each period that is still kept, beside the limit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from spancost.budgets import windows
from spancost.budgets.evaluation import duration_text, window_text
from spancost.budgets.rules import AnyRule, BudgetRule, BurnRateRule, ForecastRule, RequestRule, SpikeRule
from spancost.budgets.store import Sums
from spancost.budgets.view import View, added
from spancost.budgets.windows import UTC_NAME
from spancost.cli._books import print_csv
from spancost.cli._format import UNKNOWN, Column, console, fits, number, print_json, print_table, share, show, usd
from spancost.cli._ledger import Format, fail
from spancost.cli.budgets.bars import length_bar
from spancost.cli.budgets.lines import shown
from spancost.cli.budgets.sources import (
    ConfigOption,
    KeyOption,
    LedgerSourceOption,
    Source,
    StoreOption,
    chosen_rules,
    configured,
    read_past,
)
from spancost.config import Config
from spancost.cost_changes import known_usd
from spancost.errors import SpancostError

_DEFAULT_LIMIT: Final = 40
_PLOT: Final = 40
_MARK: Final = "│"
_PARTS: Final = 24
"""Rows that a rolling window is shown in."""
_FORMATS: Final = {
    windows.MINUTE: "%Y-%m-%d %H:%M",
    windows.HOUR: "%Y-%m-%d %H:%M",
    windows.DAY: "%a %Y-%m-%d",
    windows.WEEK: "week of %Y-%m-%d",
    windows.MONTH: "%Y-%m",
}
_TIME: Final = "%Y-%m-%d %H:%M"


class _Row(NamedTuple):
    """One stretch of time."""

    begin: int
    """Unix seconds."""
    end: int | None
    label: str
    sums: Sums

    @property
    def spend_usd(self) -> float | None:
        return known_usd(self.sums.usd, self.sums.unpriced)


class _History(NamedTuple):
    rule: AnyRule
    key: str | None
    rows: list[_Row]
    """Oldest first."""
    limit_usd: float | None
    """Of each row; None where none holds for it."""
    window: str
    time_zone: str
    source: str
    notes: list[str]


def history(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Name of a rule.")],
    key: KeyOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Periods, the newest ones.")
    ] = _DEFAULT_LIMIT,
    store: StoreOption = None,
    ledger: LedgerSourceOption = None,
    config_file: ConfigOption = None,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Show what was spent in each period that the store or the ledger still has.

    A budget by its periods, a rolling one in parts of its window, a spike by its stretches; a burn rate and a forecast
    show the budget that they are about. The mark in the plot is the limit.

    \b
    Examples:
      spancost budgets history llm-daily
      spancost budgets history llm-daily --ledger spancost.sqlite --format csv
    """
    try:
        config = configured(config_file)
        found = _history(Source(config_file=config_file, store=store, ledger=ledger), config, rule, key, limit)
    except SpancostError as error:
        fail(str(error))
    rows = [_document(row, found.limit_usd) for row in found.rows]
    if output is Format.JSON:
        print_json(
            {
                "rule": found.rule.name,
                "key": found.key,
                "window": found.window,
                "time_zone": found.time_zone,
                "limit_usd": found.limit_usd,
                "source": found.source,
                "notes": found.notes,
                "periods": rows,
            }
        )
    elif output is Format.CSV:
        print_csv(rows)
    else:
        _print(found)


def _history(source: Source, config: Config, name: str, key: str | None, limit: int) -> _History:
    rule = chosen_rules(config.budget_rules, [name])[0]
    notes: list[str] = []
    if isinstance(rule, RequestRule):
        fail(f"{name}: what single requests have cost is not added up: spancost top shows the costliest")
    if isinstance(rule, BurnRateRule | ForecastRule):
        notes.append(f"{name} is about the budget {rule.budget}, which is shown.")
        rule = chosen_rules(config.budget_rules, [rule.budget])[0]
    now = time.time()
    past = read_past(source, rule, config, now)
    keys = [of_key for of_rule, of_key in [*past.view.keys()] if of_rule == rule.name]
    if key is not None and key not in keys:
        fail(f"--key: nothing is known of {key!r}")
    is_sum = key is None and bool(rule.per)
    wanted = keys if key is None else [key]
    if is_sum and keys:
        notes.append(f"The sum of {len(keys)} keys; the limit holds for each of them: --key KEY.")
    limit_usd: float | None = None
    time_zone = UTC_NAME
    window = ""
    stretches: Iterator[tuple[int, int | None, str]] = iter(())
    if isinstance(rule, BudgetRule):
        window, time_zone = window_text(rule.window), rule.window.time_zone
        if not rule.window.is_rolling:
            limit_usd = None if is_sum else rule.limit_usd
            stretches = _periods(rule, now)
        else:
            part_s = max(
                rule.window.slot_s, -(-rule.window.length_s // _PARTS // rule.window.slot_s) * rule.window.slot_s
            )
            stretches = _parts(part_s, int(now) // part_s * part_s + part_s)
            notes.append(
                f"In parts of {duration_text(part_s)}; the limit of {usd(rule.limit_usd)} is for {window} in all."
            )
    elif isinstance(rule, SpikeRule):
        window = duration_text(rule.bucket_s)
        stretches = _parts(int(rule.bucket_s), int(now) // int(rule.bucket_s) * int(rule.bucket_s) + int(rule.bucket_s))
    rows = _rows(past.view, rule.name, wanted, stretches, limit)
    return _History(rule, key, rows, limit_usd, window, time_zone, past.source, [*notes, *past.notes])


def _periods(rule: BudgetRule, now: float) -> Iterator[tuple[int, int | None, str]]:
    """Yield the periods of a calendar window, newest first: begin, end, label."""
    window, at = rule.window, now
    zone = UTC if window.time_zone == UTC_NAME else ZoneInfo(window.time_zone)
    while at >= 0:
        period = window.period_at(at)
        label = datetime.fromtimestamp(period.start, zone).strftime(_FORMATS.get(window.kind, "total"))
        yield period.start, period.end, label
        at = period.start - 1


def _parts(length_s: int, end: int) -> Iterator[tuple[int, int | None, str]]:
    """Yield stretches of one length, newest first."""
    while end > 0:
        begin = end - length_s
        yield begin, end, datetime.fromtimestamp(begin, UTC).strftime(_TIME)
        end = begin


def _rows(
    view: View, rule: str, keys: Sequence[str], stretches: Iterator[tuple[int, int | None, str]], limit: int
) -> list[_Row]:
    slots: dict[int, Sums] = {}
    for key in keys:
        for slot, sums in view.slots(rule, 0, key).items():
            slots[slot] = slots.get(slot, Sums()).plus(sums)
    rows: list[_Row] = []
    oldest = min(slots, default=0)
    for begin, end, label in stretches:
        if len(rows) >= limit or not slots or (end is not None and end <= oldest):
            break
        within = added(sums for slot, sums in slots.items() if slot >= begin and (end is None or slot < end))
        rows.append(_Row(begin, end, label, within))
    return rows[::-1]


def _document(row: _Row, limit_usd: float | None) -> dict[str, Any]:
    spend = row.spend_usd
    return {
        "start": row.begin,
        "end": row.end,
        "period": row.label,
        "spend_usd": spend,
        "limit_usd": limit_usd,
        "ratio": None if spend is None or not limit_usd else spend / limit_usd,
        "estimated_usd": row.sums.estimated_usd,
        "unpriced": row.sums.unpriced,
        "calls": row.sums.calls,
    }


def _print(found: _History) -> None:
    out = console()
    name = found.rule.name if found.key is None else f"{found.rule.name} ({found.key})"
    title = f"{shown(name)}: window {found.window}"
    if found.limit_usd is not None:
        title += f", limit {usd(found.limit_usd)}"
    show(out, Text(title, style="bold"))
    show(out, "")
    if not found.rows:
        show(out, Text("nothing that it counts is kept"))
    else:
        columns = _columns(found)
        if not fits(columns, out.width):
            columns = [column for column in columns if column.title not in ("CALLS", "ESTIMATED")]
        print_table(out, columns)
    show(out, "")
    for note in found.notes:
        show(out, Text(note))
    show(out, Text(f"from {found.source}, times in {found.time_zone}"))


def _columns(found: _History) -> list[Column]:
    rows, limit = found.rows, found.limit_usd
    most = max((row.sums.usd for row in rows), default=0.0)
    whole = max(most, limit or 0.0) or 1.0
    mark = None if limit is None else min(_PLOT - 1, round(limit / whole * _PLOT))
    styles = ["red" if limit is not None and row.sums.usd >= limit else "green" for row in rows]
    labels = [row.label for row in rows]
    labels[-1] += " (so far)"
    columns = [
        Column("PERIOD", labels, is_text=True),
        Column("", [_bar(row.sums.usd / whole, mark) for row in rows], styles=styles, is_text=True),
        Column("SPENT", [_spent(row) for row in rows]),
    ]
    if limit is not None:
        columns.append(Column("RATIO", [_ratio(row, limit) for row in rows]))
    columns.append(Column("CALLS", [number(row.sums.calls) for row in rows]))
    if any(row.sums.estimated_usd for row in rows):
        columns.append(Column("ESTIMATED", [usd(row.sums.estimated_usd) for row in rows]))
    if any(row.sums.unpriced for row in rows):
        columns.append(Column("UNPRICED", [number(row.sums.unpriced) for row in rows]))
    return columns


def _bar(part: float, mark: int | None) -> str:
    """Return a bar with the mark of the limit, where the bar does not reach it."""
    bar = length_bar(part, _PLOT)
    if mark is not None and len(bar) <= mark:
        bar = bar.ljust(mark) + _MARK
    return bar


def _spent(row: _Row) -> str:
    if row.spend_usd is None:
        return UNKNOWN
    return f"≥ {usd(row.spend_usd)}" if row.sums.unpriced else usd(row.spend_usd)


def _ratio(row: _Row, limit: float) -> str:
    return UNKNOWN if row.spend_usd is None else share(row.spend_usd, limit)
