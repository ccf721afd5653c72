"""What the attribution rules catch of stored traces: the charges that `roll_up` adds up, by the rules behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from spancost import names
from spancost.attribution_rules import Piece, Ruled
from spancost.offline.calls import settle
from spancost.offline.charges import FALLEN
from spancost.offline.pricing import Pricing
from spancost.offline.table import REPEATED
from spancost.window import filled


def pieces(pricing: Pricing) -> Iterator[Piece]:
    """Yield local roots and charges by what the rules say of them; to be called once, when all is read."""
    table, charges = pricing.table, pricing.charges
    table.resolve()
    settle(table, charges, pricing.held)
    roots: Counter[tuple[int, int, int]] = Counter(
        (table.attributions[number], table.entries[number], table.processes[number])
        for number, root in enumerate(table.roots)
        if root == number and not table.marks[number] & REPEATED
    )
    for root_key, count in roots.items():
        yield _piece(pricing, root_key, None, requests=count)
    spent: dict[tuple[tuple[int, int, int], int | None], list[float]] = {}
    for number, rule in enumerate(charges.rules):
        if rule == FALLEN:
            continue
        span = charges.spans[number]
        root = table.roots[span]
        key = (
            (table.attributions[root], table.entries[root], table.processes[root]),
            None if span == root else table.attributions[span],
        )
        sums = spent.setdefault(key, [0.0, 0])
        sums[0] += charges.usd[number]
        if charges.lines[charges.line_numbers[number]].status == names.UNPRICED:
            sums[1] += charges.calls[number]
    for (root_key, own), (usd, unpriced) in spent.items():
        yield _piece(pricing, root_key, own, usd=usd, unpriced=int(unpriced))


def _piece(
    pricing: Pricing,
    root: tuple[int, int, int],
    own: int | None,
    *,
    requests: int = 0,
    usd: float = 0.0,
    unpriced: int = 0,
) -> Piece:
    ruled, attribution = pricing.ruled_root(*root), pricing.of_root(*root)
    if own is not None:
        said, inner, _ = pricing.attributions.values[own]
        attribution = filled(filled(said, inner.attribution), attribution)
        rules = dict(ruled.rules) | dict(inner.rules)
        ruled = Ruled(filled(inner.attribution, ruled.attribution), tuple(rules.items()))
    return Piece(pricing.entries.labels[root[1]], ruled, attribution, requests, usd, unpriced)
