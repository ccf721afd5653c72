"""`spancost report`: what each route, tenant, model or anything else cost."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from spancost import names
from spancost.cli._currency import display_currency
from spancost.cli._format import UNKNOWN, Column, console, fits, number, print_json, print_table, share, show, usd
from spancost.cli._ledger import Format, LedgerOption, SinceOption, fail, open_ledger, since_minute
from spancost.errors import suggest
from spancost.prices.currency import Currency
from spancost.sinks.ledger.query import LEDGER_KEYS, Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import EstimatedRow, IdleRow, LedgerRow, Totals, UnpricedRow
from spancost.sinks.ledger.schema import LINE_COLUMNS

NOTHING: Final = "(none)"
IDLE_KEY: Final = "(idle)"
_TIME_KEYS: Final = ("minute", "hour", "day")
_SHORT: Final = {"route": "http_route", "method": "http_request_method"}
"""Words for keys, as `spancost price` takes them, too."""
_SPLIT_HIDING_KEYS: Final = frozenset(LINE_COLUMNS) - {"region"}
_SHOWN_HOSTS: Final = 3
_SHOWN_ASSUMPTIONS: Final = 6
_DEFAULT_LIMIT: Final = 40
_DIRECT: Final = "DIRECT"
_SMALL_SHARE: Final = 0.001
"""Components below this part of the total share a column where the terminal is narrow."""
_EVERYTHING: Final = 10_000
"""Columns of a terminal that is wide enough for anything."""


class _Answer(NamedTuple):
    by: list[str]
    since: str | None
    rows: list[LedgerRow]
    totals: Totals
    idle: list[IdleRow]
    unpriced: list[UnpricedRow]
    estimated: list[EstimatedRow]

    @property
    def grand_usd(self) -> float:
        return self.totals.usd + self.totals.idle_usd

    @property
    def split(self) -> bool:
        """Components are columns: no key splits below a component already."""
        return not _SPLIT_HIDING_KEYS.intersection(self.by)


def report(
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="KEYS", help="Comma-separated keys, for example service,http_route or tenant."),
    ] = None,
    since: SinceOption = None,
    ledger: LedgerOption = None,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
    limit: Annotated[
        int, typer.Option(metavar="ROWS", min=1, help="Rows of the table; the rest is one row.")
    ] = _DEFAULT_LIMIT,
    wide: Annotated[bool, typer.Option("--wide", help="All columns in one table, also beyond the terminal.")] = False,
) -> None:
    """Show what was spent, by any key of the ledger.

    DIRECT is charged on the request's own span, TOTAL on everything below it as well. Compute that nobody used is the
    row (idle). `?` stands for usage without a known price.

    Example: spancost report --by service,http_route --since 1h
    """
    selection = Selection(since_minute(since))
    with open_ledger(ledger) as reader:
        answer = _ask(reader, by, since, selection)
        every = reader.meta().get("flush_interval_seconds", "5")
    if output is Format.JSON:
        print_json(_document(answer))
    elif output is Format.CSV:
        _print_csv(answer)
    elif not (answer.rows or answer.idle):
        typer.echo(f"nothing in the ledger {f'for the last {since}' if since else f'yet: written every {every} s'}")
    else:
        _print_report(answer, limit, wide=wide)


def _ask(reader: LedgerReader, by: str | None, since: str | None, selection: Selection) -> _Answer:
    if by is None:
        services = reader.rows(["service"], selection)
        keys = ["service", "entrypoint"] if len(services) > 1 else ["entrypoint"]
    else:
        named = (key.strip() for key in by.split(","))
        keys = list(dict.fromkeys(_SHORT.get(key, key) for key in named if key))
        if not keys:
            fail(f"--by: names no key: one of {', '.join(sorted(LEDGER_KEYS))}")
        for key in keys:
            if key not in LEDGER_KEYS:
                fail(f"--by: {key!r} is not a key: {suggest(key, LEDGER_KEYS, limit=len(LEDGER_KEYS))}")
    rows = reader.rows(keys, selection)
    if keys[0] in _TIME_KEYS:
        rows.sort(key=lambda row: row.key[0])  # stable: within a time still the costliest first
    return _Answer(
        keys,
        since,
        rows,
        reader.totals(selection),
        reader.idle(selection),
        reader.unpriced(selection),
        reader.estimated(selection),
    )


# --- table --------------------------------------------------------------------------------------


def _print_report(answer: _Answer, limit: int, *, wide: bool) -> None:
    shown = answer.rows if len(answer.rows) <= limit + 1 else answer.rows[:limit]
    rest = answer.rows[len(shown) :]
    lines = [*shown, *([_added(rest, answer)] if rest else [])]
    sums = _idle_and_sum(answer)
    keys, left_out = _key_columns(answer, lines, sums)
    numbers = [
        column._replace(cells=[*column.cells, *(row.get(column.title, "") for row in sums)])
        for column in _number_columns(answer, lines)
    ]
    components = [_component_column(answer, lines, [component]) for component in _components(answer, lines)]
    out = console()
    notes: list[str] = []
    if left_out:
        notes.append(f"{', '.join(left_out)}: {NOTHING} everywhere, left out.")
    blocks = [[*numbers, *components]]
    if wide:
        out.width = _EVERYTHING  # also in a narrow terminal: nothing folded, nothing left out
    elif not fits([*keys, *blocks[0]], out.width):
        blocks, merged = _narrowed(answer, lines, keys, numbers, out.width)
        parts = [f"OTHER is {', '.join(merged)}"] if merged else []
        if {column.title for column in numbers} - {column.title for column in blocks[0]}:
            parts.insert(0, f"{_DIRECT} is left out")
        if parts:
            notes.append(f"{'; '.join(parts)}: --wide shows all columns.")
    for index, block in enumerate(blocks):
        if index:
            show(out, "")
        print_table(out, [*keys, *block], sum_rows=1)
    for line in ("", *notes, *_notes(answer, len(rest), display_currency())):
        show(out, Text(line))


def _key_columns(
    answer: _Answer, lines: Sequence[LedgerRow], sums: Sequence[dict[str, str]]
) -> tuple[list[Column], list[str]]:
    """Return the columns of keys, and the keys that no row has: they get no column, unless none has any."""
    used = [any(row.key[index] for row in answer.rows) for index in range(len(answer.by))]
    if not any(used):
        used[0] = True
    shown = [index for index, is_used in enumerate(used) if is_used]
    columns: list[Column] = []
    for index in shown:
        cells = [row.key[index] or NOTHING for row in lines]
        if index == shown[0]:
            if len(answer.rows) > len(lines):
                cells[-1] = lines[-1].key[0]  # says how many more
            cells.extend(row["key"] for row in sums)
        else:
            cells.extend("" for _ in sums)
        columns.append(Column(answer.by[index].upper(), cells, is_key=True))
    return columns, [key for key, is_used in zip(answer.by, used, strict=True) if not is_used]


def _number_columns(answer: _Answer, lines: Sequence[LedgerRow]) -> list[Column]:
    columns: list[Column] = []
    requests_known = answer.totals.requests > 0
    if requests_known:
        columns.append(Column("REQUESTS", [number(row.requests) if row.requests else "" for row in lines]))
    if "unit" in answer.by:
        columns.append(Column("QUANTITY", [number(row.quantity) for row in lines]))
    elif not answer.split:
        columns.append(Column("CHARGES", [number(row.charge_count) for row in lines]))
    columns.append(Column("TOTAL", [_total_usd(row) for row in lines]))
    if answer.split and "position" not in answer.by:
        columns.append(Column(_DIRECT, [usd(row.direct_usd) if row.charge_count else "" for row in lines]))
    if requests_known:
        columns.append(Column("PER 1000", [_per_1000(row) for row in lines]))
    columns.append(Column("SHARE", [_share(row, answer) for row in lines]))
    return columns


def _components(answer: _Answer, lines: Sequence[LedgerRow]) -> list[str]:
    """Return the components that have a column."""
    if not answer.split:
        return []
    return [
        component
        for component in names.COMPONENTS
        if any(row.component_usd[component] or component in row.unpriced for row in lines)
        or (component == names.COMPUTE and answer.idle)
    ]


def _component_column(answer: _Answer, lines: Sequence[LedgerRow], components: Sequence[str]) -> Column:
    """Return the column of one component with its sums, or one column of several."""
    cells = [_sum_or_unknown([(row.component_usd[name], name in row.unpriced) for name in components]) for row in lines]
    if answer.idle:
        cells.append(_idle_usd(answer) if names.COMPUTE in components else "")
    unpriced = {row.component for row in answer.unpriced}
    cells.append(_sum_or_unknown([(_component_total(answer, name), name in unpriced) for name in components]) or usd(0))
    return Column(components[0].upper() if len(components) == 1 else names.OTHER.upper(), cells)


def _narrowed(
    answer: _Answer, lines: Sequence[LedgerRow], keys: Sequence[Column], numbers: Sequence[Column], width: int
) -> tuple[list[list[Column]], list[str]]:
    """Return at most two blocks of columns for a narrow terminal, and the components that are OTHER there.

    First components below 0.1 % of the total become OTHER, then DIRECT goes; if that does not help, components are a
    second block, the smallest of them in OTHER where they do not fit.
    """
    components = _components(answer, lines)
    dearest = sorted(components, key=lambda name: -_component_total(answer, name))
    small = [name for name in dearest if _is_small(answer, name)]

    def component_columns(merged: Sequence[str]) -> list[Column]:
        own = [_component_column(answer, lines, [name]) for name in components if name not in merged]
        return [*own, _component_column(answer, lines, merged)] if merged else own

    if len(small) < 2:
        small = []
    without_direct = [column for column in numbers if column.title != _DIRECT]
    for base in (numbers, without_direct):
        columns = [*base, *component_columns(small)]
        if fits([*keys, *columns], width):
            return [columns], small
    base = list(numbers) if fits([*keys, *numbers], width) else without_direct
    if not components:
        return [base], []
    merged = small
    while not fits([*keys, *component_columns(merged)], width) and len(merged) < len(components):
        merged = dearest[-max(2, len(merged) + 1) :]
    return [base, component_columns(merged)], merged


def _component_total(answer: _Answer, component: str) -> float:
    return answer.totals.component_usd[component] + (answer.totals.idle_usd if component == names.COMPUTE else 0.0)


def _is_small(answer: _Answer, component: str) -> bool:
    return _component_total(answer, component) < _SMALL_SHARE * answer.grand_usd and not any(
        row.component == component for row in answer.unpriced
    )


def _added(rows: Sequence[LedgerRow], answer: _Answer) -> LedgerRow:
    """Return the one row that stands for those beyond the limit."""
    unpriced: Counter[str] = Counter()
    for row in rows:
        unpriced.update(row.unpriced)
    by_component_key = any(key in LINE_COLUMNS or key == "position" for key in answer.by)
    return LedgerRow(
        (f"({len(rows)} more)", *[""] * (len(answer.by) - 1)),
        # Rows that split one request over several components count it several times.
        0 if by_component_key else sum(row.requests for row in rows),
        sum(row.charge_count for row in rows),
        sum(row.quantity for row in rows),
        sum(row.direct_usd for row in rows),
        sum(row.usd for row in rows),
        sum(row.list_usd for row in rows),
        {name: sum(row.component_usd[name] for row in rows) for name in names.COMPONENTS},
        dict(unpriced),
    )


def _idle_and_sum(answer: _Answer) -> list[dict[str, str]]:
    """Return the rows below the others, without their components: idle compute, if there is any, and the sum."""
    rows: list[dict[str, str]] = []
    totals = answer.totals
    if answer.idle:
        rows.append({"key": IDLE_KEY, "TOTAL": _idle_usd(answer), "SHARE": share(totals.idle_usd, answer.grand_usd)})
    total = {
        "key": "total",
        "REQUESTS": number(totals.requests),
        _DIRECT: usd(sum(row.direct_usd for row in answer.rows)),
        "TOTAL": usd(answer.grand_usd),
        "SHARE": share(answer.grand_usd, answer.grand_usd),
    }
    if totals.requests:
        total["PER 1000"] = usd(answer.grand_usd / totals.requests * 1000)
    if not answer.split:
        total["CHARGES"] = number(totals.charge_count)
    return [*rows, total]


def _idle_usd(answer: _Answer) -> str:
    unknown = any(row.unpriced for row in answer.idle) and not answer.totals.idle_usd
    return UNKNOWN if unknown else usd(answer.totals.idle_usd)


def _sum_or_unknown(parts: Sequence[tuple[float, bool]]) -> str:
    """Return the sum of amounts, with a question mark for those of which nothing is known."""
    amount = sum(amount for amount, _ in parts)
    unknown = any(not amount and has_unpriced for amount, has_unpriced in parts)
    return " + ".join([*([usd(amount)] if amount else []), *([UNKNOWN] if unknown else [])])


def _total_usd(row: LedgerRow) -> str:
    return UNKNOWN if not row.usd and row.unpriced else usd(row.usd)


def _share(row: LedgerRow, answer: _Answer) -> str:
    return UNKNOWN if not row.usd and row.unpriced else share(row.usd, answer.grand_usd)


def _per_1000(row: LedgerRow) -> str:
    if not row.requests or (not row.usd and row.unpriced):
        return ""
    return usd(row.usd / row.requests * 1000)


def _notes(answer: _Answer, left_out: int, currency: Currency | None) -> Iterable[str]:
    if left_out:
        yield f"{left_out} more rows: --limit {len(answer.rows)}, or --format csv for all of them."
    if answer.estimated:
        yield _estimated(answer.estimated)
    yield _last_line(answer, currency)


def _estimated(rows: Sequence[EstimatedRow]) -> str:
    parts: dict[str, float] = {}
    for row in rows:  # dearest first
        parts[_assumption(row)] = parts.get(_assumption(row), 0.0) + row.usd
    named = ", ".join(f"{what} {usd(amount)}" for what, amount in list(parts.items())[:_SHOWN_ASSUMPTIONS])
    more = f", {len(parts) - _SHOWN_ASSUMPTIONS} more" if len(parts) > _SHOWN_ASSUMPTIONS else ""
    return f"{usd(sum(parts.values()))} of it is estimated: {named}{more}"


def _assumption(row: EstimatedRow) -> str:
    where = " ".join(part for part in (row.sku, row.region) if part)
    assumed_machine = row.component == names.COMPUTE and where
    return f"{row.component} {where} ({row.basis})" if assumed_machine else f"{row.component} ({row.basis})"


def _last_line(answer: _Answer, currency: Currency | None) -> str:
    figure = "" if currency is None else f" {currency.figure(answer.grand_usd)}"
    idle = f", {usd(answer.totals.idle_usd)} of it idle" if answer.totals.idle_usd else ""
    return f"Total {usd(answer.grand_usd)}{figure}{idle}; {not_priced(answer.unpriced)}"


def not_priced(rows: Sequence[UnpricedRow]) -> str:
    """Say in one line what has no price: `42 spans not priced: unknown_host 30 (127.0.0.1), no_usage 12`."""
    compute = [row for row in rows if row.component == names.COMPUTE]
    spans = [row for row in rows if row.component != names.COMPUTE]
    parts: list[str] = []
    if spans:
        counts: Counter[str] = Counter()
        subjects: dict[str, Counter[str]] = {}
        for row in spans:
            counts[row.reason or "unknown"] += row.charge_count
            subjects.setdefault(row.reason or "unknown", Counter())[subject(row)] += row.charge_count
        total = sum(counts.values())
        reasons = ", ".join(f"{reason} {n:,}{_named(subjects[reason])}" for reason, n in counts.most_common())
        parts.append(f"{total:,} {'span' if total == 1 else 'spans'} not priced: {reasons}")
    if compute:
        seconds = sum(row.quantity for row in compute)
        reasons = ", ".join(sorted({row.reason or "unknown" for row in compute}))
        parts.append(f"compute of {number(seconds)} s not priced: {reasons} (set {names.ENV_COMPUTE})")
    return "; ".join(parts) if parts else "everything is priced"


def subject(row: UnpricedRow) -> str:
    """Return what a person looks for: the host, the model, or the operation."""
    if row.component == names.HTTP:
        return row.provider
    if row.component == names.LLM:
        return row.model or row.operation
    return "" if row.component == names.EGRESS else row.operation


def _named(found: Counter[str]) -> str:
    shown = [name for name, _ in found.most_common() if name]
    if not shown:
        return ""
    more = f", {len(shown) - _SHOWN_HOSTS} more" if len(shown) > _SHOWN_HOSTS else ""
    return f" ({', '.join(shown[:_SHOWN_HOSTS])}{more})"


# --- json and csv -------------------------------------------------------------------------------


def _document(answer: _Answer) -> dict[str, Any]:
    return {
        "by": answer.by,
        "since": answer.since,
        "rows": [row_document(row, answer.by, answer.grand_usd) for row in answer.rows],
        "requests": answer.totals.requests,
        "total_usd": answer.grand_usd,
        "idle_usd": answer.totals.idle_usd,
        "late_usd": answer.totals.late_usd,
        "unattributed_usd": answer.totals.unattributed_usd,
        "component_usd": answer.totals.component_usd,
        "idle": [row._asdict() for row in answer.idle],
        "unpriced": [row._asdict() for row in answer.unpriced],
        "estimated": [row._asdict() for row in answer.estimated],
    }


def row_document(row: LedgerRow, by: Sequence[str], whole_usd: float) -> dict[str, Any]:
    """Return a row for machines: its key under the names in `by`, its figures, its share of the whole."""
    document: dict[str, Any] = dict(zip(by, row.key, strict=True))
    document["requests"] = row.requests
    document["charges"] = row.charge_count
    if "unit" in by:
        document["quantity"] = row.quantity
    document["component_usd"] = row.component_usd
    document["direct_usd"] = row.direct_usd
    document["total_usd"] = row.usd
    document["list_usd"] = row.list_usd
    document["usd_per_1000_requests"] = row.usd / row.requests * 1000 if row.requests else None
    document["share"] = row.usd / whole_usd if whole_usd else None
    document["unpriced"] = row.unpriced
    return document


def _print_csv(answer: _Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    documents = [row_document(row, answer.by, answer.grand_usd) for row in answer.rows]
    if answer.idle:
        totals = answer.totals
        idle_row = LedgerRow(
            (IDLE_KEY, *[""] * (len(answer.by) - 1)),
            0,
            0,
            sum(row.seconds for row in answer.idle),
            0.0,
            totals.idle_usd,
            sum(row.list_usd for row in answer.idle),
            {name: totals.idle_usd if name == names.COMPUTE else 0.0 for name in names.COMPONENTS},
            {},
        )
        documents.append(row_document(idle_row, answer.by, answer.grand_usd))
    header = [*answer.by, "requests", "charges", *(["quantity"] if "unit" in answer.by else [])]
    amounts = ["direct_usd", "total_usd", "list_usd", "usd_per_1000_requests", "share"]
    components = names.COMPONENTS if answer.split else ()
    writer.writerow([*header, *(f"{component}_usd" for component in components), *amounts, "unpriced"])
    for document in documents:
        by_component = [document["component_usd"][component] for component in components]
        unpriced = sum(document["unpriced"].values())
        writer.writerow(
            [*(document[name] for name in header), *by_component, *(document[name] for name in amounts), unpriced]
        )
