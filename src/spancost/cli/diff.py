"""`spancost diff A B`: what got dearer, and whether it is more requests, more usage, or another price."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.padding import Padding
from rich.text import Text

from spancost import names
from spancost.cli import EXIT_FINDINGS
from spancost.cli._completion import complete_keys
from spancost.cli._format import (
    UNKNOWN,
    Column,
    Hanging,
    clock,
    console,
    fits,
    number,
    print_json,
    print_table,
    rate,
    show,
    usd,
)
from spancost.cli._ledger import LedgerOption, fail, ledger_path, open_ledger
from spancost.cli._periods import ACCEPTED, Period, is_period, period
from spancost.cost_changes import ROW_KEYS, KeyChange, LineChange, Parts, Side, changes, known_usd, summed
from spancost.errors import LedgerError, MissingExtraError, SpancostError, suggest
from spancost.sinks.ledger.query import TIME_KEYS, UTC_NAME, Selection, canonical_key
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import LedgerRow
from spancost.sinks.ledger.schema import DAY

_SQLITE: Final = b"SQLite format 3\0"
_DEFAULT_BY: Final = "entrypoint"
_DEFAULT_LIMIT: Final = 40
_SHOWN_LINES: Final = 6
_IDLE: Final = "(idle)"
_NOTHING: Final = "(none)"
_NOISE: Final = 1e-9
"""Parts below this part of what is compared are rounding."""
_LIMIT: Final = re.compile(r"(\d+(?:\.\d*)?(?:e-?\d+)?)\s*(%|usd)\s*(/\s*request)?", re.IGNORECASE)
_COSTS: Final = ("effective", "list")
_EXPLAINED: Final = {
    "volume": "more requests",
    "usage": "more per request",
    "price": "another rate",
    "mix": "other things are called",
    "new": "was not there before",
    "gone": "is not there any more",
    "known": "priced on one side only",
}


class DiffFormat(StrEnum):
    """How a comparison is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class _Loaded(NamedTuple):
    """One side of the comparison, as it was found."""

    name: str
    what: str
    """`period`, `ledger` or `traces`."""
    rows: list[LedgerRow]
    requests: dict[tuple[str, ...], int]
    all_requests: int
    unpriced: int
    """Charges without a price, compute left out."""
    minutes: int | None
    """How long it is; None for traces, which do not tell."""


class _Answer(NamedTuple):
    by: list[str]
    before: _Loaded
    after: _Loaded
    scales: tuple[float, float]
    rows: list[KeyChange]
    cost: str

    @property
    def is_per_day(self) -> bool:
        return self.scales != (1.0, 1.0)

    @property
    def before_usd(self) -> float:
        return sum(row.before_usd for row in self.rows)

    @property
    def after_usd(self) -> float:
        return sum(row.after_usd for row in self.rows)

    @property
    def unpriced(self) -> tuple[int, int]:
        """Charges without a price before and after."""
        return sum(row.unpriced_before for row in self.rows), sum(row.unpriced_after for row in self.rows)

    @property
    def parts(self) -> Parts:
        return summed(row.parts for row in self.rows)

    @property
    def requests(self) -> tuple[float, float]:
        return self.before.all_requests * self.scales[0], self.after.all_requests * self.scales[1]


