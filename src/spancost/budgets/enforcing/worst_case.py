"""What an LLM request may cost at most, as far as the request and the price book say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from spancost import names
from spancost.meters.llm.operations import CHAT, EMBEDDINGS, TEXT_COMPLETION
from spancost.meters.llm.usage import LlmUsage
from spancost.prices.tokens import TokenCounts

if TYPE_CHECKING:
    from spancost.meters.llm import LlmMeter

CHARACTERS_PER_TOKEN: Final = 3
"""Fewer than in most texts, so that the estimate is above what is billed."""
IMAGE_TOKENS: Final = 5_000
"""Taken for each image of a request, whatever its size: about what a large one is billed as where that is most."""
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample", "maxTokens")
_PRICED: Final = frozenset({CHAT, TEXT_COMPLETION, EMBEDDINGS})
_STANDARD_TIERS: Final = frozenset({"", "auto", "default", "standard", "standard_only"})
_MAX_DEPTH: Final = 64


class WorstCase(NamedTuple):
    """What a request may cost, and by which names the price book knows its model."""

    usd: float | None
    """None: not known."""
    model: str
    """Empty if the price book does not know it."""
    provider: str
    """Empty if the price book does not know it."""


_UNKNOWN: Final = WorstCase(None, "", "")


def worst_case(
    meter: LlmMeter, provider: str, model: str, operation: str, body: Mapping[str, Any], output_tokens: int
) -> WorstCase:
    """Price a request before it is sent.

    Input is estimated from the number of characters, and taken to be written to the cache if the request asks for
    that. What the request does not show (a stored conversation, tools of the provider) is not in it.

    Args:
        meter: The LLM meter.

        provider: As a span would say it.

        model: As it is asked for.

        operation: What is done, by the meter's name.

        body: The request.

        output_tokens: Tokens of output where the request says no maximum.
    """
    if operation not in _PRICED or not model:
        return _UNKNOWN
    size = _Size()
    size.add(body, 0)
    tokens = -(-size.characters // CHARACTERS_PER_TOKEN) + size.images * IMAGE_TOKENS
    output = 0 if operation == EMBEDDINGS else _most_output(body, output_tokens)
    tier = body.get("service_tier")
    usage = LlmUsage(
        operation=operation,
        provider=provider,
        model=model,
        response_id="",
        counts=TokenCounts(tokens, output),
        tier=tier if isinstance(tier, str) and tier not in _STANDARD_TIERS else "",
        cache_unknown=False,
        rejected=False,
        problem="",
        request_model=model,
    )
    cases = [usage]
    if size.is_cached:
        cases.append(usage._replace(counts=TokenCounts(tokens, output, cache_write=tokens)))
        cases.append(usage._replace(counts=TokenCounts(tokens, output, cache_write=tokens, cache_write_1h=tokens)))
    found = [_priced(meter, case) for case in (cases if size.for_an_hour else cases[:2])]
    if found[0].usd is None:
        return found[0]
    return max(found, key=lambda case: case.usd or 0.0)


def body_of(value: object) -> Mapping[str, Any]:
    """Return the body of a request by name; empty if it has none."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def model_of(body: Mapping[str, Any], name: str) -> str:
    """Return the model that a request asks for; empty if it names none."""
    model = body.get(name)
    return model if isinstance(model, str) else ""


def _priced(meter: LlmMeter, usage: LlmUsage) -> WorstCase:
    charges = meter.charges_of(usage, time.time_ns())
    line = charges[0].line
    if line.unit == "s":  # a machine of your own: nobody knows how long it will take
        return WorstCase(None, line.model, line.provider)
    if any(charge.line.status == names.UNPRICED for charge in charges):
        return _UNKNOWN
    return WorstCase(sum(charge.usd for charge in charges), line.model, line.provider)


def _most_output(body: Mapping[str, Any], output_tokens: int) -> int:
    inner = body.get("inferenceConfig")
    said = {**cast("Mapping[str, Any]", inner), **body} if isinstance(inner, dict) else body
    limits = [limit for name in _LIMITS if (limit := _count(said.get(name)))]
    answers = max(1, _count(body.get("n")), _count(body.get("best_of")))
    return (max(limits) if limits else output_tokens) * answers


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


class _Size:
    """Characters and images of a request."""

    def __init__(self) -> None:
        self.characters = 0
        self.images = 0
        self.is_cached = False
        self.for_an_hour = False

    def add(self, value: object, depth: int) -> None:
        if isinstance(value, str):
            if value.startswith("data:image/"):
                self.images += 1
            else:
                self.characters += len(value)
        elif isinstance(value, bytes | bytearray):
            self.characters += len(value)
        elif depth < _MAX_DEPTH and isinstance(value, Mapping):
            self._add_mapping(cast("Mapping[object, object]", value), depth)
        elif depth < _MAX_DEPTH and isinstance(value, list | tuple):
            for item in cast("list[object]", value):
                self.add(item, depth + 1)
        elif isinstance(value, int) and not isinstance(value, bool):
            self.characters += CHARACTERS_PER_TOKEN  # a token of an input that is made of numbers

    def _add_mapping(self, value: Mapping[object, object], depth: int) -> None:
        control = value.get("cache_control")
        if control is not None or "cachePoint" in value:
            self.is_cached = True
            self.for_an_hour |= isinstance(control, dict) and cast("dict[str, object]", control).get("ttl") == "1h"
        if _is_image(value):
            self.images += 1
            return
        for name, item in value.items():
            self.characters += len(name) if isinstance(name, str) else 0
            self.add(item, depth + 1)


def _is_image(part: Mapping[object, object]) -> bool:
    return part.get("type") in ("image", "image_url", "input_image") or isinstance(part.get("image"), dict)
