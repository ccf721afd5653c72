"""Bedrock spans of botocore: what the answer's headers say, and what the span leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from spancost import names
from spancost.capture.aws.bedrock_runtime import INPUT_TOKENS, OUTPUT_TOKENS
from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.llm import LlmMeter

SCOPE = "opentelemetry.instrumentation.botocore.bedrock-runtime"
AT_NS = 1_780_000_000_000_000_000


def _charges(method: str, model: str, usage: dict[str, Any], facts: dict[str, Any] | None = None) -> list[Charge]:
    attributes = {
        "rpc.system": "aws-api",
        "rpc.service": "Bedrock Runtime",
        "rpc.method": method,
        "gen_ai.system": "aws.bedrock",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": model,
        **{f"gen_ai.usage.{key}": value for key, value in usage.items()},
    }
    view = SpanView(f"chat {model}", CLIENT, SCOPE, attributes, AT_NS, AT_NS + 1, facts or {})
    return list(LlmMeter().measure(view))


def test_the_headers_of_an_answer_win_over_tokens_that_the_instrumentation_estimated() -> None:
    charges = _charges(
        "InvokeModel",
        "mistral.mistral-large-2402-v1:0",
        {"input_tokens": 7, "output_tokens": 3},
        {INPUT_TOKENS: 12, OUTPUT_TOKENS: 5},
    )
    assert {charge.line.unit: charge.quantity for charge in charges} == {"input_token": 12, "output_token": 5}


def test_headers_price_a_call_whose_span_has_no_tokens() -> None:
    model = "anthropic.claude-3-haiku-20240307-v1:0"
    (unpriced,) = _charges("InvokeModel", model, {})
    assert (unpriced.line.status, unpriced.line.reason) == (names.UNPRICED, "no_usage")
    charges = _charges("InvokeModel", model, {}, {INPUT_TOKENS: 1000, OUTPUT_TOKENS: 100})
    assert sum(charge.usd for charge in charges) == pytest.approx(1000 * 0.25e-6 + 100 * 1.25e-6, rel=1e-12)


def test_invoke_model_never_shows_cached_tokens_and_says_so_while_converse_shows_them() -> None:
    model, usage = "anthropic.claude-3-haiku-20240307-v1:0", {"input_tokens": 1000, "output_tokens": 100}
    assert {charge.line.basis for charge in _charges("InvokeModel", model, usage)} == {"cached_tokens_not_reported"}
    assert {charge.line.basis for charge in _charges("Converse", model, usage)} == {""}
