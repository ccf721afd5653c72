"""The `models:` list of a configuration: what is accepted, and what a mistake says."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from spancost.errors import ConfigError
from spancost.prices.models import ModelPrice, model_prices_from


def test_three_ways_to_price_a_model_are_read() -> None:
    assert model_prices_from(
        [
            {"model": "Prod-Chat", "provider": "Azure*", "same_as": "azure/GPT-4o"},
            {"model": "gpt-5*", "usd_per_million": {"input": 1, "output": "8.5"}, "valid_from": "2026-01-01"},
            {"model": "llama3", "provider": "vllm", "usd_per_hour": 4.1, "valid_from": date(2026, 2, 1)},
        ],
        "spancost.yaml",
    ) == (
        ModelPrice("prod-chat", "azure*", same_as="azure/gpt-4o", place="spancost.yaml"),
        ModelPrice(
            "gpt-5*",
            usd_per_million={"input": Decimal(1), "output": Decimal("8.5")},
            valid_from=date(2026, 1, 1),
            place="spancost.yaml",
        ),
        ModelPrice("llama3", "vllm", usd_per_hour=Decimal("4.1"), valid_from=date(2026, 2, 1), place="spancost.yaml"),
    )


def test_no_entries_are_no_prices() -> None:
    assert model_prices_from([], "spancost.yaml") == ()


_PER_MILLION: dict[str, Any] = {"input": 1, "output": 8}


@pytest.mark.parametrize(
    ("raw", "key", "says"),
    [
        ({}, "models", "a list of entries"),
        (["x"], "models[0]", "a mapping"),
        ([{"model": "a", "same_as": "x/y", "colour": 1}], "models[0].colour", "unknown key"),
        ([{"model": "a", "usd_per_milion": _PER_MILLION}], "models[0].usd_per_milion", "did you mean 'usd_per_m"),
        ([{"model": "a"}], "models[0]", "exactly one of same_as, usd_per_million, usd_per_hour"),
        ([{"model": "a", "same_as": "x/y", "usd_per_hour": 1}], "models[0]", "exactly one of"),
        ([{"same_as": "x/y"}], "models[0].model", "a name or a glob"),
        ([{"model": "a", "provider": 5, "same_as": "x/y"}], "models[0].provider", "a name or a glob"),
        ([{"model": "a", "same_as": "gpt-4o"}], "models[0].same_as", "provider/model"),
        ([{"model": "a", "usd_per_million": 1}], "models[0].usd_per_million", "a mapping with `input`"),
        ([{"model": "a", "usd_per_million": {"output": 1}}], "models[0].usd_per_million", "a mapping with `input`"),
        (
            [{"model": "b", "same_as": "x/y"}, {"model": "a", "usd_per_million": {**_PER_MILLION, "input": -1}}],
            "models[1].usd_per_million.input",
            "USD per ",
        ),
        ([{"model": "a", "usd_per_million": {"input": "nan"}}], "models[0].usd_per_million.input", "USD per "),
        ([{"model": "a", "usd_per_million": {"inputs": 1}}], "models[0].usd_per_million.inputs", "did you mean"),
        ([{"model": "a", "usd_per_hour": True}], "models[0].usd_per_hour", "USD per "),
        ([{"model": "a", "usd_per_hour": "4 dollars"}], "models[0].usd_per_hour", "USD per "),
        ([{"model": "a", "usd_per_hour": 1e9}], "models[0].usd_per_hour", "USD per "),
        ([{"model": "a", "usd_per_hour": 1, "valid_from": "soon"}], "models[0].valid_from", "a day such as"),
    ],
)  # fmt: skip
def test_mistake_names_file_key_value_and_what_is_accepted(raw: object, key: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        model_prices_from(raw, "prices.yaml")
    assert (caught.value.place, caught.value.key) == ("prices.yaml", key)
    assert says in caught.value.accepted
    assert str(caught.value).startswith(f"prices.yaml: {key}: ")
