"""`spancost attribution test`: what each attribution rule catches, and what nothing catches."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from spancost import names
from spancost.attribution_rules import (
    FREE_LABEL,
    AttributionRule,
    AttributionRules,
    Piece,
    attribution_from,
    shadowed,
    value_of,
)
from spancost.cli import EXIT_FINDINGS
from spancost.cli._format import UNKNOWN, Column, console, number, print_json, print_table, share, show, usd
from spancost.cli._ledger import DEFAULT_LEDGER, Format, LedgerOption, fail, open_ledger
from spancost.config import DEFAULT_FILE, Config, load_config
from spancost.errors import MissingExtraError, SpancostError
from spancost.window import EntryLabels, filled

if TYPE_CHECKING:
    from spancost.sinks.ledger.reader import LedgerReader

_ENVIRONMENT: Final = ("deployment.environment.name", "deployment.environment")
_LEDGER_RESOURCE: Final = frozenset({"service.name", *_ENVIRONMENT, "cloud.account.id"})
_LEDGER_KEYS: Final = (
    "service",
    "environment",
    "cloud_account",
    "http_route",
    "http_request_method",
    "entrypoint",
)
_EXAMPLES: Final = 3
_SHOWN_PROBLEMS: Final = 5
_SAID: Final = "(the application)"
_NOTHING: Final = "(nothing)"

attribution = typer.Typer(help="Try the rules that say whose cost it is on what was recorded.", no_args_is_help=True)


@attribution.callback()
def callback() -> None:
    """Try the rules that say whose cost it is on what was recorded."""


class _Sums:
    """What one row of the answer stands for."""

    def __init__(self) -> None:
        self.requests = 0
        self.usd = 0.0
        self.unpriced = 0
        self.otherwise_usd = 0.0
        """Where something that goes before rules says another value."""
        self._entrypoints: dict[str, tuple[float, int]] = {}

    def add(self, piece: Piece, *, otherwise: bool = False) -> None:
        self.requests += piece.requests
        self.usd += piece.usd
        self.unpriced += piece.unpriced
        self.otherwise_usd += piece.usd if otherwise else 0.0
        spent, count = self._entrypoints.get(piece.labels.shown, (0.0, 0))
        self._entrypoints[piece.labels.shown] = (spent + piece.usd, count + piece.requests)

    @property
    def is_empty(self) -> bool:
        return not self.requests and not self.usd and not self.unpriced

    @property
    def amount(self) -> str:
        """What was spent: unknown where nothing has a price and something should."""
        return UNKNOWN if self.unpriced and not self.usd else usd(self.usd)

    def examples(self) -> list[str]:
        dearest = sorted(self._entrypoints, key=lambda name: (*(-amount for amount in self._entrypoints[name]), name))
        return [name for name in dearest if name][:_EXAMPLES]


class _Row(NamedTuple):
    label: str
    rule: int | None
    """Number of the rule; None for what no rule catches."""
    what: str
    """The rule's matchers, or why no rule counts."""
    value: str
    sums: _Sums | None
    """None where it cannot be told."""


class _Answer(NamedTuple):
    source: str
    counted: str
    """`requests`, or `local roots`."""
    rows: list[_Row]
    total: _Sums
    untold: list[int]
    """Rules that need what the source does not keep."""
    empty: list[int]
    """Rules that catch nothing."""
    shadowed: dict[int, int]
    problems: list[str]


