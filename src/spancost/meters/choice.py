"""Which meter a span belongs to: one decision for live spans and for stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spancost import names
from spancost.charge import INTERNAL, SERVER, Charge, price_line
from spancost.meters.aws import is_aws
from spancost.meters.llm import LlmUsage, is_llm, operation_of
from spancost.window import label_text

_BEDROCK: Final = "Bedrock Runtime"


def component_of(kind: int, attributes: Mapping[str, Any]) -> str:
    """Return the component whose meter looks at a span: egress, aws, llm or http; empty for none.

    Args:
        kind: SpanKind value of the span.

        attributes: Its attributes.
    """
    if kind == SERVER:
        return names.EGRESS
    if is_aws(attributes) and not is_priced_llm(attributes):
        return names.AWS
    if is_llm(attributes):
        return names.LLM
    if kind != INTERNAL and ("http.request.method" in attributes or "http.method" in attributes):
        return names.HTTP
    return ""


def is_priced_llm(attributes: Mapping[str, Any]) -> bool:
    """True for LLM spans that are priced by their usage, which agents, tools and workflows are not."""
    return is_llm(attributes) and bool(operation_of(attributes))


def lacks_usage(attributes: Mapping[str, Any]) -> bool:
    """True for a call to AWS that is billed by tokens; to be asked where the AWS meter charges nothing."""
    return attributes.get("rpc.service") == _BEDROCK


def without_usage(attributes: Mapping[str, Any]) -> Charge:
    """Return the charge of a Bedrock span that shows no tokens."""
    operation = label_text(attributes.get("rpc.method"))
    line = price_line(names.LLM, "aws.bedrock", operation, status=names.UNPRICED, reason="no_usage")
    return Charge(line, 0.0, 0.0, 0.0)


def meter_error(component: str) -> Charge:
    """Return the charge of a span whose meter failed."""
    line = price_line(component, "", "", status=names.UNPRICED, reason="meter_error")
    return Charge(line, 0.0, 0.0, 0.0)


def duplicate(usage: LlmUsage, reason: str) -> Charge:
    """Return the charge of an LLM span whose call is charged on another span.

    Args:
        usage: What it used.

        reason: Why it is not charged here; see `same_call.py`.
    """
    line = price_line(names.LLM, usage.provider[:100], usage.operation, status=names.DUPLICATE, reason=reason)
    return Charge(line, 0.0, 0.0, 0.0)


def withheld(charge: Charge, reason: str) -> Charge:
    """Return what stands for a charge that another span bears."""
    line = charge.line
    withheld_line = price_line(line.component, line.provider, line.operation, status=names.DUPLICATE, reason=reason)
    return Charge(withheld_line, 0.0, 0.0, 0.0)
