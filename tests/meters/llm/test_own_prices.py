"""Your own prices, names and discounts: they change what you pay, the list price stays beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from spancost.meters.llm import LlmMeter
from spancost.prices.discounts import Discount, Discounts
from spancost.prices.models import model_prices_from
from spancost.prices.tokens import TokenPrices
from tests.meters.llm.calls import CHAT, CHAT_USD, MTOK, charges, known, usd


def _meter(*entries: dict[str, Any]) -> LlmMeter:
    return LlmMeter(TokenPrices(model_prices_from(list(entries), "prices.yaml")))


def _ns(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9


def _call(provider: str, model: str, **more: Any) -> dict[str, Any]:
    return {**CHAT, "gen_ai.provider.name": provider, "gen_ai.request.model": model, **more}


def test_negotiated_price_is_charged_and_the_list_price_stays() -> None:
    meter = _meter({"model": "gpt-5*", "provider": "openai", "usd_per_million": {"input": 0.2, "output": 1.5}})
    found = charges(CHAT, meter=meter)
    assert sum(charge.usd for charge in found) == pytest.approx(MTOK * (1000 * 0.2 + 100 * 1.5), rel=1e-12)
    assert sum(charge.list_usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert {charge.line.source for charge in found} == {"override:prices.yaml"}
    assert known(found) == {("priced", "", "")}


def test_negotiated_price_of_nothing_keeps_the_list_price() -> None:
    meter = _meter({"model": "gpt-5*", "usd_per_million": {"input": 0, "output": 0}})
    found = charges(CHAT, meter=meter)
    assert sum(charge.usd for charge in found) == 0
    assert sum(charge.list_usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert known(found) == {("free", "", "")}


def test_own_rates_of_parts_are_taken_out_of_what_contains_them() -> None:
    rates = {"input": 2, "output": 8, "cache_read": 0.2, "cache_write": 2.5, "cache_write_1h": 4}
    meter = _meter({"model": "house-model", "usd_per_million": rates})
    attributes = _call(
        "openai",
        "house-model",
        **{
            "gen_ai.usage.cache_read.input_tokens": 300,
            "gen_ai.usage.cache_write.input_tokens": 200,
            "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 50,
        },
    )
    expected = MTOK * (500 * 2 + 300 * 0.2 + 150 * 2.5 + 50 * 4 + 100 * 8)
    assert usd(attributes, meter=meter) == pytest.approx(expected, rel=1e-12)


def test_own_price_without_an_output_rate_does_not_make_output_free() -> None:
    meter = _meter({"model": "house-model", "usd_per_million": {"input": 2}})
    assert known(charges(_call("openai", "house-model"), meter=meter)) == {("unpriced", "no_price", "")}


@pytest.mark.parametrize(
    ("provider", "model", "entry"),
    [
        ("azure.ai.openai", "prod-chat", {"model": "prod-chat", "provider": "azure*", "same_as": "azure/gpt-5-mini"}),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
            {"model": "*application-inference-profile/abc123", "same_as": "openai/gpt-5-mini"},
        ),
        ("openai", "ft:gpt-5-mini:acme::id", {"model": "ft:gpt-5-mini:acme:*", "same_as": "openai/gpt-5-mini"}),
    ],
)
def test_deployment_profile_or_fine_tune_is_priced_as_the_model_it_stands_for(
    provider: str, model: str, entry: dict[str, Any]
) -> None:
    assert known(charges(_call(provider, model))) == {("unpriced", "unknown_model", "")}
    found = charges(_call(provider, model), meter=_meter(entry))
    assert sum(charge.usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert known(found) == {("priced", "", "")}
    assert {charge.line.model for charge in found} == {"gpt-5-mini"}


def test_own_price_of_the_model_behind_an_alias_holds_for_the_alias() -> None:
    meter = _meter(
        {"model": "prod-chat", "same_as": "openai/gpt-5-mini"},
        {"model": "gpt-5-mini", "provider": "openai", "usd_per_million": {"input": 1, "output": 1}},
    )
    assert usd(_call("azure", "prod-chat"), meter=meter) == pytest.approx(1100e-6, rel=1e-12)


def test_alias_for_a_model_that_nobody_knows_is_unpriced_and_says_so() -> None:
    meter = _meter({"model": "prod-chat", "same_as": "openai/gpt-99"})
    assert known(charges(_call("azure", "prod-chat"), meter=meter)) == {("unpriced", "unknown_alias", "")}


def test_own_price_under_a_deployments_name_holds_though_the_answer_names_the_model() -> None:
    meter = _meter({"model": "prod-chat", "usd_per_million": {"input": 1, "output": 1}})
    answered = _call("openai", "prod-chat", **{"gen_ai.response.model": "gpt-5-mini-2025-08-07"})
    assert usd(answered, meter=meter) == pytest.approx(1100e-6, rel=1e-12)


def test_unknown_model_that_answered_is_priced_as_the_known_one_that_was_asked_for_and_marked() -> None:
    answered = {**CHAT, "gen_ai.response.model": "gpt-5-mini-experimental-build"}
    found = charges(answered)
    assert sum(charge.usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert known(found) == {("estimated", "", "request_model")}


def test_model_that_you_serve_costs_its_machines_time() -> None:
    call = _call("ollama", "llama3.3:70b")
    assert known(charges(call)) == {("unpriced", "self_hosted", "")}
    (charge,) = charges(
        call, meter=_meter({"model": "llama3.3*", "provider": "ollama", "usd_per_hour": 4.10}), seconds=9
    )
    assert charge.usd == pytest.approx(4.10 / 3600 * 9, rel=1e-12)
    assert (charge.line.status, charge.line.basis, charge.line.unit) == ("estimated", "machine_time", "s")
    assert (charge.line.provider, charge.line.model, charge.quantity) == ("ollama", "llama3.3:70b", 9.0)


def test_machine_time_is_known_for_a_stream_without_token_counts() -> None:
    stream = {key: value for key, value in _call("vllm", "qwen3").items() if "usage" not in key}
    meter = _meter({"model": "qwen3", "usd_per_hour": "3.6"})
    assert usd(stream, meter=meter, seconds=2) == pytest.approx(0.002, rel=1e-12)


def test_self_hosted_model_can_have_a_price_per_token() -> None:
    meter = _meter({"model": "llama3*", "provider": "vllm", "usd_per_million": {"input": 0.1, "output": 0.4}})
    assert usd(_call("vllm", "llama3"), meter=meter) == pytest.approx(MTOK * (1000 * 0.1 + 100 * 0.4), rel=1e-12)


@pytest.mark.parametrize(
    ("day", "rate"),
    [((2026, 6, 30), None), ((2026, 7, 1), 1.0), ((2026, 10, 31), 1.0), ((2026, 11, 1), 2.0)],
)
@pytest.mark.parametrize("newest_first", [False, True])
def test_own_price_holds_from_its_first_day_whatever_the_order_in_the_file(
    day: tuple[int, int, int], rate: float | None, newest_first: bool
) -> None:
    entries: list[dict[str, Any]] = [
        {"model": "gpt-5-mini", "usd_per_million": {"input": 1, "output": 1}, "valid_from": date(2026, 7, 1)},
        {"model": "gpt-5-mini", "usd_per_million": {"input": 2, "output": 2}, "valid_from": "2026-11-01"},
    ]
    meter = _meter(*(reversed(entries) if newest_first else entries))
    expected = CHAT_USD if rate is None else 1100 * MTOK * rate
    assert usd(CHAT, meter=meter, at_ns=_ns(2026, 8, 1)) == pytest.approx(1100 * MTOK, rel=1e-12)
    assert usd(CHAT, meter=meter, at_ns=_ns(*day)) == pytest.approx(expected, rel=1e-12)


def test_first_entry_that_matches_is_taken() -> None:
    meter = _meter(
        {"model": "gpt-5-mini", "usd_per_million": {"input": 1, "output": 1}},
        {"model": "gpt-*", "usd_per_million": {"input": 9, "output": 9}, "valid_from": "2026-01-01"},
    )
    assert usd(CHAT, meter=meter) == pytest.approx(1100e-6, rel=1e-12)


def test_discount_is_taken_off_the_list_price_on_its_days_only() -> None:
    discount = Discount(
        "edp", Decimal(20), component="llm", provider="openai", price="gpt-5*", valid_from=date(2026, 11, 1)
    )
    meter = LlmMeter(TokenPrices(discounts=Discounts([discount])))
    found = charges(CHAT, meter=meter)
    assert sum(charge.usd for charge in found) == pytest.approx(0.8 * CHAT_USD, rel=1e-12)
    assert sum(charge.list_usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert {charge.line.source for charge in found} == {"genai-prices:0.2.3+discount:edp"}
    before = charges(CHAT, meter=meter, at_ns=_ns(2026, 10, 31))
    assert sum(charge.usd for charge in before) == pytest.approx(CHAT_USD, rel=1e-12)
    assert {charge.line.source for charge in before} == {"genai-prices:0.2.3"}


def test_nothing_is_taken_off_an_own_price_or_a_reported_cost() -> None:
    discounts = Discounts([Discount("edp", Decimal(20))])
    own = model_prices_from([{"model": "gpt-5-mini", "usd_per_million": {"input": 1, "output": 1}}], "prices.yaml")
    assert usd(CHAT, meter=LlmMeter(TokenPrices(own, discounts))) == pytest.approx(1100e-6, rel=1e-12)
    reported = {**CHAT, "gen_ai.usage.cost": 0.0042}
    assert usd(reported, meter=LlmMeter(TokenPrices(discounts=discounts))) == pytest.approx(0.0042, rel=1e-12)
