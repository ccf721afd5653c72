"""`spancost report`: what each route, tenant, model or anything else cost."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Final

import typer

from spancost._files import new_file_mode, replace_file
from spancost.cli._completion import complete_keys
from spancost.cli._format import print_json
from spancost.cli._ledger import LedgerOption, SinceOption, fail, open_ledger
from spancost.cli.report.asking import Answer, ask, keys_or_default
from spancost.cli.report.comparing import (
    Comparison,
    compare,
    comparison_csv,
    comparison_document,
    comparison_markdown,
    print_changes,
)
from spancost.cli.report.documents import csv_text, report_document
from spancost.cli.report.exposition import exposition_text
from spancost.cli.report.html.page import html_page
from spancost.cli.report.markdown import markdown_text
from spancost.cli.report.options import Asked, Cost, IdleMethod, ReportFormat, conditions_of, key_of, keys_of
from spancost.cli.report.period import Period, compared_period, period_of, time_zone
from spancost.cli.report.pivot import Pivot, pivot_csv, pivot_document, pivot_markdown, pivoted, print_pivot
from spancost.cli.report.pushing import push
from spancost.cli.report.table import print_report
from spancost.sinks.ledger.query import TIME_KEYS, UTC_NAME

_DEFAULT_LIMIT: Final = 40
_DEFAULT_COLUMNS: Final = 8
_DEFAULT_JOB: Final = "spancost_report"
_PIVOT_FORMATS: Final = "table, json, csv or markdown"


def report(
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="KEYS",
            help="Comma-separated keys, for example service,http_route or tenant.",
            autocompletion=complete_keys,
        ),
    ] = None,
    pivot: Annotated[
        str | None,
        typer.Option(
            "--pivot", metavar="KEY", help="The values of this key become columns.", autocompletion=complete_keys
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="KEY=GLOB", help="Only rows like this, or KEY!=GLOB for all others; all of several hold."
        ),
    ] = None,
    since: SinceOption = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From a day (2026-11-01) or time (2026-11-01T14:05).")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Up to a time, or a day, which is counted whole.")
    ] = None,
    month: Annotated[
        str | None, typer.Option("--month", metavar="MONTH", help="One month: 2026-11, this or last.")
    ] = None,
    tz: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="Time zone of days and months, for example Europe/Berlin.")
    ] = UTC_NAME,
    cost: Annotated[
        Cost, typer.Option("--cost", metavar="KIND", help="effective: what you pay; list: list price.")
    ] = Cost.EFFECTIVE,
    idle: Annotated[
        IdleMethod,
        typer.Option(
            "--idle",
            metavar="METHOD",
            help="separate: rows of its own; proportional: given to rows of the same service by compute cost; "
            "even: the same to each of its requests.",
        ),
    ] = IdleMethod.SEPARATE,
    compare_with: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="PERIOD",
            help="Change against previous, 7d before, a month, or 2026-11-01..2026-11-07; biggest movers first.",
        ),
    ] = None,
    ledger: LedgerOption = None,
    output: Annotated[
        ReportFormat | None,
        typer.Option("--format", metavar="FORMAT", help="table, json, csv, markdown or prometheus."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to a file, at once, instead of the terminal."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page with plots, to open or to send.")
    ] = None,
    pushgateway: Annotated[
        str | None, typer.Option("--pushgateway", metavar="URL", help="Push to a Prometheus Pushgateway.")
    ] = None,
    job: Annotated[str, typer.Option("--job", metavar="NAME", help="Job of what is pushed.")] = _DEFAULT_JOB,
    limit: Annotated[
        int, typer.Option(metavar="ROWS", min=1, help="Rows of the table; the rest is one row.")
    ] = _DEFAULT_LIMIT,
    columns: Annotated[
        int, typer.Option("--columns", metavar="N", min=1, help="Columns of a pivot; the rest is OTHER.")
    ] = _DEFAULT_COLUMNS,
    wide: Annotated[bool, typer.Option("--wide", help="All columns in one table, also beyond the terminal.")] = False,
) -> None:
    """Show what was spent, by any key of the ledger.

    DIRECT is charged on the request's own span, TOTAL on everything below it as well. Compute that nobody used is the
    row (idle). `?` stands for usage without a known price. PER MONTH is what a month costs at this rate.

    \b
    Examples:
      spancost report --by service,http_route --since 1h
      spancost report --by tenant --month this --idle proportional
      spancost report --by day --pivot component --tz Europe/Berlin
      spancost report --by cloud-service --where environment=prod --cost list
      spancost report --by route --since 7d --compare previous
      spancost report --by model --where component=llm --format markdown
      spancost report --by service --format prometheus -o spancost.prom
      spancost report --html report.html
    """
    zone = time_zone(tz)
    period = period_of(since, begin, end, month, zone)
    asked = Asked(keys_of(by), conditions_of(where or []), period, cost, idle)
    pivot_key = None if pivot is None else key_of(pivot, "--pivot")
    written = output or ReportFormat.TABLE
    _refuse_contradictions(asked, pivot_key, compare_with, written, html, pushgateway)
    with open_ledger(ledger) as reader:
        every = reader.meta().get("flush_interval_seconds", "5")
        if compare_with is not None:
            now, before = compared_period(compare_with, period)
            asked = asked._replace(period=now)
            by_keys = keys_or_default(reader, asked)
            changes = compare(ask(reader, asked, by_keys), ask(reader, asked._replace(period=before), by_keys))
            _emit(lambda: _print_changes(changes, written, limit), file)
            return
        by_keys = keys_or_default(reader, asked)
        if pivot_key in by_keys:
            fail(f"--pivot: {pivot!r} is a row already: leave it out of --by")
        answer = ask(reader, asked, by_keys if pivot_key is None else (*by_keys, pivot_key))
        if html is not None:
            _write(html, html_page(reader, answer), "--html")
        if pushgateway is not None:
            push(answer, pushgateway, job)
    if output is None and file is None and (html is not None or pushgateway is not None):
        return
    if written is ReportFormat.TABLE and answer.is_empty:
        _emit(lambda: typer.echo(f"nothing in the ledger {_when(period) or f'yet: written every {every} s'}"), file)
    elif pivot_key is not None:
        _emit(lambda: _print_pivot(pivoted(answer, columns), written, limit, wide=wide), file)
    else:
        _emit(lambda: _print(answer, written, since, limit, wide=wide), file)


def _refuse_contradictions(
    asked: Asked,
    pivot: str | None,
    compare_with: str | None,
    written: ReportFormat,
    html: Path | None,
    pushgateway: str | None,
) -> None:
    if pivot is not None and compare_with is not None:
        fail("--pivot and --compare: only one of them: name the key of --pivot in --by")
    for option, given in (("--pivot", pivot), ("--compare", compare_with)):
        if given is None:
            continue
        if written is ReportFormat.PROMETHEUS:
            fail(f"{option} and --format prometheus: {option} is for {_PIVOT_FORMATS}")
        if html is not None or pushgateway is not None:
            fail(f"{option} and {'--pushgateway' if html is None else '--html'}: {option} is for {_PIVOT_FORMATS}")
    times = [key for key in asked.by or () if key in TIME_KEYS]
    if compare_with is not None and times:
        fail(f"--compare: {times[0]!r} in --by never is the same in two periods: any key that is no time")


def _when(period: Period) -> str:
    return f"for {period.named}" if period.named else ""


def _print(answer: Answer, written: ReportFormat, since: str | None, limit: int, *, wide: bool) -> None:
    if written is ReportFormat.TABLE:
        print_report(answer, limit, wide=wide)
    elif written is ReportFormat.JSON:
        print_json(report_document(answer, since))
    elif written is ReportFormat.CSV:
        sys.stdout.write(csv_text(answer))
    elif written is ReportFormat.MARKDOWN:
        sys.stdout.write(markdown_text(answer))
    else:
        sys.stdout.write(exposition_text(answer))


def _print_pivot(pivot: Pivot, written: ReportFormat, limit: int, *, wide: bool) -> None:
    if written is ReportFormat.JSON:
        print_json(pivot_document(pivot))
    elif written is ReportFormat.CSV:
        sys.stdout.write(pivot_csv(pivot))
    elif written is ReportFormat.MARKDOWN:
        sys.stdout.write(pivot_markdown(pivot))
    else:
        print_pivot(pivot, limit, wide=wide)


def _print_changes(changes: Comparison, written: ReportFormat, limit: int) -> None:
    if written is ReportFormat.JSON:
        print_json(comparison_document(changes))
    elif written is ReportFormat.CSV:
        sys.stdout.write(comparison_csv(changes))
    elif written is ReportFormat.MARKDOWN:
        sys.stdout.write(comparison_markdown(changes))
    else:
        print_changes(changes, limit)


def _emit(print_answer: Callable[[], None], file: Path | None) -> None:
    """Print, or write a file at once with what would have been printed."""
    if file is None:
        print_answer()
        return
    out = io.StringIO()
    with redirect_stdout(out):
        print_answer()
    _write(file, out.getvalue(), "--output")


def _write(file: Path, text: str, option: str) -> None:
    if not file.parent.is_dir():
        fail(f"{option}: {file}: there is no folder {file.parent}")
    try:
        replace_file(file, text.encode(), new_file_mode())
    except OSError as error:
        fail(f"{option}: {file}: {error.strerror or error}")
