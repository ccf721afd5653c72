"""`spancost price`: what stored traces cost, before anything is installed in an application."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from spancost import names
from spancost.cli import EXIT_FINDINGS
from spancost.cli._books import at_ns, day_of, own_prices_of
from spancost.cli._completion import complete_trace_keys
from spancost.cli._format import UNKNOWN, Column, console, fits, number, print_json, print_table, share, show, usd
from spancost.cli._ledger import Format, fail
from spancost.cli._reasons import advice_for
from spancost.cli.report.documents import row_document
from spancost.cli.report.unpriced import not_priced
from spancost.cli.report.wording import NOTHING
from spancost.errors import MissingExtraError, SpancostError, suggest

if TYPE_CHECKING:
    from spancost.config import Config
    from spancost.offline.reading import Problems
    from spancost.offline.rollup import Rollup
    from spancost.prices.book import PriceBook
    from spancost.sinks.ledger.rows import LedgerRow

_LIMIT: Final = re.compile(r"(\d+(?:\.\d*)?(?:e-?\d+)?)\s*usd\s*(/\s*request)?", re.IGNORECASE)
_COSTS: Final = ("effective", "list")
_DEFAULT_TOP: Final = 40
_SHOWN_ASSUMPTIONS: Final = 6
_SHOWN_ADVICE: Final = 4
_SHOWN_OVER: Final = 5
_SHOW_PROGRESS_BYTES: Final = 16 * 2**20
_ADVICE: Final = {
    "region_unknown": "Say where the service runs: --region eu-west-1.",
    "response_size_unknown": "The span does not show the size of its answer: have its instrumentation record "
    "http.response.body.size or the Content-Length header.",
}
"""What to do about a reason where the spans are what they are."""
_HIDES_COMPONENTS: Final = frozenset(
    {"component", "provider", "operation", "model", "unit", "sku", "resource", "status", "reason", "basis", "source"}
)


class _Limit(NamedTuple):
    usd: float
    per_request: bool

    def __str__(self) -> str:
        return f"{usd(self.usd)} a request" if self.per_request else usd(self.usd)


class _Answer(NamedTuple):
    rollup: Rollup
    problems: Problems
    files: list[str]
    cost: str
    at: str | None
    figure: str
    """The total in another currency; empty without one."""


def price(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="OTLP JSON or Jaeger JSON, plain or gzip; - for stdin.")
    ],
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="KEYS",
            help="Comma-separated: service, route, model, tenant, day, ...",
            autocompletion=complete_trace_keys,
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="DATE", help="Prices of this day (2026-11-01, UTC); by default of each span's."),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(
            "--prices", metavar="FILE", help="What if: own prices of this file (or spancost.yaml) instead of yours."
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="Region of services that do not name theirs.")
    ] = None,
    cost: Annotated[
        str, typer.Option("--cost", metavar="KIND", help="effective: what you pay; list: list price.")
    ] = "effective",
    top: Annotated[
        int, typer.Option("--top", metavar="ROWS", min=1, help="Rows of the table; the rest is one row.")
    ] = _DEFAULT_TOP,
    fail_over: Annotated[
        str | None,
        typer.Option("--fail-over", metavar="LIMIT", help="Exit with 1 above 0.05usd/request, or above 20usd in all."),
    ] = None,
) -> None:
    """Price stored traces with the meters of live spans.

    Reads what the Collector's file exporter and Jaeger's query API write, in any order and number of files; one trace
    may be spread over all of them. Compute is not priced: traces do not say what else ran on the machine.

    Example: spancost price traces.jsonl --by route,component
    """
    limit = _limit(fail_over)
    if cost not in _COSTS:
        fail(f"--cost: {cost!r}: {suggest(cost, _COSTS)}")
    try:
        answer = _priced(files, _keys(by), at, prices, region, cost)
    except SpancostError as error:
        fail(str(error))
    if output is Format.JSON:
        print_json(_document(answer))
    elif output is Format.CSV:
        _print_csv(answer.rollup)
    else:
        _print_table(answer, top)
    over = [] if limit is None else _over(answer.rollup, limit)
    for line in over[: _SHOWN_OVER + 1]:
        typer.echo(f"over {limit}: {line}", err=True)
    if len(over) > _SHOWN_OVER + 1:
        typer.echo(f"over {limit}: {len(over) - _SHOWN_OVER - 1} more", err=True)
    if over:
        raise typer.Exit(EXIT_FINDINGS)


def _limit(text: str | None) -> _Limit | None:
    if text is None:
        return None
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        fail(f"--fail-over: {text!r} is not a limit such as 0.05usd/request or 20usd")
    return _Limit(float(match[1]), match[2] is not None)


def _keys(by: str | None) -> list[str] | None:
    if by is None:
        return None
    from spancost.offline.rollup import KEYS

    keys = list(dict.fromkeys(key.strip() for key in by.split(",") if key.strip()))
    if not keys:
        fail(f"--by: names no key: one of {', '.join(sorted(KEYS))}")
    for key in keys:
        if key not in KEYS:
            fail(f"--by: {key!r} is not a key: {suggest(key, KEYS, limit=len(KEYS))}")
    return keys


def _priced(
    files: list[str], keys: list[str] | None, at: str | None, prices: str | None, region: str | None, cost: str
) -> _Answer:
    try:
        from spancost.offline.pricing import Pricing
        from spancost.offline.reading import Problems, read_files
        from spancost.offline.rollup import roll_up
    except ImportError as error:
        if error.name != "msgspec":
            raise
        raise MissingExtraError("spancost price", "cli") from None
    config, book = _settings(prices, region)
    moment = None if at is None else at_ns(at)
    pricing, problems = Pricing(config, book, region=region or "", at_ns=moment), Problems()
    with _progress(files) as on_moved:
        empty = read_files(files, pricing, problems, on_moved)
    if empty:
        first = "".join(f"; {one.path}:{one.line}: {one.message}" for one in problems.first[:1])
        fail(f"no span of OTLP JSON or Jaeger JSON in {', '.join(map(_name, empty))}{first}")
    if keys is None:
        keys = (
            ["service", "entrypoint"] if len({one.origin.service for one in pricing.processes}) > 1 else ["entrypoint"]
        )
    rollup = roll_up(pricing, keys, at_list_price=cost == "list")
    currency = config.own.currency
    figure = "" if currency is None else currency.figure(rollup.usd)
    return _Answer(rollup, problems, files, cost, None if moment is None else day_of(moment), figure)


def _settings(prices: str | None, region: str | None) -> tuple[Config, PriceBook]:
    from spancost.config import load_config
    from spancost.prices.configured import price_book

    config = load_config() if region is None else load_config(region=region)
    if prices is not None:
        config = replace(config, own=own_prices_of(Path(prices)))
    return config, price_book(config)


@contextmanager
def _progress(files: Sequence[str]) -> Generator[Callable[[str], Callable[[int], None]] | None]:
    """Yield whom to tell how far files are read: a bar on stderr where that is a terminal and it takes a while."""
    sizes = {path: os.path.getsize(path) if os.path.isfile(path) else 0 for path in files}
    if not sys.stderr.isatty() or (sum(sizes.values()) < _SHOW_PROGRESS_BYTES and "-" not in sizes):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def on_moved(path: str) -> Callable[[int], None]:
            task = bar.add_task(Path(path).name if path != "-" else "stdin", total=sizes[path] or None)
            return lambda read_bytes: bar.update(task, completed=read_bytes)

        yield on_moved


def _over(rollup: Rollup, limit: _Limit) -> list[str]:
    """Return what is over the limit: rows and everything together per request, or everything in all."""
    if not limit.per_request:
        return [f"{usd(rollup.usd)} in all"] if rollup.usd > limit.usd else []
    if not rollup.requests:
        fail("--fail-over: no requests in these traces, that is, no SERVER or CONSUMER span that begins one")
    over = [
        f"{usd(row.usd / row.requests)} a request: {' '.join(value or NOTHING for value in row.key)}"
        for row in rollup.rows
        if row.requests and row.usd / row.requests > limit.usd
    ]
    if rollup.usd / rollup.requests > limit.usd:
        over.insert(0, f"{usd(rollup.usd / rollup.requests)} a request, all {number(rollup.requests)} together")
    return over


# --- table --------------------------------------------------------------------------------------


def _print_table(answer: _Answer, top: int) -> None:
    rollup = answer.rollup
    shown = rollup.rows if len(rollup.rows) <= top + 1 else rollup.rows[:top]
    rest = rollup.rows[len(shown) :]
    lines = [*shown, *([_added(rest, rollup)] if rest else [])]
    keys = [
        Column(
            key.upper(),
            [*(row.key[place] or ("" if row in rest else NOTHING) for row in lines), "total" if not place else ""],
            is_key=True,
        )
        for place, key in enumerate(rollup.by)
    ]
    if rest:
        keys = [_without_nothing(column, place) for place, column in enumerate(keys)]
    numbers = _numbers(rollup, lines)
    components = _components(rollup, lines)
    out = console()
    if fits([*keys, *numbers, *components], out.width):
        print_table(out, [*keys, *numbers, *components], sum_rows=1)
    else:
        print_table(out, [*keys, *numbers], sum_rows=1)
        if components:
            show(out, "")
            print_table(out, [*keys, *components], sum_rows=1)
    for line in ("", *_notes(answer, len(rest))):
        show(out, Text(line))


def _without_nothing(column: Column, place: int) -> Column:
    """Return a key column in which the row that adds up the rest has no keys of its own."""
    return column if not place else column._replace(cells=[*column.cells[:-2], "", column.cells[-1]])


def _added(rows: Sequence[LedgerRow], rollup: Rollup) -> LedgerRow:
    first = rows[0]
    return first._replace(
        key=(f"({len(rows)} more)", *[""] * (len(rollup.by) - 1)),
        requests=0 if _HIDES_COMPONENTS.intersection(rollup.by) else sum(row.requests for row in rows),
        charge_count=sum(row.charge_count for row in rows),
        quantity=sum(row.quantity for row in rows),
        direct_usd=sum(row.direct_usd for row in rows),
        usd=sum(row.usd for row in rows),
        list_usd=sum(row.list_usd for row in rows),
        component_usd={name: sum(row.component_usd[name] for row in rows) for name in names.COMPONENTS},
        unpriced={
            name: count for name in names.COMPONENTS if (count := sum(row.unpriced.get(name, 0) for row in rows))
        },
    )


def _numbers(rollup: Rollup, lines: Sequence[LedgerRow]) -> list[Column]:
    columns: list[Column] = []
    by_component = bool(_HIDES_COMPONENTS.intersection(rollup.by))
    if rollup.requests:
        cells = [number(row.requests) if row.requests else "" for row in lines]
        columns.append(Column("REQUESTS", [*cells, number(rollup.requests)]))
    if "unit" in rollup.by:
        columns.append(Column("QUANTITY", [*(number(row.quantity) for row in lines), ""]))
    if by_component or not rollup.requests:
        columns.append(Column("CALLS", [*(number(row.charge_count) for row in lines), number(rollup.charge_count)]))
    columns.append(Column("TOTAL", [*(_total(row) for row in lines), _all(rollup)]))
    if rollup.requests:
        per_1000 = [
            usd(row.usd / row.requests * 1000) if row.requests and _total(row) != UNKNOWN else "" for row in lines
        ]
        of_all = "" if _all(rollup) == UNKNOWN else usd(rollup.usd / rollup.requests * 1000)
        columns.append(Column("PER 1000", [*per_1000, of_all]))
    shares = [UNKNOWN if _total(row) == UNKNOWN else share(row.usd, rollup.usd) for row in lines]
    columns.append(Column("SHARE", [*shares, share(rollup.usd, rollup.usd)]))
    unpriced = [sum(row.unpriced.values()) for row in lines]
    if any(unpriced):
        all_unpriced = sum(sum(row.unpriced.values()) for row in rollup.rows)
        columns.append(Column("UNPRICED", [*(number(n) if n else "" for n in unpriced), number(all_unpriced)]))
    return columns


def _total(row: LedgerRow) -> str:
    return UNKNOWN if not row.usd and row.unpriced else usd(row.usd)


def _all(rollup: Rollup) -> str:
    """Return the sum: unknown where nothing has a price and something should."""
    return UNKNOWN if not rollup.usd and any(row.unpriced for row in rollup.rows) else usd(rollup.usd)


def _components(rollup: Rollup, lines: Sequence[LedgerRow]) -> list[Column]:
    if _HIDES_COMPONENTS.intersection(rollup.by):
        return []
    columns: list[Column] = []
    for name in names.COMPONENTS:
        if not any(row.component_usd[name] or name in row.unpriced for row in rollup.rows):
            continue
        cells = [_amount(row.component_usd[name], unknown=name in row.unpriced) for row in lines]
        unknown = any(name in row.unpriced for row in rollup.rows)
        columns.append(Column(name.upper(), [*cells, _amount(rollup.component_usd[name], unknown=unknown)]))
    return columns


def _amount(amount: float, *, unknown: bool) -> str:
    if unknown and not amount:
        return UNKNOWN
    return usd(amount) if amount else ""


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _notes(answer: _Answer, left_out: int) -> Iterable[str]:
    rollup, problems = answer.rollup, answer.problems
    if left_out:
        yield f"{left_out} more rows: --top {len(rollup.rows)}, or --format csv for all of them."
    what = "list price" if answer.cost == "list" else ""
    when = f"prices of {answer.at}" if answer.at else ""
    of = ", ".join(part for part in (what, when) if part)
    files = f"{len(answer.files)} files" if len(answer.files) > 1 else _name(answer.files[0])
    requests = f"{_counted(rollup.requests, 'request')}, " if rollup.requests else ""
    spans = [row for row in rollup.unpriced if row.component != names.COMPUTE]
    yield (
        f"Total {_all(rollup)}{f' {answer.figure}' if answer.figure else ''}{f' ({of})' if of else ''}"
        f" for {requests}{_counted(rollup.spans, 'span')} of {files}; {not_priced(spans)}."
    )
    if rollup.estimated:
        yield _estimated(rollup)
    for reason in list(dict.fromkeys(row.reason for row in spans))[:_SHOWN_ADVICE]:
        if advice := _ADVICE.get(reason) or advice_for(reason):
            yield f"  {reason}: {advice}"
    yield "Compute is not in it: stored traces do not say what else ran on the machine."
    if rollup.duplicates:
        yield f"{_counted(rollup.duplicates, 'LLM span')} seen by two instrumentations, charged once."
    if rollup.repeated:
        yield f"{_counted(rollup.repeated, 'span')} read more than once, counted once."
    if problems.bad_lines:
        yield f"{_counted(problems.bad_lines, 'line')} not read:"
    if problems.bad_spans:
        yield f"{_counted(problems.bad_spans, 'span')} not read, of a wrong shape:"
    for problem in problems.first:
        yield f"  {problem.path}:{problem.line}: {problem.message}"


def _counted(count: int, what: str) -> str:
    return f"{number(count)} {what}{'s' if count != 1 else ''}"


def _estimated(rollup: Rollup) -> str:
    parts: dict[str, float] = {}
    for row in rollup.estimated:
        what = f"{row.component} ({row.basis})"
        parts[what] = parts.get(what, 0.0) + row.usd
    dearest = sorted(parts.items(), key=lambda part: -part[1])
    named = ", ".join(f"{what} {usd(amount)}" for what, amount in dearest[:_SHOWN_ASSUMPTIONS])
    more = f", {len(dearest) - _SHOWN_ASSUMPTIONS} more" if len(dearest) > _SHOWN_ASSUMPTIONS else ""
    return f"{usd(sum(parts.values()))} of it is estimated: {named}{more}."


# --- json and csv -------------------------------------------------------------------------------


def _document(answer: _Answer) -> dict[str, Any]:
    rollup, problems = answer.rollup, answer.problems
    return {
        "by": list(rollup.by),
        "cost": answer.cost,
        "at": answer.at,
        "files": answer.files,
        "spans": rollup.spans,
        "requests": rollup.requests,
        "rows": [row_document(row, rollup.by, rollup.usd) for row in rollup.rows],
        "total_usd": rollup.usd,
        "list_usd": rollup.list_usd,
        "usd_per_request": rollup.usd / rollup.requests if rollup.requests else None,
        "component_usd": rollup.component_usd,
        "unpriced": [row._asdict() for row in rollup.unpriced],
        "estimated": [row._asdict() for row in rollup.estimated],
        "duplicates": rollup.duplicates,
        "repeated_spans": rollup.repeated,
        "bad_lines": problems.bad_lines,
        "bad_spans": problems.bad_spans,
        "problems": [problem._asdict() for problem in problems.first],
    }


def _print_csv(rollup: Rollup) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = [*rollup.by, "requests", "charges", *(["quantity"] if "unit" in rollup.by else [])]
    amounts = ["direct_usd", "total_usd", "list_usd", "usd_per_1000_requests", "share"]
    components = () if _HIDES_COMPONENTS.intersection(rollup.by) else names.COMPONENTS
    writer.writerow([*header, *(f"{component}_usd" for component in components), *amounts, "unpriced"])
    for row in rollup.rows:
        document = row_document(row, rollup.by, rollup.usd)
        by_component = [document["component_usd"][component] for component in components]
        values = [*(document[name] for name in header), *by_component, *(document[name] for name in amounts)]
        writer.writerow([*values, sum(row.unpriced.values())])
