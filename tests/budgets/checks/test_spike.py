"""Spikes: limits worked out by hand for each method, and histories that never alarm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spancost.budgets.checks import check_spike, check_spike_rule
from spancost.budgets.rules import SPIKE_METHODS, SpikeRule
from tests.budgets.checks.support import HISTORY, IMPOSSIBLE_USD, USD, assert_valid_json

_METHODS = st.sampled_from(SPIKE_METHODS)
_HISTORY = [1.0, 2.0, 3.0, 4.0, 10.0]
_LIMITS = {
    # (1 + 2 + 3 + 4 + 10) / 5 = 4; 3 x 4
    "mean": (4.0, 12.0),
    "seasonal": (4.0, 12.0),
    # median 3, distances 2 1 0 1 7, their median 1; 3 + 6 x 1 / 0.6745
    "robust": (3.0, 11.895478),
    # place 0.95 x 4 = 3.8, between 4 and 10: 4 + 0.8 x 6 = 8.8; 3 x 8.8
    "percentile": (8.8, 26.4),
}


@pytest.mark.parametrize("method", SPIKE_METHODS)
def test_the_limit_is_as_worked_out_by_hand(method: str) -> None:
    baseline, limit = _LIMITS[method]
    below, above = (check_spike(limit + change, _HISTORY, method=method) for change in (-0.001, 0.001))
    assert below.baseline_usd == pytest.approx(baseline)
    assert below.limit_usd == pytest.approx(limit, abs=1e-6)
    assert (below.is_spike, above.is_spike) == (False, True)
    assert (below.is_alarming, above.is_alarming) == (False, True)
    assert (above.seen, above.reason) == (5, "")


def test_a_rule_gives_its_settings() -> None:
    rule = SpikeRule(
        name="a",
        method="robust",
        z=2.0,
        multiplier=9.0,
        min_mad_usd=3.0,
        percentile=0.5,
        min_baseline_usd=5.0,
        min_usd=1.0,
        warm_up=5,
    )
    # The median is 3, the baseline 5 as its floor says; the MAD is 1, 3 as its floor says: 5 + 2 x 3 / 0.6745
    assert check_spike_rule(rule, 20.0, _HISTORY).limit_usd == pytest.approx(13.895478, abs=1e-6)
    assert check_spike_rule(rule, 20.0, _HISTORY[1:]).reason == "warming_up"
    other = SpikeRule(name="a", method="percentile", multiplier=9.0, percentile=0.5)
    assert check_spike_rule(other, 20.0, _HISTORY).limit_usd == pytest.approx(27.0)
    assert check_spike_rule(SpikeRule(name="a", min_usd=50.0), 20.0, _HISTORY).limit_usd == 50.0


def test_a_cent_above_a_flat_history_is_no_spike() -> None:
    assert not check_spike(120.01, [120.0, 120.0, 120.0], method="robust").is_spike
    # 5 % of the median stand for the deviation: 120 + 6 x 6 / 0.6745 = 173.37
    assert check_spike(173.38, [120.0, 120.0, 120.0], method="robust").is_spike
    assert not check_spike(173.37, [120.0, 120.0, 120.0], method="robust").is_spike


@pytest.mark.parametrize("method", SPIKE_METHODS)
def test_without_history_nothing_is_said_and_nothing_is_infinite(method: str) -> None:
    for history, warm_up, reason in (
        ([], 3, "no_history"),
        ([], 0, "no_history"),
        ([0.0] * 24, 3, "warming_up"),
        ([0.0] * 22 + [1.0, 1.0], 3, "warming_up"),
        ([0.0] * 24, 0, "no_baseline"),
    ):
        found = check_spike(1000.0, history, method=method, warm_up=warm_up)
        assert (found.is_spike, found.baseline_usd, found.limit_usd, found.reason) == (False, None, None, reason)
        assert_valid_json(found)


def test_a_floor_is_a_baseline_where_there_was_no_money() -> None:
    found = check_spike(31.0, [0.0] * 24, warm_up=0, min_baseline_usd=10.0)
    assert (found.is_spike, found.baseline_usd, found.limit_usd) == (True, 10.0, 30.0)
    assert not check_spike(30.0, [0.0] * 24, warm_up=0, min_baseline_usd=10.0).is_spike


def test_little_money_is_never_a_spike() -> None:
    assert check_spike(0.9, [0.1] * 5, min_usd=0.5).is_spike
    assert not check_spike(0.9, [0.1] * 5, min_usd=1.0).is_spike


def test_the_explanation_has_the_numbers() -> None:
    assert check_spike(13.0, _HISTORY).explanation == (
        "$13.00 in the newest stretch is above the limit of $12.00; the mean baseline is $4.00."
    )
    assert check_spike(13.0, [1.0]).explanation == (
        "$13.00 in the newest stretch says nothing yet: 1 of 3 stretches have seen money yet."
    )


@pytest.mark.parametrize("wrong", IMPOSSIBLE_USD)
def test_impossible_money_is_refused_by_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^newest_usd: .* is not accepted: an amount of USD"):
        check_spike(wrong, _HISTORY)
    with pytest.raises(ValueError, match=r"^history_usd\[2\]: .* is not accepted: an amount of USD"):
        check_spike(1.0, [1.0, 2.0, wrong])
    for name in ("min_mad_usd", "min_baseline_usd", "min_usd"):
        with pytest.raises(ValueError, match=rf"^{name}: .* is not accepted"):
            check_spike(1.0, _HISTORY, **{name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("method", "median"),
        ("multiplier", 1.0),
        ("multiplier", float("nan")),
        ("multiplier", True),
        ("z", 0.0),
        ("percentile", 0.0),
        ("percentile", 95),
        ("warm_up", -1),
        ("warm_up", 2.5),
        ("warm_up", True),
    ],
)
def test_impossible_settings_are_refused_by_their_names(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: .* is not accepted"):
        check_spike(1.0, _HISTORY, **{name: wrong})


@given(USD, USD, HISTORY, _METHODS)
def test_more_money_is_never_less_of_a_spike(one: float, other: float, history: list[float], method: str) -> None:
    less, more = sorted((one, other))
    assert check_spike(less, history, method=method).is_spike <= check_spike(more, history, method=method).is_spike


@given(st.floats(0.0, 1e15), st.integers(0, 40), _METHODS, st.integers(0, 5))
def test_a_flat_history_never_alarms(usd: float, length: int, method: str, warm_up: int) -> None:
    for newest in (usd, usd * 1.0001):
        assume(newest <= 1e15)
        assert not check_spike(newest, [usd] * length, method=method, warm_up=warm_up, min_usd=0.0).is_spike


@given(st.floats(0.0, 1e9), HISTORY, _METHODS, st.integers(-8, 8))
def test_the_currency_does_not_matter(newest: float, history: list[float], method: str, power: int) -> None:
    rate = 2.0**power  # exact in binary
    assume(all(amount == 0 or amount > 1e-200 for amount in [newest, *history]))
    one = check_spike(newest, history, method=method, min_usd=0.5, min_mad_usd=0.25)
    other = check_spike(
        newest * rate, [usd * rate for usd in history], method=method, min_usd=0.5 * rate, min_mad_usd=0.25 * rate
    )
    assert (one.is_spike, one.reason) == (other.is_spike, other.reason)
    if one.limit_usd is not None:
        assert other.limit_usd == pytest.approx(one.limit_usd * rate, rel=1e-12)


@given(USD, HISTORY, _METHODS, st.randoms(use_true_random=False))
def test_the_order_of_the_history_does_not_matter(
    newest: float, history: list[float], method: str, random: Any
) -> None:
    mixed = list(history)
    random.shuffle(mixed)
    assert check_spike(newest, mixed, method=method) == check_spike(newest, history, method=method)


@given(USD, HISTORY, _METHODS)
def test_a_spike_is_what_is_above_the_limit_that_is_told(newest: float, history: list[float], method: str) -> None:
    found = check_spike(newest, history, method=method)
    assert found.is_spike == (found.limit_usd is not None and newest > found.limit_usd)
    assert_valid_json(found)
