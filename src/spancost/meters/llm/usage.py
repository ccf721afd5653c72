"""What an LLM span says was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from spancost.capture.aws.bedrock_runtime import INPUT_TOKENS, OUTPUT_TOKENS
from spancost.charge import SpanView
from spancost.meters.llm.details import add_details
from spancost.meters.llm.dialects import EXCLUSIVE, FIELDS, KNOWN, POSITION, UNSURE, Dialect, dialect_of
from spancost.meters.llm.operations import CHAT, EMBEDDINGS, GENERATE_CONTENT, TEXT_COMPLETION, operation_of
from spancost.meters.llm.reported import ReportedCost, reported_cost
from spancost.meters.llm.text_estimate import TextEstimate
from spancost.prices.tokens import TokenCounts

_REJECTED: Final = frozenset(
    {
        "AuthenticationError",
        "BadRequestError",
        "BudgetExceeded",  # a guard of ours: nothing was sent
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

_STANDARD_TIERS: Final = frozenset({"", "auto", "default", "on_demand", "standard", "standard_only"})
_GENERATES: Final = frozenset({CHAT, TEXT_COMPLETION, GENERATE_CONTENT})
"""Operations that cannot do without output tokens: a span that shows only input was cut short."""

OUTPUT_FROM_TOTAL: Final = "output_from_total"
"""What the stated total has more than input and output was taken for reasoning."""
REASONING_NOT_REPORTED: Final = "reasoning_not_reported"
"""The output count leaves reasoning out, and nothing says how much there was: the figure is a lower bound."""

STREAM_CUT_SHORT: Final = "stream_cut_short"
"""The stream was left before its end: the output count is a lower bound."""

_FINISHED: Final = frozenset({"gen_ai.response.finish_reasons", "anthropic.message.stop_reason"})
_MAX_TEXT: Final = 200
_MAX_COUNT: Final = 10**12
_MAX_DIGITS: Final = 12
_MAX_AUDIO_S: Final = 1e6

_PROVIDER = POSITION["provider"]
_MODEL = POSITION["model"]
_REQUEST_MODEL = POSITION["request_model"]
_RESPONSE_ID = POSITION["response_id"]
_TIER = POSITION["tier"]
_INPUT = POSITION["input"]
_OUTPUT = POSITION["output"]
_TOTAL = POSITION["total"]
_CACHE_READ = POSITION["cache_read"]
_CACHE_WRITE = POSITION["cache_write"]
_CACHE_WRITE_5M = POSITION["cache_write_5m"]
_CACHE_WRITE_1H = POSITION["cache_write_1h"]
_AUDIO_IN = POSITION["audio_in"]
_AUDIO_OUT = POSITION["audio_out"]
_REASONING = POSITION["reasoning"]
_CACHE_READ_AUDIO = POSITION["cache_read_audio"]
_IMAGE_IN = POSITION["image_in"]
_IMAGE_OUT = POSITION["image_out"]
_CACHE_READ_IMAGE = POSITION["cache_read_image"]
_AUDIO_S = POSITION["audio_s"]
_BAD: Final = -1
"""What is no number of tokens."""


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
    seconds: float = 0.0
    """Duration of the span: what a machine of your own was busy."""
    audio_s: float = 0.0
    """Duration of the recording that was recognised, seconds."""
    cost: ReportedCost | None = None
    """A cost that the span itself states."""
    assumed: str = ""
    """What was assumed about the counts, a basis word; empty if nothing."""
    estimate: TokenCounts | None = None
    """Tokens estimated from the span's texts where it has no counts, and that was asked for."""


class _BadCountError(ValueError):
    """A token count is no whole number of tokens."""