class _Limit(NamedTuple):
    value: float
    is_percent: bool
    per_request: bool
    text: str


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="Before: a period, a ledger file, or a file of traces.")],
    after: Annotated[str, typer.Argument(metavar="B", help="After: one of the same kind.")],
    by: Annotated[
        str,
        typer.Option("--by", metavar="KEYS", help="Comma-separated keys.", autocompletion=complete_keys),
    ] = _DEFAULT_BY,
    ledger: LedgerOption = None,
    tz: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="Time zone of days and months: Europe/Berlin.")
    ] = UTC_NAME,
    cost: Annotated[
        str, typer.Option("--cost", metavar="KIND", help="effective: what you pay; list: list price.")
    ] = "effective",
    region: Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="Of traces whose services do not name theirs.")
    ] = None,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Sums, also of periods of different length; else USD per day.")
    ] = False,
    fail_over: Annotated[
        str | None,
        typer.Option(
            "--fail-over", metavar="LIMIT", help="Exit with 1 if it got dearer by more: 5%, 0.05usd, 5%/request."
        ),
    ] = None,
    output: Annotated[
        DiffFormat, typer.Option("--format", metavar="FORMAT", help="table, json, csv or markdown.")
    ] = DiffFormat.TABLE,
    limit: Annotated[
        int, typer.Option("--limit", metavar="ROWS", min=1, help="Rows of the table; the rest is one row.")
    ] = _DEFAULT_LIMIT,
) -> None:
    """Say what got dearer from A to B, and why.

    A and B are two periods, two ledgers or two files of traces.

    Per key and price line (component, provider, operation, model, unit), with N requests, quantity Q, cost C, growth
    g = N1/N0 and the rate before p = C0/Q0, the change C1 - C0 is exactly the sum of

    \b
      volume  (g - 1) x C0        more requests, each as before
      usage   (Q1 - g x Q0) x p   more per request, at the rate before
      price   C1 - Q1 x p         another rate for what is used now
      mix     C1 or -g x C0       a model or operation that one side only has
      new     C1                  a key that was not there before
      gone    -C0                 a key that is not there any more
      known   C1 or -g x C0       no price was known on one side

    What has no price is ? and not $0. --fail-over leaves out what is priced on one side only, and says so.

    Periods of different length are compared per day, unless --absolute. A period is a month (2026-10), a day
    (2026-10-05, today, yesterday), the last 7d, or FROM..TO such as 14d..7d.

    Example: spancost diff yesterday today

    Example: spancost diff 2026-10 2026-11 --by service,model

    Example: spancost diff last this --ledger spancost.sqlite

    Example: spancost diff main.jsonl branch.jsonl --fail-over 50%/request
    """
    wanted = None if fail_over is None else _limit(fail_over)
    if cost not in _COSTS:
        fail(f"--cost: {cost!r}: {suggest(cost, _COSTS)}")
    kinds = _kind(before), _kind(after)
    if kinds[0] != kinds[1]:
        fail(f"diff: {before} is {_a(kinds[0])} and {after} is {_a(kinds[1])}: compare two of one kind")
    try:
        keys = _keys(by, kinds[0])
        sides = [_load(name, kinds[0], keys, ledger, tz, cost, region) for name in (before, after)]
    except SpancostError as error:
        fail(str(error))
    answer = _compared(keys, sides[0], sides[1], cost, absolute=absolute)
    if output is DiffFormat.JSON:
        print_json(_document(answer))
    elif output is DiffFormat.CSV:
        _print_csv(answer)
    elif not answer.rows:
        typer.echo(f"nothing was spent, neither in {before} nor in {after}")
    elif output is DiffFormat.MARKDOWN:
        _print_markdown(answer, limit)
    else:
        _print_table(answer, limit)
    if wanted:
        for line in _left_out(answer):
            typer.echo(line, err=True)
    over = wanted and _over(answer, wanted)
    if over:
        typer.echo(over, err=True)
        raise typer.Exit(EXIT_FINDINGS)


# --- what is compared ---------------------------------------------------------------------------


def _kind(name: str) -> str:
    if os.path.isfile(name):
        with open(name, "rb") as file:
            return "ledger" if file.read(len(_SQLITE)) == _SQLITE else "traces"
    if is_period(name):
        return "period"
    fail(f"diff: {name!r} is no file and no period. A period is {ACCEPTED}")


def _a(kind: str) -> str:
    return {"period": "a period", "ledger": "a ledger", "traces": "a file of traces"}[kind]


def _keys(by: str, kind: str) -> list[str]:
    named = [key.strip() for key in by.split(",") if key.strip()]
    if not named:
        fail("--by: names no key, for example entrypoint or service,model")
    if kind == "traces":
        try:
            from spancost.offline.rollup import KEYS
        except ImportError as error:
            if error.name != "msgspec":
                raise
            raise MissingExtraError("spancost diff of traces", "cli") from None
        for key in named:
            if key not in KEYS:
                fail(f"--by: {key!r} is not a key: {suggest(key, KEYS, limit=len(KEYS))}")
    else:
        try:
            named = [canonical_key(key) for key in named]
        except LedgerError as error:
            fail(f"--by: {error}")
    for key in named:
        if key in TIME_KEYS:
            fail(f"--by: {key!r} is a time, and A and B are the times that are compared")
    return list(dict.fromkeys(named))


