"""Tiers, dated prices, service tiers and refreshed data of token prices."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price

from spancost.errors import PriceBookError
from spancost.prices.tokens import TokenCounts, TokenPrices, TokenRates, UnknownPrice

_PRICES = TokenPrices()
_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 10**9


def _rates(provider: str, model: str, tier: str = "", at: datetime = _AT, prices: TokenPrices = _PRICES) -> TokenRates:
    rates = prices.rates(provider, model, tier, _ns(at))
    assert isinstance(rates, TokenRates), rates
    return rates


def _usd(rates: TokenRates, counts: TokenCounts) -> float:
    parts = rates.split(counts)
    assert parts is not None
    return sum(quantity * usd for _, quantity, usd in parts)


@pytest.mark.parametrize(
    ("tokens", "rates"),
    [(200_000, (3.0, 15.0, 0.3, 3.75, 6.0)), (200_001, (6.0, 22.5, 0.6, 7.5, 12.0))],
    ids=["200 000 tokens", "200 001 tokens"],
)
def test_long_context_tier_holds_for_every_kind_of_token(
    tokens: int, rates: tuple[float, float, float, float, float]
) -> None:
    usd_in, usd_out, usd_read, usd_write, usd_write_1h = rates
    counts = TokenCounts(tokens, 1000, cache_read=50_000, cache_write=30_000, cache_write_1h=10_000)
    expected = (tokens - 80_000) * usd_in + 50_000 * usd_read + 20_000 * usd_write + 10_000 * usd_write_1h
    found = _usd(_rates("anthropic", "claude-sonnet-4-5"), counts)
    assert found == pytest.approx((expected + 1000 * usd_out) / 1e6, rel=1e-12)


@pytest.mark.parametrize(
    ("write_5m", "write_1h"), [(300, 0), (0, 300), (100, 200)], ids=["5 minutes", "1 hour", "both"]
)
def test_cache_writes_cost_by_how_long_they_last(write_5m: int, write_1h: int) -> None:
    counts = TokenCounts(2350, 0, cache_read=2000, cache_write=write_5m + write_1h, cache_write_1h=write_1h)
    expected = 50 * 3.0 + 2000 * 0.3 + write_5m * 3.75 + write_1h * 6.0
    assert _usd(_rates("anthropic", "claude-sonnet-4-5"), counts) == pytest.approx(expected / 1e6, rel=1e-12)


@pytest.mark.parametrize(
    ("tier", "usd_in", "usd_out", "usd_read"),
    [
        ("", 0.25, 2.0, 0.025),
        ("flex", 0.125, 1.0, 0.0125),
        ("batch", 0.125, 1.0, 0.0125),
        ("priority", 0.45, 3.6, 0.045),
    ],
)
def test_service_tier_has_its_own_rates(tier: str, usd_in: float, usd_out: float, usd_read: float) -> None:
    rates = _rates("openai", "gpt-5-mini", tier)
    expected = (800 * usd_in + 200 * usd_read + 100 * usd_out) / 1e6
    assert _usd(rates, TokenCounts(1000, 100, cache_read=200)) == pytest.approx(expected, rel=1e-12)
    assert rates.basis == ()


@pytest.mark.parametrize(
    ("provider", "model", "tier", "at", "word"),
    [
        ("azure", "gpt-4o", "flex", _AT, "tier:flex"),
        ("openai", "gpt-5-mini", "scale", _AT, "tier:scale"),
        ("openai", "gpt-5-mini", "made-up-by-a-proxy", _AT, "tier:other"),
        ("openai", "gpt-5-mini", "flex", datetime(2026, 9, 1, tzinfo=UTC), "tier:flex"),
    ],
    ids=["another provider", "no rates for the tier", "unknown tier", "before the tier had a price in the list"],
)
def test_tier_without_rates_is_charged_as_standard_and_marked(
    provider: str, model: str, tier: str, at: datetime, word: str
) -> None:
    rates = _rates(provider, model, tier, at)
    counts = TokenCounts(1000, 100)
    assert _usd(rates, counts) == _usd(_rates(provider, model, "", at), counts)
    assert rates.assumed(counts) == (word,)


@pytest.mark.parametrize("tier", ["flex", "priority", "batch"])
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5.4", "o3", "gpt-5-mini"])
def test_tiers_cost_what_genai_prices_says(tier: str, model: str) -> None:
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    usage = Usage(input_tokens=300_000, cache_read_tokens=100_000, output_tokens=2000)
    reference = calc_price(
        usage, model, provider_id="openai", genai_request_timestamp=_AT, price_context=context
    ).total_price
    found = _usd(_rates("openai", model, tier), TokenCounts(300_000, 2000, cache_read=100_000))
    assert found == pytest.approx(float(reference), rel=1e-9)


@pytest.mark.parametrize(("day", "usd_in"), [(9, 10.0), (10, 2.0)])
def test_price_of_the_day_of_the_call_holds(day: int, usd_in: float) -> None:
    rates = _rates("openai", "o3", at=datetime(2025, 6, day, 12, tzinfo=UTC))
    assert _usd(rates, TokenCounts(1_000_000, 0)) == pytest.approx(usd_in, rel=1e-12)


@pytest.mark.parametrize("at_ns", [-(2**63), -1, 0, 2**63 - 1, 2**80])
def test_call_at_an_impossible_time_is_no_error(at_ns: int) -> None:
    assert isinstance(TokenPrices().rates("deepseek", "deepseek-chat", "", at_ns), TokenRates)


def test_variant_that_a_gateway_lists_as_free_is_free_and_the_paid_one_is_not() -> None:
    assert _usd(_rates("azure", "mai-ds-r1:free"), TokenCounts(1000, 100)) == 0
    assert _PRICES.rates("openrouter", "openai/gpt-4o:free", "", _ns(_AT)) == UnknownPrice("unknown_model")


_DATA: list[dict[str, Any]] = [
    {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": "https://api\\.openai\\.com",
        "model_match": {"starts_with": "gpt-"},
        "models": [
            {"id": "gpt-5-mini", "match": {"equals": "gpt-5-mini"}, "prices": {"input_mtok": 7, "output_mtok": 9}}
        ],
    }
]


def _day_file(tmp_path: Path, content: object, name: str = "llm.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(content), encoding="utf-8")
    os.utime(path, (_AT.timestamp(), _AT.timestamp()))
    return path


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (_DATA, "genai-prices:2026-11-21"),
        ({"date": "2026-11-20", "providers": _DATA}, "genai-prices:2026-11-20"),
    ],
    ids=["as its project publishes it", "with the day it was fetched"],
)
def test_refreshed_data_replaces_the_shipped_and_says_of_which_day_it_is(
    tmp_path: Path, content: object, source: str
) -> None:
    path = _day_file(tmp_path, content)
    loaded = TokenPrices()
    assert _rates("openai", "gpt-5-mini", prices=loaded).source == "genai-prices:0.2.3"
    loaded.load(path)
    for prices in (loaded, TokenPrices(snapshot_file=path)):
        rates = _rates("openai", "gpt-5-mini", prices=prices)
        assert rates.source == source
        assert _usd(rates, TokenCounts(1000, 100)) == pytest.approx((1000 * 7 + 100 * 9) / 1e6, rel=1e-12)


@pytest.mark.parametrize(
    "content", [[], {}, "text", 5, None, [{"id": "openai"}], {"date": "2026-11-20"}, {"providers": _DATA}]
)
def test_file_that_is_no_price_data_is_an_error_and_leaves_the_prices_as_they_were(
    tmp_path: Path, content: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = _day_file(tmp_path, content)
    prices = TokenPrices()
    with pytest.raises(PriceBookError, match=r"llm\.json: no price data of genai-prices"):
        prices.load(path)
    assert _rates("openai", "gpt-5-mini", prices=prices).source == "genai-prices:0.2.3"
    with caplog.at_level(logging.WARNING):
        assert _rates("openai", "gpt-5-mini", prices=TokenPrices(snapshot_file=path)).source == "genai-prices:0.2.3"
    assert "refreshed LLM prices are not used" in caplog.text


def test_missing_file_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(PriceBookError, match="FileNotFoundError"):
        TokenPrices().load(tmp_path / "none.json")
