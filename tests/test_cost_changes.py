from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost import names
from spancost.cost_changes import KeyChange, Parts, Side, changes, summed
from spancost.sinks.ledger.rows import LedgerRow

INPUT = ("llm", "openai", "chat", "gpt-5-mini", "input_token")
NEXT_INPUT = ("llm", "openai", "chat", "gpt-5", "input_token")
WRITE = ("aws", "aws", "dynamodb.PutItem", "", "WRU")
COMPONENTS: dict[str, float] = dict.fromkeys(names.COMPONENTS, 0.0)


def row(
    key: str, line: tuple[str, ...], quantity: float, usd: float, status: str = names.PRICED, calls: int = 1
) -> LedgerRow:
    unpriced = {line[0]: calls} if status == names.UNPRICED else {}
    return LedgerRow((key, *line, status), 0, calls, quantity, 0.0, usd, usd, COMPONENTS, unpriced)


def side(requests: dict[str, int], *rows: LedgerRow, scale: float = 1.0) -> Side:
    return Side(rows, {(key,): count for key, count in requests.items()}, scale)


def only(found: list[KeyChange]) -> KeyChange:
    (one,) = found
    return one


def test_more_requests_more_tokens_each_and_a_dearer_token_are_told_apart() -> None:
    before = side({"POST /chat": 100}, row("POST /chat", INPUT, 100_000, 100_000 * 2e-6))
    after = side({"POST /chat": 150}, row("POST /chat", INPUT, 180_000, 180_000 * 3e-6))
    found = only(changes(before, after))
    assert found.parts.volume == pytest.approx(0.5 * 0.2)  # half as many requests more, each as before
    assert found.parts.usage == pytest.approx((180_000 - 150_000) * 2e-6)  # 1 200 tokens a request after 1 000
    assert found.parts.price == pytest.approx(180_000 * 1e-6)
    assert found.parts[3:] == (0, 0, 0, 0)
    assert found.parts.change == pytest.approx(0.54 - 0.2)


def test_a_changed_model_is_mix_and_more_requests_are_still_volume() -> None:
    before = side({"POST /chat": 10}, row("POST /chat", INPUT, 1000, 0.1))
    after = side({"POST /chat": 20}, row("POST /chat", NEXT_INPUT, 2000, 1.0))
    found = only(changes(before, after))
    assert found.parts.volume == pytest.approx(0.1)
    assert found.parts.mix == pytest.approx(1.0 - 2 * 0.1)
    assert found.parts.change == pytest.approx(0.9)


def test_keys_of_one_side_are_new_or_gone() -> None:
    before = side({"GET /old": 5}, row("GET /old", WRITE, 5, 0.5))
    after = side({"GET /new": 7}, row("GET /new", WRITE, 7, 0.7))
    parts = {one.key[0]: one.parts for one in changes(before, after)}
    assert parts == {"GET /old": Parts(gone=-0.5), "GET /new": Parts(new=0.7)}


def test_a_route_that_was_there_without_costs_is_not_new() -> None:
    before = side({"GET /": 100})
    after = side({"GET /": 100}, row("GET /", WRITE, 100, 0.01))
    assert only(changes(before, after)).parts == Parts(mix=0.01)


def test_without_requests_all_change_of_the_quantity_is_usage() -> None:
    before = side({}, row("(idle)", WRITE, 100, 1.0))
    after = side({}, row("(idle)", WRITE, 250, 2.5))
    assert only(changes(before, after)).parts == pytest.approx(Parts(usage=1.5))


def test_what_has_no_price_on_a_side_is_not_taken_for_a_price_of_zero() -> None:
    before = side({"GET /": 10}, row("GET /", INPUT, 1000, 0.0, names.UNPRICED))
    after = side({"GET /": 10}, row("GET /", INPUT, 1000, 0.3))
    found = only(changes(before, after))
    assert found.parts == Parts(known=0.3)  # it says nothing of what was spent, so it is no mix
    assert (found.unpriced_before, found.unpriced_after, found.is_unknown) == (1, 0, True)
    back = only(changes(after, before))
    assert back.parts == Parts(known=-0.3)
    assert (back.unpriced_before, back.unpriced_after, back.is_unknown) == (0, 1, True)


