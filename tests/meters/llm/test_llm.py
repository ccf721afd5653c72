"""Tokens of LLM spans, in every spelling, priced by hand-written rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.llm import LlmMeter, is_llm, operation_of, read_usage
from tests.recorded import NOW_NS

_METER = LlmMeter()
_CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def _charges(attributes: dict[str, Any], scope: str = "app", *, failed: bool = False) -> Sequence[Charge]:
    return _METER.measure(SpanView("chat", CLIENT, scope, attributes, NOW_NS, NOW_NS + 1, {}, failed))


def _usd(attributes: dict[str, Any], scope: str = "app") -> float:
    return sum(charge.usd for charge in _charges(attributes, scope))


def _mtok(usd: float, tokens: int) -> float:
    return usd * tokens / 1e6


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, _mtok(0.25, 1000) + _mtok(2, 100)),
        ({"gen_ai.usage.cache_read.input_tokens": 400}, _mtok(0.25, 600) + _mtok(0.025, 400) + _mtok(2, 100)),
        ({"gen_ai.usage.cache_read_input_tokens": 400}, _mtok(0.25, 600) + _mtok(0.025, 400) + _mtok(2, 100)),
        ({"gen_ai.usage.reasoning.output_tokens": 64}, _mtok(0.25, 1000) + _mtok(2, 100)),
    ],
    ids=["plain", "cached", "cached, old spelling", "reasoning is part of the output"],
)
def test_parts_of_input_and_output_are_never_added_to_them(usage: dict[str, Any], expected: float) -> None:
    assert _usd({**_CHAT, **usage}) == pytest.approx(expected, rel=1e-12)


def test_old_and_openinference_spellings_are_read() -> None:
    old = {
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.prompt_tokens": 1000,
        "gen_ai.usage.completion_tokens": 100,
    }
    inference = {
        "openinference.span.kind": "LLM",
        "llm.provider": "openai",
        "llm.model_name": "gpt-5-mini",
        "llm.token_count.prompt": 1000,
        "llm.token_count.completion": 100,
    }
    assert _usd(old) == _usd(inference) == pytest.approx(_mtok(0.25, 1000) + _mtok(2, 100), rel=1e-12)


def test_scope_whose_input_leaves_out_cached_tokens_is_put_right() -> None:
    attributes = {
        **_CHAT,
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5-20250929",
        "gen_ai.usage.input_tokens": 50,
        "gen_ai.usage.cache_read.input_tokens": 2000,
    }
    assert _usd(attributes) == pytest.approx(_mtok(3, 50) + _mtok(0.3, 2000) + _mtok(15, 100), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gen_ai.usage.input_tokens": None}, "no_usage"),
        ({"gen_ai.usage.input_tokens": -1}, "bad_usage"),
        ({"gen_ai.usage.input_tokens": 1.5}, "bad_usage"),
        ({"gen_ai.usage.input_tokens": True}, "bad_usage"),
        ({"gen_ai.usage.input_tokens": float("nan")}, "bad_usage"),
        ({"gen_ai.usage.input_tokens": float("inf")}, "bad_usage"),
        ({"gen_ai.usage.reasoning.output_tokens": 101}, "bad_usage"),
        ({"gen_ai.request.model": "gpt-99-imaginary"}, "unknown_model"),
        ({"gen_ai.provider.name": "nobody"}, "unknown_provider"),
        ({"gen_ai.request.model": None}, "no_model"),
    ],
)
def test_what_cannot_be_priced_is_unpriced_with_its_reason_and_never_zero_dollars(
    change: dict[str, Any], reason: str
) -> None:
    attributes = {key: value for key, value in {**_CHAT, **change}.items() if value is not None}
    (charge,) = _charges(attributes)
    assert (charge.line.status, charge.line.reason, charge.usd) == ("unpriced", reason, 0.0)


def test_refused_call_is_free_and_one_that_failed_after_its_usage_is_charged() -> None:
    asked = {key: value for key, value in _CHAT.items() if "usage" not in key}
    (refused,) = _charges({**asked, "error.type": "openai.RateLimitError"}, failed=True)
    assert (refused.line.status, refused.line.basis) == ("free", "rejected")
    (broken,) = _charges({**asked, "error.type": "APIConnectionError"}, failed=True)
    assert (broken.line.status, broken.line.reason) == ("unpriced", "no_usage")
    assert sum(charge.usd for charge in _charges(_CHAT, failed=True)) > 0


def test_scope_that_never_reports_cached_tokens_is_an_estimate() -> None:
    charges = _charges(_CHAT, "opentelemetry.instrumentation.openai_v2")
    assert {(charge.line.status, charge.line.basis) for charge in charges} == {
        ("estimated", "cached_tokens_not_reported")
    }


@pytest.mark.parametrize("operation", ["invoke_agent", "execute_tool", "create_agent"])
def test_agents_and_tools_are_llm_spans_without_a_price(operation: str) -> None:
    attributes = {**_CHAT, "gen_ai.operation.name": operation}
    assert is_llm(attributes)
    assert operation_of(attributes) == ""
    assert _charges(attributes) == ()


@pytest.mark.parametrize(
    ("change", "basis"),
    [
        ({"gen_ai.request.model": "gpt-4o-audio-preview"}, "audio_at_text_rate"),
        (
            {"gen_ai.request.model": "gpt-realtime", "gen_ai.usage.cache_read.input_tokens": 600},
            "audio_cache_overlap",
        ),
    ],
)
def test_audio_that_cannot_be_priced_exactly_is_an_estimate_with_its_basis(change: dict[str, Any], basis: str) -> None:
    charges = _charges({**_CHAT, "gen_ai.usage.audio.input_tokens": 900, **change})
    assert {(charge.line.status, charge.line.basis) for charge in charges} == {("estimated", basis)}
    assert sum(charge.usd for charge in charges) > 0


def test_audio_with_its_own_rate_is_priced() -> None:
    attributes = {**_CHAT, "gen_ai.request.model": "gpt-realtime", "gen_ai.usage.audio.input_tokens": 900}
    assert {(charge.line.status, charge.line.basis) for charge in _charges(attributes)} == {("priced", "")}


@pytest.mark.parametrize("value", [{"a": 1}, ["chat"], ("chat",), b"chat", 3, True, None])
@pytest.mark.parametrize("key", ["gen_ai.operation.name", "openinference.span.kind"])
def test_operation_that_is_no_string_is_no_operation_and_no_error(key: str, value: object) -> None:
    assert operation_of({key: value}) == ""
    assert _METER.measure(SpanView("chat", CLIENT, "app", {key: value}, NOW_NS, NOW_NS + 1, {}, False)) == ()


def test_requested_model_is_kept_beside_the_one_that_answered() -> None:
    attributes = {**_CHAT, "gen_ai.request.model": "prod-chat", "gen_ai.response.model": "gpt-5-mini-2025-08-07"}
    usage = read_usage(SpanView("chat", CLIENT, "app", attributes, NOW_NS, NOW_NS + 1, {}, False))
    assert usage is not None
    assert (usage.model, usage.request_model) == ("gpt-5-mini-2025-08-07", "prod-chat")


def test_lines_of_a_model_are_made_once_and_shared() -> None:
    meter = LlmMeter()
    view = SpanView("chat", CLIENT, "app", _CHAT, NOW_NS, NOW_NS + 1, {}, False)
    first, second = meter.measure(view), meter.measure(view)
    assert len(first) == 2
    assert all(one.line is other.line for one, other in zip(first, second, strict=True))


def test_lines_kept_are_bounded_whatever_models_and_tiers_spans_name() -> None:
    meter = LlmMeter()
    for number in range(6000):
        attributes = {**_CHAT, "openai.response.service_tier": f"tier-{number}"}
        meter.measure(SpanView("chat", CLIENT, "app", attributes, NOW_NS, NOW_NS + 1, {}, False))
    assert len(meter._lines) <= 4096  # pyright: ignore[reportPrivateUsage]
    assert {charge.line.basis for charge in _charges({**_CHAT, "openai.response.service_tier": "tier-1"})} == {
        "tier:other"
    }
