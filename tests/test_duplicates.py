"""One real call is one charge, however many instrumentations saw it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind, StatusCode

from spancost import names
from spancost.meters.llm import LlmUsage
from spancost.nodes import HeldUsage
from spancost.prices.tokens import TokenCounts
from spancost.same_call import settled
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


@pytest.mark.parametrize(("tokens", "calls"), [(100, 1), (300, 2)])
def test_stream_that_is_closed_after_the_span_around_it_is_charged_once(tokens: int, calls: int) -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, _asked("openai", "gpt-5-mini"))
        step = start(world.tracer, "step", outer)
        inner = _llm(world, _INNER, step, _asked("openai", "gpt-5-mini"))
        outer.set_attributes(chat(100, 10, response_id="r1"))
        outer.end()
        inner.set_attributes(chat(tokens, 10, response_id="r1"))
        inner.end()
        step.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + (calls - 1) * chat_usd(tokens, 10), rel=1e-12)


def test_span_that_stays_open_does_not_keep_all_that_is_spent_inside_of_it() -> None:
    with priced_provider() as world:
        session = _llm(world, _OUTER, None, _asked("openai", "gpt-5-mini"))
        for tokens in range(1000):
            _llm(world, _INNER, session, chat(1000 + tokens, 10)).end()
        spent = sum(chat_usd(1000 + tokens, 10) for tokens in range(1000))
        world.clock.advance(60.0)
        assert _llm_usd(world) > 0.7 * spent
        session.set_attributes(chat(1999, 10))
        session.end()
        assert _llm_usd(world) == pytest.approx(spent, rel=1e-9)


@pytest.mark.parametrize(("tokens", "calls"), [(100, 1), (5000, 2)])
def test_span_that_ends_after_what_it_held_was_charged_is_closed_and_charged_for_another_call(
    tokens: int, calls: int
) -> None:
    with priced_provider(compute="36usd/h", max_root_quiet_s=60.0, idle_after_s=30.0) as world:
        loop = start(world.tracer, "worker loop")
        session = _llm(world, _OUTER, loop, _asked("openai", "gpt-5-mini"))
        _llm(world, _INNER, session, chat(100, 10)).end()
        for _ in range(8):
            world.clock.advance(10.0)
            start(world.tracer, "heartbeat", loop).end()
            world.publish()
        session.set_attributes(chat(tokens, 10))
        session.end()
        loop.end()
        world.clock.advance(200.0)
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + (calls - 1) * chat_usd(tokens, 10), rel=1e-12)
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(80 * 0.01, rel=1e-12)
        assert world.engine.evictions == 0


def test_calls_left_over_by_retries_do_not_wait_without_end_at_an_abandoned_span_beside_them() -> None:
    with priced_provider(max_root_quiet_s=3600.0) as world:
        loop = start(world.tracer, "worker loop")
        _abandoned = _llm(world, "abandoned", loop, _asked("openai", "gpt-5-mini"))
        for place in range(600):
            outer = _llm(world, _OUTER, loop, _asked("openai", "gpt-5-mini"))
            for tokens in (100, 900):
                _llm(world, _INNER, outer, chat(tokens + place, 10)).end()
            outer.set_attributes(chat(900 + place, 10))
            outer.end()
            world.clock.advance(60.0)
            world.publish()
        spent = sum(chat_usd(100 + place, 10) + chat_usd(900 + place, 10) for place in range(600))
        assert _llm_usd(world) == pytest.approx(spent, rel=1e-9)


_USED = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}


def _asked(provider: str, model: str) -> dict[str, Any]:
    return {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": model}


@pytest.mark.parametrize(
    ("provider", "requested", "answered"),
    [
        ("anthropic", "claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("mistral_ai", "mistral-large-latest", "mistral-large-2411"),
        ("azure", "prod-chat", "gpt-4o-2024-08-06"),
        ("aws.bedrock", "us.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3-7-sonnet-20250219"),
    ],
)
def test_call_of_an_alias_a_deployment_or_a_profile_is_charged_once_though_only_the_inner_span_knows_the_answer(
    provider: str, requested: str, answered: str
) -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, _asked(provider, requested))
        inner = _llm(world, _INNER, outer, {**_asked(provider, requested), **_USED, "gen_ai.response.model": answered})
        inner.end()
        assert world.attributes(inner.name)[names.STATUS] == names.DUPLICATE
        outer.set_attributes({**_USED, "gen_ai.response.model": answered})
        outer.end()
        alone = _llm(world, "alone", None, {**_asked(provider, requested), **_USED, "gen_ai.response.model": answered})
        alone.end()
        once = world.attributes(outer.name)[names.DIRECT_USD]
        assert once == world.attributes(alone.name)[names.DIRECT_USD] > 0
        assert _llm_usd(world) == pytest.approx(2 * once, rel=1e-12)


def test_deployment_of_an_outer_span_that_never_names_the_model_is_priced_as_the_model_that_answered() -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, _asked("azure", "our-production-chat-deployment"))
        answer = {**_asked("openai", "our-production-chat-deployment"), "gen_ai.response.model": "gpt-4o-2024-08-06"}
        _llm(world, _INNER, outer, {**answer, **_USED}).end()
        outer.end()
        world.publish()
        assert world.attributes(outer.name)[names.STATUS] == "priced"
        (model,) = {key.line.model for key in world.recorded.charges if key.line.unit == "input_token"}
        assert model.startswith("gpt-4o")


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("azure", "openai"),
        ("azure.ai.openai", "openai"),
        ("openai", "azure_openai"),
        ("az.ai.openai", "azure.ai.inference"),
        ("aws.bedrock", "aws_bedrock"),
        ("aws.bedrock", "anthropic"),
        ("mistral_ai", "mistral"),
    ],
)
def test_call_whose_spans_name_its_host_and_its_maker_or_two_aliases_is_charged_once(outer: str, inner: str) -> None:
    with priced_provider() as world:
        outside = _llm(world, _OUTER, None, {**_asked(outer, "m"), **_USED})
        inside = _llm(world, _INNER, outside, {**_asked(inner, "m"), **_USED})
        inside.end()
        outside.end()
        assert world.attributes(inside.name)[names.STATUS] == names.DUPLICATE


def test_call_inside_another_with_its_response_id_is_the_same_whatever_its_model_is_called() -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, {**_asked("openai", "router"), "gen_ai.response.id": "r1"})
        inner = _llm(world, _INNER, outer, chat(100, 10, response_id="r1"))
        inner.end()
        outer.end()
        assert world.attributes(inner.name)[names.STATUS] == names.DUPLICATE
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10), rel=1e-12)


@pytest.mark.parametrize("outer_has_counts", [True, False])
def test_refused_attempt_before_the_answer_is_free_and_leaves_the_match_to_the_answer(outer_has_counts: bool) -> None:
    asked = _asked("openai", "gpt-5-mini")
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, asked)
        refused = _llm(world, _INNER, outer, {**asked, "error.type": "RateLimitError"})
        refused.set_status(StatusCode.ERROR)
        refused.end()
        _llm(world, _INNER, outer, chat(1000, 100)).end()
        if outer_has_counts:
            outer.set_attributes(_USED)
        outer.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(1000, 100), rel=1e-12)
        assert world.attributes(outer.name)[names.STATUS] == "priced"
        assert {key.line.basis for key in world.recorded.charges if key.line.status == names.FREE} >= {"rejected"}


def _usage(
    counts: TokenCounts | None = None, *, response_id: str = "", rejected: bool = False, model: str = "m"
) -> LlmUsage:
    problem = "no_usage" if counts is None else ""
    return LlmUsage("chat", "openai", model, response_id, counts, "", False, rejected, problem, model)


def _settled(own: LlmUsage, *held: LlmUsage) -> list[LlmUsage]:
    first, others = settled("outer", own, [HeldUsage("inner", usage, 1) for usage in held], 0)
    return [call.usage for call in (first, *others)]


def test_views_with_one_response_id_are_one_call_even_if_another_has_the_counts_or_theirs_differ() -> None:
    own = _usage(TokenCounts(100, 10), response_id="b")
    found = _settled(own, _usage(TokenCounts(100, 10)), _usage(TokenCounts(120, 10, cache_read=20), response_id="b"))
    assert [usage.counts for usage in found] == [TokenCounts(120, 10, cache_read=20), TokenCounts(100, 10)]


def test_view_with_equal_counts_comes_before_one_without_counts() -> None:
    found = _settled(_usage(TokenCounts(100, 10)), _usage(), _usage(TokenCounts(100, 10, cache_read=5)))
    assert [usage.counts for usage in found] == [TokenCounts(100, 10, cache_read=5), None]


def test_refused_attempts_match_refused_attempts_only() -> None:
    refused = _usage(rejected=True)
    assert [usage.rejected for usage in _settled(refused, refused, refused)] == [True, True]
    answered = _usage(TokenCounts(100, 10))
    assert _settled(answered, refused, answered) == [answered, refused]
    chains = [HeldUsage(scope, usage, 1) for scope in ("a", "b") for usage in (refused, answered)]
    first, others = settled("outer", answered, chains, 0)
    assert [call.usage for call in (first, *others)] == [answered, refused]


@pytest.mark.parametrize(("tokens_out", "calls"), [(120, 1), (121, 1), (300, 2)])
def test_repeated_response_id_is_one_call_only_with_counts_that_may_be_of_one_answer(
    tokens_out: int, calls: int
) -> None:
    with priced_provider() as world:
        outer = _llm(world, _OUTER, None, chat(1000, 120, response_id="chatcmpl-1"))
        _llm(world, _INNER, outer, chat(1000, tokens_out, response_id="chatcmpl-1")).end()
        outer.end()
        usd = chat_usd(1000, max(120, tokens_out)) if calls == 1 else chat_usd(1000, 120) + chat_usd(1000, tokens_out)
        assert _llm_usd(world) == pytest.approx(usd, rel=1e-12)
