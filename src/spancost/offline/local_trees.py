"""What each local tree of one or more traces was charged, ready to be booked."""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple

from spancost.charge import Charge
from spancost.nodes import Booked
from spancost.offline.calls import settle
from spancost.offline.charges import FALLEN
from spancost.offline.pricing import Measured
from spancost.offline.table import LOCAL, REPEATED, SpanTable
from spancost.window import ENTRY, INNER, LATE_INNER, NOBODY, filled

_MINUTE_NS: Final = 60_000_000_000


class LocalTree(NamedTuple):
    """One local root with the charges of all spans below it."""

    root: int
    """Number of its topmost span."""
    is_whole: bool
    """The topmost span is a local root; else the rest of the tree is not here, and all charges are late."""
    is_below_booked: bool
    """The topmost span is an inner one, below a span that was booked before."""
    booked: list[Booked]
    spans: list[int]
    """Numbers of the charged spans, one for each of `booked`."""

    @property
    def total_usd(self) -> float:
        """Sum of all charges, USD."""
        return sum(charge.usd for charge, *_ in self.booked)


def local_trees(measured: Measured, roots: Container[int], booked: Container[int] = ()) -> list[LocalTree]:
    """Find local roots, charge each call once and put the charges under their roots; to be called once.

    Args:
        measured: All spans there are.

        roots: Numbers of the spans that may be local roots: with no parent in their process, or the processing of one
            message. Any other topmost span is the top of a tree that is not whole.

        booked: Ids of spans of the same trace that were booked before. A tree below one of them is a part of its tree.
    """
    table, charges = measured.table, measured.charges
    table.resolve()
    settle(table, charges, measured.held)
    trees: dict[int, LocalTree] = {}
    for number, root in enumerate(table.roots):
        if root == number and not table.marks[number] & REPEATED:
            is_whole = number in roots and _starts_there(table, number)
            is_below = not is_whole and table.parent_ids[number] in booked
            trees[number] = LocalTree(number, is_whole, is_below, [], [])
    whose = measured.attributions.values
    for number, rule in enumerate(charges.rules):
        if rule == FALLEN:
            continue
        span = charges.spans[number]
        tree = trees[table.roots[span]]
        said, ruled, _ = whose[table.attributions[span]]
        is_top = span == tree.root and not tree.is_below_booked
        own = NOBODY if is_top else filled(said, ruled.attribution)
        charge = Charge(
            charges.lines[charges.line_numbers[number]],
            charges.quantities[number],
            charges.usd[number],
            charges.list_usd[number],
        )
        position = LATE_INNER if not tree.is_whole else ENTRY if span == tree.root else INNER
        tree.booked.append(
            (
                charge,
                None if own == NOBODY else own,
                position,
                charges.ends[number] // _MINUTE_NS,
                charges.calls[number],
            )
        )
        tree.spans.append(span)
    return list(trees.values())


def _starts_there(table: SpanTable, number: int) -> bool:
    """False for a topmost span whose parent in the same process is not known."""
    return not table.marks[number] & LOCAL or table.parents[number] >= 0
