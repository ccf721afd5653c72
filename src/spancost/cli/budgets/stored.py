"""Reads a store of budgets from outside its application: nothing in it is changed, nobody is told."""

from __future__ import annotations

import os
from collections.abc import Sequence

from spancost.budgets.evaluation import Evaluator, request_reading
from spancost.budgets.rules import AnyRule, RequestRule
from spancost.budgets.store import StateRecord, Store
from spancost.budgets.stores.opening import AUTO, MEMORY, budgets_path, open_store
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.budgets.tracks import Track
from spancost.budgets.view import View
from spancost.cli.budgets.lines import BudgetLine, line_of
from spancost.errors import SpancostError

_SQLITE = "sqlite:"
_MOST_PAGES = 50
"""Times that a store is asked for more: one that applications write to never ends."""


class NoAnswerError(SpancostError):
    """Budgets cannot be told; says why and what to do."""


def store_shown(store: str) -> str:
    """Return a store for people: its file, or its server without user and password."""
    if store == AUTO:
        return budgets_path(os.environ)
    scheme, slashes, rest = store.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}" if slashes else store.removeprefix(_SQLITE)


def open_to_read(store: str) -> Store:
    """Open a store that an application has made; none is created.

    Args:
        store: As in `budgets.store` of the configuration.

    Raises:
        NoAnswerError: There is none, or it cannot be read from outside.
    """
    if store == MEMORY:
        raise NoAnswerError(
            "budgets.store is memory, which nobody but its process can read: set sqlite:PATH or a Redis server, or ask "
            "a ledger (--ledger) or a Prometheus server (--prometheus)"
        )
    path = budgets_path(os.environ) if store == AUTO else os.path.expanduser(store.removeprefix(_SQLITE))
    if store == AUTO or store.startswith(_SQLITE):
        if not os.path.exists(path):
            raise NoAnswerError(
                f"no budget store at {path}: an application with budgets writes it; name another one with --store, or "
                "a ledger with --ledger"
            )
        return SqliteStore(path)
    try:
        return open_store(store)
    except ValueError as error:
        raise NoAnswerError(str(error)) from None


def read_view(store: Store, rules: Sequence[AnyRule], tracks: Sequence[Sequence[Track]]) -> View:
    """Return everything that a store knows about these rules.

    Args:
        store: Only looked at.

        rules: Of the configuration; what the store has of others is left out.

        tracks: Of each rule.

    Raises:
        StoreUnavailableError: It cannot be read now.
    """
    view, cursor = View(), 0
    counts = {rule.name: len(of_rule) for rule, of_rule in zip(rules, tracks, strict=True)}
    for _ in range(_MOST_PAGES):
        changes = store.exchange(None, cursor)
        if changes.is_reset:
            view.clear()
        cursor = changes.cursor
        for cell, sums in changes.cells:
            if cell.track < counts.get(cell.rule, 0):
                view.set(cell, sums)
        for record in changes.states:
            if record.rule in counts:
                view.states[record.rule, record.key] = record
        if not changes.cells and not changes.states:
            break
    return view


def lines_of(
    view: View, rules: Sequence[AnyRule], tracks: Sequence[Sequence[Track]], now: float
) -> tuple[list[BudgetLine], list[str]]:
    """Return how every key of every rule stands, and the rules of which nothing is known yet.

    Args:
        view: What was spent, and the states.

        rules: Of the configuration.

        tracks: Of each rule.

        now: Unix seconds.
    """
    evaluator = Evaluator(rules, tracks, view)
    keys: dict[str, dict[str, None]] = {rule.name: {} for rule in rules}
    for name, key in (*view.keys(), *view.states):
        keys[name][key] = None
    budgets = {rule.name: rule for rule in rules}
    lines: list[BudgetLine] = []
    unseen: list[str] = []
    for rule in rules:
        shape = budgets[getattr(rule, "budget", "") or rule.name]
        if not keys[rule.name] and not isinstance(rule, RequestRule):
            unseen.append(rule.name)
        for key in keys[rule.name] or ({} if shape.per else {"": None}):
            reading = evaluator.read(rule, key, now)
            if reading is None and isinstance(rule, RequestRule):
                reading = request_reading(rule, 0.0)
            if reading is not None:
                record = view.states.get((rule.name, key)) or StateRecord(rule.name, key)
                lines.append(line_of(rule, record, reading, now))
    return lines, unseen
