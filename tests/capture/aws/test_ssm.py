"""Parameter Store: standard parameters are free, advanced ones cost an interaction each."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.capture.aws.pricing import KB, Prices, status_of
from tests.capture.aws.stubbed import answered, refused
from tests.meters.aws.calls import charge, known

_ADVANCED_USD = 0.05 / 10_000


def _put(prices: Prices, tier: str) -> str:
    """The name of a parameter whose tier this process has seen."""
    name = f"/shop/{uuid4().hex}"
    (found,) = answered(
        prices, "ssm", "put_parameter", {"Version": 1, "Tier": tier}, Name=name, Value="v", Type="String"
    )
    assert found.usd == pytest.approx(_ADVANCED_USD if tier == "Advanced" else 0)
    assert status_of(found) == ("priced" if tier == "Advanced" else "free", "")
    return name


def _parameters(names: list[str], value: str = "v") -> dict[str, Any]:
    return {"Parameters": [{"Name": name, "Value": value} for name in names]}


@pytest.mark.parametrize(
    ("standard", "advanced", "unknown", "expected"),
    [
        (1, 0, 0, ("free", "")),
        (0, 1, 0, ("priced", "")),
        (1, 2, 0, ("priced", "")),
        (0, 1, 1, ("estimated", "tier:standard")),
        (0, 0, 1, ("free", "tier:standard")),
    ],
)
def test_each_advanced_parameter_is_one_interaction(
    prices: Prices, standard: int, advanced: int, unknown: int, expected: tuple[str, str]
) -> None:
    names = [_put(prices, "Standard") for _ in range(standard)] + [_put(prices, "Advanced") for _ in range(advanced)]
    names += [f"/unknown/{uuid4().hex}" for _ in range(unknown)]
    (found,) = answered(prices, "ssm", "get_parameters", _parameters(names), Names=names)
    assert (found.usd, status_of(found)) == (pytest.approx(advanced * _ADVANCED_USD), expected)
    assert found.line.resource == ""


@pytest.mark.parametrize(("size_bytes", "usd"), [(4 * KB, 0.0), (4 * KB + 1, _ADVANCED_USD)])
def test_value_over_4_kb_is_that_of_an_advanced_parameter(prices: Prices, size_bytes: int, usd: float) -> None:
    answer = {"Parameter": {"Name": f"/big/{size_bytes}", "Value": "x" * size_bytes}}
    (found,) = answered(prices, "ssm", "get_parameter", answer, Name=f"/big/{size_bytes}")
    assert found.usd == pytest.approx(usd)


def test_tier_is_learned_from_descriptions(prices: Prices) -> None:
    name = f"/described/{uuid4().hex}"
    history = {"Parameters": [{"Name": name, "Tier": "Advanced"}]}
    answered(prices, "ssm", "get_parameter_history", history, Name=name)
    (found,) = answered(prices, "ssm", "get_parameter", {"Parameter": {"Name": name, "Value": "v"}}, Name=name)
    assert (found.usd, status_of(found)) == (pytest.approx(_ADVANCED_USD), ("priced", ""))


def test_refused_read_costs_nothing(prices: Prices) -> None:
    (found,) = refused(prices, "ssm", "get_parameter", "ParameterNotFound", 400, Name="/none")
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


def test_span_without_hooks_is_taken_for_a_standard_parameter() -> None:
    assert known(charge("SSM", "GetParameter")) == ("free", "", "tier:standard")