def read_usage(view: SpanView, texts: TextEstimate | None = None) -> LlmUsage | None:
    """Read what an LLM span used; None for spans that are not priced as LLM calls.

    Args:
        view: The span.

        texts: Estimates tokens where the span has none; by default nothing is estimated.
    """
    attributes = view.attributes
    operation = operation_of(attributes)
    if not operation:
        return None
    found = _found(attributes)
    dialect = dialect_of(view.scope)
    if not dialect.cache_reported and found[_CACHE_READ] is None:
        add_details(found)
    facts = view.facts
    if facts and INPUT_TOKENS in facts:
        # What Bedrock says it bills; of some models the botocore instrumentation only estimates the tokens.
        found[_INPUT], found[_OUTPUT] = facts[INPUT_TOKENS], facts.get(OUTPUT_TOKENS, found[_OUTPUT])
    request_model = found[_REQUEST_MODEL] or ""
    counts, problem, assumed, audio_s = None, "", "", 0.0
    try:
        if dialect.thoughts_apart:
            assumed = _add_thoughts(found)
        counts = _counts(found, dialect, operation)
        if counts is not None and not assumed and operation in _GENERATES and _was_cut_short(attributes):
            assumed = STREAM_CUT_SHORT
        if found[_AUDIO_S] is not None:
            audio_s = _seconds(found[_AUDIO_S])
    except _BadCountError:
        problem = "bad_usage"
    else:
        if counts is None and not audio_s:
            problem = "no_usage"
    rejected = counts is None and view.failed and _was_rejected(attributes)
    estimate = None
    if texts is not None and problem == "no_usage" and not rejected and operation in _GENERATES:
        estimate = texts.counts_of(attributes)
    tier = found[_TIER]
    if tier is not None:
        tier = tier.lower()
    return LlmUsage(
        operation,
        found[_PROVIDER] or "",
        found[_MODEL] or request_model,
        found[_RESPONSE_ID] or "",
        counts,
        "" if tier is None or tier in _STANDARD_TIERS else tier,
        found[_CACHE_READ] is None and operation != EMBEDDINGS and not _reports_cache(dialect, attributes),
        rejected,
        problem,
        request_model,
        max(0, view.end_ns - view.start_ns) / 1e9,
        audio_s,
        reported_cost(found, dialect, attributes),
        assumed,
        estimate,
    )


def _was_cut_short(attributes: Mapping[str, Any]) -> bool:
    """True for a stream that has not told why it ended: Anthropic counts its first tokens at its beginning."""
    return bool(attributes.get("gen_ai.request.stream")) and _FINISHED.isdisjoint(attributes)


def _reports_cache(dialect: Dialect, attributes: Mapping[str, Any]) -> bool:
    """Say whether cached tokens would be on the span; botocore's Bedrock spans have them for Converse alone."""
    if dialect.input == EXCLUSIVE:
        return not str(attributes.get("rpc.method", "")).startswith("InvokeModel")
    return dialect.cache_reported


def _found(attributes: Mapping[str, Any]) -> list[Any]:
    """Return the values of all fields, by position, in one pass over the attributes.

    Texts are cut to a length worth keeping, other types in their place ignored; bad counts are `_BAD`.
    """
    found: list[Any] = [None] * len(FIELDS)
    ranks: list[int] | None = None
    known = KNOWN
    for attribute, value in attributes.items():
        place = known.get(attribute)
        if place is None or value is None:
            continue
        position, rank = place
        if position <= _TIER:
            if not value or not isinstance(value, str):
                continue
            if len(value) > _MAX_TEXT:
                value = value[:_MAX_TEXT]
        elif _INPUT <= position <= _CACHE_READ_IMAGE and not (type(value) is int and 0 <= value <= _MAX_COUNT):
            value = _count(value)
        if found[position] is None:
            found[position] = value
            if rank:
                if ranks is None:
                    ranks = [0] * len(FIELDS)
                ranks[position] = rank
        elif ranks is not None and rank < ranks[position]:
            found[position] = value
            ranks[position] = rank
    return found


