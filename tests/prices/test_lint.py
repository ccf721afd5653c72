"""Each kind of wrong price file is found."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.prices.lint import main, problems

_RATE: dict[str, Any] = {
    "region": "us-east-1",
    "usd": "0.1",
    "source": "price page",
    "as_of": "2026-07-28",
    "confidence": "single",
}
_PRICE: dict[str, Any] = {"id": "aws.s3.get", "unit": "request", "rates": [_RATE]}
_RULE: dict[str, Any] = {
    "host": "api.x.com",
    "method": "GET",
    "path": "/*",
    "provider": "x",
    "operation": "any",
    "usd": "0",
    "unit": "request",
    "source": "price page",
    "as_of": "2026-07",
    "confidence": "single",
}


def _found(*prices: dict[str, Any]) -> list[str]:
    document = {"vendor": "aws", "default_region": "us-east-1", "regions": ["us-east-1", "eu-west-1"]}
    return problems({"aws.yaml": {**document, "prices": list(prices)}})


def test_a_right_file_has_no_problems() -> None:
    assert _found(_PRICE) == []


def test_shipped_files_pass() -> None:
    assert main() == 0


def test_a_doubled_id_is_found() -> None:
    assert _found(_PRICE, _PRICE) == ["aws.yaml: aws.s3.get: id is used before, in aws.yaml"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"usd": "-0.1"}, "usd '-0.1' is not a decimal string"),
        ({"usd": 0.1}, "usd 0.1 is not a decimal string"),
        ({"usd": "NaN"}, "usd 'NaN' is not a decimal string"),
        ({"usd": "cheap"}, "usd 'cheap' is not a decimal string"),
        ({"region": "us-moon-1"}, "unknown region 'us-moon-1'"),
        ({"source": ""}, "source is missing"),
        ({"as_of": ""}, "as_of '' is not a day"),
        ({"as_of": "July"}, "as_of 'July' is not a day"),
        ({"as_of": "undated"}, "as_of 'undated' needs confidence memory"),
        ({"confidence": "sure"}, "confidence 'sure' is not one of"),
        ({"valid_from": "2024-13-01"}, "valid_from and valid_until must be days"),
        ({"valid_from": "2025-01-01", "valid_until": "2024-01-01"}, "valid_from must be before valid_until"),
        ({"price": "1"}, "unknown key 'price'"),
        ({"regions": ["us-east-1"]}, "needs either region or regions"),
        ({"tiers": [{"from": 0, "usd": "1"}]}, "needs either usd or tiers"),
    ],
)
def test_a_wrong_rate_is_found(change: dict[str, Any], expected: str) -> None:
    (found,) = _found({**_PRICE, "rates": [{**_RATE, **change}]})
    assert found.startswith(f"aws.yaml: aws.s3.get: {expected}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"unit": "requests"}, "unknown unit 'requests'"),
        ({"rates": []}, "has no rates"),
        ({"id": "gcp.s3.get"}, "id must be aws."),
        ({"vcpu": "-2"}, "vcpu '-2' is not a decimal string"),
        ({"rate": 1}, "unknown key 'rate'"),
    ],
)
def test_a_wrong_price_is_found(change: dict[str, Any], expected: str) -> None:
    (found,) = _found({**_PRICE, **change})
    assert expected in found


def test_overlapping_rates_are_found() -> None:
    old = {**_RATE, "valid_until": "2024-11-02"}
    new = {**_RATE, "valid_from": "2024-11-01"}
    assert _found({**_PRICE, "rates": [old, new]}) == [
        "aws.yaml: aws.s3.get: two rates of us-east-1 are valid at the same time"
    ]


def test_touching_rates_are_fine() -> None:
    old = {**_RATE, "valid_until": "2024-11-01"}
    new = {**_RATE, "valid_from": "2024-11-01"}
    assert _found({**_PRICE, "rates": [old, new]}) == []


def test_a_gap_between_tiers_is_found() -> None:
    rate = {key: value for key, value in _RATE.items() if key != "usd"}
    rate["tiers"] = [{"from": 0, "to": 100, "usd": "0"}, {"from": 101, "usd": "1"}]
    (found,) = _found({**_PRICE, "rates": [rate]})
    assert found.endswith("tier starts at 101, the one before ends at 100")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"usd": "-1"}, "usd '-1' is not a decimal string"),
        ({"kind": "llm"}, "kind 'llm' must be 'llm', without a price"),
        ({"unit": "sheep"}, "unknown unit 'sheep'"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"source": None}, "source is missing"),
        ({"quantity": "count(request.body)"}, "quantity 'count(request.body)': request has json, form"),
        ({"quantity_basis": "size:1"}, "quantity_basis without quantity"),
        ({"valid_from": "soon"}, "valid_from and valid_until must be days"),
        ({"valid_from": "2026-02-01", "valid_until": "2026-01-01"}, "valid_from must be before valid_until"),
    ],
)
def test_a_wrong_http_rule_is_found(change: dict[str, Any], expected: str) -> None:
    (found,) = problems({"http_apis.yaml": {"http": [{**_RULE, **change}]}})
    assert found == f"http_apis.yaml: api.x.com GET /*: {expected}" or expected in found


def test_a_doubled_http_rule_is_found() -> None:
    assert problems({"h.yaml": {"http": [_RULE, _RULE]}}) == ["h.yaml: api.x.com GET /*: rule is there twice"]


def test_http_rules_may_follow_each_other_in_time() -> None:
    old = {**_RULE, "valid_until": "2026-01-01"}
    new = {**_RULE, "valid_from": "2026-01-01"}
    assert problems({"h.yaml": {"http": [old, new]}}) == []
    assert problems({"h.yaml": {"http": [old, {**new, "valid_from": "2025-12-31"}]}}) == [
        "h.yaml: api.x.com GET /*: rule is there twice"
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"vendor": "aws", "default_region": "us-east-1", "regions": [], "prices": 5},
            "prices: 5 is not a list of map",
        ),
        (
            {"vendor": "aws", "default_region": "us-east-1", "regions": [], "prices": ["x"]},
            "prices[0]: 'x' is not a map",
        ),
        ({"vendor": "aws", "default_region": "us-east-1", "regions": [["x"]], "prices": []}, "regions: [['x']] is not"),
        ({"vendor": "aws", "regions": [], "prices": []}, "default_region is missing"),
        ({"http": [{"host": 5}]}, "http[0].host: 5 is not text"),
        ({"http": [{5: "x"}]}, "http[0].5 is no name of a key"),
        ({"vendor": "aws"}, "neither prices nor http are there"),
    ],
)
def test_a_file_of_another_shape_is_refused(document: dict[str, Any], problem: str) -> None:
    (found,) = problems({"made.yaml": document})
    assert found.startswith(f"made.yaml: {problem}")


def test_shapes_inside_prices_are_named_by_their_place() -> None:
    tiers = [{"from": 0, "to": 10**30, "usd": "1"}]
    assert _found({**_PRICE, "operations": 5, "rates": [{**_RATE, "confidence": {}, "tiers": tiers}]}) == [
        "aws.yaml: prices[0].rates[0].confidence: {} is not text or null",
        "aws.yaml: prices[0].rates[0].tiers[0].to: a number that is too long is not a whole number, zero or more",
        "aws.yaml: prices[0].operations: 5 is not a list of texts",
    ]


def test_a_price_beyond_all_measure_is_refused() -> None:
    assert _found({**_PRICE, "rates": [{**_RATE, "usd": "1e400"}]}) == [
        "aws.yaml: aws.s3.get: usd '1e400' is not a decimal string, zero or more"
    ]
