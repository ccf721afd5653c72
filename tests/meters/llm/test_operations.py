"""Which spans are calls, which repeat the usage of calls inside them, and units other than tokens."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.meters.llm import is_llm, operation_of
from tests.meters.llm.calls import CHAT, MTOK, charges, known, usd


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "invoke_workflow"},
        {"gen_ai.operation.name": "create_agent"},
        {"gen_ai.operation.name": "execute_tool"},
        {"gen_ai.operation.name": "retrieval"},
        {"gen_ai.operation.name": "chain"},
        {"gen_ai.operation.name": "chat", "openinference.span.kind": "AGENT"},
        {"openinference.span.kind": "CHAIN"},
        {"openinference.span.kind": "TOOL"},
        {"llm.request.type": "unknown"},
        {"ai.operationId": "ai.generateText"},
        {"ai.operationId": "ai.toolCall"},
    ],
)
def test_span_that_repeats_the_usage_of_others_is_an_llm_span_without_a_price(attributes: dict[str, Any]) -> None:
    repeated = {key: value for key, value in CHAT.items() if key != "gen_ai.operation.name"} | attributes
    assert is_llm(repeated)
    assert operation_of(repeated) == ""
    assert charges(repeated) == ()


def test_agent_span_of_pydantic_ai_with_aggregated_usage_is_not_a_call() -> None:
    agent = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "support",
        "gen_ai.aggregated_usage.input_tokens": 1000,
        "gen_ai.aggregated_usage.output_tokens": 100,
    }
    assert charges(agent, "pydantic-ai") == ()


@pytest.mark.parametrize(
    ("spelled", "operation"),
    [
        ("chat", "chat"),
        ("completion", "text_completion"),
        ("text_completions", "text_completion"),
        ("generate_content", "generate_content"),
        ("embedding", "embeddings"),
        ("rerank", "rerank"),
        ("image", "image_generation"),
        ("text_to_speech", "speech"),
        ("speech_to_text", "transcription"),
        ("litellm.moderation", "moderation"),
    ],
)
def test_operations_have_one_name_each(spelled: str, operation: str) -> None:
    assert operation_of({"gen_ai.operation.name": spelled}) == operation
    assert operation_of({"llm.request.type": spelled}) == operation


def test_images_are_priced_by_their_tokens() -> None:
    attributes = {
        "gen_ai.operation.name": "image_generation",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-1",
        "gen_ai.usage.input_tokens": 400,
        "gen_ai.usage.image.input_tokens": 300,
        "gen_ai.usage.output_tokens": 1056,
    }
    assert usd(attributes) == pytest.approx(MTOK * (100 * 5 + 300 * 10 + 1056 * 40), rel=1e-12)
    assert known(charges(attributes)) == {("priced", "", "")}


@pytest.mark.parametrize(
    ("cached", "images_cached", "expected", "basis"),
    [
        (50, None, 50 * 1.25 + 50 * 5 + 300 * 10, "image_cache_overlap"),
        (250, None, 250 * 1.25 + 0 * 5 + 150 * 10, "image_cache_overlap"),
        (250, 200, 50 * 1.25 + 200 * 2.5 + 50 * 5 + 100 * 10, ""),
    ],
    ids=["text could all be cached", "some images must be cached", "the span says how many"],
)
def test_each_input_token_of_an_image_call_is_priced_once(
    cached: int, images_cached: int | None, expected: float, basis: str
) -> None:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "image_generation",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-1",
        "gen_ai.usage.input_tokens": 400,
        "gen_ai.usage.image.input_tokens": 300,
        "gen_ai.usage.cache_read.input_tokens": cached,
        "gen_ai.usage.output_tokens": 0,
    }
    if images_cached is not None:
        attributes["gen_ai.usage.image.cache_read.input_tokens"] = images_cached
    assert usd(attributes) == pytest.approx(MTOK * expected, rel=1e-12)
    assert known(charges(attributes)) == {("estimated", "", basis) if basis else ("priced", "", "")}


def test_cached_audio_that_the_span_states_is_priced_at_its_own_rate_without_an_assumption() -> None:
    attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-2.5-flash",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.audio.input_tokens": 700,
        "gen_ai.usage.cache_read.input_tokens": 500,
        "gen_ai.usage.audio.cache_read.input_tokens": 400,
        "gen_ai.usage.output_tokens": 10,
    }
    expected = 400 * 0.1 + 100 * 0.03 + 300 * 1.0 + 200 * 0.3 + 10 * 2.5
    assert usd(attributes) == pytest.approx(MTOK * expected, rel=1e-12)
    assert known(charges(attributes)) == {("priced", "", "")}


@pytest.mark.parametrize(
    ("provider", "model", "seconds", "billed", "usd_per_hour"),
    [
        ("openai", "whisper-1", 90.0, 90.0, 0.36),
        ("groq", "whisper-large-v3", 90.0, 90.0, 0.111),
        ("groq", "whisper-large-v3", 3.0, 10.0, 0.111),
    ],
    ids=["a minute and a half", "Groq", "Groq bills at least ten seconds"],
)
def test_transcription_is_priced_by_the_seconds_the_span_shows(
    provider: str, model: str, seconds: float, billed: float, usd_per_hour: float
) -> None:
    attributes = {
        "gen_ai.operation.name": "speech_to_text",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.audio.duration": seconds,
    }
    (charge,) = charges(attributes, f"openlit.instrumentation.{provider}")
    assert charge.usd == pytest.approx(billed / 3600 * usd_per_hour, rel=1e-9)
    assert (charge.line.unit, charge.quantity) == ("audio_s", billed)


def test_input_of_a_transcription_by_tokens_is_taken_for_speech() -> None:
    attributes = {
        "gen_ai.operation.name": "transcription",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-transcribe",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    assert usd(attributes) == pytest.approx(MTOK * (1000 * 6 + 100 * 10), rel=1e-12)
    assert known(charges(attributes)) == {("estimated", "", "audio_input")}


@pytest.mark.parametrize(
    ("operation", "model", "reason"),
    [
        ("rerank", "rerank-v3.5", "quantity_not_seen"),
        ("image_generation", "dall-e-3", "quantity_not_seen"),
        ("text_to_speech", "tts-1", "quantity_not_seen"),
        ("speech_to_text", "whisper-1", "quantity_not_seen"),
        ("chat", "gpt-5-mini", "no_usage"),
    ],
)
def test_call_whose_billed_quantity_no_span_shows_is_unpriced_and_says_so(
    operation: str, model: str, reason: str
) -> None:
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
    }
    assert known(charges(attributes)) == {("unpriced", reason, "")}


def test_embedding_model_asked_to_chat_has_no_price_for_its_output() -> None:
    attributes = {**CHAT, "gen_ai.request.model": "text-embedding-3-small"}
    assert known(charges(attributes)) == {("unpriced", "no_price", "")}
