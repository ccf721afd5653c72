"""Compiled token prices agree with genai-prices' own calculation, for whole tables of models."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from spancost.prices.tokens import TokenCounts, TokenPrices, TokenRates, UnknownPrice, canonical_provider

_PRICES = TokenPrices()
_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
_OVERLAP = ("audio_cache_overlap",)


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 10**9


def _usd(provider: str, model: str, counts: TokenCounts, at: datetime = _AT) -> float:
    rates = _PRICES.rates(provider, model, "", _ns(at))
    assert isinstance(rates, TokenRates), rates
    parts = rates.split(counts)
    assert parts is not None
    return sum(quantity * usd for _, quantity, usd in parts)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            ("openai", "gpt-5-mini"),
            ("openai", "gpt-4o"),
            ("openai", "text-embedding-3-small"),
            ("anthropic", "claude-sonnet-4-5-20250929"),
            ("anthropic", "claude-3-5-haiku-latest"),
            ("google", "gemini-2.5-pro"),
            ("deepseek", "deepseek-chat"),
        ]
    ),
    st.integers(0, 600_000),
    st.integers(0, 600_000),
    st.integers(0, 100_000),
    st.integers(0, 23),
)
def test_any_call_costs_what_genai_prices_says(
    model: tuple[str, str], uncached: int, cached: int, tokens_out: int, hour: int
) -> None:
    at = _AT.replace(hour=hour)
    if model[1].startswith("text-embedding"):
        cached = tokens_out = 0
    reference = calc_price(
        Usage(input_tokens=uncached + cached, cache_read_tokens=cached, output_tokens=tokens_out),
        model[1],
        provider_id=model[0],
        genai_request_timestamp=at,
    )
    found = _usd(*model, TokenCounts(uncached + cached, tokens_out, cache_read=cached), at)
    assert found == pytest.approx(float(reference.total_price), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("tokens", "rate"), [(200_000, 1.25), (200_001, 2.5)])
def test_dearer_tier_begins_one_token_above_its_edge_and_holds_for_the_whole_call(tokens: int, rate: float) -> None:
    assert _usd("google", "gemini-2.5-pro", TokenCounts(tokens, 0)) == pytest.approx(tokens * rate / 1e6, rel=1e-12)


def test_counts_that_contradict_each_other_have_no_price() -> None:
    rates = _PRICES.rates("openai", "gpt-5-mini", "", _ns(_AT))
    assert isinstance(rates, TokenRates)
    assert rates.split(TokenCounts(100, 10, cache_read=101)) is None


def test_unknown_model_and_provider_are_values_with_a_reason() -> None:
    assert _PRICES.rates("openai", "gpt-99", "", 0) == UnknownPrice("unknown_model")
    assert _PRICES.rates("nobody", "gpt-5-mini", "", 0) == UnknownPrice("unknown_provider")
    assert _PRICES.rates("openai", "", "", 0) == UnknownPrice("no_model")


def test_second_look_up_of_a_model_is_the_same_object_and_the_table_is_bounded() -> None:
    first = _PRICES.rates("openai", "gpt-5-mini", "", _ns(_AT))
    assert _PRICES.rates("openai", "gpt-5-mini", "", _ns(_AT)) is first
    prices = TokenPrices()
    for number in range(3000):
        prices.rates("openai", f"unknown-{number}", "", 0)
    assert len(prices._entries) <= 2048  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("gcp.gemini", "google"),
        ("Azure.AI.OpenAI", "azure"),
        ("az.ai.openai", "azure"),
        ("az.ai.inference", "azure"),
        ("azure_openai", "azure"),
        ("aws.bedrock", "aws"),
        ("mistral_ai", "mistral"),
        ("xai", "x-ai"),
        ("openai", "openai"),
    ],
)
def test_names_of_one_provider_are_one(name: str, canonical: str) -> None:
    assert canonical_provider(name) == canonical


@pytest.mark.parametrize("name", ["azure", "aws", "google", "mistral", "moonshotai", "together", "x-ai", "fireworks"])
def test_name_behind_every_alias_is_a_provider_of_genai_prices(name: str) -> None:
    assert _PRICES.rates(name, "no-such-model", "", 0) == UnknownPrice("unknown_model")


@pytest.mark.parametrize(
    ("model", "counts", "cached_audio", "assumed"),
    [
        (("openai", "gpt-realtime"), TokenCounts(1000, 100, cache_read=600, audio_in=900), 500, _OVERLAP),
        (("google", "gemini-2.5-flash"), TokenCounts(1000, 100, cache_read=600, audio_in=900), 500, _OVERLAP),
        (("openai", "gpt-realtime"), TokenCounts(1000, 100, cache_read=600, audio_in=300), 0, _OVERLAP),
        (("openai", "gpt-realtime"), TokenCounts(1000, 100, cache_read=600, audio_in=1000), 600, ()),
        (("openai", "gpt-realtime"), TokenCounts(1000, 100, cache_read=1000, audio_in=300), 300, ()),
        (("openai", "gpt-realtime"), TokenCounts(1000, 100, audio_in=900, audio_out=40), 0, ()),
    ],
)
def test_as_few_cached_tokens_as_the_counts_allow_are_taken_for_audio(
    model: tuple[str, str], counts: TokenCounts, cached_audio: int, assumed: tuple[str, ...]
) -> None:
    reference = calc_price(
        Usage(
            input_tokens=counts.input,
            output_tokens=counts.output,
            cache_read_tokens=counts.cache_read,
            input_audio_tokens=counts.audio_in,
            cache_audio_read_tokens=cached_audio,
            output_audio_tokens=counts.audio_out,
        ),
        model[1],
        provider_id=model[0],
        genai_request_timestamp=_AT,
    )
    assert _usd(*model, counts) == pytest.approx(float(reference.total_price), rel=1e-12)
    rates = _PRICES.rates(*model, "", _ns(_AT))
    assert isinstance(rates, TokenRates)
    assert rates.assumed(counts) == assumed


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        (("openai", "gpt-4o-audio-preview"), TokenCounts(1000, 100, cache_read=600, audio_in=900)),
        (("openai", "gpt-5-mini"), TokenCounts(1000, 100, audio_out=5)),
        (("google", "gemini-2.5-flash"), TokenCounts(1000, 100, audio_in=900, audio_out=5)),
    ],
)
def test_audio_of_a_model_without_a_rate_for_it_is_priced_as_text_and_said_to_be(
    model: tuple[str, str], counts: TokenCounts
) -> None:
    rates = _PRICES.rates(*model, "", _ns(_AT))
    assert isinstance(rates, TokenRates)
    assert rates.split(counts) is not None
    assert rates.assumed(counts) == ("audio_at_text_rate",)
    assert rates.assumed(counts._replace(audio_in=0, audio_out=0)) == ()


@settings(deadline=None)
@given(
    st.sampled_from([("openai", "gpt-realtime"), ("google", "gemini-2.5-flash"), ("openai", "gpt-4o")]),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
)
def test_every_input_token_is_priced_once_however_cached_and_audio_overlap(
    model: tuple[str, str], tokens_in: int, read: int, write: int, audio: int
) -> None:
    read, audio = min(read, tokens_in), min(audio, tokens_in)
    write = min(write, tokens_in - read)
    rates = _PRICES.rates(*model, "", _ns(_AT))
    assert isinstance(rates, TokenRates)
    parts = rates.split(TokenCounts(tokens_in, 0, cache_read=read, cache_write=write, audio_in=audio))
    assert parts is not None
    assert sum(quantity for kind, quantity, _ in parts if "output" not in kind) == tokens_in


def test_cached_tokens_above_the_input_stay_a_contradiction_beside_audio() -> None:
    rates = _PRICES.rates("openai", "gpt-realtime", "", _ns(_AT))
    assert isinstance(rates, TokenRates)
    assert rates.split(TokenCounts(100, 10, cache_read=101, audio_in=50)) is None
