"""Tokens estimated from the texts on a span that shows no usage."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.meters.llm.text_estimate import TextEstimate
from spancost.prices.tokens import TokenCounts
from spancost.testing import World, priced_provider
from tests.spans import INPUT_USD, OUTPUT_USD, chat, chat_usd, start

_ASKED = "How much does this request cost?"  # 32 characters
_ANSWERED = "Less than a cent."  # 17
_ASKED_TOKENS, _ANSWERED_TOKENS = 8, 5
_FRAMES = 3 * 2
_USD = (_ASKED_TOKENS + _FRAMES) * INPUT_USD + _ANSWERED_TOKENS * OUTPUT_USD


def _messages(text: str) -> str:
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])


_SPELLINGS: dict[str, dict[str, Any]] = {
    "conventions": {"gen_ai.input.messages": _messages(_ASKED), "gen_ai.output.messages": _messages(_ANSWERED)},
    "openinference": {
        "llm.input_messages.0.message.content": _ASKED,
        "llm.input_messages.0.message.role": "user",
        "llm.output_messages.0.message.content": _ANSWERED,
    },
    "openllmetry": {
        "gen_ai.prompt.0.content": _ASKED,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.completion.0.content": _ANSWERED,
    },
}


def _without_usage() -> dict[str, Any]:
    return {name: value for name, value in chat(1, 1).items() if "usage" not in name}


def _call(world: World, attributes: dict[str, Any]) -> None:
    start(world.tracer, "chat", None, SpanKind.CLIENT, {**_without_usage(), **attributes}).end()


@pytest.mark.parametrize("texts", _SPELLINGS.values(), ids=list(_SPELLINGS))
def test_texts_of_a_call_without_usage_are_estimated_and_marked(texts: dict[str, Any]) -> None:
    with priced_provider(estimate_tokens="characters") as world:
        _call(world, texts)
        said = world.attributes("chat")
        assert (said[names.STATUS], said[names.BASIS]) == ("estimated", "tokens_from_characters")
        assert said[names.DIRECT_USD] == pytest.approx(_USD, rel=1e-12)
        assert all(said[name] == value for name, value in texts.items())


@pytest.mark.parametrize("way", ["off", "characters"])
def test_call_without_usage_or_texts_stays_unpriced(way: str) -> None:
    with priced_provider(estimate_tokens=way) as world:
        _call(world, _SPELLINGS["conventions"] if way == "off" else {})
        assert world.attributes("chat")[names.REASON] == "no_usage"


def test_stream_that_was_left_before_it_answered_stays_unpriced() -> None:
    with priced_provider(estimate_tokens="characters") as world:
        _call(world, {"gen_ai.input.messages": _messages(_ASKED)})
        assert world.attributes("chat")[names.STATUS] == names.UNPRICED


def test_usage_on_the_span_or_on_another_view_of_the_call_is_never_replaced_by_an_estimate() -> None:
    with priced_provider(estimate_tokens="characters") as world:
        start(world.tracer, "counted", None, SpanKind.CLIENT, {**chat(100, 10), **_SPELLINGS["conventions"]}).end()
        assert world.attributes("counted")[names.DIRECT_USD] == pytest.approx(chat_usd(100, 10), rel=1e-12)
        texts = {**_without_usage(), **_SPELLINGS["conventions"]}
        outer = start(world.provider.get_tracer("outer"), "outer", None, SpanKind.CLIENT, texts)
        start(world.tracer, "inner", outer, SpanKind.CLIENT, chat(100, 10)).end()
        outer.end()
        assert world.attributes("outer")[names.STATUS] == "priced"
        assert world.attributes("outer")[names.DIRECT_USD] == pytest.approx(chat_usd(100, 10), rel=1e-12)


def test_texts_that_a_span_has_in_several_spellings_are_counted_once() -> None:
    spellings = {name: text for spelling in _SPELLINGS.values() for name, text in spelling.items()}
    once = TextEstimate("characters").counts_of(_SPELLINGS["conventions"])
    assert once == TextEstimate("characters").counts_of(spellings) == TokenCounts(_ASKED_TOKENS + _FRAMES, 5)


def test_call_that_was_charged_by_an_estimate_is_not_charged_again_when_an_outer_view_has_the_usage() -> None:
    asked = {name: value for name, value in chat(0, 0).items() if "usage" not in name}
    with priced_provider(estimate_tokens="characters") as world:
        outer = start(world.provider.get_tracer("says nothing before its end"), "step")
        inner = start(world.tracer, "chat", outer, SpanKind.CLIENT, {**asked, **_SPELLINGS["conventions"]})
        inner.end()
        outer.set_attributes(chat(20, 6))
        outer.end()
        world.publish()
        assert world.recorded.usd(names.LLM) == pytest.approx(_USD, rel=1e-12)


def test_tiktoken_counts_with_its_own_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its vocabulary comes from the network; this one has the 256 bytes and one pair.
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"es": 256}
    encoding = tiktoken.Encoding("o200k_base", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={})

    def local(name: str) -> tiktoken.Encoding:
        assert name == encoding.name
        return encoding

    monkeypatch.setattr(tiktoken, "get_encoding", local)
    texts = TextEstimate("tiktoken")
    assert texts.counts_of(_SPELLINGS["openinference"]) is None
    texts.load()
    pairs = _ASKED.count("es") + _ANSWERED.count("es")
    found = texts.counts_of(_SPELLINGS["openinference"])
    assert found is not None
    assert found.input + found.output == len(_ASKED) + len(_ANSWERED) - pairs + _FRAMES
    assert texts.basis == "tokens_from_text"


def test_tokenizer_that_cannot_be_loaded_is_said_once_and_leaves_calls_unpriced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_network(name: str) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", no_network)
    texts = TextEstimate("tiktoken")
    with caplog.at_level(logging.WARNING):
        texts.load()
        texts.load()
    assert [record.getMessage() for record in caplog.records] == [
        "llm.estimate_tokens: tiktoken cannot load o200k_base (no network): calls without usage stay unpriced; "
        "TIKTOKEN_CACHE_DIR may name a folder that has it"
    ]
    assert texts.counts_of(_SPELLINGS["openinference"]) is None


_JSON = st.recursive(
    st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.text() | _JSON.map(json.dumps), st.text() | _JSON.map(json.dumps))
def test_any_text_is_counted_or_left_alone(asked: str, answered: str) -> None:
    texts = TextEstimate("characters")
    found = texts.counts_of({"gen_ai.input.messages": asked, "gen_ai.output.messages": answered})
    assert found is None or (found.input >= 0 and found.output >= 0)


def test_messages_nested_too_deep_are_not_followed() -> None:
    deep = "[" * 100_000
    texts = TextEstimate("characters")
    assert texts.counts_of({"gen_ai.input.messages": deep, "gen_ai.output.messages": deep}) is None
    nested: Any = {"content": "hidden"}
    for _ in range(20):
        nested = [nested]
    attributes = {"gen_ai.input.messages": json.dumps(nested), "gen_ai.output.messages": json.dumps(nested)}
    assert texts.counts_of(attributes) == TokenCounts(_FRAMES, 0)
