"""Spans that no meter wants are told by the names of their attributes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from spancost.charge import CLIENT
from spancost.config import Config
from spancost.meters.choice import component_of
from spancost.offline.pricing import Pricing
from spancost.prices.book import PriceBook


class _Asked(Mapping[str, Any]):
    """Attributes that hold nothing and remember what they were asked for."""

    def __init__(self) -> None:
        self.keys_asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_asked.add(key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture
def pricing() -> Pricing:
    return Pricing(Config(), PriceBook.shipped())


def test_every_attribute_that_decides_on_a_meter_makes_a_span_wanted(pricing: Pricing) -> None:
    asked = _Asked()
    assert component_of(CLIENT, asked) == ""
    assert len(asked.keys_asked) >= 8
    for key in asked.keys_asked:
        assert pricing.is_wanted(("code.function.name", key)), key


def test_spans_of_databases_and_of_the_application_are_not_wanted(pricing: Pricing) -> None:
    assert not pricing.is_wanted(("db.system", "db.statement", "net.peer.name"))
    assert not pricing.is_wanted(())


def test_processes_of_one_resource_are_one_and_take_their_region_from_it(pricing: Pricing) -> None:
    one = pricing.process_of({"service.name": "shop", "cloud.region": "eu-west-1"})
    assert pricing.process_of({"cloud.region": "eu-west-1", "service.name": "shop"}) is one
    assert pricing.process_of({"service.name": "shop", "host.name": "b", "cloud.region": "eu-west-1"}) is not one
    assert one.origin.service == "shop"
