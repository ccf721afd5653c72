"""Each family of instrumentations: the attributes of one of its spans, the counts read, and dollars worked out here.

The attributes are what the packages named in `spancost.meters.llm.dialects` write for a call; message texts left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from spancost.meters.llm import read_usage
from spancost.meters.llm.dialects import CONVENTIONS, DIALECTS, KNOWN, SPELLINGS, dialect_of
from spancost.prices.tokens import TokenCounts
from tests.meters.llm.calls import MTOK, charges, usd, view

# USD per million tokens, genai-prices 0.2.3: input, output, cache read, cache write, cache write 1h
_GPT_5_MINI = (0.25, 2.0, 0.025, 0.0, 0.0)
_GPT_4O = (2.5, 10.0, 1.25, 0.0, 0.0)
_SONNET = (3.0, 15.0, 0.3, 3.75, 6.0)
_SONNET_US = (3.3, 16.5, 0.33, 4.125, 6.6)
_FLASH = (0.3, 2.5, 0.03, 0.0, 0.0)
_MISTRAL_SMALL = (0.15, 0.6, 0.015, 0.0, 0.0)
_COMMAND_R_PLUS = (2.5, 10.0, 0.0, 0.0, 0.0)
_LLAMA_GROQ = (0.59, 0.79, 0.0, 0.0, 0.0)
_EMBED_SMALL = (0.02, 0.0, 0.0, 0.0, 0.0)

_OPENAI_CALL = TokenCounts(1200, 250, cache_read=1024, reasoning=128)
_ANTHROPIC_CALL = TokenCounts(2350, 120, cache_read=2000, cache_write=300)


class _Case(NamedTuple):
    scope: str
    attributes: dict[str, Any]
    counts: TokenCounts
    rates: tuple[float, float, float, float, float]
    basis: str = ""


def _usd(counts: TokenCounts, rates: tuple[float, float, float, float, float]) -> float:
    """Uncached input, cached input, 5-minute and 1-hour cache writes, output: each token once."""
    usd_in, usd_out, usd_read, usd_write, usd_write_1h = rates
    uncached = counts.input - counts.cache_read - counts.cache_write
    write_5m = counts.cache_write - counts.cache_write_1h
    return MTOK * (
        uncached * usd_in
        + counts.cache_read * usd_read
        + write_5m * usd_write
        + counts.cache_write_1h * usd_write_1h
        + counts.output * usd_out
    )


def _chat(provider: str, model: str, *, key: str = "gen_ai.provider.name") -> dict[str, Any]:
    return {"gen_ai.operation.name": "chat", key: provider, "gen_ai.request.model": model}


_SONNET_NAME = "claude-sonnet-4-5-20250929"
_SONNET_US_NAME = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

_CASES = {
    "OpenTelemetry openai-v2": _Case(
        "opentelemetry.instrumentation.openai_v2",
        {
            **_chat("openai", "gpt-5-mini", key="gen_ai.system"),
            "gen_ai.response.model": "gpt-5-mini-2025-08-07",
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
        },
        TokenCounts(1200, 250),
        _GPT_5_MINI,
        "cached_tokens_not_reported",
    ),
    "OpenTelemetry GenAI": _Case(
        "opentelemetry.instrumentation.genai.openai",
        {
            **_chat("openai", "gpt-5-mini"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.cache_read.input_tokens": 1024,
            "gen_ai.usage.reasoning.output_tokens": 128,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "OpenTelemetry GenAI for Anthropic": _Case(
        "opentelemetry.instrumentation.genai.anthropic",
        {
            **_chat("anthropic", _SONNET_NAME),
            "gen_ai.usage.input_tokens": 2350,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_write.input_tokens": 300,
        },
        _ANTHROPIC_CALL,
        _SONNET,
    ),
    "OpenTelemetry GenAI for Google": _Case(
        "opentelemetry.instrumentation.google_genai",
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "gemini",
            "gen_ai.request.model": "gemini-2.5-flash",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.cache_read.input_tokens": 600,
            "gen_ai.usage.output_tokens": 70,
            "gen_ai.usage.reasoning.output_tokens": 20,
        },
        TokenCounts(1000, 70, cache_read=600, reasoning=20),
        _FLASH,
    ),
    "Bedrock by botocore": _Case(
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        {
            **_chat("aws.bedrock", _SONNET_US_NAME, key="gen_ai.system"),
            "rpc.service": "Bedrock Runtime",
            "gen_ai.usage.input_tokens": 50,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_creation.input_tokens": 300,
        },
        _ANTHROPIC_CALL,
        _SONNET_US,
    ),
    "Bedrock with more uncached than cached tokens": _Case(
        "opentelemetry.instrumentation.genai.bedrock",
        {
            **_chat("aws.bedrock", _SONNET_US_NAME),
            "gen_ai.usage.input_tokens": 5000,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.usage.cache_read.input_tokens": 2000,
        },
        TokenCounts(7000, 10, cache_read=2000),
        _SONNET_US,
    ),
    "Bedrock by OpenLLMetry": _Case(
        "opentelemetry.instrumentation.bedrock",
        {
            **_chat("aws.bedrock", _SONNET_US_NAME),
            "gen_ai.usage.input_tokens": 50,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_creation.input_tokens": 300,
        },
        _ANTHROPIC_CALL,
        _SONNET_US,
    ),
    "Anthropic SDK": _Case(
        "com.anthropic.sdk.python",
        {
            **_chat("anthropic", _SONNET_NAME),
            "gen_ai.usage.input_tokens": 2350,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_write.input_tokens": 300,
            "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 100,
            "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 200,
        },
        _ANTHROPIC_CALL._replace(cache_write_1h=200),
        _SONNET,
    ),
    "OpenLLMetry": _Case(
        "opentelemetry.instrumentation.openai.v1",
        {
            **_chat("openai", "gpt-5-mini"),
            "llm.request.type": "chat",
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.cache_read.input_tokens": 1024,
            "gen_ai.usage.reasoning_tokens": 128,
            "gen_ai.usage.total_tokens": 1450,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "OpenLLMetry before its 0.50": _Case(
        "opentelemetry.instrumentation.openai.v1",
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.usage.prompt_tokens": 1200,
            "gen_ai.usage.completion_tokens": 250,
            "gen_ai.usage.cache_read_input_tokens": 1024,
            "llm.usage.reasoning_tokens": 128,
            "llm.usage.total_tokens": 1450,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "OpenLLMetry Cohere": _Case(
        "opentelemetry.instrumentation.cohere",
        {
            "llm.request.type": "chat",
            "gen_ai.system": "Cohere",
            "gen_ai.request.model": "command-r-plus-08-2024",
            "gen_ai.usage.prompt_tokens": 900,
            "gen_ai.usage.completion_tokens": 80,
            "llm.usage.total_tokens": 980,
        },
        TokenCounts(900, 80),
        _COMMAND_R_PLUS,
    ),
    "OpenLLMetry Mistral": _Case(
        "opentelemetry.instrumentation.mistralai",
        {
            "llm.request.type": "chat",
            "gen_ai.system": "MistralAI",
            "gen_ai.request.model": "mistral-small-latest",
            "gen_ai.usage.input_tokens": 900,
            "gen_ai.usage.output_tokens": 80,
            "gen_ai.usage.cache_read.input_tokens": 512,
        },
        TokenCounts(900, 80, cache_read=512),
        _MISTRAL_SMALL,
    ),
    "OpenLLMetry Groq": _Case(
        "opentelemetry.instrumentation.groq",
        {
            **_chat("groq", "llama-3.3-70b-versatile"),
            "gen_ai.usage.input_tokens": 900,
            "gen_ai.usage.output_tokens": 80,
        },
        TokenCounts(900, 80),
        _LLAMA_GROQ,
    ),
    "OpenLLMetry Vertex AI": _Case(
        "opentelemetry.instrumentation.vertexai",
        {
            "llm.request.type": "completion",
            "gen_ai.system": "vertex_ai",
            "gen_ai.request.model": "publishers/google/models/gemini-2.5-flash",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 50,
            "gen_ai.usage.cache_read.input_tokens": 600,
            "llm.usage.total_tokens": 1050,
        },
        TokenCounts(1000, 50, cache_read=600),
        _FLASH,
    ),
    "OpenLLMetry Google Generative AI": _Case(
        "opentelemetry.instrumentation.google_generativeai",
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": "gcp.gen_ai",
            "gen_ai.request.model": "models/gemini-2.5-flash",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 50,
            "gen_ai.usage.total_tokens": 1070,
        },
        TokenCounts(1000, 70, reasoning=20),
        _FLASH,
        "output_from_total",
    ),
    "OpenTelemetry Vertex AI, which states neither thoughts nor a total": _Case(
        "opentelemetry.instrumentation.vertexai",
        {
            **_chat("vertex_ai", "gemini-2.5-flash", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 50,
        },
        TokenCounts(1000, 50),
        _FLASH,
        "reasoning_not_reported,cached_tokens_not_reported",
    ),
    "OpenLIT Google, with more thoughts than answer": _Case(
        "openlit.instrumentation.google_ai_studio",
        {
            **_chat("gcp.gemini", "gemini-2.5-flash"),
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 50,
            "gen_ai.usage.reasoning_tokens": 200,
            "gen_ai.usage.cache_read.input_tokens": 600,
        },
        TokenCounts(1000, 250, cache_read=600, reasoning=200),
        _FLASH,
    ),
    "OpenInference Vertex AI": _Case(
        "openinference.instrumentation.vertexai",
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "google",
            "llm.model_name": "gemini-2.5-flash",
            "llm.token_count.prompt": 1000,
            "llm.token_count.completion": 50,
            "llm.token_count.total": 1070,
        },
        TokenCounts(1000, 70, reasoning=20),
        _FLASH,
        "output_from_total",
    ),
    "OpenLLMetry LangChain": _Case(
        "opentelemetry.instrumentation.langchain",
        {
            **_chat("anthropic", _SONNET_NAME),
            "gen_ai.usage.input_tokens": 2350,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_creation.input_tokens": 300,
        },
        _ANTHROPIC_CALL,
        _SONNET,
    ),
    "OpenLLMetry LlamaIndex": _Case(
        "opentelemetry.instrumentation.llamaindex",
        {
            "llm.request.type": "chat",
            "gen_ai.provider.name": "llamaindex",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.cache_read.input_tokens": 1024,
        },
        TokenCounts(1200, 250, cache_read=1024),
        _GPT_4O,
    ),
    "OpenLIT": _Case(
        "openlit.instrumentation.openai",
        {
            **_chat("openai", "gpt-5-mini"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.cache_read.input_tokens": 1024,
            "gen_ai.usage.completion_tokens_details.reasoning_tokens": 128,
            "gen_ai.usage.cost": 0.0123,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "OpenLIT Anthropic": _Case(
        "openlit.instrumentation.anthropic",
        {
            **_chat("anthropic", _SONNET_NAME),
            "gen_ai.usage.input_tokens": 5000,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_creation.input_tokens": 300,
            "gen_ai.usage.cost": 0.0123,
        },
        TokenCounts(7300, 120, cache_read=2000, cache_write=300),
        _SONNET,
    ),
    "OpenInference": _Case(
        "openinference.instrumentation.openai",
        {
            "openinference.span.kind": "LLM",
            "llm.system": "openai",
            "llm.model_name": "gpt-5-mini-2025-08-07",
            "llm.token_count.prompt": 1200,
            "llm.token_count.completion": 250,
            "llm.token_count.total": 1450,
            "llm.token_count.prompt_details.cache_read": 1024,
            "llm.token_count.completion_details.reasoning": 128,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "OpenInference Bedrock, whose total adds the cached tokens": _Case(
        "openinference.instrumentation.bedrock",
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "aws",
            "llm.model_name": _SONNET_US_NAME,
            "llm.token_count.prompt": 5000,
            "llm.token_count.completion": 120,
            "llm.token_count.total": 7420,
            "llm.token_count.prompt_details.cache_read": 2000,
            "llm.token_count.prompt_details.cache_write": 300,
        },
        TokenCounts(7300, 120, cache_read=2000, cache_write=300),
        _SONNET_US,
    ),
    "OpenInference LangChain on Azure": _Case(
        "openinference.instrumentation.langchain",
        {
            "openinference.span.kind": "LLM",
            "llm.provider": "azure",
            "llm.model_name": "gpt-4o-2024-08-06",
            "llm.token_count.prompt": 1200,
            "llm.token_count.completion": 250,
            "llm.token_count.prompt_details.cache_read": 1024,
        },
        TokenCounts(1200, 250, cache_read=1024),
        _GPT_4O,
    ),
    "OpenInference embeddings": _Case(
        "openinference.instrumentation.litellm",
        {
            "openinference.span.kind": "EMBEDDING",
            "embedding.model_name": "openai/text-embedding-3-small",
            "llm.token_count.prompt": 5000,
            "llm.token_count.total": 5000,
        },
        TokenCounts(5000, 0),
        _EMBED_SMALL,
    ),
    "Pydantic AI": _Case(
        "pydantic-ai",
        {
            **_chat("anthropic", _SONNET_NAME),
            "gen_ai.system": "anthropic",
            "gen_ai.usage.input_tokens": 2350,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_creation.input_tokens": 300,
            "gen_ai.usage.details.cache_read_tokens": 2000,
            "operation.cost": 0.0123,
        },
        _ANTHROPIC_CALL,
        _SONNET,
    ),
    "Logfire": _Case(
        "logfire.openai",
        {
            **_chat("openai", "gpt-5-mini", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "operation.cost": 0.0123,
        },
        TokenCounts(1200, 250),
        _GPT_5_MINI,
        "cached_tokens_not_reported",
    ),
    "LiteLLM": _Case(
        "litellm",
        {
            **_chat("azure.ai.openai", "prod"),
            "litellm.provider.model": "azure/gpt-4o",
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.cache_read.input_tokens": 1024,
            "litellm.cost.total": 0.0123,
        },
        TokenCounts(1200, 250, cache_read=1024),
        _GPT_4O,
    ),
    "LiteLLM's older attributes": _Case(
        "litellm",
        {
            **_chat("openai", "gpt-5-mini", key="gen_ai.system"),
            "llm.request.type": "acompletion",
            "gen_ai.usage.prompt_tokens": 1200,
            "gen_ai.usage.completion_tokens": 250,
            "gen_ai.cost.total_cost": 0.0123,
        },
        TokenCounts(1200, 250),
        _GPT_5_MINI,
        "cached_tokens_not_reported",
    ),
    "Logfire with the provider's usage as JSON": _Case(
        "logfire.anthropic",
        {
            **_chat("anthropic", _SONNET_NAME, key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 2350,
            "gen_ai.usage.output_tokens": 120,
            "gen_ai.usage.raw": '{"cache_creation": {"ephemeral_1h_input_tokens": 200,'
            ' "ephemeral_5m_input_tokens": 100}, "cache_creation_input_tokens": 300,'
            ' "cache_read_input_tokens": 2000, "input_tokens": 50,'
            ' "output_tokens": 120, "service_tier": "standard"}',
            "operation.cost": 0.0123,
        },
        _ANTHROPIC_CALL._replace(cache_write_1h=200),
        _SONNET,
    ),
    "Logfire with OpenAI's usage as JSON": _Case(
        "logfire.openai",
        {
            **_chat("openai", "gpt-5-mini", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.raw": '{"completion_tokens": 250, "prompt_tokens": 1200, "total_tokens": 1450,'
            ' "completion_tokens_details": {"audio_tokens": 0, "reasoning_tokens": 128},'
            ' "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 1024}}',
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "LangSmith": _Case(
        "langsmith",
        {
            **_chat("openai", "gpt-5-mini", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.input_token_details": '{"cache_read": 1024, "audio": 0}',
            "gen_ai.usage.output_token_details": '{"reasoning": 128, "audio": 0}',
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "LangSmith without details": _Case(
        "langsmith",
        {
            **_chat("openai", "gpt-5-mini", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
        },
        TokenCounts(1200, 250),
        _GPT_5_MINI,
        "cached_tokens_not_reported",
    ),
    "Semantic Kernel": _Case(
        "semantic_kernel.utils.telemetry.model_diagnostics.decorators",
        {
            **_chat("openai", "gpt-4o", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
        },
        TokenCounts(1200, 250),
        _GPT_4O,
        "cached_tokens_not_reported",
    ),
    "Azure AI Inference": _Case(
        "azure.core.tracing.ext.opentelemetry_span",
        {
            **_chat("az.ai.inference", "gpt-4o", key="gen_ai.system"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
        },
        TokenCounts(1200, 250),
        _GPT_4O,
        "cached_tokens_not_reported",
    ),
    "Vercel AI SDK": _Case(
        "ai",
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "operation.name": "ai.generateText.doGenerate",
            "ai.model.provider": "openai.responses",
            "ai.model.id": "gpt-5-mini",
            "ai.response.model": "gpt-5-mini-2025-08-07",
            "ai.usage.inputTokens": 1200,
            "ai.usage.outputTokens": 250,
            "ai.usage.totalTokens": 1450,
            "ai.usage.cachedInputTokens": 1024,
            "ai.usage.reasoningTokens": 128,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
    "Vercel AI SDK 4 with Anthropic's exclusive counts": _Case(
        "ai",
        {
            "ai.operationId": "ai.streamText.doStream",
            "gen_ai.system": "anthropic.messages",
            "gen_ai.request.model": _SONNET_NAME,
            "gen_ai.usage.input_tokens": 50,
            "gen_ai.usage.output_tokens": 120,
            "ai.usage.promptTokens": 50,
            "ai.usage.completionTokens": 120,
            "ai.usage.cachedInputTokens": 2000,
        },
        TokenCounts(2050, 120, cache_read=2000),
        _SONNET,
    ),
    "Vercel AI SDK embeddings": _Case(
        "ai",
        {
            "ai.operationId": "ai.embedMany.doEmbed",
            "ai.model.provider": "openai.embedding",
            "ai.model.id": "text-embedding-3-small",
            "ai.usage.tokens": 5000,
        },
        TokenCounts(5000, 0),
        _EMBED_SMALL,
    ),
    "any other scope": _Case(
        "my.app",
        {
            **_chat("openai", "gpt-5-mini"),
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 250,
            "gen_ai.usage.input_tokens.cached": 1024,
            "gen_ai.usage.output_tokens.reasoning": 128,
        },
        _OPENAI_CALL,
        _GPT_5_MINI,
    ),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_span_of_a_dialect_is_read_and_costs_its_tokens_times_their_rates(case: _Case) -> None:
    usage = read_usage(view(case.attributes, case.scope))
    assert usage is not None
    assert (usage.counts, usage.problem) == (case.counts, "")
    assert usd(case.attributes, case.scope) == pytest.approx(_usd(case.counts, case.rates), rel=1e-12)
    expected = ("estimated", case.basis) if case.basis else ("priced", "")
    assert {(charge.line.status, charge.line.basis) for charge in charges(case.attributes, case.scope)} == {expected}


def test_every_row_of_the_table_is_tested() -> None:
    assert {dialect_of(case.scope) for case in _CASES.values()} == {CONVENTIONS, *DIALECTS}


def test_scope_belongs_to_the_row_with_the_longest_name_that_fits() -> None:
    assert dialect_of("opentelemetry.instrumentation.genai.bedrock").name == "Bedrock"
    assert dialect_of("opentelemetry.instrumentation.genai.cohere").name == "OpenTelemetry GenAI"
    assert dialect_of("openlit.instrumentation.bedrock").name == "OpenLIT Anthropic and Bedrock"
    assert dialect_of("openlitter") is CONVENTIONS
    assert dialect_of("") is CONVENTIONS


def test_table_of_known_scopes_is_bounded() -> None:
    for number in range(2000):
        dialect_of(f"scope-{number}")
    from spancost.meters.llm import dialects

    assert len(dialects._known) <= 512  # pyright: ignore[reportPrivateUsage]


def test_no_attribute_stands_for_two_things() -> None:
    assert len(KNOWN) == sum(len(spellings) for spellings in SPELLINGS.values())


@pytest.mark.parametrize("reverse", [False, True])
def test_first_listed_spelling_wins_whatever_the_order_of_the_attributes(reverse: bool) -> None:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "other",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.prompt_tokens": 7,
        "llm.token_count.prompt": 8,
        "gen_ai.usage.output_tokens": 250,
        "gen_ai.usage.completion_tokens": 9,
    }
    items = list(attributes.items())
    usage = read_usage(view(dict(reversed(items) if reverse else items)))
    assert usage is not None
    assert (usage.provider, usage.counts) == ("openai", TokenCounts(1200, 250))
