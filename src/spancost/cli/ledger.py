"""`spancost ledger info|vacuum|export`: the file itself."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from spancost.cli import EXIT_FINDINGS
from spancost.cli._format import Column, clock, console, number, print_json, print_table, show
from spancost.cli._ledger import LedgerOption, TreeFormat, fail, ledger_path, open_ledger
from spancost.cli.ledger_export import export
from spancost.errors import LedgerError
from spancost.sinks.ledger.inspection import LedgerInfo, TableInfo, inspect, problems
from spancost.sinks.ledger.schema import DAY
from spancost.sinks.ledger.vacuum import vacuum as vacuum_file

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")

ledger = typer.Typer(
    help="Look into the ledger, tidy it up, hand its rows on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ledger.command()(export)


@ledger.command()
def info(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Ledger file; by default the one that reports read.")
    ] = None,
    ledger: LedgerOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the file for damage; exit code 1 if there is any.")
    ] = False,
    output: Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")] = TreeFormat.TABLE,
) -> None:
    """Show what a ledger holds: size, time covered, services, kept traces, growth.

    With --check also whether it is sound: SQLite's own check, rows that refer to nothing, and the same money in each
    of the cuts in which it is kept.

    Example: spancost ledger info

    Example: spancost ledger info --check
    """
    path = _path(file, ledger)
    try:
        found = inspect(path)
        damage = problems(path) if check else None
    except LedgerError as error:
        fail(str(error))
    if output is TreeFormat.JSON:
        print_json(_document(found, damage))
    else:
        _print(found, damage)
    if damage:
        raise typer.Exit(EXIT_FINDINGS)


@ledger.command()
def vacuum(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="Ledger file; by default the one that reports read.")
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """Bring a ledger up to date and give back the room of deleted rows.

    Migrates a file of an older version, then writes it anew without gaps. Applications may go on writing; nothing is
    lost. Needs as much free disk as the file has.

    Example: spancost ledger vacuum
    """
    path = _path(file, ledger)
    try:
        done = vacuum_file(path)
    except LedgerError as error:
        fail(str(error))
    if done.schema_before < done.schema_after:
        typer.echo(f"migrated from schema {done.schema_before} to {done.schema_after}")
    typer.echo(f"{path}: {size(done.bytes_before)} before, {size(done.bytes_after)} after")
    if done.is_held:
        typer.echo("another process reads it right now: the rest is given back when that has ended", err=True)


def size(count: float) -> str:
    """Return bytes with three significant digits: `41.2 MB` (of 1 000 000 bytes)."""
    power = min(int(math.log10(count) // 3), len(_UNITS) - 1) if count >= 1000 else 0
    value = count / 1000**power
    return f"{value:.{max(0, 2 - int(math.log10(value))) if power and value >= 1 else 0}f} {_UNITS[power]}"


def _path(file: str | None, option: str | None) -> str:
    if file is not None and option is not None:
        fail(f"one ledger at a time: {file}, or --ledger {option}")
    path = file or ledger_path(option)
    if not os.path.exists(path):
        with open_ledger(path):  # says what to do
            pass
    return path


def _print(found: LedgerInfo, damage: list[str] | None) -> None:
    out = console()
    age = (
        ""
        if found.schema_version == found.present_schema_version
        else (f", older than {found.present_schema_version}: `spancost ledger vacuum` or the next write migrates it")
    )
    begun = f", begun by spancost {found.spancost_version}" if found.spancost_version else ""
    lines = [
        ("file", found.path),
        ("size", size(found.file_bytes)),
        ("schema", f"{found.schema_version}{age}{begun}"),
        ("written", f"every {found.flush_interval_seconds:g} s; a killed process loses at most that"),
        ("covers", _covers(found)),
        ("services", ", ".join(name or "(no service)" for name in found.services) or "none"),
        ("requests", number(found.requests)),
        ("kept traces", f"{number(found.costliest_traces)} costliest, {number(found.sampled_traces)} at random"),
        ("growth", _growth(found)),
    ]
    for name, text in lines:
        show(out, Text.assemble((f"{name:<12} ", "bold"), text, overflow="fold"))
    show(out, "")
    tables = [table for table in found.tables if table.rows]
    columns = [
        Column("TABLE", [table.name for table in tables], is_key=True),
        Column("ROWS", [number(table.rows) for table in tables]),
        Column("SIZE", ["" if table.bytes is None else size(table.bytes) for table in tables]),
        Column("FROM", [_moment(table.first_minute) for table in tables]),
        Column("UNTIL", [_moment(table.end_minute) for table in tables]),
    ]
    print_table(out, columns)
    if found.newest_days:
        rows = ", ".join(f"{_day(day)} {number(count)}" for day, count in found.newest_days)
        show(out, "")
        show(out, Text(f"Rows of the last days: {rows}"))
    if damage is not None:
        show(out, "")
        show(out, Text("The file is sound." if not damage else f"The file is damaged: {len(damage)} found"))
        for line in damage:
            show(out, Text(f"  {line}"))


def _covers(found: LedgerInfo) -> str:
    if found.first_minute is None or found.end_minute is None:
        return "nothing yet"
    days = found.end_minute - found.first_minute
    length = f"{days / DAY:,.1f} days" if days >= DAY else f"{number(days)} {'minute' if days == 1 else 'minutes'}"
    return f"{clock(found.first_minute)} to {clock(found.end_minute)} ({length})"


def _growth(found: LedgerInfo) -> str:
    parts: list[str] = []
    if found.bytes_per_day is not None:
        parts.append(f"{size(found.bytes_per_day)} a day")
    if found.bytes_per_million_requests is not None and found.requests >= 1000:
        parts.append(f"{size(found.bytes_per_million_requests)} per million requests")
    return ", ".join(parts) + " so far" if parts else "too little data to say"


def _moment(minute: int | None) -> str:
    return "" if minute is None else clock(minute).removesuffix(" UTC")


def _day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def _document(found: LedgerInfo, damage: list[str] | None) -> dict[str, Any]:
    document: dict[str, Any] = found._asdict()
    document["tables"] = [_table(table) for table in found.tables]
    document["services"] = list(found.services)
    document["first"] = _iso(found.first_minute)
    document["end"] = _iso(found.end_minute)
    document["newest_days"] = [{"day": _day(day), "rows": rows} for day, rows in found.newest_days]
    document["bytes_per_day"] = found.bytes_per_day
    document["bytes_per_million_requests"] = found.bytes_per_million_requests
    del document["first_minute"], document["end_minute"]
    if damage is not None:
        document["problems"] = damage
    return document


def _table(table: TableInfo) -> dict[str, Any]:
    times = {"first": _iso(table.first_minute), "end": _iso(table.end_minute)}
    return {"name": table.name, "rows": table.rows, "bytes": table.bytes, "level": table.level, **times}


def _iso(minute: int | None) -> str | None:
    return None if minute is None else datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%MZ")