def _load(
    name: str, kind: str, keys: Sequence[str], ledger: str | None, tz: str, cost: str, region: str | None
) -> _Loaded:
    at_list_price = cost == "list"
    if kind == "traces":
        return _load_traces(name, keys, region, at_list_price=at_list_price)
    selection = Selection(tz=tz, at_list_price=at_list_price)
    if kind == "ledger":
        with open_ledger(name) as reader:
            return _load_ledger(reader, name, kind, keys, selection, None)
    try:
        wanted = period(name, tz)
    except ValueError as error:
        fail(f"diff: {name!r}: {error}")
    with open_ledger(ledger_path(ledger)) as reader:
        return _load_ledger(reader, name, kind, keys, selection, wanted)


def _load_ledger(
    reader: LedgerReader, name: str, kind: str, keys: Sequence[str], selection: Selection, wanted: Period | None
) -> _Loaded:
    whole = reader.range_minutes or (0, 0)
    minutes = whole[1] - whole[0]
    if wanted is not None:
        selection = selection._replace(since_minute=wanted.since_minute, until_minute=wanted.until_minute)
        since, until = reader.bounds(selection)
        assert since is not None
        assert until is not None
        for asked, real, end in ((wanted.since_minute, since, "begins"), (wanted.until_minute, until, "ends")):
            if asked != real:
                typer.echo(f"{name} {end} at {clock(real)}: the ledger keeps no finer rows of that time", err=True)
        minutes = max(0, min(until, whole[1]) - max(since, whole[0]))
    rows = reader.rows([*keys, *ROW_KEYS], selection)
    requests = {row.key: row.requests for row in reader.rows(keys, selection)}
    idle = reader.idle(selection)
    if idle:
        key = (_IDLE, *[""] * (len(keys) - 1))
        components: dict[str, float] = dict.fromkeys(names.COMPONENTS, 0.0)
        for one in idle:
            status = names.UNPRICED if one.unpriced and not one.usd else names.PRICED
            line = (names.COMPUTE, "", "idle", one.service, "s", status)
            counts = {names.COMPUTE: one.unpriced} if one.unpriced else {}
            rows.append(LedgerRow((*key, *line), 0, 1, one.seconds, 0.0, one.usd, one.list_usd, components, counts))
    unpriced = sum(row.charge_count for row in reader.unpriced(selection) if row.component != names.COMPUTE)
    return _Loaded(name, kind, rows, requests, reader.totals(selection).requests, unpriced, minutes)


def _load_traces(name: str, keys: Sequence[str], region: str | None, *, at_list_price: bool) -> _Loaded:
    from spancost.config import load_config
    from spancost.offline.pricing import Pricing
    from spancost.offline.reading import Problems, read_files
    from spancost.offline.rollup import REQUEST_KEYS, roll_up
    from spancost.prices.configured import price_book

    config = load_config() if region is None else load_config(region=region)
    pricing, problems = Pricing(config, price_book(config), region=region or ""), Problems()
    if read_files([name], pricing, problems):
        first = "".join(f"; {one.path}:{one.line}: {one.message}" for one in problems.first[:1])
        fail(f"diff: no span of OTLP JSON or Jaeger JSON in {name}{first}")
    found = roll_up(pricing, [*keys, *ROW_KEYS], at_list_price=at_list_price)
    requests = {row.key[: len(keys)]: row.requests for row in found.rows}
    if all(key in REQUEST_KEYS for key in keys):
        requests |= dict(found.requests_by_key)
    unpriced = sum(row.charge_count for row in found.unpriced if row.component != names.COMPUTE)
    if problems.bad_lines or problems.bad_spans:
        typer.echo(f"{name}: {problems.bad_lines} lines and {problems.bad_spans} spans not read", err=True)
    return _Loaded(name, "traces", found.rows, requests, found.requests, unpriced, None)


def _compared(keys: list[str], before: _Loaded, after: _Loaded, cost: str, *, absolute: bool) -> _Answer:
    lengths = (before.minutes, after.minutes)
    scales = (1.0, 1.0)
    if not absolute and lengths[0] and lengths[1] and lengths[0] != lengths[1]:
        scales = (DAY / lengths[0], DAY / lengths[1])
    found = changes(Side(before.rows, before.requests, scales[0]), Side(after.rows, after.requests, scales[1]))
    return _Answer(keys, before, after, scales, found, cost)


# --- limit --------------------------------------------------------------------------------------


def _limit(text: str) -> _Limit:
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        fail(f"--fail-over: {text!r} is not a limit such as 5%, 0.05usd, 5%/request or 0.001usd/request")
    return _Limit(float(match[1]), match[2] == "%", match[3] is not None, text.strip())


