"""The circuit breaker: closed, open, half-open, and back; what a clock that is set back does; fail-open and -closed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.checks import CLOSED_BREAKER, Breaker, BreakerDecision, evaluate_breaker
from tests.budgets.checks.support import assert_valid_json

_OPEN = Breaker(state="open", since=1000.0)


def _decide(breaker: Breaker, ratio: float | None, now: float, **settings: Any) -> BreakerDecision:
    return evaluate_breaker(breaker, ratio=ratio, now=now, **settings)


def test_it_opens_at_the_limit_and_refuses_for_its_time() -> None:
    found = _decide(CLOSED_BREAKER, 0.999, 1000.0)
    assert (found.is_allowed, found.breaker, found.retry_after_s) == (True, CLOSED_BREAKER, None)
    found = _decide(CLOSED_BREAKER, 1.0, 1000.0)
    assert (found.is_allowed, found.breaker, found.retry_after_s) == (False, _OPEN, 60.0)
    found = _decide(found.breaker, 0.0, 1045.0)
    assert (found.is_allowed, found.breaker, found.retry_after_s) == (False, _OPEN, 15.0)
    assert found.explanation == "Refused for 15 s, open: it was opened and looks again later."


def test_after_its_time_it_closes_if_the_money_is_back() -> None:
    found = _decide(_OPEN, 0.94, 1060.0)
    assert (found.is_allowed, found.breaker) == (True, CLOSED_BREAKER)


def test_after_its_time_it_stays_open_if_the_limit_is_still_reached() -> None:
    found = _decide(_OPEN, 1.2, 1060.0)
    assert (found.is_allowed, found.breaker, found.retry_after_s) == (False, Breaker(state="open", since=1060.0), 60.0)


def test_half_open_lets_a_few_calls_through_in_each_period() -> None:
    first = _decide(_OPEN, 0.97, 1060.0, max_probes=2)
    assert (first.is_allowed, first.breaker) == (True, Breaker(state="half_open", since=1060.0, probes=1))
    second = _decide(first.breaker, 0.97, 1061.0, max_probes=2)
    assert (second.is_allowed, second.breaker.probes) == (True, 2)
    third = _decide(second.breaker, 0.97, 1080.0, max_probes=2)
    assert (third.is_allowed, third.retry_after_s, third.breaker) == (False, 40.0, second.breaker)
    later = _decide(third.breaker, 0.97, 1120.0, max_probes=2)
    assert (later.is_allowed, later.breaker) == (True, Breaker(state="half_open", since=1120.0, probes=1))


def test_half_open_opens_again_at_the_limit_and_closes_below_it() -> None:
    half = Breaker(state="half_open", since=1060.0, probes=1)
    assert _decide(half, 1.0, 1070.0).breaker == Breaker(state="open", since=1070.0)
    closed = _decide(half, 0.5, 1070.0)
    assert (closed.is_allowed, closed.breaker) == (True, CLOSED_BREAKER)


def test_a_clock_that_was_set_back_does_not_prolong_the_time() -> None:
    found = _decide(Breaker(state="open", since=5000.0), 0.0, 1000.0)
    assert (found.retry_after_s, found.breaker) == (60.0, _OPEN)
    assert _decide(found.breaker, 0.0, 1060.0).is_allowed


@pytest.mark.parametrize(("choice", "is_allowed"), [("open", True), ("closed", False)])
def test_without_a_ratio_the_choice_decides(choice: str, is_allowed: bool) -> None:
    found = _decide(CLOSED_BREAKER, None, 1000.0, when_unavailable=choice)
    assert (found.is_allowed, found.breaker) == (is_allowed, CLOSED_BREAKER)
    assert f"fail-{choice}" in found.explanation
    assert not _decide(_OPEN, None, 1030.0, when_unavailable=choice).is_allowed  # it knows that the limit was reached


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"breaker": Breaker(state="ajar")},
            r"^breaker\.state: 'ajar' is not accepted: one of closed, open, half_open",
        ),
        ({"breaker": Breaker(probes=-1)}, r"^breaker\.probes: -1 is not accepted"),
        ({"ratio": float("nan")}, r"^ratio: nan is not accepted"),
        ({"ratio": -0.1}, r"^ratio: -0\.1 is not accepted"),
        ({"ratio": True}, r"^ratio: True is not accepted"),
        ({"now": float("inf")}, r"^now: inf is not accepted"),
        ({"close_below": 1.1}, r"^close_below: 1\.1 is not accepted: a number above 0 and at most 1"),
        ({"open_for_s": 0}, r"^open_for_s: 0 is not accepted"),
        ({"max_probes": 0}, r"^max_probes: 0 is not accepted"),
        ({"when_unavailable": "ajar"}, r"^when_unavailable: 'ajar' is not accepted: one of open, closed"),
    ],
)
def test_what_is_impossible_is_refused_by_its_name(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"breaker": CLOSED_BREAKER, "ratio": 0.5, "now": 1000.0, **settings}
    with pytest.raises(ValueError, match=message):
        evaluate_breaker(given.pop("breaker"), **given)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 100.0)), max_size=40))
def test_at_the_limit_no_call_passes_and_a_refusal_says_how_long(calls: list[tuple[float, float]]) -> None:
    breaker, now = CLOSED_BREAKER, 0.0
    for ratio, passed in calls:
        now += passed
        found = _decide(breaker, ratio, now)
        assert_valid_json(found)
        assert not (found.is_allowed and ratio >= 1.0)
        assert (found.retry_after_s is None) == found.is_allowed
        if found.retry_after_s is not None:
            assert 0 < found.retry_after_s <= 60.0
            assert _decide(found.breaker, 0.0, now + found.retry_after_s + 1e-6).is_allowed
        breaker = found.breaker
