"""LLM spans as a meter sees them, and their price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.llm import LlmMeter
from tests.recorded import NOW_NS

METER = LlmMeter()
MTOK = 1e-6

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}
CHAT_USD = 0.25 * MTOK * 1000 + 2.0 * MTOK * 100
"""Its price with gpt-5-mini: 0.25 and 2.00 USD per million tokens."""


def view(
    attributes: Mapping[str, Any],
    scope: str = "app",
    *,
    failed: bool = False,
    seconds: float = 1.0,
    at_ns: int = NOW_NS,
) -> SpanView:
    return SpanView("chat", CLIENT, scope, attributes, at_ns, at_ns + int(seconds * 1e9), {}, failed)


def charges(
    attributes: Mapping[str, Any], scope: str = "app", meter: LlmMeter = METER, **rest: Any
) -> Sequence[Charge]:
    return meter.measure(view(attributes, scope, **rest))


def usd(attributes: Mapping[str, Any], scope: str = "app", meter: LlmMeter = METER, **rest: Any) -> float:
    return sum(charge.usd for charge in charges(attributes, scope, meter, **rest))


def known(found: Sequence[Charge]) -> set[tuple[str, str, str]]:
    """Return (status, reason, basis) of all charges."""
    return {(charge.line.status, charge.line.reason, charge.line.basis) for charge in found}