def _over(answer: _Answer, limit: _Limit) -> str:
    """Return what is over the limit; empty if nothing is."""
    # Only spending is limited: a price that became known is none, nor is one that was lost a saving.
    old, new, of = answer.before_usd, answer.after_usd - answer.parts.known, "in all"
    if limit.per_request:
        requests = answer.requests
        if not all(requests):
            fail("--fail-over: no requests on one side: compare in all, without /request")
        old, new, of = old / requests[0], new / requests[1], "a request"
    change = new - old
    allowed = old * limit.value / 100 if limit.is_percent else limit.value
    if change <= allowed:
        return ""
    return f"over {limit.text}: {usd(old)} before, {usd(new)} after {of}, {_signed(change)} ({_percent(old, new)})"


def _left_out(answer: _Answer) -> list[str]:
    """Return what a limit does not look at, in sentences."""
    lines: list[str] = []
    known, unknown = answer.parts.known, sum(row.is_unknown for row in answer.rows)
    if known:
        lines.append(f"--fail-over leaves out {_signed(known)} of what is priced on one side only")
    if unknown:
        keys = "1 key has" if unknown == 1 else f"{number(unknown)} keys have"
        lines.append(f"--fail-over: {keys} no known price on a side")
    return lines


# --- table and markdown -------------------------------------------------------------------------


def _print_table(answer: _Answer, limit: int) -> None:
    keys, amounts, parts = _columns(answer, limit)
    out = console()
    if fits([*keys, *amounts, *parts], out.width):
        print_table(out, [*keys, *amounts, *parts], sum_rows=1)
    else:
        print_table(out, [*keys, *amounts], sum_rows=1)
        if parts:
            show(out, "")
            print_table(out, [*keys, *parts], sum_rows=1)
    show(out, "")
    for line in _notes(answer, limit):
        indent = len(line) - len(line.lstrip())
        show(out, Padding(Hanging(Text(line.strip())), (0, 0, 0, indent)) if indent else Text(line))


def _print_markdown(answer: _Answer, limit: int) -> None:
    keys, amounts, parts = _columns(answer, limit)
    columns = [*keys, *amounts, *parts]
    lines = [
        f"| {' | '.join(column.title for column in columns)} |",
        f"|{'|'.join('---' if column.is_key else '---:' for column in columns)}|",
    ]
    count = len(columns[0].cells)
    for place in range(count):
        cells = [_escaped(column.cells[place]) for column in columns]
        if place == count - 1:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join([*lines, "", *_markdown_notes(answer, limit)]) + "\n")


def _markdown_notes(answer: _Answer, limit: int) -> list[str]:
    return [f"- {_escaped(line.strip())}" for line in _notes(answer, limit)]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _columns(answer: _Answer, limit: int) -> tuple[list[Column], list[Column], list[Column]]:
    """Return the columns of keys, of amounts, and of the parts that are not zero everywhere."""
    shown = answer.rows if len(answer.rows) <= limit + 1 else answer.rows[:limit]
    rest = answer.rows[len(shown) :]
    lines = [*shown, *([_added(rest, len(answer.by))] if rest else [])]
    keys = [
        Column(
            key.upper(),
            [
                *(line.key[place] or ("" if rest and line is lines[-1] else _NOTHING) for line in lines),
                "" if place else "total",
            ],
            is_key=True,
        )
        for place, key in enumerate(answer.by)
    ]
    if len(keys) > 1:  # idle compute has one key
        keys[1:] = [
            column._replace(
                cells=[
                    "" if place < len(lines) and lines[place].key[0] == _IDLE else cell
                    for place, cell in enumerate(column.cells)
                ]
            )
            for column in keys[1:]
        ]
    whole = _added(answer.rows, len(answer.by))
    old, new, total = answer.before_usd, answer.after_usd, answer.parts
    per = " A DAY" if answer.is_per_day else ""
    amounts = [
        Column(f"BEFORE{per}", [_amount(line.before_usd, line.unpriced_before) for line in (*lines, whole)]),
        Column(f"AFTER{per}", [_amount(line.after_usd, line.unpriced_after) for line in (*lines, whole)]),
        Column("CHANGE", [UNKNOWN if line.is_unknown else _part(line.parts.change, line) for line in (*lines, whole)]),
        Column("%", ["" if line.is_unknown else _percent(line.before_usd, line.after_usd) for line in (*lines, whole)]),
    ]
    parts = [
        Column(
            name.upper(),
            [*(_part(getattr(line.parts, name), line) for line in lines), _shown(getattr(total, name), old + new)],
        )
        for name in Parts._fields
    ]
    return keys, amounts, [column for column in parts if any(column.cells)]


