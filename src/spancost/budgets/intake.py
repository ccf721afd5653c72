"""Adds a flush up for the budgets: many charges of many tenants become the cells of the rules that are about them.

A large flush has some thousand sums, each of which a dozen rules may be about. Charges that the same rules are about
are added up before the rules are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from spancost import names
from spancost.budgets.contributors import Contributors
from spancost.budgets.matching import Hit, Matcher, Source
from spancost.budgets.rules import AnyRule
from spancost.budgets.store import Cell, Sums
from spancost.budgets.tracks import Track
from spancost.charge import PriceLine
from spancost.window import IDLE, Batch, ChargeKey, ChargeSum

_Money: TypeAlias = "list[float]"
"""USD, estimated USD, calls without a price, calls."""
_Adds: TypeAlias = "dict[Cell, Sums]"


class _Minute:
    """Charges of one minute, by what the same rules are about: kept under the identity of that."""

    __slots__ = ("by_source", "by_split")

    def __init__(self) -> None:
        self.by_source: dict[int, tuple[Source, _Money]] = {}
        self.by_split: dict[int, tuple[tuple[Hit, ...], _Money]] = {}


class Intake:
    """Makes cells of batches; belongs to one thread at a time.

    Args:
        rules: All rules.

        tracks: Of each rule.

        matcher: Says which rules are about what.

        contributors: Are told who has spent.

        sums_of: Returns what a charge adds to a rule: its place, the line, USD, calls.

        admitted_key: Returns the key under which a rule keeps another one.
    """

    def __init__(
        self,
        rules: Sequence[AnyRule],
        tracks: Sequence[Sequence[Track]],
        matcher: Matcher,
        contributors: Contributors,
        sums_of: Callable[[int, PriceLine, float, int], Sums],
        admitted_key: Callable[[int, str], str],
    ) -> None:
        self._rules = rules
        self._tracks = tracks
        self._matcher = matcher
        self._contributors = contributors
        self._sums_of = sums_of
        self._admitted_key = admitted_key
        self._whole = tuple(Hit(place, "") for place in range(len(rules)))

    def cells_of(self, batch: Batch, counts_idle: Sequence[bool]) -> tuple[_Adds, set[Hit]]:
        """Return what a batch adds to the cells, what guards settle included, and the rules and keys of that.

        Args:
            batch: Of a flush.

            counts_idle: Of each rule, whether it counts the machine's time that nobody used.
        """
        adds: _Adds = {}
        touched: set[Hit] = set()
        minutes: dict[int, _Minute] = {}
        for key, sums in batch.charges.items():
            status = key.line.status
            if key.position == IDLE or status == names.UNPRICED:
                self._add_singly(adds, touched, key, sums, counts_idle)
            elif status != names.DUPLICATE:
                minute = minutes.get(key.minute)
                if minute is None:
                    minute = minutes[key.minute] = _Minute()
                self._group(minute, key, sums)
        for number, minute in minutes.items():
            self._add_cells(adds, touched, self._by_hit(minute), number)
        return adds, touched

    def _group(self, minute: _Minute, key: ChargeKey, sums: ChargeSum) -> None:
        parts = self._matcher.parts_of_charge(key.line, key.labels, key.attribution)
        source, split = parts.source, parts.split
        usd, calls = sums.usd, sums.count
        estimated_usd = usd if key.line.status == names.ESTIMATED else 0.0
        if source.places:
            known = minute.by_source.get(id(source))
            if known is None:
                minute.by_source[id(source)] = (source, [usd, estimated_usd, 0, calls])
            else:
                money = known[1]
                money[0] += usd
                money[1] += estimated_usd
                money[3] += calls
        elif not split:
            return
        if split:
            of_split = minute.by_split.get(id(split))
            if of_split is None:
                minute.by_split[id(split)] = (split, [usd, estimated_usd, 0, calls])
            else:
                money = of_split[1]
                money[0] += usd
                money[1] += estimated_usd
                money[3] += calls
        if usd:
            self._contributors.add_later(parts, usd)

    def _by_hit(self, minute: _Minute) -> dict[Hit, _Money]:
        found: dict[Hit, _Money] = {}
        of_sources = ((map(self._whole.__getitem__, source.places), more) for source, more in minute.by_source.values())
        for hits, more in (*of_sources, *minute.by_split.values()):
            more_usd, more_estimated_usd, more_unpriced, more_calls = more
            for hit in hits:
                have = found.get(hit)
                if have is None:
                    found[hit] = more.copy()
                else:
                    have[0] += more_usd
                    have[1] += more_estimated_usd
                    have[2] += more_unpriced
                    have[3] += more_calls
        return found

    def _add_cells(self, adds: _Adds, touched: set[Hit], by_hit: Mapping[Hit, _Money], minute: int) -> None:
        rows: dict[int, list[tuple[str, int, int]]] = {}
        admitted_key = self._admitted_key
        for hit, (usd, estimated_usd, unpriced, calls) in by_hit.items():
            place, wanted = hit
            key = admitted_key(place, wanted)
            touched.add(hit if key is wanted else Hit(place, key))
            row = rows.get(place)
            if row is None:
                name = self._rules[place].name
                row = rows[place] = [(name, track.index, track.slot_of(minute)) for track in self._tracks[place]]
            sums = Sums(usd, estimated_usd, int(unpriced), int(calls))
            for name, track, slot in row:
                cell = Cell(name, track, key, slot)
                before = adds.get(cell)
                adds[cell] = sums if before is None else before.plus(sums)

    def _add_singly(
        self, adds: _Adds, touched: set[Hit], key: ChargeKey, sums: ChargeSum, counts_idle: Sequence[bool]
    ) -> None:
        is_idle = key.position == IDLE
        for hit in self._matcher.of_charge(key.line, key.labels, key.attribution):
            if is_idle and not counts_idle[hit.rule]:
                continue
            more = self._sums_of(hit.rule, key.line, sums.usd, sums.count)
            where = self.add_to(adds, hit, key.minute, more)
            touched.add(where)
            self._contributors.add(where, key.labels, key.line, more.usd)

    def add_to(self, adds: _Adds, hit: Hit, minute: int, sums: Sums, cells: set[Cell] | None = None) -> Hit:
        """Add sums to the cells of a rule and key; return these.

        Args:
            adds: Cells.

            hit: Rule, and the key as it is wanted.

            minute: UTC minute.

            sums: To be added.

            cells: Is told which cells they were.
        """
        key = self._admitted_key(hit.rule, hit.key)
        name = self._rules[hit.rule].name
        for track in self._tracks[hit.rule]:
            cell = Cell(name, track.index, key, track.slot_of(minute))
            before = adds.get(cell)
            adds[cell] = sums if before is None else before.plus(sums)
            if cells is not None:
                cells.add(cell)
        return Hit(hit.rule, key)
