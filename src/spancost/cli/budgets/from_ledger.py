"""Works budgets out of the rows of a ledger: the same matching and the same slots of time as in the application."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from spancost import names
from spancost._guard import ErrorLog
from spancost.budgets.book import BudgetBook
from spancost.budgets.rules import AnyRule, RequestRule
from spancost.budgets.store import Cell, Sums
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.tracks import Track
from spancost.budgets.view import View
from spancost.charge import PriceLine, price_line
from spancost.sinks.ledger.query import Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import ChargeRow
from spancost.window import Attribution, EntryLabels, Origin

_KEYS: Final = (
    "service",
    "environment",
    "http_route",
    "http_request_method",
    "entrypoint",
    "component",
    "provider",
    "operation",
    "model",
    "feature",
    "tenant",
    "team",
    "status",
)
REQUESTS_UNKNOWN: Final = "what single requests cost is not in the sums of a ledger: spancost top shows its traces"


class LedgerView(NamedTuple):
    """What a ledger says about rules."""

    view: View
    coarse: dict[str, int]
    """Rules that count rows which stand for more time than one of their slots, with the minute at which the last such
    row ends: their sums are not exact before it."""


def view_of_ledger(
    reader: LedgerReader,
    rules: Sequence[AnyRule],
    tracks: Sequence[Sequence[Track]],
    now: float,
    *,
    whole: bool = False,
) -> LedgerView:
    """Return what a ledger says about rules.

    Args:
        reader: Of the ledger.

        rules: Of the configuration.

        tracks: Of each rule.

        now: Unix seconds.

        whole: Everything that the ledger has, not only what counts at present.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    firsts = [[-math.inf if whole else _first_slot(track, now) for track in of_rule] for of_rule in tracks]
    oldest = min((first for of_rule in firsts for first in of_rule), default=now)
    since = None if oldest <= 0 else int(oldest // 60)
    by_name = {rule.name: rule for rule in rules}
    shapes = [by_name[getattr(rule, "budget", "") or rule.name] for rule in rules]
    books: dict[Origin, BudgetBook] = {}
    admitted = _book(rules, Origin())
    cells: dict[Cell, Sums] = {}
    coarse: dict[str, int] = {}
    known: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    """By rule and time of a row: the slots that it is added to, each with its track."""
    for row in reader.each_charge(_KEYS, Selection(since_minute=since)):
        book, line, labels, whose = _what(row, rules, books)
        if line.status == names.DUPLICATE:
            continue
        for place, key in book.matcher.of_charge(line, labels, whose):
            if row.is_idle and not shapes[place].include_idle:
                continue
            time = (place, row.begin_minute, row.end_minute)
            slots = known.get(time)
            if slots is None:
                slots, is_coarse = _slots(tracks[place], firsts[place], row)
                known[time] = slots
                if is_coarse:
                    name = rules[place].name
                    coarse[name] = max(coarse.get(name, 0), row.end_minute)
            if not slots:
                continue
            key = admitted.admitted_key(place, key)
            added = book.sums_of(place, line, row.usd, row.charge_count)
            for track, slot in slots:
                cell = Cell(rules[place].name, track, key, slot)
                before = cells.get(cell)
                cells[cell] = added if before is None else before.plus(added)
    view = View()
    for cell, sums in cells.items():
        view.set(cell, sums)
    return LedgerView(view, coarse)


def seen_rules(reader: LedgerReader, rules: Sequence[AnyRule]) -> set[str]:
    """Return the rules that count something of what a ledger has ever seen.

    Args:
        reader: Of the ledger.

        rules: Of the configuration.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    books: dict[Origin, BudgetBook] = {}
    places: set[int] = set()
    for row in reader.each_sum(_KEYS):
        book, line, labels, whose = _what(row, rules, books)
        places.update(hit.rule for hit in book.matcher.of_charge(line, labels, whose))
    return {rules[place].name for place in places}


def unanswered(rules: Iterable[AnyRule]) -> dict[str, str]:
    """Return the rules that a ledger cannot answer, with the reason."""
    return {rule.name: REQUESTS_UNKNOWN for rule in rules if isinstance(rule, RequestRule)}


def _slots(tracks: Sequence[Track], firsts: Sequence[float], row: ChargeRow) -> tuple[list[tuple[int, int]], bool]:
    """Return the slots that a row is added to, each with its track, and whether it is longer than one that counts."""
    found: list[tuple[int, int]] = []
    is_coarse = False
    for track, first in zip(tracks, firsts, strict=True):
        slot, last = track.slot_of(row.begin_minute), track.slot_of(row.end_minute - 1)
        if last >= first:
            is_coarse = is_coarse or last != slot
            if slot >= first:
                found.append((track.index, slot))
    return found, is_coarse


def _what(
    row: ChargeRow, rules: Sequence[AnyRule], books: dict[Origin, BudgetBook]
) -> tuple[BudgetBook, PriceLine, EntryLabels, Attribution]:
    """Return what a row is about, as the application knew it, with the book of its service."""
    service, environment, route, method, entrypoint, *called, feature, tenant, team, status = row.key
    component, provider, operation, model = called
    origin = Origin(service, environment)
    book = books.get(origin)
    if book is None:
        book = books[origin] = _book(rules, origin)
    line = price_line(component, provider, operation, model=model, status=status)
    return (
        book,
        line,
        EntryLabels(route, method if route else "", "" if route else entrypoint),
        Attribution(feature, tenant, team),
    )


def _first_slot(track: Track, now: float) -> float:
    """Return the oldest slot that counts at a moment."""
    return track.window.first_slot(now) if track.window is not None else now - track.keep_s


def _book(rules: Sequence[AnyRule], origin: Origin) -> BudgetBook:
    """Return a book that only matches and splits for one service: nothing is written to it."""
    return BudgetBook(rules, origin, MemoryStore(), channels=(), errors=ErrorLog())
