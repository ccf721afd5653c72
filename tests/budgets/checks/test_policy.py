"""Allowed, delayed or refused: worked out by hand, and never beyond the limit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.checks import evaluate_policy
from tests.budgets.checks.support import IMPOSSIBLE_USD, USD, assert_valid_json


@pytest.mark.parametrize(
    ("spend", "reserve", "action", "delay_s"),
    [
        (0.0, 0.0, "allow", 0.0),
        (90.0, 0.0, "allow", 0.0),  # a delay of nothing
        (95.0, 0.0, "throttle", 1.0),  # half the way from 90 % to the limit
        (92.0, 3.0, "throttle", 1.0),  # the reserve counts
        (92.0, 8.0, "throttle", 2.0),  # exactly the limit may be spent
        (92.0, 8.01, "block", 0.0),
        (100.0, 0.0, "block", 0.0),
        (250.0, 0.0, "block", 0.0),
    ],
)
def test_calls_wait_before_the_limit_and_are_refused_beyond_it(
    spend: float, reserve: float, action: str, delay_s: float
) -> None:
    found = evaluate_policy(
        spend, 100.0, reserve_usd=reserve, throttle_from=0.9, throttle_delay_s=2.0, ends_in_s=1800.0
    )
    assert found.action == action
    assert found.delay_s == pytest.approx(delay_s)
    assert found.retry_after_s == (1800.0 if action == "block" else None)
    assert found.is_alarming == (action != "allow")
    assert found.ratio == pytest.approx((spend + reserve) / 100.0)


def test_without_throttle_calls_do_not_wait() -> None:
    assert evaluate_policy(99.99, 100.0).action == "allow"


def test_the_explanation_has_the_numbers() -> None:
    assert evaluate_policy(50.0, 100.0).explanation == "Allowed: $50.00 of $100.00 is spent (50.0 %)."
    assert evaluate_policy(99.0, 100.0, reserve_usd=2.0, ends_in_s=60.0).explanation == (
        "Blocked: $99.00 of $100.00 is spent (99.0 %), a reserve of $2.00 would exceed it; a new window begins in 60 s."
    )
    assert evaluate_policy(95.0, 100.0, throttle_from=0.9).explanation == (
        "Throttled by 0.5 s: $95.00 of $100.00 is spent (95.0 %)."
    )


@pytest.mark.parametrize("wrong", IMPOSSIBLE_USD)
def test_impossible_money_is_refused_by_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^spend_usd: "):
        evaluate_policy(wrong, 1.0)
    with pytest.raises(ValueError, match=r"^limit_usd: "):
        evaluate_policy(1.0, wrong)
    with pytest.raises(ValueError, match=r"^reserve_usd: "):
        evaluate_policy(1.0, 1.0, reserve_usd=wrong)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("throttle_from", 1.0),
        ("throttle_from", 0.0),
        ("throttle_from", float("nan")),
        ("throttle_delay_s", 0.0),
        ("throttle_delay_s", True),
        ("ends_in_s", -1.0),
        ("ends_in_s", float("inf")),
    ],
)
def test_impossible_settings_are_refused_by_their_names(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: .* is not accepted"):
        evaluate_policy(1.0, 10.0, **{name: wrong})


@given(USD, USD, st.floats(1e-9, 1e15), st.floats(0.01, 0.99))
def test_what_passes_stays_within_the_limit(spend: float, reserve: float, limit: float, begins: float) -> None:
    found = evaluate_policy(spend, limit, reserve_usd=reserve, throttle_from=begins)
    assert_valid_json(found)
    assert (found.action == "block") == (spend >= limit or spend + reserve > limit)
    assert 0.0 <= found.delay_s <= 1.0


@given(USD, USD, st.floats(1e-9, 1e15), st.floats(0.01, 0.99))
def test_more_money_never_makes_it_easier(one: float, other: float, limit: float, begins: float) -> None:
    less, more = sorted((one, other))
    first, second = (evaluate_policy(usd, limit, throttle_from=begins) for usd in (less, more))
    order = ("allow", "throttle", "block")
    assert order.index(first.action) <= order.index(second.action)
    if second.action != "block":
        assert first.delay_s <= second.delay_s
