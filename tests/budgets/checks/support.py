"""What the tests of all checks need: money, impossible money, and whether a result is what it says."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import Any, Final, cast

import pytest
from hypothesis import strategies as st

from spancost.budgets.checks import CheckResult

USD: Final = st.one_of(st.just(0.0), st.floats(0.0, 1e15), st.floats(1e-9, 1e4))
HISTORY: Final = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 1e6), st.floats(1e-9, 10.0)), max_size=30)
IMPOSSIBLE_USD: Final[tuple[Any, ...]] = (
    math.nan,
    math.inf,
    -math.inf,
    -0.01,
    True,
    None,
    "5",
    1e16,
    [1.0],
)


def assert_valid_json(result: CheckResult) -> None:
    """A result says what it is in one sentence, cannot be changed, and comes back from JSON as it was."""
    plain = result.as_dict()
    assert json.loads(result.as_json()) == plain
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["kind"] == result.kind != ""
    assert result.explanation.endswith(".")
    assert "\n" not in result.explanation
    for word in ("nan", "inf "):
        assert word not in result.explanation
    with pytest.raises(FrozenInstanceError):
        cast("Any", result).explanation = ""
