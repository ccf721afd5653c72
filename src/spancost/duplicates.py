"""One real call is one charge, however many instrumentations saw it (design rule 2).

Handles what the span tree shows: an LLM span inside an LLM span of another scope, and the HTTP request beneath an LLM
or AWS call. Sibling spans, spans in other traces and back-dated spans are not matched here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spancost.meters.aws import is_aws
from spancost.meters.llm import PRICED_OPERATIONS, LlmUsage, operation_of
from spancost.nodes import HeldUsage, SpanNode
from spancost.prices.tokens import TokenCounts, canonical_provider
from spancost.span_attributes import mapping_of

_MAX_DEPTH = 64
_SILENT_SCOPES = frozenset({"opentelemetry.util.genai.handler"})
"""Scopes that set no attribute before the call is over: until then only the span's name tells what it is."""


def outermost_llm_span(node: SpanNode, scope: str, usage: LlmUsage) -> SpanNode | None:
    """Return the outermost open LLM span of another scope around this one that is the same call, if any."""
    found: SpanNode | None = None
    ancestor = node.parent
    for _ in range(_MAX_DEPTH):
        if not isinstance(ancestor, SpanNode):
            break
        span = ancestor.span
        if span is not None and ancestor.is_open and _scope_of(span) != scope:
            attributes = mapping_of(span)
            if (operation_of(attributes) or _is_silent_llm(span)) and _same_call(attributes, usage):
                found = ancestor
        ancestor = ancestor.parent
    return found


def _same_call(outer: Mapping[str, Any], inner: LlmUsage) -> bool:
    get = outer.get
    response_id = get("gen_ai.response.id")
    if response_id and inner.response_id:
        return str(response_id) == inner.response_id
    provider = get("gen_ai.provider.name") or get("gen_ai.system") or get("llm.provider") or get("llm.system") or ""
    if provider and inner.provider and not _same_provider(str(provider), inner.provider):
        return False
    # An outer span that is still open has often only the model it asked for, so both names of the inner one count.
    models = [str(model) for key in _MODEL_KEYS if (model := get(key))]
    inner_models = [model for model in (inner.model, inner.request_model) if model]
    return not models or not inner_models or any(_same_model(one, other) for one in models for other in inner_models)


_MODEL_KEYS = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name")

_HOSTED = frozenset({("azure", "openai"), ("azure", "anthropic"), ("aws", "anthropic"), ("google", "anthropic")})
"""(Host, maker): the maker's SDK calls the host too, and its spans name the maker."""


def _same_provider(one: str, other: str) -> bool:
    one, other = canonical_provider(one), canonical_provider(other)
    return one == other or (one, other) in _HOSTED or (other, one) in _HOSTED


_QUALIFIER = re.compile(r"$|[-@:](\d{3}|v\d|latest|preview|exp)")
"""What may follow a model's name and leave it the same model: a date, a version, a channel."""


def _same_model(one: str, other: str) -> bool:
    """Equal, or one is the dated or qualified name of the other."""
    one, other = one.rpartition("/")[2].lower(), other.rpartition("/")[2].lower()
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and _QUALIFIER.match(long, len(short)) is not None


def _is_silent_llm(span: Any) -> bool:
    return _scope_of(span) in _SILENT_SCOPES and str(span.name).partition(" ")[0] in PRICED_OPERATIONS


def _scope_of(span: Any) -> str:
    scope = span.instrumentation_scope
    return "" if scope is None else str(scope.name)


def settled(scope: str, own: LlmUsage, held: Sequence[HeldUsage], start_ns: int) -> list[tuple[LlmUsage, int]]:
    """Match an outer span's usage one to one with what inner spans held, richest counts winning.

    Returns:
        One (usage, start) per real call; the first is the outer span's own.
    """
    return _matched([(own, start_ns)], _chains(held))


def orphaned(held: Sequence[HeldUsage]) -> list[tuple[LlmUsage, int]]:
    """Match held usage among itself, for an outer span that never ends; returns one (usage, start) per real call."""
    first, *others = _chains(held)
    return _matched([(item.usage, item.start_ns) for item in first], others)


