"""Burn rates: both windows of a pair must be too fast, worked out by hand for a budget of a month."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.checks import BurnWindows, check_burn_rate
from tests.budgets.checks.support import IMPOSSIBLE_USD, USD, assert_valid_json

_HOUR_S = 3600.0
_MONTH_S = 30 * 86_400.0
_LIMIT = 720.0
"""One USD an hour for thirty days."""


def _check(*windows: Any, slowest: float = 0.0, limit: float = _LIMIT) -> Any:
    return check_burn_rate(windows, limit_usd=limit, window_s=_MONTH_S, min_usd_per_hour=slowest)


def test_rates_are_times_of_what_the_budget_allows() -> None:
    (pair,) = _check((15.0, _HOUR_S, 2.0, 300.0, 14.4)).pairs
    assert pair.long_rate == pytest.approx(15.0)  # $15 in an hour that may cost $1
    assert pair.short_rate == pytest.approx(24.0)  # $2 in five minutes: $24 an hour
    assert pair.usd_per_hour == pytest.approx(15.0)
    assert pair.is_firing


@pytest.mark.parametrize(
    ("long_usd", "short_usd", "fires"),
    [
        (15.0, 2.0, True),
        (14.4, 2.0, False),  # exactly the factor is not above it
        (14.5, 1.2, False),  # it has come to an end: 1.2 in five minutes is 14.4
        (14.5, 1.21, True),
        (1.0, 100.0, False),  # it has just begun
        (0.0, 0.0, False),
    ],
)
def test_a_pair_fires_if_both_windows_are_above_its_factor(long_usd: float, short_usd: float, fires: bool) -> None:
    found = _check((long_usd, _HOUR_S, short_usd, 300.0, 14.4))
    assert (found.is_alarming, found.severity) == (fires, "critical" if fires else None)


def test_the_most_serious_pair_that_fires_gives_the_severity() -> None:
    slow = BurnWindows(100.0, 86_400.0, 9.0, 7200.0, 3.0, "warning")
    fast = BurnWindows(20.0, _HOUR_S, 2.0, 300.0, 14.4, "critical")
    quiet = BurnWindows(1.0, _HOUR_S, 0.0, 300.0, 14.4, "critical")
    assert _check(slow, quiet).severity == "warning"
    assert _check(slow, fast, quiet).severity == "critical"
    assert [pair.is_firing for pair in _check(slow, fast, quiet).pairs] == [True, True, False]


def test_slow_spending_does_not_fire_whatever_its_rate() -> None:
    windows = (0.4, _HOUR_S, 0.05, 300.0, 14.4)
    assert _check(windows, limit=1.0).is_alarming
    found = _check(windows, limit=1.0, slowest=0.5)
    assert not found.is_alarming
    assert found.pairs[0].is_too_slow
    assert found.explanation.endswith("as fast as it lasts: less than $0.50 an hour does not count.")
    assert _check((0.5, _HOUR_S, 0.05, 300.0, 14.4), limit=1.0, slowest=0.5).is_alarming


def test_the_explanation_has_the_numbers() -> None:
    assert _check((15.0, _HOUR_S, 2.0, 300.0, 14.4)).explanation == (
        "The budget of $720.00 is spent 15 times (long window) and 24 times (short window) as fast as it lasts: "
        "both above 14.4."
    )


@pytest.mark.parametrize("wrong", IMPOSSIBLE_USD)
def test_impossible_money_is_refused_by_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^windows\[0\]\.long_usd: .* is not accepted"):
        _check((wrong, _HOUR_S, 1.0, 300.0, 1.0))
    with pytest.raises(ValueError, match=r"^windows\[0\]\.short_usd: .* is not accepted"):
        _check((1.0, _HOUR_S, wrong, 300.0, 1.0))
    with pytest.raises(ValueError, match=r"^limit_usd: .* is not accepted"):
        _check((1.0, _HOUR_S, 1.0, 300.0, 1.0), limit=wrong)
    with pytest.raises(ValueError, match=r"^min_usd_per_hour: .* is not accepted"):
        _check((1.0, _HOUR_S, 1.0, 300.0, 1.0), slowest=wrong)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ((), r"windows: \(\) is not accepted: at least one pair"),
        (((1.0, 300.0, 1.0, 300.0, 1.0),), r"windows\[0\]\.short_s: 300\.0 is not accepted: shorter than the long"),
        (((1.0, 300.0, 1.0, 0, 1.0),), r"windows\[0\]\.short_s: 0 is not accepted: seconds above 0"),
        (((1.0, float("inf"), 1.0, 300.0, 1.0),), r"windows\[0\]\.long_s: inf is not accepted"),
        (((1.0, 600.0, 1.0, 300.0, 0.0),), r"windows\[0\]\.factor: 0\.0 is not accepted"),
        (((1.0, 600.0, 1.0, 300.0),), r"windows\[0\]: \(1\.0, .* is not accepted: a tuple of long_usd"),
        ((BurnWindows(1.0, 600.0, 1.0, 300.0, 1.0, "high"),), r"windows\[0\]\.severity: 'high' is not accepted"),
    ],
)
def test_impossible_windows_are_refused(windows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_burn_rate(windows, limit_usd=1.0, window_s=_MONTH_S)


@given(st.floats(1e-9, 1e10), st.floats(60.0, 1e7))
def test_even_spending_of_the_whole_limit_never_fires(limit: float, window_s: float) -> None:
    per_s = limit / window_s
    windows = [
        (per_s * long_s, long_s, per_s * short_s, short_s, 1.0) for long_s, short_s in ((3600.0, 300.0), (7e4, 9e3))
    ]
    assert not check_burn_rate(windows, limit_usd=limit, window_s=window_s).is_alarming


@given(USD, USD, USD, st.floats(1e-6, 1e12), st.floats(0.1, 100.0))
def test_more_money_never_fires_less(one: float, other: float, short: float, limit: float, factor: float) -> None:
    less, more = sorted((one, other))
    first, second = (_check((usd, _HOUR_S, short, 300.0, factor), limit=limit) for usd in (less, more))
    assert first.is_alarming <= second.is_alarming


@given(USD, USD, st.floats(1e-9, 1e15), st.floats(0.1, 100.0))
def test_results_are_valid_json(long_usd: float, short_usd: float, limit: float, factor: float) -> None:
    assert_valid_json(_check((long_usd, _HOUR_S, short_usd, 300.0, factor), limit=limit))
