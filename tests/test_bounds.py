"""Which estimates are bounds of the true cost."""

from __future__ import annotations

import pytest

from docs._make.reasons import BASES
from spancost.bounds import AT_LEAST, AT_MOST, BOUND_OF_BASIS, BOUNDS, UNKNOWN, bound_of


@pytest.mark.parametrize(
    ("basis", "model", "bound"),
    [
        ("cached_tokens_not_reported", "gpt-5-mini", AT_MOST),
        ("cached_tokens_not_reported", "claude-sonnet-4-5", UNKNOWN),  # writing to the cache costs more than input
        ("cached_tokens_not_reported,client_assumed_internet", "", AT_MOST),
        ("cached_tokens_not_reported,request_model", "gpt-5-mini", UNKNOWN),
        ("size:1_unit", "", AT_LEAST),
        ("size:1_unit,region_fallback", "", UNKNOWN),
        ("size:1_unit,spot_at_on_demand", "", UNKNOWN),
        ("assumed_machine", "", UNKNOWN),
        ("", "", UNKNOWN),
        ("an assumption to come", "", UNKNOWN),
    ],
)
def test_an_amount_is_a_bound_only_if_all_that_was_assumed_errs_to_one_side(basis: str, model: str, bound: str) -> None:
    assert bound_of(basis, model) == bound


def test_every_assumption_with_a_bound_is_one_that_meters_make() -> None:
    assert set(BOUND_OF_BASIS) - {"quantity:1"} <= set(BASES)
    assert set(BOUND_OF_BASIS.values()) < set(BOUNDS)