def _added(rows: Sequence[KeyChange], width: int) -> KeyChange:
    return KeyChange(
        (f"({len(rows)} more)", *[""] * (width - 1)),
        0.0,
        0.0,
        sum(row.before_usd for row in rows),
        sum(row.after_usd for row in rows),
        summed(row.parts for row in rows),
        (),
        sum(row.unpriced_before for row in rows),
        sum(row.unpriced_after for row in rows),
    )


def _amount(amount: float, unpriced: int) -> str:
    known = known_usd(amount, unpriced)
    return UNKNOWN if known is None else usd(known)


def _part(amount: float, row: KeyChange) -> str:
    return _shown(amount, row.before_usd + row.after_usd)


def _shown(amount: float, whole: float) -> str:
    """Return a part of a change; empty where it is nothing but rounding."""
    return "" if abs(amount) <= _NOISE * whole else _signed(amount)


def _signed(amount: float) -> str:
    return f"+{usd(amount)}" if amount > 0 else usd(amount)


def _percent(old: float, new: float) -> str:
    if not old:
        return ""
    percent = 100 * (new - old) / old
    if abs(percent) < _NOISE:
        return "0 %"
    return f"{percent:+,.1f} %" if abs(percent) >= 0.05 else f"{percent:+.1g} %"


def _notes(answer: _Answer, limit: int) -> list[str]:
    lines: list[str] = []
    if len(answer.rows) > limit + 1:
        lines.append(f"{len(answer.rows) - limit} more rows: --limit {len(answer.rows)}, or --format csv for all.")
    lines += _movers(answer)
    old, new, parts = answer.before_usd, answer.after_usd, answer.parts
    split = [
        f"{_EXPLAINED[name]} {_signed(value)}"
        for name, value in parts._asdict().items()
        if abs(value) > _NOISE * (old + new)
    ]
    is_unknown = _added(answer.rows, len(answer.by)).is_unknown
    a_day = " a day" if answer.is_per_day else ""
    list_price = ", list price" if answer.cost == "list" else ""
    lines.append(
        f"{_amount(old, answer.unpriced[0])} before, {_amount(new, answer.unpriced[1])} after{a_day}{list_price}: "
        + (UNKNOWN if is_unknown else _signed(new - old))
        + (f" ({_percent(old, new)})" if old and not is_unknown else "")
        + (f": {', '.join(split)}." if split else ".")
    )
    n0, n1 = answer.requests
    if n0 and n1:
        per = 1000.0
        lines.append(
            f"{number(round(n0, 1))} requests before, {number(round(n1, 1))} after{a_day}; per 1,000 requests "
            f"{_amount(old / n0 * per, answer.unpriced[0])} before, "
            f"{_amount(new / n1 * per, answer.unpriced[1])} after"
            + (f" ({_percent(old / n0, new / n1)})." if old and not is_unknown else ".")
        )
    lines.append(_compared_sentence(answer))
    if answer.before.unpriced or answer.after.unpriced:
        lines.append(
            f"Not priced, and not in it: {number(answer.before.unpriced)} charges before, "
            f"{number(answer.after.unpriced)} after."
        )
    if answer.before.what == "traces":
        lines.append("Compute is not in it: stored traces do not say what else ran on the machine.")
    return lines


def _compared_sentence(answer: _Answer) -> str:
    sides = [f"{side.name}{_length(side.minutes)}" for side in (answer.before, answer.after)]
    text = f"Before is {sides[0]}, after is {sides[1]}"
    if answer.is_per_day:
        return f"{text}: amounts are per day; --absolute shows sums."
    if answer.before.minutes != answer.after.minutes:
        return f"{text}: sums of different lengths of time."
    return f"{text}."


def _length(minutes: int | None) -> str:
    if minutes is None:
        return ""
    if minutes >= 2 * DAY:
        return f" ({minutes / DAY:,.1f} days)"
    if minutes >= 120:
        return f" ({minutes / 60:,.1f} hours)"
    return f" ({minutes} {'minute' if minutes == 1 else 'minutes'})"


def _movers(answer: _Answer) -> list[str]:
    """Return the price lines that changed most, each with what changed about it."""
    whole = answer.before_usd + answer.after_usd
    found = [
        (row, line) for row in answer.rows for line in row.lines if abs(line.parts.change) > max(_NOISE, 1e-4) * whole
    ]
    found.sort(key=lambda pair: -abs(pair[1].parts.change))
    if not found:
        return []
    shown = [f"  {_mover(row, line)}" for row, line in found[:_SHOWN_LINES]]
    return ["What changed most:", *shown, ""]


