"""Forecasts: when a budget is gone, worked out by hand, with intervals from the scatter of the hours."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.checks import Forecast, forecast_breach
from tests.budgets.checks.support import HISTORY, IMPOSSIBLE_USD, assert_valid_json

_HOUR_S = 3600.0
_NOW = 1_800_000_000.0
"""2027-01-15 08:00 UTC."""
_WEEK = 168


def _forecast(history: list[float], hours: float, **settings: Any) -> Forecast:
    given: dict[str, Any] = {"spend_usd": 40.0, "limit_usd": 100.0, **settings}
    return forecast_breach(history, now=_NOW, window_end=_NOW + hours * _HOUR_S, **given)


def test_a_steady_rate_spends_the_budget_at_a_moment() -> None:
    found = _forecast([2.0] * 24, 48.0)
    assert found.expected_usd == 40.0 + 48 * 2.0
    assert found.usd_per_hour == 2.0
    assert found.breach_at == _NOW + 30 * _HOUR_S  # $60 are left
    assert (found.low_usd, found.high_usd) == (136.0, 136.0)  # nothing scatters
    assert (found.earliest_breach_at, found.latest_breach_at) == (found.breach_at, found.breach_at)
    assert found.is_alarming
    assert found.explanation == (
        "$136.00 ($136.00 to $136.00 at 90.0 %) of $100.00 will be spent at the end of the window: "
        "the budget is gone on 2027-01-16 14:00 UTC."
    )


def test_a_budget_that_lasts_has_no_moment() -> None:
    found = _forecast([2.0] * 24, 29.5)
    assert (found.expected_usd, found.breach_at, found.is_alarming) == (99.0, None, False)
    assert found.explanation.endswith("of $100.00 will be spent at the end of the window: the budget lasts.")


def test_a_part_of_an_hour_counts_as_such() -> None:
    assert _forecast([2.0] * 3, 30.25).expected_usd == 100.5
    assert _forecast([2.0] * 3, 30.25).breach_at == _NOW + 30 * _HOUR_S
    assert _forecast([2.4] * 3, 40.0).breach_at == pytest.approx(_NOW + 25 * _HOUR_S)
    assert _forecast([3.2] * 3, 40.0).breach_at == pytest.approx(_NOW + 18.75 * _HOUR_S)


def test_the_interval_is_as_worked_out_by_hand() -> None:
    # Mean 2, squares 1 + 0 + 1 = 2 over 2 degrees of freedom: a deviation of 1. Student's t for 90 % and 2 is 2.91999.
    # 24 hours scatter by sqrt(24), and 24 times the mean by 24 / sqrt(3): together sqrt(24 + 192) = 14.696938.
    found = _forecast([1.0, 2.0, 3.0], 24.0)
    assert found.expected_usd == 88.0
    assert found.high_usd == pytest.approx(88.0 + 2.919986 * 14.696938, abs=1e-3)
    assert found.low_usd == pytest.approx(88.0 - 2.919986 * 14.696938, abs=1e-3)
    assert found.breach_at is None
    assert found.earliest_breach_at is not None
    assert _NOW < found.earliest_breach_at < _NOW + 24 * _HOUR_S
    assert found.latest_breach_at is None


@pytest.mark.parametrize(
    ("hours", "confidence", "student"), [(4, 0.9, 2.353363), (4, 0.99, 5.840909), (11, 0.9, 1.812461), (31, 0.99, 2.75)]
)
def test_few_hours_make_the_interval_wider_as_in_students_table(hours: int, confidence: float, student: float) -> None:
    history = [float(number) for number in range(hours)]
    squares = sum((amount - (hours - 1) / 2) ** 2 for amount in history)
    deviation = math.sqrt(squares / (hours - 1) * (1 + 1 / hours))  # of one coming hour
    found = _forecast(history, 1.0, confidence=confidence)
    assert found.high_usd is not None
    assert found.expected_usd is not None
    assert (found.high_usd - found.expected_usd) / deviation == pytest.approx(student, rel=0.05)


def test_nine_of_ten_intervals_hold_what_comes() -> None:
    drawn = random.Random(7)
    held, runs = 0, 400
    for _ in range(runs):
        hours = [drawn.gauss(10.0, 2.0) for _ in range(48)]
        found = _forecast(hours[:24], 24.0, spend_usd=0.0, limit_usd=1000.0)
        assert found.low_usd is not None
        assert found.high_usd is not None
        held += found.low_usd <= sum(hours[24:]) <= found.high_usd
    assert 0.85 <= held / runs <= 0.95  # the deviation of the share is 1.5 %


def test_seasonal_goes_on_with_the_same_hours_of_the_week() -> None:
    # Two weeks: $3 in each of the eight hours that follow now on the same weekday, else $1.
    week = [3.0] * 8 + [1.0] * (_WEEK - 8)
    found = _forecast(week * 2, 30.0, method="seasonal")
    assert found.expected_usd == 40.0 + 8 * 3.0 + 22 * 1.0
    assert found.breach_at is None
    assert _forecast(week * 2, 50.0, method="seasonal").breach_at == _NOW + (8 + 36) * _HOUR_S
    linear = _forecast(week * 2, 30.0)
    assert linear.expected_usd == pytest.approx(40.0 + 30.0 * sum(week) / _WEEK)


def test_seasonal_intervals_are_of_what_differs_between_weeks() -> None:
    week = [3.0] * 8 + [1.0] * (_WEEK - 8)
    same = _forecast(week * 3, 30.0, method="seasonal")
    assert (same.low_usd, same.high_usd) == (same.expected_usd, same.expected_usd)
    other = _forecast(week + [2.0 * usd for usd in week], 30.0, method="seasonal")
    assert other.low_usd is not None
    assert other.high_usd is not None
    assert other.expected_usd == 40.0 + 1.5 * 46.0
    assert other.expected_usd is not None
    assert other.low_usd < other.expected_usd < other.high_usd
    one = _forecast(week, 30.0, method="seasonal")
    assert (one.expected_usd, one.low_usd, one.high_usd, one.reason) == (86.0, None, None, "no_scatter")


@pytest.mark.parametrize(
    ("history", "method", "reason"),
    [([], "linear", "no_history"), ([], "seasonal", "no_history"), ([1.0] * 167, "seasonal", "too_short")],
)
def test_without_history_nothing_is_forecast(history: list[float], method: str, reason: str) -> None:
    found = _forecast(history, 24.0, method=method)
    assert (found.expected_usd, found.low_usd, found.high_usd, found.breach_at) == (None, None, None, None)
    assert (found.reason, found.is_alarming) == (reason, False)
    assert_valid_json(found)
    gone = _forecast(history, 24.0, method=method, spend_usd=100.0)
    assert (gone.breach_at, gone.is_alarming) == (_NOW, True)


def test_two_hours_have_no_interval() -> None:
    found = _forecast([1.0, 3.0], 24.0)
    assert (found.expected_usd, found.low_usd, found.high_usd, found.reason) == (88.0, None, None, "no_scatter")


def test_a_budget_that_is_gone_is_gone_now() -> None:
    found = _forecast([0.0] * 24, 24.0, spend_usd=100.0)
    assert (found.breach_at, found.is_alarming) == (_NOW, True)
    assert found.explanation == "$100.00 of $100.00 is spent: the budget is gone."


def test_no_money_in_the_history_lasts() -> None:
    found = _forecast([0.0] * 24, 1000.0)
    assert (found.expected_usd, found.breach_at, found.usd_per_hour) == (40.0, None, 0.0)
    assert not found.is_alarming


@pytest.mark.parametrize("wrong", IMPOSSIBLE_USD)
def test_impossible_money_is_refused_by_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^hourly_usd\[1\]: .* is not accepted"):
        _forecast([1.0, wrong], 24.0)
    for name in ("spend_usd", "limit_usd"):
        with pytest.raises(ValueError, match=rf"^{name}: .* is not accepted"):
            _forecast([1.0], 24.0, **{name: wrong})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"now": float("nan")}, r"^now: nan is not accepted: Unix seconds"),
        ({"window_end": _NOW - 1}, r"^window_end: .* is not accepted: a moment from now to 400 days from now"),
        ({"window_end": _NOW + 1e9}, r"^window_end: .* is not accepted"),
        ({"window_end": float("inf")}, r"^window_end: inf is not accepted"),
        ({"confidence": 1.0}, r"^confidence: 1\.0 is not accepted: a number above 0 and at most 0\.999"),
        ({"confidence": 90}, r"^confidence: 90 is not accepted"),
        ({"method": "cubic"}, r"^method: 'cubic' is not accepted: one of linear, seasonal"),
    ],
)
def test_impossible_settings_are_refused_by_their_names(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"spend_usd": 1.0, "limit_usd": 10.0, "now": _NOW, "window_end": _NOW + 60.0, **settings}
    with pytest.raises(ValueError, match=message):
        forecast_breach([1.0], **given)


_SEASONS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.25]), min_size=168, max_size=400)
_CASES = st.one_of(st.tuples(HISTORY, st.just("linear")), st.tuples(_SEASONS, st.just("seasonal")))


@given(_CASES, st.floats(0.0, 750.0), st.floats(0.0, 1e6), st.floats(1e-6, 1e6), st.floats(0.01, 0.999))
def test_the_interval_holds_what_is_expected_and_the_moments_are_in_their_order(
    case: tuple[list[float], str], hours: float, spend: float, limit: float, confidence: float
) -> None:
    history, method = case
    found = _forecast(history, hours, method=method, spend_usd=spend, limit_usd=limit, confidence=confidence)
    assert_valid_json(found)
    if found.expected_usd is None:
        return
    assert found.expected_usd >= spend
    if found.low_usd is not None and found.high_usd is not None:
        assert spend <= found.low_usd <= found.expected_usd <= found.high_usd
        end = _NOW + hours * _HOUR_S + 1e-3
        times = [found.earliest_breach_at, found.breach_at, found.latest_breach_at]
        known = [end if time is None else time for time in times]
        for earlier, later in pairwise(known):
            assert earlier <= later + 1e-3
    if found.breach_at is not None:
        assert _NOW <= found.breach_at <= _NOW + hours * _HOUR_S + 1e-3
        assert found.expected_usd >= limit * (1 - 1e-9)
    else:
        assert found.expected_usd <= limit * (1 + 1e-9)


@given(HISTORY.filter(bool), st.floats(0.0, 1e3), st.floats(0.0, 1e3), st.floats(1.0, 1e6))
def test_what_is_spent_already_brings_the_end_nearer(
    history: list[float], one: float, other: float, limit: float
) -> None:
    less, more = sorted((one, other))
    first, second = (_forecast(history, 100.0, spend_usd=usd, limit_usd=limit) for usd in (less, more))
    if first.breach_at is not None:
        assert second.breach_at is not None
        assert second.breach_at <= first.breach_at + 1e-3