@attribution.command(name="test")
def try_rules(
    ledger: LedgerOption = None,
    traces: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="TRACES", help="OTLP JSON instead of the ledger; may stand several times."),
    ] = None,
    config_file: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help=f"Rules of this file; by default {DEFAULT_FILE} as always."),
    ] = None,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Show what each attribution rule catches, and what nothing catches.

    For each label the first rule that matches counts. The ledger keeps routes, entrypoints and services, no attributes
    of spans: rules about those are tried on traces with --from. Exit code 1: a rule catches nothing.

    Example: spancost attribution test --ledger spancost.sqlite
    """
    if traces and ledger is not None:
        fail("attribution test: name a --ledger, or traces with --from, not both")
    try:
        config = load_config(config_file)
    except SpancostError as error:
        fail(str(error))
    if not config.attribution_rules:
        fail(f"no attribution rules: add attribution.rules to {config.place or DEFAULT_FILE}, or name a --config")
    answer = _of_traces(config, traces) if traces else _of_ledger(config, ledger)
    if output is Format.JSON:
        print_json(_document(answer))
    elif output is Format.CSV:
        _print_csv(answer)
    else:
        _print_table(answer)
    if answer.empty:
        raise typer.Exit(EXIT_FINDINGS)


# --- the two sources ----------------------------------------------------------------------------


def _of_ledger(config: Config, ledger: str | None) -> _Answer:
    path = ledger or config.ledger or DEFAULT_LEDGER
    untold = [number for number, rule in enumerate(config.attribution_rules) if _needs_spans(rule)]
    rules = AttributionRules(config.attribution_rules, left_out=untold)
    targets = {label for rule in config.attribution_rules for label in rule.targets}
    free = sorted(label for label in targets if label.startswith(FREE_LABEL))
    with open_ledger(path) as reader:
        return _answer(config, _ledger_pieces(reader, rules, free), path, "requests", untold)


def _needs_spans(rule: AttributionRule) -> bool:
    asked = {name for name, _ in rule.resource} | rule.references
    return bool(rule.span) or not asked <= _LEDGER_RESOURCE


def _ledger_pieces(reader: LedgerReader, rules: AttributionRules, free: list[str]) -> Iterator[Piece]:
    keys = (*_LEDGER_KEYS, *names.ATTRIBUTION_LABELS, *free)
    for row in reader.rows(keys):
        service, environment, account, route, method, entrypoint, *_ = row.key
        resource = {"service.name": service, "cloud.account.id": account, **dict.fromkeys(_ENVIRONMENT, environment)}
        labels = EntryLabels(route, method) if route else EntryLabels(entrypoint=entrypoint)
        ruled = rules.bound(resource).of_root(labels, {})
        said = attribution_from(zip(keys[len(_LEDGER_KEYS) :], row.key[len(_LEDGER_KEYS) :], strict=True))
        yield Piece(labels, ruled, filled(said, ruled.attribution), row.requests, row.usd, sum(row.unpriced.values()))


def _of_traces(config: Config, files: list[str]) -> _Answer:
    try:
        from spancost.offline.pricing import Pricing
        from spancost.offline.reading import Problems, read_files
        from spancost.offline.ruled import pieces
    except ImportError as error:
        if error.name != "msgspec":
            raise
        raise MissingExtraError("spancost attribution test --from", "cli") from None
    from spancost.prices.configured import price_book

    try:
        pricing, problems = Pricing(config, price_book(config)), Problems()
        empty = read_files(files, pricing, problems)
    except SpancostError as error:
        fail(str(error))
    if empty:
        fail(f"no span of OTLP JSON or Jaeger JSON in {', '.join(empty)}")
    answer = _answer(config, pieces(pricing), ", ".join(files), "local roots", [])
    answer.problems.extend(f"{one.path}:{one.line}: {one.message}" for one in problems.first[:_SHOWN_PROBLEMS])
    return answer


# --- adding up ----------------------------------------------------------------------------------


def _answer(config: Config, pieces: Iterable[Piece], source: str, counted: str, untold: list[int]) -> _Answer:
    rules = config.attribution_rules
    labels = sorted({label for rule in rules for label in rule.targets}, key=_label_order)
    caught: dict[tuple[str, int | str], _Sums] = {}
    total = _Sums()
    for piece in pieces:
        total.add(piece)
        by_rule = dict(piece.ruled.rules)
        for label in labels:
            rule = by_rule.get(label)
            value = value_of(piece.attribution, label)
            place: int | str = (_SAID if value else _NOTHING) if rule is None else rule
            sums = caught.setdefault((label, place), _Sums())
            given = value_of(piece.ruled.attribution, label)
            sums.add(piece, otherwise=rule is not None and value not in ("", given))
    rows: list[_Row] = []
    for label in labels:
        for place, rule in enumerate(rules):
            if label in rule.targets:
                sums = None if place in untold else caught.get((label, place), _Sums())
                rows.append(_Row(label, place, _shown(rule), rule.targets[label], sums))
        rows.extend(
            _Row(label, None, what, "", caught[label, what]) for what in (_SAID, _NOTHING) if (label, what) in caught
        )
    counts = {row.rule for row in rows if row.sums is not None and not row.sums.is_empty}
    empty = [place for place in range(len(rules)) if place not in untold and place not in counts]
    return _Answer(source, counted, rows, total, untold, empty, shadowed(rules), [])


def _label_order(label: str) -> tuple[int, str]:
    fields = names.ATTRIBUTION_LABELS
    return (fields.index(label) if label in fields else len(fields)), label


def _shown(rule: AttributionRule) -> str:
    return " ".join(f"{name}={glob}" for name, glob in rule.matchers.items())


def _usd(row: _Row) -> float:
    return 0.0 if row.sums is None else row.sums.usd


def _rule(row: _Row) -> str:
    return row.what if row.rule is None else _name(row.rule)


def _name(rule: int) -> str:
    return f"rules[{rule}]"


# --- output -------------------------------------------------------------------------------------


def _print_table(answer: _Answer) -> None:
    rows, total = answer.rows, answer.total
    requests = [UNKNOWN if row.sums is None else number(row.sums.requests) for row in rows]
    spent = [UNKNOWN if row.sums is None else row.sums.amount for row in rows]
    shares = [UNKNOWN if spent[place] == UNKNOWN else share(_usd(row), total.usd) for place, row in enumerate(rows)]
    otherwise = ["" if row.sums is None or not row.sums.otherwise_usd else usd(row.sums.otherwise_usd) for row in rows]
    columns = [
        Column("LABEL", [row.label for row in rows], is_key=True),
        Column("CAUGHT BY", [_rule(row) for row in rows], is_key=True),
        Column("VALUE", [row.value for row in rows], is_key=True),
        Column(answer.counted.upper(), requests),
        Column("TOTAL", spent),
        Column("SHARE", shares),
        *([Column("SAID OTHERWISE", otherwise)] if any(otherwise) else []),
        Column("EXAMPLES", ["" if row.sums is None else ", ".join(row.sums.examples()) for row in rows], is_key=True),
    ]
    out = console()
    print_table(out, columns)
    matchers = {row.rule: row.what for row in rows if row.rule is not None}
    for line in (
        "",
        *(f"{_name(rule)}: {what}" for rule, what in sorted(matchers.items())),
        "",
        *_notes(answer, said_otherwise=any(otherwise)),
    ):
        show(out, Text(line))


def _notes(answer: _Answer, *, said_otherwise: bool) -> Iterable[str]:
    total = answer.total
    yield f"{total.amount} for {number(total.requests)} {answer.counted} of {answer.source}."
    if said_otherwise:
        yield (
            "SAID OTHERWISE: there a span attribute, attribute() or baggage, or an earlier version of the rules, has "
            "said another value; the application's word goes before rules."
        )
    for rule in answer.untold:
        yield (
            f"{_name(rule)} needs attributes that the ledger does not keep, and what it catches is counted elsewhere "
            "here: try it with --from TRACES.json."
        )
    for rule in answer.empty:
        first = answer.shadowed.get(rule)
        why = "" if first is None else f": {_name(first)} always comes first"
        yield f"{_name(rule)} catches nothing{why}."
    yield from answer.problems


def _row_document(row: _Row, answer: _Answer) -> dict[str, Any]:
    sums = row.sums
    return {
        "label": row.label,
        "rule": row.rule,
        "matches": row.what,
        "value": row.value,
        "requests": None if sums is None else sums.requests,
        "usd": None if sums is None else sums.usd,
        "share": None if sums is None or not answer.total.usd else sums.usd / answer.total.usd,
        "unpriced": None if sums is None else sums.unpriced,
        "said_otherwise_usd": None if sums is None else sums.otherwise_usd,
        "examples": [] if sums is None else sums.examples(),
    }


def _document(answer: _Answer) -> dict[str, Any]:
    return {
        "source": answer.source,
        "counted": answer.counted,
        "rows": [_row_document(row, answer) for row in answer.rows],
        "requests": answer.total.requests,
        "usd": answer.total.usd,
        "unpriced": answer.total.unpriced,
        "rules_not_told": answer.untold,
        "rules_that_catch_nothing": answer.empty,
        "problems": answer.problems,
    }


def _print_csv(answer: _Answer) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    rows: Sequence[dict[str, Any]] = [_row_document(row, answer) for row in answer.rows]
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(("; ".join(row["examples"]) if name == "examples" else row[name]) for name in row)
