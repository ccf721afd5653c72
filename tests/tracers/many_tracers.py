"""Several tracers on one call: one charge. Run by `make tracers`, with the tracers of three makers installed."""

from __future__ import annotations

import itertools

import pytest

from tests.tracers.calls import charged

_LANGCHAIN = ("openinference-langchain", "traceloop-langchain", "genai-langchain")
_OPENAI = ("openinference-openai", "traceloop-openai", "genai-openai")


@pytest.mark.parametrize("pair", list(itertools.product(_LANGCHAIN, _OPENAI)), ids="+".join)
def test_langchain_and_openai_tracers_charge_a_call_once(pair: tuple[str, str]) -> None:
    ways = ("invoke", "ainvoke", "stream", "astream", "batch", "abatch")
    for found in charged("+".join((*pair, "httpx2")), *ways):
        assert found["usd"] == pytest.approx(found["expected_usd"], rel=1e-9), found
        assert found["http"] == {"transport": found["calls"]}, found


def test_two_langchain_tracers_and_two_openai_tracers_charge_a_call_once() -> None:
    tracers = "openinference-langchain+genai-langchain+traceloop-openai+genai-openai+httpx2+threading"
    for found in charged(tracers, "invoke", "ainvoke", "stream", "astream"):
        assert found["usd"] == pytest.approx(found["expected_usd"], rel=1e-9), found


@pytest.mark.parametrize("order", list(itertools.permutations(_OPENAI)), ids="+".join)
def test_three_tracers_on_one_openai_client_charge_a_call_once_in_any_order(order: tuple[str, ...]) -> None:
    ways = ("chat", "chat streamed", "responses", "concurrent chats")
    for found in charged("+".join((*order, "httpx2")), *ways):
        assert found["usd"] == pytest.approx(found["expected_usd"], rel=1e-9), found
        assert found["http"] == {"transport": found["calls"]}, found
