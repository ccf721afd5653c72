"""Real clients under the instrumentations of this environment: every call is one charge, at any concurrency."""

from __future__ import annotations

import pytest

from tests.tracers.calls import charged

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("tracers", "ways"),
    [
        ("genai-openai+httpx2", ("chat", "chat streamed", "responses", "concurrent chats")),
        # The client of Anthropic makes spans of its own inside those of the instrumentation.
        ("genai-anthropic+httpx2", ("message", "message streamed", "concurrent messages")),
    ],
    ids=["openai", "anthropic"],
)
def test_each_call_of_a_model_is_one_charge_and_its_request_is_transport(tracers: str, ways: tuple[str, ...]) -> None:
    for found in charged(tracers, *ways):
        assert found["usd"] == pytest.approx(found["expected_usd"], rel=1e-9), found
        assert found["http"] == {"transport": found["calls"]}, found


def test_stream_whose_usage_never_came_is_one_unpriced_call_and_never_nothing() -> None:
    ways = ("stream without usage", "stream left", "stream forgotten", "stream broken")
    for found in charged("genai-openai", *ways):
        assert found["usd"] == 0.0, found
        assert found["unpriced"] == {"no_usage": 1}, found


def test_stream_that_counted_its_input_and_was_left_is_an_estimate() -> None:
    for found in charged("genai-anthropic", "message stream left"):
        assert 0 < found["usd"] < found["expected_usd"]
        statuses = [said.partition(" ")[2] for said in found["statuses"]]
        assert "estimated None" in statuses, found
        assert "priced None" not in statuses


def test_fifty_concurrent_requests_of_httpx_and_of_aiohttp_are_fifty_charges() -> None:
    for found in charged("httpx+aiohttp", "concurrent httpx", "concurrent aiohttp"):
        assert found["calls"] == 50
        assert found["http"] == {"unknown_host": 50}, found
