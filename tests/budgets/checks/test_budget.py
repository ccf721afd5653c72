"""A spend against its limit: which threshold is reached, worked out by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.checks import check_budget
from tests.budgets.checks.support import IMPOSSIBLE_USD, USD, assert_valid_json


@pytest.mark.parametrize(
    ("spend", "level", "threshold", "is_breached"),
    [
        (0.0, 0, None, False),
        (249.99, 0, None, False),
        (250.0, 1, 0.5, False),
        (399.99, 1, 0.5, False),
        (400.0, 2, 0.8, False),
        (500.0, 3, 1.0, True),
        (900.0, 3, 1.0, True),
    ],
)
def test_a_threshold_is_reached_at_its_part_of_the_limit(
    spend: float, level: int, threshold: float | None, is_breached: bool
) -> None:
    found = check_budget(spend, 500.0)
    assert (found.level, found.threshold, found.is_breached) == (level, threshold, is_breached)
    assert found.ratio == spend / 500.0
    assert found.remaining_usd == max(0.0, 500.0 - spend)
    assert found.is_alarming == (level > 0)


def test_the_rounding_of_sums_does_not_miss_a_threshold() -> None:
    assert sum([0.1] * 10) < 1.0  # ten cents ten times
    assert check_budget(sum([0.1] * 10), 1.0).is_breached


def test_the_explanation_has_the_numbers() -> None:
    found = check_budget(412.5, 500.0)
    assert found.explanation == "$412.50 of $500.00 is spent (82.5 %): reaches the threshold of 80.0 %."
    assert check_budget(1.0, 500.0).explanation == "$1.00 of $500.00 is spent (0.2 %): no threshold is reached."


def test_next_to_nothing_is_told_as_such() -> None:
    assert check_budget(1e-12, 500.0).explanation == (
        "$0.000000000001 of $500.00 is spent (under 0.0000001 %): no threshold is reached."
    )


@pytest.mark.parametrize("wrong", IMPOSSIBLE_USD)
def test_impossible_money_is_refused_by_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^spend_usd: .* is not accepted: an amount of USD"):
        check_budget(wrong, 500.0)
    with pytest.raises(ValueError, match=r"^limit_usd: .* is not accepted: an amount of USD"):
        check_budget(1.0, wrong)


@pytest.mark.parametrize("wrong", [(), (0.0, 1.0), (0.8, 0.5), (0.5, 0.5), (float("nan"),), (True,), (0.5, "1.0")])
def test_thresholds_that_do_not_rise_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^thresholds"):
        check_budget(1.0, 500.0, wrong)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^limit_usd: 0 is not accepted: an amount of USD from 1e-9"):
        check_budget(0.0, 0)


@given(USD, USD, st.floats(1e-9, 1e15))
def test_more_money_never_reaches_fewer_thresholds(one: float, other: float, limit: float) -> None:
    less, more = sorted((one, other))
    assert check_budget(less, limit).level <= check_budget(more, limit).level


@given(st.floats(0.0, 1e9), st.floats(1e-3, 1e9), st.integers(-10, 10))
def test_the_currency_does_not_matter(spend: float, limit: float, power: int) -> None:
    rate = 2.0**power  # exact in binary
    one, other = check_budget(spend, limit), check_budget(spend * rate, limit * rate)
    assert (one.level, one.is_breached) == (other.level, other.is_breached)
    assert one.ratio == pytest.approx(other.ratio, rel=1e-12, abs=1e-300)


@given(USD, st.floats(1e-9, 1e15))
def test_results_are_valid_json(spend: float, limit: float) -> None:
    assert_valid_json(check_budget(spend, limit))