def _chains(held: Sequence[HeldUsage]) -> list[list[HeldUsage]]:
    """Group by scope: spans of one scope are never duplicates of each other."""
    chains: dict[str, list[HeldUsage]] = {}
    for item in held:
        chains.setdefault(item.scope, []).append(item)
    return list(chains.values())


def _matched(calls: list[tuple[LlmUsage, int]], chains: list[list[HeldUsage]]) -> list[tuple[LlmUsage, int]]:
    for chain in chains:
        unmatched = chain
        free = list(range(len(calls)))
        for is_match in _SUREST_FIRST:
            waiting = unmatched
            unmatched = list[HeldUsage]()
            for item in waiting:
                match = next((index for index in free if is_match(calls[index][0], item.usage)), None)
                if match is None:
                    unmatched.append(item)
                else:
                    free.remove(match)
                    usage, started = calls[match]
                    calls[match] = (_richer(usage, item.usage), started)
        calls.extend((item.usage, item.start_ns) for item in unmatched)
    return calls


def _have_other_ids(one: LlmUsage, other: LlmUsage) -> bool:
    return bool(one.response_id and other.response_id) and one.response_id != other.response_id


def _have_same_id(one: LlmUsage, other: LlmUsage) -> bool:
    return bool(one.response_id) and one.response_id == other.response_id


def _have_same_counts(one: LlmUsage, other: LlmUsage) -> bool:
    if one.counts is None or other.counts is None or _have_other_ids(one, other):
        return False
    return one.counts.input == other.counts.input and one.counts.output == other.counts.output


def _have_same_id_and_counts(one: LlmUsage, other: LlmUsage) -> bool:
    return _have_same_id(one, other) and _have_same_counts(one, other)


def _may_be_same(one: LlmUsage, other: LlmUsage) -> bool:
    """True if one of them has no counts; a refused attempt is never the same as one that was not refused."""
    has_gap = one.counts is None or other.counts is None
    return has_gap and one.rejected == other.rejected and not _have_other_ids(one, other)


_SUREST_FIRST: Final = (_have_same_id_and_counts, _have_same_id, _have_same_counts, _may_be_same)
"""What makes two views those of one call, each tried on all that the ones before have left."""


def _richer(one: LlmUsage, other: LlmUsage) -> LlmUsage:
    """Join two views of one call: whatever only one of them saw is kept."""
    if one.counts is None:
        counts, problem = other.counts, other.problem
    elif other.counts is None:
        counts, problem = one.counts, one.problem
    else:
        counts = TokenCounts(*(max(pair) for pair in zip(one.counts, other.counts, strict=True)))
        problem = one.problem or other.problem
    return one._replace(
        counts=counts,
        problem=problem,
        provider=one.provider or other.provider,
        model=_better_model(one, other),
        request_model=one.request_model or other.request_model,
        response_id=one.response_id or other.response_id,
        tier=one.tier or other.tier,
        cache_unknown=one.cache_unknown and other.cache_unknown,
        rejected=one.rejected and other.rejected,
    )


def _better_model(one: LlmUsage, other: LlmUsage) -> str:
    """Return the more exact of two names; a deployment or an alias gives way to the model that answered."""
    short, long = sorted((other.model, one.model), key=len)
    if short not in long:
        one_answered, other_answered = one.model != one.request_model, other.model != other.request_model
        if one_answered != other_answered:
            return one.model if one_answered else other.model
    return long


def is_transport(node: SpanNode, host: str) -> bool:
    """True if an HTTP request to `host` is how an LLM or AWS call around it travels."""
    ancestor = node.parent
    for _ in range(_MAX_DEPTH):
        if not isinstance(ancestor, SpanNode):
            return False
        call_host = ancestor.call_host
        if call_host is None and ancestor.span is not None:
            attributes = mapping_of(ancestor.span)
            if operation_of(attributes) or is_aws(attributes) or _is_silent_llm(ancestor.span):
                call_host = host_of_call(attributes)
        if call_host is not None and (not call_host or not host or call_host == host):
            return True
        ancestor = ancestor.parent
    return False


def host_of_call(attributes: Mapping[str, Any]) -> str:
    """Return the host an LLM or AWS span talks to, without port; empty if it does not say."""
    return str(attributes.get("server.address") or "").partition(":")[0].lower()