def _mover(row: KeyChange, line: LineChange) -> str:
    what = " ".join(dict.fromkeys(part for part in line.line[:-1] if part))
    if row.key[0] == _IDLE:
        what = f"of {line.line[3] or '(no service)'}"
    unit = line.line[-1] or "call"
    why: list[str] = []
    parts = line.parts
    noise = _NOISE * (line.before_usd + line.after_usd)
    if abs(parts.volume) > noise:
        n0, n1 = number(round(row.requests_before, 1)), number(round(row.requests_after, 1))
        why.append(f"volume {_signed(parts.volume)} ({n0} to {n1} requests)")
    if abs(parts.usage) > noise:
        per_request = bool(row.requests_before and row.requests_after)
        q0, q1 = line.quantity_before, line.quantity_after
        if per_request:
            q0, q1 = q0 / row.requests_before, q1 / row.requests_after
        why.append(
            f"usage {_signed(parts.usage)} ({number(q0)} to {number(q1)} {unit}{' a request' if per_request else ''})"
        )
    if abs(parts.price) > noise and line.rate_before is not None and line.rate_after is not None:
        why.append(f"price {_signed(parts.price)} ({rate(line.rate_before)} to {rate(line.rate_after)} a {unit})")
    why += [name for name in ("mix", "new", "gone", "known") if abs(getattr(parts, name)) > noise]
    key = " ".join(part or _NOTHING for part in row.key) if row.key[0] != _IDLE else _IDLE
    return f"{_signed(parts.change)}  {key}: {what} {unit}: {', '.join(why)}"


# --- json and csv -------------------------------------------------------------------------------


def _document(answer: _Answer) -> dict[str, Any]:
    n0, n1 = answer.requests
    unpriced = answer.unpriced
    is_unknown = _added(answer.rows, len(answer.by)).is_unknown
    return {
        "by": answer.by,
        "cost": answer.cost,
        "per": "day" if answer.is_per_day else "period",
        "before": _side_document(answer.before, known_usd(answer.before_usd, unpriced[0]), n0),
        "after": _side_document(answer.after, known_usd(answer.after_usd, unpriced[1]), n1),
        "change_usd": None if is_unknown else answer.after_usd - answer.before_usd,
        "parts_usd": answer.parts._asdict(),
        "rows": [_row_document(row, answer.by) for row in answer.rows],
    }


def _side_document(side: _Loaded, amount: float | None, requests: float) -> dict[str, Any]:
    return {
        "name": side.name,
        "kind": side.what,
        "minutes": side.minutes,
        "usd": amount,
        "requests": requests,
        "unpriced": side.unpriced,
    }


def _row_document(row: KeyChange, by: Sequence[str]) -> dict[str, Any]:
    return {
        **dict(zip(by, row.key, strict=True)),
        "requests_before": row.requests_before,
        "requests_after": row.requests_after,
        "before_usd": known_usd(row.before_usd, row.unpriced_before),
        "after_usd": known_usd(row.after_usd, row.unpriced_after),
        "change_usd": None if row.is_unknown else row.after_usd - row.before_usd,
        "unpriced_before": row.unpriced_before,
        "unpriced_after": row.unpriced_after,
        "parts_usd": row.parts._asdict(),
        "lines": [
            {
                **dict(zip(ROW_KEYS, line.line, strict=False)),
                "quantity_before": line.quantity_before,
                "quantity_after": line.quantity_after,
                "rate_before_usd": line.rate_before,
                "rate_after_usd": line.rate_after,
                "before_usd": known_usd(line.before_usd, line.unpriced_before),
                "after_usd": known_usd(line.after_usd, line.unpriced_after),
                "parts_usd": line.parts._asdict(),
            }
            for line in row.lines
        ],
    }


def _print_csv(answer: _Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    amounts = ["requests_before", "requests_after", "before_usd", "after_usd", "change_usd"]
    counts = ["unpriced_before", "unpriced_after"]
    writer.writerow([*answer.by, *amounts, *(f"{name}_usd" for name in Parts._fields), *counts])
    for row in answer.rows:
        document = _row_document(row, answer.by)
        writer.writerow(
            [*row.key, *(document[name] for name in amounts), *row.parts, *(document[name] for name in counts)]
        )
