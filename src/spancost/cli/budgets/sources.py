"""Where budgets are read: from their store, a ledger or a Prometheus server; and the options that say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from spancost import names
from spancost.budgets.rules import AnyRule, BudgetRule
from spancost.budgets.tracks import Track, tracks_of
from spancost.budgets.view import View
from spancost.cli._format import clock
from spancost.cli.budgets.from_ledger import unanswered, view_of_ledger
from spancost.cli.budgets.lines import BudgetLine, with_reserved
from spancost.cli.budgets.prometheus import lines_from_prometheus, server_shown
from spancost.cli.budgets.stored import NoAnswerError, lines_of, open_to_read, read_view, store_shown
from spancost.config import DEFAULT_FILE, Config, budgets, load_config
from spancost.errors import SpancostError, suggest
from spancost.sinks.ledger.reader import LedgerReader

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help=f"Rules of this file; by default {DEFAULT_FILE} as always."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="STORE",
        help="Read this store: sqlite:PATH, redis://HOST:PORT/DB, redis-env:NAME or redis-file:PATH; by default that "
        f"of the configuration, or ${names.ENV_BUDGET_STORE}.",
    ),
]
LedgerSourceOption = Annotated[
    str | None, typer.Option("--ledger", metavar="FILE", help="Work it out from the rows of a ledger instead.")
]
PrometheusOption = Annotated[
    str | None,
    typer.Option("--prometheus", metavar="URL", help="Read the spancost_budget_* metrics of this server instead."),
]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Only this key of rules that are split, such as a tenant.")
]

_SCOPES: Final = {
    "process": "one process",
    "machine": "all processes of one machine",
    "fleet": "all processes that share it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a command was told about where to read."""

    config_file: str | None = None
    store: str | None = None
    ledger: str | None = None
    prometheus: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """How budgets stand."""

    lines: list[BudgetLine]
    source: str
    """Where it was read, for people."""
    scope: str = ""
    """`process`, `machine` or `fleet`: whose money a store knows; empty for others."""
    unseen: list[str]
    """Rules of which nothing was seen."""
    notes: list[str]
    """What cannot be told, and why."""
    at: float
    """Unix seconds."""

    @property
    def source_text(self) -> str:
        """The source, and whose money it knows."""
        return f"{self.source} ({_SCOPES.get(self.scope, self.scope)})" if self.scope else self.source


@dataclass(frozen=True, slots=True)
class Past:
    """Sums by slot of time, as far back as they are kept."""

    view: View
    source: str
    notes: list[str]


def configured(config_file: str | None) -> Config:
    """Return the configuration, which must have rules.

    Raises:
        SpancostError: It is wrong, or has no rules.
    """
    config = load_config(config_file)
    if not config.budget_rules:
        where = config.place or f"{DEFAULT_FILE}, which is not there"
        raise NoAnswerError(f"no rules in budgets.rules of {where}")
    return config


def chosen_rules(rules: Sequence[AnyRule], wanted: Sequence[str]) -> list[AnyRule]:
    """Return the rules with these names; all of them for none.

    Raises:
        NoAnswerError: There is no such rule.
    """
    known = {rule.name: rule for rule in rules}
    for name in wanted:
        if name not in known:
            raise NoAnswerError(f"no rule {name!r}: {suggest(name, known, limit=len(known))}")
    return [rule for rule in rules if not wanted or rule.name in wanted]


