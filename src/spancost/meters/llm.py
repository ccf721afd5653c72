"""Price LLM calls by their tokens.

Reads the `gen_ai.*` attributes of the OpenTelemetry instrumentations and of the SDKs themselves, and OpenInference's
`llm.*`; prices come from genai-prices (MIT), USD per million tokens, chosen by the span's start. Cached, cache-write
(5 minutes and 1 hour), audio and reasoning counts are parts of input or output and are never added to them. Spans
that only repeat the usage of others (agents, workflows, tools) are not priced. Left out: images, tool calls and
web searches, which no instrumentation counts today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from spancost import names
from spancost.charge import Charge, SpanView, price_line
from spancost.prices.tokens import TokenCounts, TokenPrices, UnknownPrice

PRICED_OPERATIONS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings", "completion"})
_OPENINFERENCE_OPERATIONS: Final = {"LLM": "chat", "EMBEDDING": "embeddings"}

_INPUT_EXCLUDES_CACHE: Final = frozenset(
    {
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        "opentelemetry.instrumentation.genai.bedrock",
    }
)
"""Scopes whose input count leaves out cached tokens, against the convention."""

_CACHE_NOT_REPORTED: Final = frozenset({"opentelemetry.instrumentation.openai_v2", "opentelemetry.util.genai.handler"})
"""Scopes that never say how much of the input was cached: their figure is an upper bound."""
_CACHE_UNKNOWN: Final = "cached_tokens_not_reported"

_REJECTED: Final = frozenset(
    {
        "AuthenticationError",
        "BadRequestError",
        "ConflictError",
        "InternalServerError",
        "NotFoundError",
        "OverloadedError",
        "PermissionDeniedError",
        "RateLimitError",
        "RequestTooLargeError",
        "ServiceUnavailableError",
        "UnprocessableEntityError",
    }
)
"""Errors with which OpenAI and Anthropic clients report an answer of 4xx or 5xx: not billed."""

_STANDARD_TIERS: Final = frozenset({"", "auto", "default", "standard", "standard_only"})


class LlmUsage(NamedTuple):
    """What one LLM span says was used."""

    operation: str
    provider: str
    model: str
    """Response model if known, else the requested one."""
    response_id: str
    counts: TokenCounts | None
    """None if the span carries no usage."""
    tier: str
    """Service tier other than the standard one, for example `flex`."""
    cache_unknown: bool
    """The scope never reports cached tokens."""
    rejected: bool
    """The provider refused the call: nothing is billed."""
    problem: str
    """Why the usage cannot be priced, or empty."""
    request_model: str = ""
    """The model as asked for: an alias, a deployment, a profile."""


class _BadCountError(ValueError):
    """A token count is no whole number of tokens."""


def is_llm(attributes: Mapping[str, Any]) -> bool:
    """True if the attributes are those of an LLM span, priced or not."""
    return (
        "gen_ai.operation.name" in attributes
        or "gen_ai.provider.name" in attributes
        or "gen_ai.system" in attributes
        or "openinference.span.kind" in attributes
    )


def operation_of(attributes: Mapping[str, Any]) -> str:
    """Return the priced operation of an LLM span, or empty for agents, tools and everything else."""
    kind = attributes.get("openinference.span.kind")
    if kind is not None:
        return _OPENINFERENCE_OPERATIONS.get(kind.upper(), "") if isinstance(kind, str) else ""
    operation = attributes.get("gen_ai.operation.name")
    if operation is None:
        # Before 1.27 the conventions had no operation; such spans carry the model and its usage.
        return "chat" if "gen_ai.request.model" in attributes and "gen_ai.system" in attributes else ""
    # Attributes may be of any type, also one without a hash.
    return operation if isinstance(operation, str) and operation in PRICED_OPERATIONS else ""


def read_usage(view: SpanView) -> LlmUsage | None:
    """Read what an LLM span used; None for spans that are not priced as LLM calls."""
    attributes = view.attributes
    operation = operation_of(attributes)
    if not operation:
        return None
    get = attributes.get
    provider = get("gen_ai.provider.name") or get("gen_ai.system") or get("llm.provider") or get("llm.system") or ""
    request_model = get("gen_ai.request.model") or ""
    model = get("gen_ai.response.model") or request_model or get("llm.model_name") or ""
    response_id = get("gen_ai.response.id") or ""
    tier = (
        get("openai.response.service_tier")
        or get("gen_ai.openai.response.service_tier")
        or get("anthropic.response.service_tier")
        or ""
    )
    problem = ""
    counts = None
    try:
        counts = _counts(view.scope, attributes, operation)
    except _BadCountError:
        problem = "bad_usage"
    if counts is not None and not problem:
        problem = _contradiction(counts)
    elif counts is None and not problem:
        problem = "no_usage"
    return LlmUsage(
        operation,
        str(provider),
        str(model),
        str(response_id),
        counts,
        "" if str(tier) in _STANDARD_TIERS else str(tier),
        view.scope in _CACHE_NOT_REPORTED and operation != "embeddings",
        counts is None and view.failed and _was_rejected(attributes),
        problem,
        str(request_model),
    )


def _counts(scope: str, attributes: Mapping[str, Any], operation: str) -> TokenCounts | None:
    count = _Counter(attributes)
    tokens_in = count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
    tokens_out = count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
    if tokens_in is None or (tokens_out is None and operation != "embeddings"):
        return None
    cache_read = count(
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
    )
    cache_write = count(
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    )
    counts = TokenCounts(
        input=tokens_in,
        output=tokens_out or 0,
        cache_read=cache_read or 0,
        cache_write=cache_write or 0,
        cache_write_1h=count("anthropic.usage.cache_creation.ephemeral_1h_input_tokens") or 0,
        audio_in=count("gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio") or 0,
        audio_out=count("gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio") or 0,
        reasoning=count(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
        )
        or 0,
    )
    cached = counts.cache_read + counts.cache_write
    if cached and (scope in _INPUT_EXCLUDES_CACHE or cached > counts.input):
        counts = counts._replace(input=counts.input + cached)
    return counts


class _Counter:
    """Reads the first of several spellings of a token count."""

    __slots__ = ("_attributes",)

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._attributes = attributes

    def __call__(self, *spellings: str) -> int | None:
        for spelling in spellings:
            value = self._attributes.get(spelling)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
                raise _BadCountError(spelling)
            return int(value)
        return None


def _contradiction(counts: TokenCounts) -> str:
    if (
        counts.cache_write_1h > counts.cache_write
        or counts.audio_in > counts.input
        or counts.audio_out > counts.output
        or counts.reasoning > counts.output
    ):
        return "bad_usage"
    return ""


def _was_rejected(attributes: Mapping[str, Any]) -> bool:
    status = attributes.get("http.response.status_code")
    if isinstance(status, int) and status >= 400:
        return True
    error_type = str(attributes.get("error.type", ""))
    return error_type.rpartition(".")[2] in _REJECTED or (error_type.isdigit() and int(error_type) >= 400)


class LlmMeter:
    """Meter of LLM tokens.

    Args:
        prices: Where token prices come from; genai-prices by default, imported at the first LLM span.
    """

    def __init__(self, prices: TokenPrices | None = None) -> None:
        self._prices = TokenPrices() if prices is None else prices

    def warm_up(self) -> None:
        """Load the prices now, off the span path."""
        self._prices.load()

    def measure(self, view: SpanView) -> Sequence[Charge]:
        """Return the charges of an LLM span, one per kind of token."""
        usage = read_usage(view)
        return () if usage is None else self.charges_of(usage, view.start_ns)

    def charges_of(self, usage: LlmUsage, start_ns: int) -> Sequence[Charge]:
        """Price usage as of a span's start (Unix nanoseconds)."""
        if usage.rejected:
            return (self._without_price(usage, names.FREE, basis="rejected"),)
        counts = usage.counts
        if usage.problem or counts is None:
            return (self._without_price(usage, names.UNPRICED, reason=usage.problem or "no_usage"),)
        rates = self._prices.rates(usage.provider, usage.model, usage.tier, start_ns)
        if isinstance(rates, UnknownPrice):
            return (self._without_price(usage, names.UNPRICED, reason=rates.reason),)
        parts = rates.split(counts)
        if parts is None:
            return (self._without_price(usage, names.UNPRICED, reason="bad_usage"),)
        assumed = rates.assumed(counts)
        if usage.cache_unknown:
            assumed = (_CACHE_UNKNOWN, *assumed)
        status = names.ESTIMATED if assumed else names.PRICED
        basis = ",".join(assumed)
        charges: list[Charge] = []
        for kind, quantity, usd_per_token in parts:
            if not quantity:
                continue
            line = price_line(
                names.LLM,
                rates.provider,
                usage.operation,
                model=rates.model,
                unit=kind,
                sku=f"{rates.model}/{kind}",
                status=status if usd_per_token else names.FREE,
                basis=basis,
                source=rates.source,
            )
            usd = quantity * usd_per_token
            charges.append(Charge(line, quantity, usd, usd))
        if not charges:
            line = price_line(
                names.LLM,
                rates.provider,
                usage.operation,
                model=rates.model,
                unit="token",
                status=status,
                basis=basis,
                source=rates.source,
            )
            charges.append(Charge(line, 0.0, 0.0, 0.0))
        return charges

    @staticmethod
    def _without_price(usage: LlmUsage, status: str, *, reason: str = "", basis: str = "") -> Charge:
        counts = usage.counts
        quantity = float(counts.input + counts.output) if counts is not None else 0.0
        line = price_line(
            names.LLM,
            usage.provider[:100],
            usage.operation,
            model=usage.model[:100],
            unit="token",
            status=status,
            reason=reason,
            basis=basis,
        )
        return Charge(line, quantity, 0.0, 0.0)
