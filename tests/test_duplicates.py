"""One real call is one charge, however many instrumentations saw it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import World, priced_provider
from tests.spans import SMS_USD, chat, chat_usd, put_item, sms, start

_OUTER, _INNER = "opentelemetry.instrumentation.genai.openai", "openai"


def _llm(world: World, scope: str, parent: Span | None, attributes: dict[str, Any]) -> Span:
    return start(world.provider.get_tracer(scope), f"chat {scope}", parent, SpanKind.CLIENT, attributes)


def _llm_usd(world: World) -> float:
    world.publish()
    return world.recorded.usd(names.LLM)


def test_two_tracers_of_one_call_are_charged_once_on_the_outer_span_from_the_richest_usage() -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, chat(1200, 250, response_id="r1"))
        inner = _llm(world, _INNER, outer, chat(1200, 250, cached=1024, response_id="r1"))
        inner.end()
        assert world.attributes(inner.name)[names.STATUS] == names.DUPLICATE
        outer.end()
        assert world.attributes(outer.name)[names.DIRECT_USD] == pytest.approx(
            chat_usd(1200, 250, cached=1024), rel=1e-12
        )
        assert _llm_usd(world) == pytest.approx(chat_usd(1200, 250, cached=1024), rel=1e-12)


def test_three_tracers_of_one_call_are_charged_once_on_the_outermost() -> None:
    with priced_provider() as world:
        spans = [_llm(world, "a", None, chat(100, 10))]
        for scope in ("b", "c"):
            spans.append(_llm(world, scope, spans[-1], chat(100, 10)))
        for span in reversed(spans):
            span.end()
        assert [world.attributes(span.name)[names.STATUS] for span in spans] == ["priced", "duplicate", "duplicate"]
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10), rel=1e-12)


def test_fifty_equal_calls_of_one_scope_are_fifty_charges_even_with_one_id() -> None:
    with priced_provider() as world:
        parent = start(world.tracer, "fan out")
        calls = [_llm(world, _INNER, parent, chat(100, 10, response_id="same")) for _ in range(50)]
        for call in calls:
            call.end()
        parent.end()
        assert _llm_usd(world) == pytest.approx(50 * chat_usd(100, 10), rel=1e-9)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (chat(100, 10, response_id="a"), chat(100, 10, response_id="b")),
        ({**chat(100, 10), "gen_ai.response.model": "gpt-5", "gen_ai.request.model": "gpt-5"}, chat(100, 10)),
        ({**chat(100, 10), "gen_ai.provider.name": "anthropic"}, chat(100, 10)),
    ],
    ids=["other response", "other model", "other provider"],
)
def test_call_inside_another_that_is_not_the_same_is_charged_itself(
    outer: dict[str, Any], inner: dict[str, Any]
) -> None:
    with priced_provider() as world:
        outside = _llm(world, _OUTER, None, outer)
        inside = _llm(world, _INNER, outside, inner)
        inside.end()
        outside.end()
        assert world.attributes(inside.name)[names.STATUS] == "priced"


def test_two_calls_inside_one_outer_span_are_matched_one_to_one_and_the_other_is_charged_too() -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, chat(100, 10))
        for tokens in (100, 300):
            _llm(world, _INNER, outer, chat(tokens, 10)).end()
        outer.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + chat_usd(300, 10), rel=1e-12)


def test_agent_span_that_repeats_the_usage_of_its_calls_is_not_charged() -> None:
    with priced_provider() as world:
        agent = _llm(world, "agents", None, {**chat(200, 20), "gen_ai.operation.name": "invoke_agent"})
        _llm(world, _INNER, agent, chat(100, 10)).end()
        _llm(world, _INNER, agent, chat(100, 10)).end()
        agent.end()
        assert _llm_usd(world) == pytest.approx(2 * chat_usd(100, 10), rel=1e-12)


def test_http_span_beneath_an_llm_or_aws_call_to_the_same_host_is_transport() -> None:
    with priced_provider() as world:
        for attributes in ({**chat(1, 1), "server.address": "api.twilio.com"}, chat(1, 1), put_item()):
            call = start(world.tracer, "call", None, SpanKind.CLIENT, {**attributes})
            address = {"server.address": attributes.get("server.address", "api.twilio.com")}
            request = start(world.tracer, "POST", call, SpanKind.CLIENT, {**sms(), **address})
            request.end()
            call.end()
        world.publish()
        assert world.recorded.usd(names.HTTP) == 0


def test_http_span_beneath_an_llm_call_of_a_scope_that_names_itself_only_at_its_end_is_transport() -> None:
    with priced_provider() as world:
        tracer = world.provider.get_tracer("opentelemetry.util.genai.handler")
        call = start(tracer, "chat gpt-5-mini", None, SpanKind.CLIENT)
        start(world.tracer, "POST", call, SpanKind.CLIENT, sms()).end()
        call.set_attributes(chat(1, 1))
        call.end()
        tool = start(tracer, "execute_tool notify")
        start(world.tracer, "POST", tool, SpanKind.CLIENT, sms()).end()
        tool.end()
        world.publish()
        assert world.recorded.usd(names.HTTP) == pytest.approx(SMS_USD)


def test_http_span_to_another_host_inside_an_llm_call_is_charged() -> None:
    with priced_provider() as world:
        call = start(world.tracer, "chat", None, SpanKind.CLIENT, {**chat(1, 1), "server.address": "api.openai.com"})
        start(world.tracer, "POST", call, SpanKind.CLIENT, sms()).end()
        call.end()
        world.publish()
        assert world.recorded.usd(names.HTTP) == pytest.approx(SMS_USD)


def test_usage_held_by_an_outer_span_that_never_ends_is_charged_when_its_root_is_given_up() -> None:
    with priced_provider(max_root_quiet_s=60.0) as world:
        outer = _llm(world, _OUTER, None, chat(1200, 250))
        _llm(world, _INNER, outer, chat(1200, 250, cached=1024)).end()
        world.clock.advance(61.0)
        assert _llm_usd(world) == pytest.approx(chat_usd(1200, 250, cached=1024), rel=1e-12)
        outer.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(1200, 250, cached=1024), rel=1e-12)
