"""Whatever stands in an attribute: unpriced with a reason, never a wrong number, never an exception."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.meters.llm.dialects import DIALECTS, KNOWN
from spancost.testing import priced_provider
from tests.meters.llm.calls import CHAT, CHAT_USD, charges, known, usd
from tests.spans import chat, start

_HUGE = "9" * 10_000_000
_COUNTS = [
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.image.output_tokens",
]


@pytest.mark.parametrize("key", _COUNTS)
@pytest.mark.parametrize(
    "value",
    [
        -1,
        1.5,
        True,
        float("nan"),
        float("inf"),
        float("-inf"),
        10**13,
        2**70,
        "many",
        "-5",
        "1e3",
        "١٢",
        _HUGE,
        (5,),
        b"5",
    ],
    ids=lambda value: str(value)[:8],
)
def test_count_that_is_no_number_of_tokens_makes_the_call_unpriced(key: str, value: object) -> None:
    assert known(charges({**CHAT, key: value})) == {("unpriced", "bad_usage", "")}


@pytest.mark.parametrize(
    "change",
    [
        {"gen_ai.usage.input_tokens": "1000", "gen_ai.usage.output_tokens": "100"},
        {"gen_ai.usage.input_tokens": 1000.0, "gen_ai.usage.output_tokens": 100.0},
    ],
    ids=["digits in a text", "whole floats"],
)
def test_count_that_can_mean_only_one_number_is_read(change: dict[str, Any]) -> None:
    assert usd({**CHAT, **change}) == pytest.approx(CHAT_USD, rel=1e-12)


@pytest.mark.parametrize(
    ("scope", "change"),
    [
        ("opentelemetry.instrumentation.genai.openai", {"gen_ai.usage.cache_read.input_tokens": 1001}),
        ("com.anthropic.sdk.python", {"gen_ai.usage.cache_write.input_tokens": 1001}),
        (
            "com.anthropic.sdk.python",
            {
                "gen_ai.usage.cache_write.input_tokens": 10,
                "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 11,
            },
        ),
        ("app", {"gen_ai.usage.audio.input_tokens": 600, "gen_ai.usage.image.input_tokens": 401}),
        ("app", {"gen_ai.usage.audio.output_tokens": 101}),
        ("app", {"gen_ai.usage.reasoning.output_tokens": 101}),
        ("app", {"gen_ai.usage.audio.cache_read.input_tokens": 1}),
    ],
)
def test_parts_that_are_more_than_the_whole_make_the_call_unpriced(scope: str, change: dict[str, Any]) -> None:
    assert known(charges({**CHAT, **change}, scope)) == {("unpriced", "bad_usage", "")}


@pytest.mark.parametrize(
    "key",
    ["gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.response.id", "error.type"],
)
@pytest.mark.parametrize("value", ["x" * 10_000_000, 7, ("a", "b"), b"x", True, float("nan")], ids=lambda v: str(v)[:5])
def test_text_of_any_size_or_type_is_no_error_and_is_not_kept(key: str, value: object) -> None:
    started = time.perf_counter()
    found = charges({**CHAT, key: value}, failed=True)
    assert time.perf_counter() - started < 1.0
    assert len(found) > 0
    assert all(len(charge.line.model) <= 200 and len(charge.line.provider) <= 200 for charge in found)


@pytest.mark.parametrize(
    "text",
    ["", "{", "5", "null", "[1]", '{"cached_tokens": "many"}', '{"cached_tokens": -1}', "[" * 4000, "9" * 10**7],
    ids=lambda text: str(text)[:20],
)
def test_json_that_says_nothing_usable_is_left_alone(text: str) -> None:
    found = charges({**CHAT, "gen_ai.usage.raw": text}, "logfire.openai")
    assert sum(charge.usd for charge in found) == pytest.approx(CHAT_USD, rel=1e-12)
    assert known(found) == {("estimated", "", "cached_tokens_not_reported")}


def test_json_that_contradicts_the_counts_makes_the_call_unpriced() -> None:
    found = charges({**CHAT, "gen_ai.usage.raw": '{"cached_tokens": 1001}'}, "logfire.openai")
    assert known(found) == {("unpriced", "bad_usage", "")}


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=5),
    st.lists(st.text(max_size=3), max_size=3),
    st.sampled_from(["chat", "gpt-5-mini", "openai", "flex", "LLM", "1000", 1000, 0.01]),
)
_SCOPES = st.sampled_from(["app", *(scope for dialect in DIALECTS for scope in dialect.scopes)])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*KNOWN, "error.type"]), _VALUES, max_size=12), _SCOPES)
def test_no_attributes_make_the_meter_raise_or_charge_what_is_no_number(attributes: dict[str, Any], scope: str) -> None:
    for charge in charges({"gen_ai.operation.name": "chat", **attributes}, scope):
        assert charge.usd >= 0
        assert charge.list_usd >= 0
        assert charge.quantity >= 0
        if charge.line.status == "unpriced":
            assert charge.usd == 0
            assert charge.line.reason


@pytest.mark.parametrize(
    ("finished", "basis"),
    [
        ({}, "stream_cut_short"),
        ({"gen_ai.response.finish_reasons": ("stop",)}, None),
        ({"anthropic.message.stop_reason": "end_turn"}, None),
    ],
)
def test_stream_with_counts_that_never_said_why_it_ended_is_a_lower_bound(
    finished: dict[str, object], basis: str | None
) -> None:
    with priced_provider() as world:
        attributes = {**chat(100, 1), "gen_ai.request.stream": True, **finished}
        start(world.tracer, "chat", None, SpanKind.CLIENT, attributes).end()
        said = world.attributes("chat")
        assert said.get(names.BASIS) == basis
        assert said[names.STATUS] == ("estimated" if basis else "priced")
