"""The real OpenAI and Anthropic clients understand the wire server, and its counts follow from the request."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest
import requests
from anthropic import Anthropic
from openai import OpenAI

from tests.support.wire_llm import ChatUsage, EmbeddingUsage, LlmServer, MessageUsage

_WARM = "x" * 4 * 1_100
_COLD = "y" * 4 * 200


@pytest.fixture
def server() -> Generator[LlmServer]:
    with LlmServer() as running:
        yield running


@pytest.fixture
def openai(server: LlmServer) -> Generator[OpenAI]:
    with OpenAI(base_url=server.openai_url, api_key="local", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(server: LlmServer) -> Generator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="local", max_retries=0) as client:
        yield client


def test_chat_states_cached_tokens_in_steps_of_128_and_reasoning(server: LlmServer, openai: OpenAI) -> None:
    answer = openai.chat.completions.create(
        model="gpt-5-mini",
        max_completion_tokens=100,
        messages=[{"role": "system", "content": _WARM}, {"role": "user", "content": "abcde"}],
    )
    assert server.usages == [ChatUsage(prompt=1_100 + 2, cached=8 * 128, completion=100, reasoning=64)]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 1_102
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1_024
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 64
    assert answer.model == "gpt-5-mini-2025-08-07"
    assert len((answer.choices[0].message.content or "").split()) == 100 - 64


def test_short_prompt_is_not_cached_and_small_models_do_not_reason(server: LlmServer, openai: OpenAI) -> None:
    openai.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "system", "content": _COLD}])
    assert server.usages == [ChatUsage(prompt=200, cached=0, completion=48, reasoning=0)]


@pytest.mark.parametrize("include_usage", [True, False])
def test_chat_stream_ends_with_usage_only_when_asked(openai: OpenAI, include_usage: bool) -> None:
    chunks = list(
        openai.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "abcd"}],
            stream=True,
            stream_options={"include_usage": include_usage},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(text.split()) == 48
    stated = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert stated == ([1 + 48] if include_usage else [])


def test_embeddings_count_all_inputs_and_decode_in_the_client(server: LlmServer, openai: OpenAI) -> None:
    answer = openai.embeddings.create(model="text-embedding-3-small", input=["abcd", "abcde"])
    assert server.usages == [EmbeddingUsage(prompt=1 + 2)]
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    assert answer.usage.prompt_tokens == 3


def test_message_reads_system_from_cache_and_writes_marked_blocks(server: LlmServer, anthropic: Anthropic) -> None:
    answer = anthropic.messages.create(
        model="claude-sonnet-5",
        max_tokens=20,
        system=[{"type": "text", "text": _WARM, "cache_control": {"type": "ephemeral"}}],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a" * 40, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                    {"type": "text", "text": "b" * 20, "cache_control": {"type": "ephemeral"}},
                    {"type": "text", "text": "c" * 12},
                ],
            }
        ],
    )
    assert server.usages == [MessageUsage(input=3, cache_read=1_100, cache_write_5m=5, cache_write_1h=10, output=20)]
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 1_100, 15)
    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_5m_input_tokens == 5
    assert usage.cache_creation.ephemeral_1h_input_tokens == 10
    assert usage.output_tokens == 20


def test_message_stream_gives_text_and_final_usage(anthropic: Anthropic) -> None:
    with anthropic.messages.stream(
        model="claude-haiku-4-5", max_tokens=30, messages=[{"role": "user", "content": "a" * 8}]
    ) as stream:
        assert len("".join(stream.text_stream).split()) == 30
        final = stream.get_final_message()
    assert (final.usage.input_tokens, final.usage.output_tokens) == (2, 30)
    assert final.model == "claude-haiku-4-5-20251001"


def test_request_may_state_its_own_usage(server: LlmServer, openai: OpenAI) -> None:
    stated = {"prompt": 1_200, "cached": 1_024, "completion": 250, "reasoning": 128}
    answer = openai.chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "user", "content": "hi"}],
        extra_headers={"x-usage": json.dumps(stated)},
    )
    assert server.usages == [ChatUsage(**stated)]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 1_200


def test_server_answers_for_twilio_when_it_is_the_proxy(server: LlmServer) -> None:
    with requests.post(
        "http://api.twilio.com/2010-04-01/Accounts/AC0/Messages.json",
        data={"Body": "hi"},
        proxies={"http": server.url},
        timeout=5,
    ) as answer:
        assert answer.status_code == 201
        assert answer.json()["num_segments"] == "1"
