"""Sizes of DynamoDB items by the published rules, typed and plain."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from spancost.capture.aws.dynamodb_items import item_bytes, value_bytes

_NAME = 1  # every attribute below is called "a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", 0),
        ("abc", 3),
        ("é€", 5),
        (b"1234", 4),
        (True, 1),
        (None, 1),
        (Decimal(0), 1),
        (Decimal(7), 2),
        (Decimal(12), 2),
        (Decimal(123), 3),
        (Decimal("1200"), 2),  # trailing zeros do not count
        (Decimal("0.0012"), 2),  # nor leading ones
        (Decimal("-12"), 3),
        (Decimal("1.5E+10"), 2),
        ({"x", "yz"}, 3),
        ({Decimal(1), Decimal(22)}, 4),
        ({b"1", b"22"}, 3),
        ([], 3),
        (["abc", True], 3 + (1 + 3) + (1 + 1)),
        ({}, 3),
        ({"k": "abc"}, 3 + (1 + 1 + 3)),
        ({"k": ["x", {"z": None}]}, 3 + 1 + 1 + (3 + (1 + 1) + (1 + 3 + (1 + 1 + 1)))),
    ],
)
def test_value_has_its_published_size_in_both_shapes(value: Any, expected: int) -> None:
    typed: Any = TypeSerializer().serialize(value)  # pyright: ignore[reportUnknownMemberType]
    assert item_bytes({"a": typed}) == _NAME + expected
    assert item_bytes({"a": value}) == _NAME + expected


def test_item_is_the_sum_of_names_and_values() -> None:
    assert item_bytes({"pk": {"S": "user#1"}, "größe": {"N": "42"}}) == (2 + 6) + (7 + 2)


def test_map_that_looks_typed_beside_a_plain_value_is_plain() -> None:
    assert item_bytes({"a": {"S": "x"}, "b": "y"}) == (1 + 3 + 1 + 1 + 1) + (1 + 1)


def test_single_value_is_measured_in_both_shapes() -> None:
    assert (value_bytes({"S": "abc"}), value_bytes("abc")) == (3, 3)


def test_nesting_without_end_is_cut() -> None:
    value: Any = "x"
    for _ in range(10_000):
        value = [value]
    assert item_bytes({"a": value}) < 1000
