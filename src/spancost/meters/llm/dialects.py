"""How the instrumentations differ: one row per family of instrumentation scopes, and every spelling of every attribute.

Spellings of different families never contradict each other, so one table serves them all; where a span has two (many
write the old and the new one), the first listed wins. What the scope alone tells stands in the rows: whether the input
count includes cached tokens, whether cached tokens are reported at all, and whether a cost on the span was computed by
the library itself. Rows were read off the packages named in them, version in brackets.
"""

from __future__ import annotations

from typing import Final, NamedTuple

INCLUSIVE: Final = 1
"""The input count includes cached tokens, as the conventions say: more cached than input is a contradiction."""
EXCLUSIVE: Final = 2
"""The input count leaves cached tokens out, against the conventions."""
UNSURE: Final = 3
"""Depends on the model or the version: exclusive if there are more cached tokens than input, or the stated total says
so, else inclusive."""


class Dialect(NamedTuple):
    """What the scope of a span tells about its usage."""

    name: str
    scopes: tuple[str, ...]
    """Instrumentation scopes; each also stands for those below it: `openlit` for `openlit.instrumentation.groq`."""
    input: int = UNSURE
    cache_reported: bool = True
    """False: often not reported. Where a span does not show them, its figure is an upper bound."""
    thoughts_apart: bool = False
    """The output count leaves reasoning out: it stands apart, or only in the stated total, or nowhere."""
    computes_cost: bool = False
    """Costs on its spans come from a price table of its own, not from the provider."""


