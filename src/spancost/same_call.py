"""Which views of LLM usage are those of one real call, and what they say together (design rule 2).

Knows usage and attributes only: the same rules hold for live spans and for stored ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from spancost.meters.llm import LlmUsage
from spancost.meters.llm.dialects import SPELLINGS
from spancost.meters.llm.reported import ReportedCost
from spancost.nodes import HeldUsage
from spancost.prices.tokens import TokenCounts, canonical_provider

OUTER_SPAN: Final = "outer_span"
"""The call is charged on a span around this one."""
SAME_CONTEXT: Final = "same_context"
"""The call is charged on a span that was open beside this one, in the same thread or task."""
OTHER_TRACE: Final = "other_trace"
"""The same, and that span is below another local root: in another trace."""
CHARGED_BEFORE: Final = "charged_before"
"""The call had been charged when this span of it ended."""
TRANSPORT: Final = "transport"
"""An HTTP request that carried an LLM or AWS call."""


def is_same_call(outer: Mapping[str, Any], inner: LlmUsage) -> bool:
    """True if the attributes of an LLM span may be those of the call that an inner one used up."""
    # An outer span that is still open has often only the model it asked for, so both names of the inner one count.
    models = [str(model) for key in _MODEL_KEYS if (model := outer.get(key))]
    return _agree(_first(outer, "response_id"), _first(outer, "provider"), models, inner)


def may_be_same_call(outer: LlmUsage, inner: LlmUsage) -> bool:
    """True if two usages may be views of one call: same response, or same provider and model."""
    models = [model for model in (outer.model, outer.request_model) if model]
    return _agree(outer.response_id, outer.provider, models, inner)


def may_be_of_provider(attributes: Mapping[str, Any], provider: str) -> bool:
    """True if the attributes of an LLM span name this provider, one that it hosts or is hosted by, or none."""
    named = _first(attributes, "provider")
    return not named or _same_provider(named, provider)


def _agree(response_id: str, provider: str, models: Sequence[str], inner: LlmUsage) -> bool:
    if response_id and inner.response_id:
        return response_id == inner.response_id
    if provider and inner.provider and not _same_provider(provider, inner.provider):
        return False
    inner_models = [model for model in (inner.model, inner.request_model) if model]
    return not models or not inner_models or any(_same_model(one, other) for one in models for other in inner_models)


_MODEL_KEYS: Final = (*SPELLINGS["model"], *SPELLINGS["request_model"])


def _first(attributes: Mapping[str, Any], field: str) -> str:
    return next((str(value) for key in SPELLINGS[field] if (value := attributes.get(key))), "")


_HOSTED = frozenset({("azure", "openai"), ("azure", "anthropic"), ("aws", "anthropic"), ("google", "anthropic")})
"""(Host, maker): the maker's SDK calls the host too, and its spans name the maker."""


def _same_provider(one: str, other: str) -> bool:
    one, other = canonical_provider(one), canonical_provider(other)
    return one == other or (one, other) in _HOSTED or (other, one) in _HOSTED


_NEAR_TOKENS: Final = 2
_NEAR_PART: Final = 0.05
_QUALIFIER = re.compile(r"$|[-@:](\d{3}|v\d|latest|preview|exp)")
"""What may follow a model's name and leave it the same model: a date, a version, a channel."""


def _same_model(one: str, other: str) -> bool:
    """Equal, or one is the dated or qualified name of the other."""
    one, other = one.rpartition("/")[2].lower(), other.rpartition("/")[2].lower()
    short, long = sorted((one, other), key=len)
    return long.startswith(short) and _QUALIFIER.match(long, len(short)) is not None


def settled(scope: str, own: LlmUsage, held: Sequence[HeldUsage], start_ns: int) -> tuple[HeldUsage, list[HeldUsage]]:
    """Match an outer span's usage one to one with what inner spans held, richest counts winning.

    Args:
        scope: The outer span's.

        own: Its usage.

        held: What inner spans held.

        start_ns: Start of the outer span, Unix nanoseconds.

    Returns:
        The outer span's call with all that is known of it, and the calls that are not the same, one item per real call.
    """
    first, *others = _matched([HeldUsage(scope, own, start_ns)], _chains(held))
    return first, others


def orphaned(held: Sequence[HeldUsage]) -> list[HeldUsage]:
    """Match held usage among itself, for an outer span that never ends; returns one item per real call."""
    first, *others = _chains(held)
    return _matched(list(first), others)