def _counts(found: list[Any], dialect: Dialect, operation: str) -> TokenCounts | None:
    tokens_in, tokens_out, total = found[_INPUT], found[_OUTPUT], found[_TOTAL]
    if tokens_in is None and operation == EMBEDDINGS and total is not None:
        tokens_in = found[_INPUT] = _count(total)
    if _BAD in found[_INPUT : _CACHE_READ_IMAGE + 1]:
        raise _BadCountError("no number of tokens")
    if tokens_in is None or (tokens_out is None and operation in _GENERATES):
        return None
    tokens_out = tokens_out or 0
    read = found[_CACHE_READ] or 0
    write_5m, write_1h = found[_CACHE_WRITE_5M] or 0, found[_CACHE_WRITE_1H] or 0
    write = found[_CACHE_WRITE]
    if write is None:
        write = write_5m + write_1h
    cached = read + write
    if cached and _leaves_out_cached(dialect, tokens_in, cached, total == tokens_in + tokens_out + cached):
        tokens_in += cached
    audio_in, audio_out = found[_AUDIO_IN] or 0, found[_AUDIO_OUT] or 0
    image_in, image_out = found[_IMAGE_IN] or 0, found[_IMAGE_OUT] or 0
    reasoning = found[_REASONING] or 0
    audio_read, image_read = found[_CACHE_READ_AUDIO] or 0, found[_CACHE_READ_IMAGE] or 0
    if (
        cached > tokens_in
        or write_1h > write
        or audio_in + image_in > tokens_in
        or audio_out + image_out > tokens_out
        or reasoning > tokens_out
        or audio_read + image_read > read
        or audio_read > audio_in
        or image_read > image_in
    ):
        raise _BadCountError("parts are more than the whole")
    return TokenCounts(
        tokens_in,
        tokens_out,
        read,
        write,
        write_1h,
        audio_in,
        audio_out,
        reasoning,
        audio_read,
        image_in,
        image_out,
        image_read,
    )


def _add_thoughts(found: list[Any]) -> str:
    """Add reasoning to an output count that leaves it out; return what was assumed."""
    tokens_in, tokens_out, reasoning = found[_INPUT], found[_OUTPUT], found[_REASONING]
    if not tokens_in or tokens_out is None or _BAD in (tokens_in, tokens_out, reasoning):
        return ""
    if reasoning is not None:
        found[_OUTPUT] = tokens_out + reasoning
        return ""
    total = _BAD if found[_TOTAL] is None else _count(found[_TOTAL])
    if total == _BAD:
        return REASONING_NOT_REPORTED
    if total <= tokens_in + tokens_out:
        return ""
    found[_REASONING] = total - tokens_in - tokens_out
    found[_OUTPUT] = total - tokens_in
    return OUTPUT_FROM_TOTAL


def _leaves_out_cached(dialect: Dialect, tokens_in: int, cached: int, total_has_both: bool) -> bool:
    if dialect.input != UNSURE:
        return dialect.input == EXCLUSIVE
    return cached > tokens_in or total_has_both


def _count(value: object) -> int:
    """Return a number of tokens, `_BAD` if it is none.

    Digits in a text are taken for a number: some exporters write every attribute as a text, and `"1200"` can mean
    nothing else.
    """
    if isinstance(value, str):
        return int(value) if len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit() else _BAD
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_COUNT:
        return _BAD
    return int(value) if value == value // 1 else _BAD


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_AUDIO_S:
        raise _BadCountError("no duration")
    return float(value)


def _was_rejected(attributes: Mapping[str, Any]) -> bool:
    status = attributes.get("http.response.status_code")
    if isinstance(status, int) and status >= 400:
        return True
    error_type = attributes.get("error.type", "")
    if not isinstance(error_type, str) or len(error_type) > _MAX_TEXT:
        return False
    return error_type.rpartition(".")[2] in _REJECTED or (error_type.isdigit() and int(error_type) >= 400)