DIALECTS: Final = (
    # opentelemetry-instrumentation-openai-v2 (2.4b0), opentelemetry-util-genai (0.4b0)
    Dialect(
        "OpenTelemetry openai-v2",
        ("opentelemetry.instrumentation.openai_v2", "opentelemetry.util.genai.handler"),
        INCLUSIVE,
        cache_reported=False,
    ),
    # opentelemetry-instrumentation-genai-openai, -anthropic, -langchain (1.3b0), -google-genai (1.3b0), -vertexai
    Dialect(
        "OpenTelemetry GenAI",
        (
            "opentelemetry.instrumentation.genai",
            "opentelemetry.instrumentation.google_genai",
        ),
        INCLUSIVE,
    ),
    # OpenLLMetry's -google-generativeai (0.62.4)
    Dialect(
        "OpenLLMetry Google",
        ("opentelemetry.instrumentation.google_generativeai",),
        INCLUSIVE,
        thoughts_apart=True,
    ),
    # OpenTelemetry's -vertexai (2.0b0), which reports input and output only, and OpenLLMetry's (0.62.4): one scope name
    Dialect(
        "Vertex AI",
        ("opentelemetry.instrumentation.vertexai",),
        INCLUSIVE,
        cache_reported=False,
        thoughts_apart=True,
    ),
    # opentelemetry-instrumentation-botocore (0.66b1), -genai-bedrock (1.3b0), OpenLLMetry's -bedrock (0.62.4)
    Dialect(
        "Bedrock",
        (
            "opentelemetry.instrumentation.botocore.bedrock-runtime",
            "opentelemetry.instrumentation.genai.bedrock",
            "opentelemetry.instrumentation.bedrock",
        ),
        EXCLUSIVE,
    ),
    # anthropic (2.11.0) itself
    Dialect("Anthropic SDK", ("com.anthropic.sdk.python",), INCLUSIVE),
    # opentelemetry-instrumentation-openai, -anthropic, ... by Traceloop (0.62.4)
    Dialect(
        "OpenLLMetry",
        (
            "opentelemetry.instrumentation.anthropic",
            "opentelemetry.instrumentation.cohere",
            "opentelemetry.instrumentation.groq",
            "opentelemetry.instrumentation.mistralai",
            "opentelemetry.instrumentation.ollama",
            "opentelemetry.instrumentation.openai",
            "opentelemetry.instrumentation.together",
            "opentelemetry.instrumentation.watsonx",
        ),
        INCLUSIVE,
    ),
    Dialect(
        "OpenLLMetry frameworks",
        ("opentelemetry.instrumentation.langchain", "opentelemetry.instrumentation.llamaindex"),
    ),
    # openlit (1.45.0): passes on Anthropic's and Bedrock's exclusive counts
    Dialect(
        "OpenLIT Anthropic and Bedrock",
        ("openlit.instrumentation.anthropic", "openlit.instrumentation.bedrock"),
        EXCLUSIVE,
        computes_cost=True,
    ),
    Dialect(
        "OpenLIT Google",
        (
            "openlit.instrumentation.google_adk",
            "openlit.instrumentation.google_ai_studio",
            "openlit.instrumentation.vertexai",
        ),
        INCLUSIVE,
        thoughts_apart=True,
        computes_cost=True,
    ),
    Dialect("OpenLIT", ("openlit",), computes_cost=True),
    # openinference-instrumentation-* (semantic conventions 0.1.42)
    Dialect(
        "OpenInference",
        (
            "openinference.instrumentation.anthropic",
            "openinference.instrumentation.google_genai",
            "openinference.instrumentation.groq",
            "openinference.instrumentation.litellm",
            "openinference.instrumentation.mistralai",
            "openinference.instrumentation.openai",
        ),
        INCLUSIVE,
        computes_cost=True,
    ),
    Dialect(
        "OpenInference Vertex AI",
        ("openinference.instrumentation.vertexai",),
        INCLUSIVE,
        thoughts_apart=True,
        computes_cost=True,
    ),
    # Its Bedrock instrumentation adds cached tokens for Anthropic's own format and leaves them out for Converse.
    Dialect("OpenInference frameworks and Bedrock", ("openinference.instrumentation",), computes_cost=True),
    # pydantic-ai (2.68.0); `operation.cost` is computed with genai-prices
    Dialect("Pydantic AI", ("pydantic-ai",), INCLUSIVE, computes_cost=True),
    # logfire (4.41.0): `logfire.openai`, `logfire.anthropic`, ...; cached tokens stand in a JSON text only
    Dialect("Logfire", ("logfire",), INCLUSIVE, cache_reported=False, computes_cost=True),
    # litellm (1.109): counts are normalised; cached ones are written in its newer mode only
    Dialect("LiteLLM", ("litellm",), INCLUSIVE, cache_reported=False, computes_cost=True),
    # langsmith (0.15.0): details of the counts are JSON texts
    Dialect("LangSmith", ("langsmith",), cache_reported=False),
    # semantic-kernel (1.45.0)
    Dialect("Semantic Kernel", ("semantic_kernel",), INCLUSIVE, cache_reported=False),
    # azure-ai-inference, whose spans are made by azure-core-tracing-opentelemetry (1.0.0b13)
    Dialect("Azure AI Inference", ("azure.core.tracing.ext.opentelemetry_span",), INCLUSIVE, cache_reported=False),
    # The Vercel AI SDK (4 to 6), as its spans reach a Collector
    Dialect("Vercel AI SDK", ("ai",)),
)
CONVENTIONS: Final = Dialect("GenAI semantic conventions", ())
"""Any other scope: an application's own spans, an inference server, a gateway."""

_BY_SCOPE: Final = {scope: dialect for dialect in DIALECTS for scope in dialect.scopes}
_MAX_SCOPES: Final = 512
_known: dict[str, Dialect] = {}


def dialect_of(scope: str) -> Dialect:
    """Return the row of an instrumentation scope: the one with the longest name that fits."""
    dialect = _known.get(scope)
    if dialect is None:
        if len(_known) >= _MAX_SCOPES:
            _known.clear()
        dialect = _known[scope] = _found(scope)
    return dialect


def _found(scope: str) -> Dialect:
    name = scope
    while name:
        if (dialect := _BY_SCOPE.get(name)) is not None:
            return dialect
        name = name.rpartition(".")[0]
    return CONVENTIONS