def read_standings(source: Source, wanted: Sequence[str], now: Callable[[], float] = time.time) -> Standings:
    """Read how budgets stand.

    Args:
        source: Where.

        wanted: Names of rules; all for none.

        now: Clock, Unix seconds.

    Raises:
        SpancostError: It cannot be told.
    """
    _refuse_several(source)
    at = now()
    if source.prometheus is not None:
        return _of_prometheus(source.prometheus, source, wanted, at)
    config = configured(source.config_file)
    rules = config.budget_rules
    names_wanted = {rule.name for rule in chosen_rules(rules, wanted)}
    tracks = _tracks(rules)
    notes: list[str] = []
    scope, reserved = "", dict[tuple[str, str], float]()
    if source.ledger is not None:
        where = f"ledger {source.ledger}"
        with LedgerReader(source.ledger) as reader:
            found = view_of_ledger(reader, rules, tracks, at)
        view, left_out = found.view, unanswered(rules)
        notes += [f"{name}: {why}" for name, why in left_out.items() if name in names_wanted]
        notes += _coarse_notes(found.coarse, names_wanted)
        names_wanted -= left_out.keys()
    else:
        text = _store_of(source, config)
        where = f"store {store_shown(text)}"
        with closing(open_to_read(text)) as store:
            view = read_view(store, rules, tracks)
            reserved = dict(store.reserved(at))
            scope = store.scope
    lines, unseen = lines_of(view, rules, tracks, at)
    return Standings(
        lines=with_reserved([line for line in lines if line.rule in names_wanted], reserved),
        source=where,
        scope=scope,
        unseen=[name for name in unseen if name in names_wanted],
        notes=notes,
        at=at,
    )


def read_past(source: Source, rule: AnyRule, config: Config, at: float) -> Past:
    """Read what was spent on one rule, slot by slot.

    Args:
        source: A store or a ledger.

        rule: One whose money is added up.

        config: With its rules.

        at: Unix seconds.

    Raises:
        SpancostError: It cannot be told.
    """
    _refuse_several(source)
    rules = config.budget_rules
    if source.prometheus is not None:
        raise NoAnswerError("--prometheus: its metrics say how budgets stand now: ask the store, or --ledger")
    if source.ledger is not None:
        with LedgerReader(source.ledger) as reader:
            found = view_of_ledger(reader, rules, _tracks(rules), at, whole=True)
        return Past(found.view, f"ledger {source.ledger}", _coarse_notes(found.coarse, {rule.name}))
    text = _store_of(source, config)
    with closing(open_to_read(text)) as store:
        return Past(read_view(store, rules, _tracks(rules)), f"store {store_shown(text)}", [])


def _refuse_several(source: Source) -> None:
    given = [
        option
        for option, value in (
            ("--store", source.store),
            ("--ledger", source.ledger),
            ("--prometheus", source.prometheus),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise NoAnswerError(f"{' and '.join(given)}: only one of them")


def _store_of(source: Source, config: Config) -> str:
    if source.store is None:
        return config.budget_store
    try:
        return budgets.store(source.store)
    except ValueError as error:
        raise NoAnswerError(f"--store: {error}") from None


def _of_prometheus(url: str, source: Source, wanted: Sequence[str], at: float) -> Standings:
    """Read metrics; a configuration adds windows and thresholds, and is not needed."""
    try:
        rules: Sequence[AnyRule] = load_config(source.config_file).budget_rules
    except SpancostError:
        if source.config_file is not None:
            raise
        rules = ()
    lines = lines_from_prometheus(url, rules)
    if not lines:
        raise NoAnswerError(
            f"--prometheus: {server_shown(url)} has no spancost_budget_* metrics now: does it scrape the application?"
        )
    known = {line.rule: None for line in lines} | {rule.name: None for rule in rules}
    for name in wanted:
        if name not in known:
            raise NoAnswerError(f"no rule {name!r}: {suggest(name, known, limit=len(known))}")
    seen = {line.rule for line in lines}
    return Standings(
        lines=[line for line in lines if not wanted or line.rule in wanted],
        source=f"Prometheus {server_shown(url)}",
        unseen=[rule.name for rule in rules if rule.name not in seen and (not wanted or rule.name in wanted)],
        notes=[],
        at=at,
    )


def _tracks(rules: Sequence[AnyRule]) -> list[tuple[Track, ...]]:
    known = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
    return [tracks_of(rule, known) for rule in rules]


def _coarse_notes(coarse: dict[str, int], wanted: set[str]) -> list[str]:
    return [
        f"{name}: not exact before {clock(minute)}, where the ledger keeps longer times than the rule counts in"
        for name, minute in coarse.items()
        if name in wanted
    ]