def surest_match(usages: Sequence[LlmUsage], usage: LlmUsage) -> int | None:
    """Return the place of the charged usage that a later view is most surely of; None if it may be of none.

    A view with counts is never one of a call that was charged without, not even by an estimate: that one is known to be
    unpriced.
    """
    for is_match in _SUREST_FIRST:
        for place, charged in enumerate(usages):
            is_charged = charged.counts is not None or charged.estimate is not None
            if is_match(charged, usage) and (usage.counts is None or is_charged):
                return place
    return None


def is_surely_same(one: LlmUsage, other: LlmUsage) -> bool:
    """True if two views that may be of one call have the same response id, or the same counts."""
    return _have_same_id(one, other) or _have_same_counts(one, other)


def joined(call: HeldUsage, view: HeldUsage) -> HeldUsage:
    """Return a call with what another view of it knows."""
    return call._replace(usage=_richer(call.usage, view.usage), also=call.also | view.also | {view.scope})


def _chains(held: Sequence[HeldUsage]) -> list[list[HeldUsage]]:
    """Group by scope: spans of one scope are never duplicates of each other."""
    chains: dict[str, list[HeldUsage]] = {}
    for item in held:
        chains.setdefault(item.scope, []).append(item)
    return list(chains.values())


def _matched(calls: list[HeldUsage], chains: list[list[HeldUsage]]) -> list[HeldUsage]:
    for chain in chains:
        unmatched = chain
        free = list(range(len(calls)))
        for is_match in _SUREST_FIRST:
            waiting = unmatched
            unmatched = list[HeldUsage]()
            for item in waiting:
                match = next((index for index in free if is_match(calls[index].usage, item.usage)), None)
                if match is None:
                    unmatched.append(item)
                else:
                    free.remove(match)
                    calls[match] = joined(calls[match], item)
        calls.extend(unmatched)
    return calls


def _have_other_ids(one: LlmUsage, other: LlmUsage) -> bool:
    return bool(one.response_id and other.response_id) and one.response_id != other.response_id


def _have_same_id(one: LlmUsage, other: LlmUsage) -> bool:
    """True for one response id with counts that may be of one answer: mocks, caches and replays repeat ids."""
    if not one.response_id or one.response_id != other.response_id:
        return False
    first, second = one.counts, other.counts
    if first is None or second is None:
        return True
    cached = max(first.cache_read + first.cache_write, second.cache_read + second.cache_write)
    return _are_near(first.output, second.output) and (
        _are_near(first.input, second.input) or abs(first.input - second.input) <= cached
    )


def _are_near(one: int, other: int) -> bool:
    """True for counts of one answer as two tracers may have them: some add a token, or count the text themselves."""
    return abs(one - other) <= max(_NEAR_TOKENS, _NEAR_PART * max(one, other))


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
        counts, problem, assumed = other.counts, other.problem, other.assumed
    elif other.counts is None:
        counts, problem, assumed = one.counts, one.problem, one.assumed
    else:
        counts = TokenCounts(*(max(pair) for pair in zip(one.counts, other.counts, strict=True)))
        problem = one.problem or other.problem
        assumed = one.assumed and other.assumed
    return one._replace(
        estimate=None if counts is not None else one.estimate or other.estimate,
        counts=counts,
        assumed=assumed,
        problem=problem,
        provider=one.provider or other.provider,
        model=_better_model(one, other),
        request_model=one.request_model or other.request_model,
        response_id=one.response_id or other.response_id,
        tier=one.tier or other.tier,
        cache_unknown=one.cache_unknown and other.cache_unknown,
        rejected=one.rejected and other.rejected,
        seconds=max(one.seconds, other.seconds),
        audio_s=max(one.audio_s, other.audio_s),
        cost=_better_cost(one.cost, other.cost),
    )


def _better_cost(one: ReportedCost | None, other: ReportedCost | None) -> ReportedCost | None:
    """Return the cost that the provider reported, if either did."""
    if one is None or other is None:
        return one or other
    return other if other.by_provider and not one.by_provider else one


def _better_model(one: LlmUsage, other: LlmUsage) -> str:
    """Return the more exact of two names; a deployment or an alias gives way to the model that answered."""
    short, long = sorted((other.model, one.model), key=len)
    if short not in long:
        one_answered, other_answered = one.model != one.request_model, other.model != other.request_model
        if one_answered != other_answered:
            return one.model if one_answered else other.model
    return long


def host_of_call(attributes: Mapping[str, Any]) -> str:
    """Return the host an LLM or AWS span talks to, without port; empty if it does not say."""
    return str(attributes.get("server.address") or "").partition(":")[0].lower()