SPELLINGS: Final = {
    "provider": (
        "gen_ai.provider.name",
        "gen_ai.system",
        "llm.provider",
        "llm.system",
        "ai.model.provider",
    ),
    "model": (
        "gen_ai.response.model",
        "litellm.provider.model",
        "llm.response.model_name",
        "ai.response.model",
    ),
    "request_model": (
        "gen_ai.request.model",
        "llm.request.model_name",
        "llm.model_name",
        "embedding.model_name",
        "reranker.model_name",
        "ai.model.id",
    ),
    "response_id": ("gen_ai.response.id", "ai.response.id"),
    "tier": (
        "openai.response.service_tier",
        "gen_ai.openai.response.service_tier",
        "gen_ai.response.service_tier",
        "anthropic.response.service_tier",
    ),
    "total": (
        "gen_ai.usage.total_tokens",
        "llm.usage.total_tokens",
        "llm.token_count.total",
        "ai.usage.totalTokens",
    ),
    "input": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
        "ai.usage.tokens",
    ),
    "output": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ),
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.prompt_tokens_details.cached_tokens",
        "llm.token_count.prompt_details.cache_read",
        "ai.usage.inputTokenDetails.cacheReadTokens",
        "ai.usage.cachedInputTokens",
    ),
    "cache_write": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.prompt_tokens_details.cache_creation_tokens",
        "llm.token_count.prompt_details.cache_write",
        "ai.usage.inputTokenDetails.cacheWriteTokens",
    ),
    "cache_write_5m": ("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
    "cache_write_1h": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    "audio_in": (
        "gen_ai.usage.audio.input_tokens",
        "llm.token_count.prompt_details.audio",
        "gen_ai.usage.details.input_audio_tokens",
    ),
    "audio_out": (
        "gen_ai.usage.audio.output_tokens",
        "gen_ai.usage.completion_tokens_details.audio_tokens",
        "llm.token_count.completion_details.audio",
        "gen_ai.usage.details.output_audio_tokens",
    ),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.completion_tokens_details.reasoning_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
        "llm.usage.reasoning_tokens",
        "ai.usage.outputTokenDetails.reasoningTokens",
        "ai.usage.reasoningTokens",
    ),
    "cache_read_audio": (
        "gen_ai.usage.audio.cache_read.input_tokens",
        "gen_ai.usage.details.cache_audio_read_tokens",
    ),
    "image_in": ("gen_ai.usage.image.input_tokens",),
    "image_out": ("gen_ai.usage.image.output_tokens",),
    "cache_read_image": ("gen_ai.usage.image.cache_read.input_tokens",),
    "usage_json": ("gen_ai.usage.raw",),
    "input_json": ("gen_ai.usage.input_token_details",),
    "output_json": ("gen_ai.usage.output_token_details",),
    "audio_s": ("gen_ai.response.audio.duration", "gen_ai.request.audio_duration"),
    "cost": ("gen_ai.usage.cost", "gen_ai.usage.total_cost"),
    "cost_amount": ("gen_ai.usage.cost.amount",),
    "cost_currency": ("gen_ai.usage.cost.currency",),
    "cost_source": ("gen_ai.usage.cost.source",),
    "computed_cost": ("operation.cost", "llm.cost.total", "litellm.cost.total", "gen_ai.cost.total_cost"),
}
"""What is read from a span, and the attributes that say it, the first present winning.

Texts come first, up to `tier`; token counts stand together, from `input` to `cache_read_image`.
"""

FIELDS: Final = tuple(SPELLINGS)
POSITION: Final = {field: position for position, field in enumerate(FIELDS)}
KNOWN: Final = {
    attribute: (position, rank)
    for position, field in enumerate(FIELDS)
    for rank, attribute in enumerate(SPELLINGS[field])
}
"""Attribute -> (position of its field, rank among the spellings)."""
