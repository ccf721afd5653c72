from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.store import Cell, Sums
from spancost.budgets.view import View

_CHANGES = st.lists(
    st.tuples(st.integers(0, 12), st.floats(0, 10, allow_nan=False), st.integers(0, 14)), min_size=1, max_size=60
)


@given(_CHANGES)
def test_a_running_sum_is_what_adding_up_all_slots_gives(changes: list[tuple[int, float, int]]) -> None:
    view, truth = View(), dict[int, float]()
    for slot, usd, first in changes:
        truth[slot] = truth.get(slot, 0.0) + usd
        view.set(Cell("rule", 0, "key", slot), Sums(usd=truth[slot], calls=1))
        expected = math.fsum(usd for at, usd in truth.items() if at >= first)
        assert math.isclose(view.since("rule", 0, "key", first).usd, expected, rel_tol=1e-12, abs_tol=1e-12)


def test_what_could_not_be_sent_counts_on_top_until_it_has_been() -> None:
    view = View()
    cell = Cell("rule", 0, "key", 60)
    view.set(cell, Sums(usd=1.0, calls=1))
    view.set_unsent({cell: Sums(usd=0.5, calls=1), cell._replace(slot=120): Sums(usd=0.25, calls=1)})
    assert view.at("rule", 0, "key", 60) == Sums(usd=1.5, calls=2)
    assert view.since("rule", 0, "key", 60).usd == 1.75
    assert view.slots("rule", 0, "key")[120].usd == 0.25
    view.set(cell, Sums(usd=1.5, calls=2))
    view.set_unsent({})
    assert view.since("rule", 0, "key", 60).usd == 1.5


def test_forgotten_slots_no_longer_count() -> None:
    view = View()
    for slot in (60, 120, 180):
        view.set(Cell("rule", 0, "key", slot), Sums(usd=1.0))
    assert view.since("rule", 0, "key", 0).usd == 3.0
    view.forget("rule", 0, 120)
    assert view.since("rule", 0, "key", 0).usd == 2.0
    view.forget("rule", 0, 1000)
    assert list(view.keys()) == []
