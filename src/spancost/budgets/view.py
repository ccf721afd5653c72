"""What everybody has spent, as this process knows it: a replica of the store, and on top what could not be sent yet.

A change of the store is one addition. Sums over a rolling stretch are kept as running totals, worked out anew when a
slot falls out of it, so that neither asking costs more with time nor errors of rounding add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from spancost.budgets.store import Cell, StateRecord, Sums

NOTHING_SPENT: Final = Sums()
_NO_SLOTS: Final[Mapping[int, Sums]] = {}


class _Row:
    """The slots of one key of one track."""

    __slots__ = ("first", "slots", "total")

    def __init__(self) -> None:
        self.slots: dict[int, Sums] = {}
        self.first: int | None = None
        """Oldest slot in `total`; None: it is to be worked out."""
        self.total = NOTHING_SPENT

    def set(self, slot: int, sums: Sums) -> Sums | None:
        before = self.slots.get(slot)
        self.slots[slot] = sums
        if self.first is not None and slot >= self.first:
            if before is None:
                self.total = self.total.plus(sums)
            else:
                self.first = None if sums.usd < before.usd else self.first
                self.total = self.total.plus(sums.minus(before))
        return before

    def since(self, first_slot: int) -> Sums:
        if self.first != first_slot:
            self.total = added(sums for slot, sums in self.slots.items() if slot >= first_slot)
            self.first = first_slot
        return self.total


class View:
    """Sums and states of all rules and keys; belongs to one thread at a time."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int, str], _Row] = {}
        self._unsent: dict[tuple[str, int, str], dict[int, Sums]] = {}
        self.states: dict[tuple[str, str], StateRecord] = {}

    def clear(self) -> None:
        """Forget what the store had said."""
        self._rows.clear()
        self.states.clear()

    def set(self, cell: Cell, sums: Sums) -> Sums | None:
        """Take over what everybody has added to a cell; return what was known of it before."""
        rule, track, key, slot = cell
        row = self._rows.get((rule, track, key))
        if row is None:
            row = self._rows[rule, track, key] = _Row()
        return row.set(slot, sums)

    def set_unsent(self, adds: Mapping[Cell, Sums]) -> None:
        """Count what the store has not taken yet on top of what it has said."""
        self._unsent = {}
        for cell, sums in adds.items():
            self._unsent.setdefault((cell.rule, cell.track, cell.key), {})[cell.slot] = sums

    def at(self, rule: str, track: int, key: str, slot: int) -> Sums:
        """Return the sums of one slot."""
        place = (rule, track, key)
        row = self._rows.get(place)
        sums = NOTHING_SPENT if row is None else row.slots.get(slot, NOTHING_SPENT)
        unsent = self._unsent.get(place, _NO_SLOTS).get(slot)
        return sums if unsent is None else sums.plus(unsent)

    def since(self, rule: str, track: int, key: str, first_slot: int) -> Sums:
        """Return the sums of a slot and all later ones."""
        place = (rule, track, key)
        row = self._rows.get(place)
        sums = NOTHING_SPENT if row is None else row.since(first_slot)
        for slot, more in self._unsent.get(place, _NO_SLOTS).items():
            if slot >= first_slot:
                sums = sums.plus(more)
        return sums

    def between(self, rule: str, track: int, key: str, first_slot: int, end: int) -> Sums:
        """Return the sums of the slots from one up to, not including, another."""
        place = (rule, track, key)
        row = self._rows.get(place)
        groups = [_NO_SLOTS if row is None else row.slots, self._unsent.get(place, _NO_SLOTS)]
        return added(sums for group in groups for slot, sums in group.items() if first_slot <= slot < end)

    def slots(self, rule: str, track: int, key: str) -> dict[int, Sums]:
        """Return the sums of all slots that are known, by their start."""
        place = (rule, track, key)
        row = self._rows.get(place)
        found = {} if row is None else dict(row.slots)
        for slot, sums in self._unsent.get(place, _NO_SLOTS).items():
            found[slot] = found.get(slot, NOTHING_SPENT).plus(sums)
        return found

    def keys(self) -> Iterator[tuple[str, str]]:
        """Yield rule and key of everything that has spent, each once."""
        seen: set[tuple[str, str]] = set()
        for rule, _, key in (*self._rows, *self._unsent):
            if (rule, key) not in seen:
                seen.add((rule, key))
                yield rule, key

    def forget(self, rule: str, track: int, oldest_slot: int) -> None:
        """Forget slots older than this, of all keys."""
        for place in [place for place in self._rows if place[0] == rule and place[1] == track]:
            row = self._rows[place]
            for slot in [slot for slot in row.slots if slot < oldest_slot]:
                del row.slots[slot]
                row.first = None
            if not row.slots:
                del self._rows[place]


def added(several: Iterable[Sums]) -> Sums:
    """Return the sum of several sums."""
    total = NOTHING_SPENT
    for sums in several:
        total = total.plus(sums)
    return total
