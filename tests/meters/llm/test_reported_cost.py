"""Costs that stand on a span: the provider's wins over the list, a computed one only stands in for a missing price."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.meters.llm import LlmMeter
from spancost.prices.models import model_prices_from
from spancost.prices.tokens import TokenPrices
from tests.meters.llm.calls import CHAT, CHAT_USD, charges, known, usd

_UNKNOWN = {**CHAT, "gen_ai.request.model": "gpt-99-imaginary"}


@pytest.mark.parametrize(
    ("stated", "attribute"),
    [
        ({"gen_ai.usage.cost": 0.0042}, "gen_ai.usage.cost"),
        ({"gen_ai.usage.total_cost": 0.0042}, "gen_ai.usage.total_cost"),
        (
            {
                "gen_ai.usage.cost.amount": 0.0042,
                "gen_ai.usage.cost.currency": "USD",
                "gen_ai.usage.cost.source": "provider",
            },
            "gen_ai.usage.cost.amount",
        ),
    ],
)
def test_cost_of_the_provider_is_charged_and_the_list_price_stays_beside_it(
    stated: dict[str, Any], attribute: str
) -> None:
    found = charges({**CHAT, **stated})
    assert sum(charge.usd for charge in found) == pytest.approx(0.0042, rel=1e-12)
    assert sum(charge.list_usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert {charge.line.source for charge in found} == {f"reported:{attribute}"}
    assert known(found) == {("priced", "", "")}
    assert {charge.line.unit: charge.quantity for charge in found} == {"input_token": 1000, "output_token": 100}


def test_cost_of_the_provider_for_an_unknown_model_is_charged_in_one_sum() -> None:
    (charge,) = charges({**_UNKNOWN, "gen_ai.usage.cost": 0.0042})
    assert (charge.usd, charge.list_usd, charge.quantity) == (0.0042, 0.0042, 1100)
    assert (charge.line.status, charge.line.model) == ("priced", "gpt-99-imaginary")


@pytest.mark.parametrize(
    ("scope", "attribute"),
    [
        ("openlit.instrumentation.openai", "gen_ai.usage.cost"),
        ("pydantic-ai", "operation.cost"),
        ("openinference.instrumentation.litellm", "llm.cost.total"),
        ("litellm", "litellm.cost.total"),
        ("litellm", "gen_ai.cost.total_cost"),
    ],
)
def test_cost_that_a_library_computed_gives_way_to_the_list_and_stands_in_where_there_is_none(
    scope: str, attribute: str
) -> None:
    assert usd({**CHAT, attribute: 0.0042}, scope) == pytest.approx(CHAT_USD, rel=1e-12)
    (charge,) = charges({**_UNKNOWN, attribute: 0.0042}, scope)
    assert charge.usd == 0.0042
    assert (charge.line.status, charge.line.basis) == ("estimated", "computed_by_instrumentation")
    assert charge.line.source == f"reported:{attribute}"


def test_computed_cost_in_the_draft_convention_is_not_the_providers() -> None:
    stated = {"gen_ai.usage.cost.amount": 0.0042, "gen_ai.usage.cost.source": "local"}
    assert usd({**CHAT, **stated}) == pytest.approx(CHAT_USD, rel=1e-12)


def test_cost_in_another_currency_is_no_cost_in_dollars() -> None:
    stated = {
        "gen_ai.usage.cost.amount": 0.0042,
        "gen_ai.usage.cost.currency": "EUR",
        "gen_ai.usage.cost.source": "provider",
    }
    assert usd({**CHAT, **stated}) == pytest.approx(CHAT_USD, rel=1e-12)


@pytest.mark.parametrize("own", ["spancost.status", "spancost.direct.usd", "spancost.source"])
def test_our_own_figure_on_a_stored_span_is_never_read_back(own: str) -> None:
    exported = {**CHAT, own: "x", "gen_ai.usage.cost": 99.0, "operation.cost": 99.0}
    found = charges(exported)
    assert sum(charge.usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert {charge.line.source for charge in found} == {"genai-prices:0.2.3"}


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.0042", True, 1e9], ids=str)
def test_cost_that_is_no_amount_is_ignored_and_the_charge_says_so(value: object) -> None:
    found = charges({**CHAT, "gen_ai.usage.cost": value})
    assert sum(charge.usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert known(found) == {("estimated", "", "bad_reported_cost")}
    assert known(charges({**_UNKNOWN, "gen_ai.usage.cost": value})) == {("unpriced", "unknown_model", "")}


def test_cost_of_zero_is_not_believed() -> None:
    assert usd({**CHAT, "gen_ai.usage.cost": 0.0}) == pytest.approx(CHAT_USD, rel=1e-12)
    assert known(charges({**CHAT, "gen_ai.usage.cost": 0})) == {("priced", "", "")}
    assert known(charges({**_UNKNOWN, "gen_ai.usage.cost": 0})) == {("unpriced", "unknown_model", "")}


def test_stated_cost_prices_a_stream_without_token_counts() -> None:
    stream = {key: value for key, value in CHAT.items() if "usage" not in key}
    (charge,) = charges({**stream, "gen_ai.usage.cost": 0.0042})
    assert (charge.usd, charge.line.status) == (0.0042, "priced")


def test_your_own_price_wins_over_the_cost_that_the_provider_reported() -> None:
    own = model_prices_from([{"model": "gpt-5-mini", "usd_per_million": {"input": 1, "output": 1}}], "spancost.yaml")
    meter = LlmMeter(TokenPrices(own))
    assert usd({**CHAT, "gen_ai.usage.cost": 0.0042}, meter=meter) == pytest.approx(1100e-6, rel=1e-12)
