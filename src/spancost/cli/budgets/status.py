"""`spancost budgets status`: how every key of every rule stands, the most urgent first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from spancost.budgets.store import BREACHED, RECOVERING, WARNING
from spancost.cli._books import print_csv
from spancost.cli._format import UNKNOWN, Column, console, fits, number, print_json, print_table, share, show, usd
from spancost.cli._ledger import Format, fail
from spancost.cli.budgets.bars import used_bar
from spancost.cli.budgets.lines import BudgetLine, by_urgency, shown
from spancost.cli.budgets.sources import (
    ConfigOption,
    KeyOption,
    LedgerSourceOption,
    PrometheusOption,
    Source,
    Standings,
    StoreOption,
    read_standings,
)
from spancost.errors import SpancostError

_DEFAULT_LIMIT: Final = 50
_BAR: Final = 16
_NOTHING: Final = "-"
_STYLES: Final = {BREACHED: "bold red", WARNING: "yellow", RECOVERING: "cyan"}
_INCOMPLETE_STYLE: Final = "magenta"
_GIVE_WAY: Final = ("OUTLOOK", "TOLD", "RESERVED", "WINDOW", "USED")
"""Columns that are left out of a narrow table, in this order."""


def status(
    rule: Annotated[
        list[str] | None, typer.Option("--rule", metavar="RULE", help="Only this rule; may stand several times.")
    ] = None,
    key: KeyOption = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Rows of the table, the most urgent ones.")
    ] = _DEFAULT_LIMIT,
    store: StoreOption = None,
    ledger: LedgerSourceOption = None,
    prometheus: PrometheusOption = None,
    config_file: ConfigOption = None,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Show how budgets stand, the most urgent first.

    Reads what the application's processes have added up in their store, or works it out from a ledger, or reads the
    metrics in a Prometheus server; changes nothing and tells nobody. TOLD is the highest threshold that people were
    told of in this period. `incomplete`: something had no price, so the true spend is higher.

    \b
    Examples:
      spancost budgets status
      spancost budgets status --rule llm-daily --format json
      spancost budgets status --ledger spancost.sqlite
    """
    source = Source(config_file=config_file, store=store, ledger=ledger, prometheus=prometheus)
    try:
        standings = read_standings(source, rule or [])
    except SpancostError as error:
        fail(str(error))
    lines = by_urgency(line for line in standings.lines if key is None or line.key == key)
    if key is not None and not lines:
        fail(f"--key: nothing is known of {key!r}")
    if output is Format.JSON:
        print_json(_document(standings, lines))
    elif output is Format.CSV:
        print_csv([_flat(line) for line in lines])
    else:
        _print(standings, lines, limit)


def _document(standings: Standings, lines: Sequence[BudgetLine]) -> dict[str, Any]:
    return {
        "at": standings.at,
        "source": standings.source,
        "scope": standings.scope or None,
        "budgets": [line.document() for line in lines],
        "unseen": standings.unseen,
        "notes": standings.notes,
    }


def _flat(line: BudgetLine) -> dict[str, Any]:
    document = line.document()
    rates = document.pop("burn_rates")
    return document | {"burn_rates": " ".join(f"{pair}={rate:g}" for pair, rate in rates.items())}


def _print(standings: Standings, lines: Sequence[BudgetLine], limit: int) -> None:
    out = console()
    if lines:
        columns = _columns(lines[:limit])
        left_out: list[str] = []
        for title in _GIVE_WAY:
            if fits(columns, out.width):
                break
            if any(column.title == title for column in columns):
                columns = [column for column in columns if column.title != title]
                left_out.append(title)
        print_table(out, columns)
        show(out, "")
        if len(lines) > limit:
            show(out, Text(f"{len(lines) - limit} more rows: --limit {len(lines)}, or --format csv for all of them."))
        if left_out:
            show(out, Text(f"{', '.join(left_out)}: left out, the terminal is narrow."))
    for name in standings.unseen:
        show(out, Text(f"{name}: nothing that it counts was seen yet."))
    for note in standings.notes:
        show(out, Text(note))
    show(out, Text(f"{_moment(standings.at)}, from {standings.source_text}"))


def _columns(lines: Sequence[BudgetLine]) -> list[Column]:
    styles = [_style(line) for line in lines]
    columns = [
        Column("RULE", [shown(line.rule) for line in lines], is_key=True),
        Column("KEY", [shown(line.key) or _NOTHING for line in lines], is_key=True),
        Column("WINDOW", [line.window or _NOTHING for line in lines], is_text=True),
        Column("USED", [used_bar(line.ratio, _BAR) for line in lines], styles=styles, is_text=True),
        Column("RATIO", [_ratio(line) for line in lines]),
        Column("SPENT", [_spent(line) for line in lines]),
        Column("LIMIT", [_NOTHING if line.limit_usd is None else usd(line.limit_usd) for line in lines]),
        Column("RESERVED", [usd(line.reserved_usd) if line.reserved_usd else _NOTHING for line in lines]),
        Column("STATE", [line.state_text for line in lines], styles=styles, is_text=True),
        Column("TOLD", [_NOTHING if line.told is None else f"{line.told * 100:g} %" for line in lines]),
        Column("OUTLOOK", [_outlook(line) or _NOTHING for line in lines], is_text=True),
    ]
    optional = ("KEY", "WINDOW", "RESERVED", "TOLD", "OUTLOOK")
    return [column for column in columns if column.title not in optional or set(column.cells) != {_NOTHING}]


def _style(line: BudgetLine) -> str:
    return _STYLES.get(line.state, _INCOMPLETE_STYLE if line.is_incomplete else "green")


def _spent(line: BudgetLine) -> str:
    """Return what was spent; at least so much where something had no price."""
    if line.spend_usd is None:
        return UNKNOWN if line.is_incomplete else _NOTHING
    return f"≥ {usd(line.spend_usd)}" if line.is_incomplete else usd(line.spend_usd)


def _ratio(line: BudgetLine) -> str:
    if line.ratio is None:
        return UNKNOWN if line.is_incomplete and line.limit_usd else _NOTHING
    return share(line.ratio, 1.0)


def _outlook(line: BudgetLine) -> str:
    """Return what is to come: an expected spend, when the budget will be gone, how fast it burns."""
    parts: list[str] = []
    if line.forecast_usd is not None:
        parts.append(f"{usd(line.forecast_usd)} expected")
    if line.forecast_at is not None:
        parts.append(f"gone {_moment(line.forecast_at)}")
    if line.burn_rates:
        pair, fastest = max(line.burn_rates, key=lambda one: one[1])
        parts.append(f"burns {number(fastest)}x over {pair}")
    if line.unpriced:
        parts.append(f"{line.unpriced:,} unpriced")
    return ", ".join(parts)


def _moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
