"""Price what the Bedrock runtime bills beside tokens (aws.amazon.com/bedrock/pricing).

A guardrail that is applied by itself costs each of its policies per text unit of 1 000 characters, as the answer
counts them; an answer without counts is taken for the content policy, each text rounded up. Tokens of models belong
to the LLM meter: this one charges nothing for them, so that a model call without usage is reported there. Left out:
guardrails applied inside a model call, which its span does not show; videos, whose length no answer tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from spancost.capture.aws import bedrock_runtime as seen
from spancost.meters.aws.call import NO_USAGE, Call, Measure, Usage, failure, free, number, resource_of, unpriced
from spancost.meters.aws.later import DURATION_NOT_SEEN, never_seen

UNIT_CHARACTERS: Final = 1000

_GUARDRAILS: Final = "aws.bedrock-runtime.guardrails."
_CONTENT: Final = f"{_GUARDRAILS}content_policy"
_REASONING: Final = "automatedReasoningPolicyUnits"
_REASONING_POLICIES: Final = "automatedReasoningPolicies"
_POLICIES: Final = {
    "contentPolicyUnits": _CONTENT,
    "contentPolicyImageUnits": f"{_GUARDRAILS}content_policy_image",
    "topicPolicyUnits": f"{_GUARDRAILS}topic_policy",
    "sensitiveInformationPolicyUnits": f"{_GUARDRAILS}sensitive_information_policy",
    "contextualGroundingPolicyUnits": f"{_GUARDRAILS}contextual_grounding_policy",
    _REASONING: f"{_GUARDRAILS}automated_reasoning_policy",
}
_FREE_POLICIES: Final = frozenset({"wordPolicyUnits", "sensitiveInformationPolicyFreeUnits", _REASONING_POLICIES})
_TOKENS: Final = frozenset({"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"})


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation in _TOKENS:
        return _tokens
    if operation == "ApplyGuardrail":
        return _guardrail
    if operation == "InvokeModelWithBidirectionalStream":
        return never_seen(NO_USAGE)
    return never_seen(DURATION_NOT_SEEN) if operation == "StartAsyncInvoke" else None


def billed_units(characters: float) -> float:
    """Return the text units of one text."""
    return math.ceil(characters / UNIT_CHARACTERS) if characters == characters else characters


def _tokens(_: Call) -> Sequence[Usage]:
    return ()


def _guardrail(call: Call) -> Sequence[Usage]:
    guardrail = resource_of(call)
    if call.failed:
        return failure(call, guardrail)
    counts = call.facts.get(seen.GUARDRAIL_UNITS)
    if counts is None:
        texts = call.facts.get(seen.GUARDRAIL_CHARACTERS)
        if texts is None:
            return unpriced(NO_USAGE, guardrail)
        units = sum(billed_units(number(size)) for size in cast("Sequence[Any]", texts))
        return (Usage(_CONTENT, units, guardrail, "policy:content"),)
    counts = cast("Mapping[str, Any]", counts)
    usages = [_policy(name, counts, guardrail) for name in counts if name not in _FREE_POLICIES]
    return usages or free(guardrail)


def _policy(name: str, counts: Mapping[str, Any], guardrail: str) -> Usage:
    units, basis = number(counts[name]), ""
    price_id = _POLICIES.get(name)
    if name == _REASONING and counts.get(_REASONING_POLICIES, 1) != 1:
        # The price is per policy; nobody says whether the units already are.
        units, basis = units * number(counts[_REASONING_POLICIES]), "units:per_policy"
    if price_id is None:
        return Usage("", units, guardrail, reason="unknown_policy", unit="1,000-character text unit")
    return Usage(price_id, units, guardrail, basis)
