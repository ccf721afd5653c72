"""`spancost dashboards`: does what Grafana will ask have an answer?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.markup import escape

from spancost.cli import EXIT_FINDINGS, EXIT_USAGE
from spancost.cli._format import Column, console, print_json, print_table
from spancost.cli.dashboards.page import Checked, html_page
from spancost.dashboards.asking import Question, ask
from spancost.dashboards.checking import Finding, Listed, Status, findings, read_expected_empty
from spancost.dashboards.model import Dashboard
from spancost.dashboards.reading import read_dashboards
from spancost.dashboards.times import duration_s, moment
from spancost.errors import SpancostError, suggest
from spancost.prometheus_server import PrometheusServer

_BAD: Final = (Status.ERROR, Status.EMPTY)
_TIMEOUT_S: Final = 60.0
_STYLES: Final = {Status.ERROR: "red", Status.EMPTY: "yellow"}

dashboards = typer.Typer(
    help="Check Grafana dashboards against Prometheus.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class _Format(StrEnum):
    TABLE = "table"
    JSON = "json"


@dashboards.callback()
def _group() -> None:
    """Check Grafana dashboards against Prometheus."""


@dashboards.command()
def check(
    path: Annotated[list[Path], typer.Argument(metavar="PATH", help="Dashboards as JSON, or folders with them.")],
    prometheus: Annotated[
        str, typer.Option("--prometheus", metavar="URL", help="Server to ask; the URL may have user and password.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write one page that shows all of them.")
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="DURATION", help="Time shown, such as 1h; by default what each dashboard says."
        ),
    ] = None,
    end: Annotated[
        str, typer.Option("--end", metavar="TIME", help="End of it: now, now-1h, 2026-11-21T12:00:00Z.")
    ] = "now",
    var: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="NAME=VALUE", help="Choose this value of a variable; again for several."),
    ] = None,
    scrape_interval: Annotated[
        str,
        typer.Option("--scrape-interval", metavar="DURATION", help="Scrape interval set in Grafana's data source."),
    ] = "15s",
    expect_empty: Annotated[
        Path | None,
        typer.Option("--expect-empty", metavar="FILE", help="YAML: panels that may be empty, each with its reason."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME:VALUE", help="Send this along, such as X-Scope-OrgID:shop to Mimir."),
    ] = None,
    format_: Annotated[_Format, typer.Option("--format", metavar="FORMAT", help="table or json.")] = _Format.TABLE,
) -> None:
    """Ask a Prometheus server what every panel of dashboards asks, as Grafana would, and say which show something.

    Reads any dashboard with queries for Prometheus: variables, rows, intervals, instant and range queries. A panel is
    ok, empty (no query has a number for an answer), in error (the server refuses a query), or not asked (it has no
    query for Prometheus). Repeated panels are asked once, with all values chosen. Exit code 1 if a panel is in error,
    or is empty and not in the file of --expect-empty; 2 for a file that is no dashboard or a server that does not
    answer.

    \b
    Examples:
      spancost dashboards check grafana/dashboards --prometheus http://localhost:9090
      spancost dashboards check route.json --prometheus http://localhost:9090 --range 7d --html route.html
    """
    try:
        boards = read_dashboards(path)
        listed: Listed = read_expected_empty(expect_empty, boards) if expect_empty else {}
        question = Question(
            end=_moment(end),
            range_s=_duration("--range", range_) if range_ else None,
            scrape_interval_s=_duration("--scrape-interval", scrape_interval),
            given=_given(var or [], boards),
        )
        server = PrometheusServer(prometheus, headers=_headers(header or []), timeout_s=_TIMEOUT_S)
        checked = [_checked(board, server, question, listed) for board in boards]
        if html is not None:
            _write(html, html_page(checked, server.shown))
    except SpancostError as error:
        _refuse(str(error))
    found = [finding for one in checked for finding in one.findings]
    broken = [error for one in checked for error in _beside_panels(one)]
    if format_ is _Format.JSON:
        print_json(_document(checked, server.shown, question))
    else:
        _print(found, broken)
    if broken or any(one.status in _BAD for one in found):
        raise typer.Exit(EXIT_FINDINGS)


def _checked(board: Dashboard, server: PrometheusServer, question: Question, listed: Listed) -> Checked:
    try:
        answer = ask(board, server, question)
    except ValueError as error:
        _refuse(f"{board.file}: time: {board.time_from!r} to {board.time_to!r} is not accepted: {error}")
    return Checked(answer, findings(answer, listed))


def _beside_panels(checked: Checked) -> list[str]:
    """Return what is wrong with variables and annotations."""
    title = checked.answer.dashboard.title
    wrong = [f"{title}: variable {one.variable.name}: {one.error}" for one in checked.answer.variables if one.error]
    return wrong + [f"{title}: annotation {one.name}: {error}" for one, error in checked.answer.annotations if error]


def _print(found: Sequence[Finding], broken: Sequence[str]) -> None:
    out = console()
    print_table(
        out,
        [
            Column("dashboard", [one.dashboard.title for one in found], is_key=True),
            Column("panel", [one.panel.title for one in found], is_key=True),
            Column(
                "state",
                [str(one.status) for one in found],
                is_text=True,
                styles=[_STYLES.get(one.status, "") for one in found],
            ),
            Column("", [_said(one) for one in found], is_key=True),
        ],
    )
    for line in broken:
        out.print(escape(line), style="red")
    counts = {status: sum(one.status is status for one in found) for status in Status}
    out.print(", ".join(f"{count} {status}" for status, count in counts.items() if count))


def _said(finding: Finding) -> str:
    more = "; the list says that it may be empty" if finding.is_filled_though_listed else ""
    return f"{finding.said}{more}"


def _document(checked: Sequence[Checked], server: str, question: Question) -> dict[str, Any]:
    return {
        "server": server,
        "end": question.end,
        "dashboards": [
            {
                "uid": one.answer.dashboard.uid,
                "title": one.answer.dashboard.title,
                "file": one.answer.dashboard.file,
                "start": one.answer.span.start,
                "end": one.answer.span.end,
                "variables": [
                    {
                        "name": settled.variable.name,
                        "values": list(settled.chosen.values),
                        "all": settled.chosen.is_all,
                        "error": settled.error,
                    }
                    for settled in one.answer.variables
                ],
                "annotations": [{"name": name.name, "error": error} for name, error in one.answer.annotations],
                "panels": [_panel(found) for found in one.findings],
            }
            for one in checked
        ],
    }


def _panel(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.panel.id,
        "title": finding.panel.title,
        "type": finding.panel.kind,
        "state": str(finding.status),
        "said": finding.said,
        "listed_but_filled": finding.is_filled_though_listed,
        "queries": [
            {
                "ref_id": one.target.ref_id,
                "query": one.query,
                "instant": one.target.is_instant,
                "series": len(one.series),
                "exemplars": len(one.exemplars),
                "error": one.error,
            }
            for one in (finding.answer.answers if finding.answer else ())
        ],
    }


def _given(texts: Sequence[str], boards: Sequence[Dashboard]) -> dict[str, list[str]]:
    known = {variable.name for board in boards for variable in board.variables}
    given: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            _refuse(f"--var: {text!r} is not accepted: NAME=VALUE")
        if name not in known:
            _refuse(f"--var: {name!r} is not accepted: {suggest(name, known)}")
        given.setdefault(name, []).append(value)
    return given


def _headers(texts: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not text.isprintable() or not text.isascii():
            _refuse("--header: NAME:VALUE, such as X-Scope-OrgID:shop")  # the value may be a secret
        headers[name.strip()] = value.strip()
    return headers


def _moment(text: str) -> float:
    try:
        return moment(text, time.time())
    except ValueError as error:
        _refuse(f"--end: {text!r} is not accepted: {error}")


def _duration(option: str, text: str) -> float:
    try:
        seconds = duration_s(text)
    except ValueError as error:
        _refuse(f"{option}: {text!r} is not accepted: {error}")
    if seconds <= 0:
        _refuse(f"{option}: {text!r} is not accepted: a duration above 0")
    return seconds


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        _refuse(f"--html: {file}: {error.strerror or error}")


def _refuse(said: str) -> NoReturn:
    sys.stderr.write(f"{said}\n")
    raise typer.Exit(EXIT_USAGE)