def test_unpriced_charges_that_count_none_and_have_no_unit_are_not_a_key_without_costs() -> None:
    no_usage = row("(idle)", (*INPUT[:-1], ""), 0.0, 0.0, names.UNPRICED, calls=0)
    found = only(changes(side({}, no_usage), side({}, row("(idle)", INPUT, 1000, 0.3))))
    assert (found.parts, found.unpriced_before, found.is_unknown) == (Parts(known=0.3), 1, True)
    still = only(changes(side({}, no_usage), side({}, no_usage)))
    assert (still.before_usd, still.after_usd, still.is_unknown) == (0, 0, True)


def test_a_key_with_a_price_for_something_is_known_in_part_and_free_charges_are_known() -> None:
    partly = side({"GET /": 1}, row("GET /", WRITE, 1, 0.2), row("GET /", INPUT, 1, 0.0, names.UNPRICED))
    assert not only(changes(partly, partly)).is_unknown
    free = side({"GET /": 1}, row("GET /", WRITE, 1, 0.0, names.FREE))
    assert not only(changes(free, free)).is_unknown


def test_estimated_and_priced_charges_of_a_line_are_one_line() -> None:
    before = side({"GET /": 10}, row("GET /", WRITE, 10, 1.0))
    after = side({"GET /": 10}, row("GET /", WRITE, 6, 0.6), row("GET /", WRITE, 4, 0.4, names.ESTIMATED))
    assert only(changes(before, after)).parts == pytest.approx(Parts(), abs=1e-12)


def test_a_scale_makes_periods_of_different_length_comparable() -> None:
    before = side({"GET /": 30}, row("GET /", WRITE, 30, 3.0), scale=1 / 30)
    after = side({"GET /": 10}, row("GET /", WRITE, 10, 1.0), scale=1 / 10)
    found = only(changes(before, after))
    assert (found.before_usd, found.after_usd) == pytest.approx((0.1, 0.1))
    assert found.parts == pytest.approx(Parts(), abs=1e-12)


_amounts = st.floats(min_value=0, max_value=1e6, allow_nan=False).map(lambda x: 0.0 if x < 1e-9 else x)
_statuses = st.sampled_from([names.PRICED, names.ESTIMATED, names.FREE, names.UNPRICED, names.DUPLICATE])


@st.composite
def _sides(draw: st.DrawFn) -> Side:
    keys = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
    requests = {(key,): draw(st.integers(0, 1000)) for key in keys}
    rows: list[LedgerRow] = []
    places = st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([INPUT, NEXT_INPUT, WRITE]), _statuses)
    for key, line, status in draw(st.lists(places, unique=True)):
        known = status in (names.PRICED, names.ESTIMATED)
        rows.append(row(key, line, draw(_amounts), draw(_amounts) if known else 0.0, status, draw(st.integers(1, 9))))
    return Side(rows, requests, draw(st.sampled_from([1.0, 1 / 31, 1440 / 7])))


@given(_sides(), _sides())
def test_the_parts_add_up_to_the_change(before: Side, after: Side) -> None:
    found = changes(before, after)
    paid = [sum(one.usd * each.scale for one in each.rows) for each in (before, after)]
    largest = max(*paid, 1.0, *(abs(part) for one in found for line in one.lines for part in line.parts))
    for one in found:
        assert math.fsum(one.parts) == pytest.approx(one.after_usd - one.before_usd, abs=1e-9 * largest)
        for line in one.lines:
            assert math.fsum(line.parts) == pytest.approx(line.after_usd - line.before_usd, abs=1e-9 * largest)
    assert sum(one.before_usd for one in found) == pytest.approx(paid[0], abs=1e-9 * largest)
    assert sum(one.after_usd for one in found) == pytest.approx(paid[1], abs=1e-9 * largest)
    assert summed(one.parts for one in found).change == pytest.approx(paid[1] - paid[0], abs=1e-9 * largest)


@given(_sides())
def test_nothing_changes_against_oneself(one: Side) -> None:
    for found in changes(one, one):
        assert found.parts == pytest.approx(Parts(), abs=1e-6)
