"""Views of one call that the tree of spans does not join: told by the thread or task in which they were begun."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

import pytest
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import World, priced_provider
from tests.spans import SMS_USD, chat, chat_usd, sms, start

_LANGCHAIN = "openinference.instrumentation.langchain"
_OPENAI = "opentelemetry.instrumentation.genai.openai"
_APP = "app"
_SECOND_NS = 1_000_000_000


def _llm(
    world: World,
    scope: str,
    parent: Span | None = None,
    attributes: dict[str, Any] | None = None,
    *,
    name: str = "",
    start_ns: int | None = None,
) -> Span:
    tracer = world.provider.get_tracer(scope)
    return start(tracer, name or f"chat {scope}", parent, SpanKind.CLIENT, attributes, start_ns)


def _llm_usd(world: World) -> float:
    world.publish()
    return world.recorded.usd(names.LLM)


def _said(world: World, name: str) -> tuple[object, object]:
    attributes = world.attributes(name)
    return attributes[names.STATUS], attributes.get(names.REASON)


def _in_a_thread(call: Any) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)


def test_sibling_inside_the_interval_of_another_scope_in_one_thread_is_the_same_call() -> None:
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)
        outer = _llm(world, "framework", request, chat(1200, 250))
        inner = _llm(world, "client", request, chat(1200, 250, cached=1024))
        inner.end()
        outer.end()
        request.end()
        assert _said(world, inner.name) == (names.DUPLICATE, "same_context")
        assert world.attributes(outer.name)[names.DIRECT_USD] == pytest.approx(chat_usd(1200, 250, cached=1024))
        assert _llm_usd(world) == pytest.approx(chat_usd(1200, 250, cached=1024), rel=1e-12)


def test_call_in_another_trace_of_the_same_thread_is_charged_once_in_the_outer_ones() -> None:
    with priced_provider() as world:
        outer = _llm(world, "framework", None, chat(100, 10))
        inner = _llm(world, "client", None, chat(100, 10, cached=50))
        inner.end()
        outer.end()
        assert _said(world, inner.name) == (names.DUPLICATE, "other_trace")
        assert world.attributes(outer.name)[names.TOTAL_USD] == pytest.approx(chat_usd(100, 10, cached=50))
        assert world.attributes(inner.name)[names.TOTAL_USD] == 0.0
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10, cached=50), rel=1e-12)


def test_siblings_of_three_scopes_end_in_the_outermost() -> None:
    with priced_provider() as world:
        spans = [_llm(world, scope, None, chat(100, 10)) for scope in ("a", "b", "c")]
        for span in reversed(spans):
            span.end()
        assert [_said(world, span.name)[0] for span in spans] == ["priced", "duplicate", "duplicate"]
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10), rel=1e-12)


def test_nested_chain_beside_an_outer_span_ends_in_the_outer_span() -> None:
    with priced_provider() as world:
        outer = _llm(world, "framework", None, chat(100, 10))
        middle = _llm(world, "traces", None, chat(100, 10))
        inner = _llm(world, "client", middle, chat(100, 10, cached=60))
        for span in (inner, middle, outer):
            span.end()
        assert [_said(world, span.name)[0] for span in (outer, middle, inner)] == ["priced", "duplicate", "duplicate"]
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10, cached=60), rel=1e-12)


@pytest.mark.parametrize("own_context", [False, True], ids=["thread", "copied context"])
def test_calls_of_two_threads_are_two_charges_unless_one_carries_the_context_of_the_other(own_context: bool) -> None:
    with priced_provider() as world:
        outer = _llm(world, "framework", None, chat(100, 10, response_id="chatcmpl-1"))

        def call() -> None:
            _llm(world, "client", None, chat(100, 10, response_id="chatcmpl-1")).end()

        context = copy_context()
        _in_a_thread((lambda: context.run(call)) if own_context else call)
        outer.end()
        assert _llm_usd(world) == pytest.approx((2 - own_context) * chat_usd(100, 10), rel=1e-12)


def _gathered(*calls: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        await asyncio.gather(*calls)

    asyncio.run(run())


def test_equal_calls_of_concurrent_tasks_seen_by_one_tracer_each_are_separate_charges() -> None:
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)
        inner_ended = asyncio.Event()

        async def outer() -> None:
            span = _llm(world, "one client", request, chat(100, 10, response_id="chatcmpl-1"))
            await inner_ended.wait()
            span.end()

        async def inner() -> None:
            await asyncio.sleep(0)
            _llm(world, "another client", request, chat(100, 10, response_id="chatcmpl-1")).end()
            inner_ended.set()

        _gathered(outer(), inner())
        request.end()
        assert _llm_usd(world) == pytest.approx(2 * chat_usd(100, 10), rel=1e-12)


def test_fifty_concurrent_tasks_with_two_views_each_are_fifty_charges() -> None:
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)

        async def call() -> None:
            outer = _llm(world, "framework", request, chat(100, 10, response_id="chatcmpl-1"))
            await asyncio.sleep(0)
            inner = _llm(world, "client", request, chat(100, 10, response_id="chatcmpl-1"))
            await asyncio.sleep(0)
            inner.end()
            outer.end()

        _gathered(*(call() for _ in range(50)))
        request.end()
        assert _llm_usd(world) == pytest.approx(50 * chat_usd(100, 10), rel=1e-9)


def test_spans_that_cross_are_two_calls() -> None:
    with priced_provider() as world:
        first = _llm(world, "one", None, chat(100, 10))
        second = _llm(world, "another", None, chat(100, 10))
        first.end()
        second.end()
        assert _llm_usd(world) == pytest.approx(2 * chat_usd(100, 10), rel=1e-12)


def test_two_open_outer_spans_of_one_context_have_one_inner_view_each() -> None:
    with priced_provider() as world:
        outer = [_llm(world, "framework", None, chat(tokens, 10)) for tokens in (100, 300)]
        inner = [_llm(world, "client", None, chat(tokens, 10)) for tokens in (100, 300)]
        for span in (*inner, outer[1], outer[0]):
            span.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + chat_usd(300, 10), rel=1e-12)


def test_span_made_after_the_call_with_an_earlier_start_is_a_duplicate_of_what_was_charged() -> None:
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)
        began = time.time_ns()
        _llm(world, "client", request, chat(100, 10)).end()
        back_dated = _llm(world, "late tracer", request, chat(100, 10), start_ns=began - 1000)
        back_dated.end()
        request.end()
        assert _said(world, back_dated.name) == (names.DUPLICATE, "charged_before")
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10), rel=1e-12)


def test_back_dated_spans_match_one_to_one_and_never_a_call_that_was_over_before_they_began() -> None:
    with priced_provider() as world:
        _llm(world, "client", None, chat(100, 10)).end()
        began = time.time_ns()
        _llm(world, "client", None, chat(100, 10)).end()
        for _ in range(2):
            _llm(world, "late tracer", None, chat(100, 10), start_ns=began).end()
        assert _llm_usd(world) == pytest.approx(3 * chat_usd(100, 10), rel=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        chat(101, 10),
        chat(100, 10, response_id="r2"),
        {**chat(100, 10), "gen_ai.request.model": "gpt-5", "gen_ai.response.model": "gpt-5"},
    ],
    ids=["counts", "response", "model"],
)
def test_back_dated_span_of_another_call_is_charged(other: dict[str, Any]) -> None:
    with priced_provider() as world:
        began = time.time_ns()
        _llm(world, "client", None, chat(100, 10, response_id="r1")).end()
        _llm(world, "late tracer", None, other, start_ns=began).end()
        assert _said(world, "chat late tracer")[0] == "priced"


def test_back_dated_span_of_another_thread_is_charged() -> None:
    with priced_provider() as world:
        began = time.time_ns()
        _llm(world, "client", None, chat(100, 10)).end()
        _in_a_thread(lambda: _llm(world, "late tracer", None, chat(100, 10), start_ns=began).end())
        assert _llm_usd(world) == pytest.approx(2 * chat_usd(100, 10), rel=1e-12)


def test_outer_span_that_nobody_could_know_for_a_call_charges_nothing_when_it_turns_out_to_be_one() -> None:
    with priced_provider() as world:
        outer = _llm(world, "unheard of", None, None, name="step")
        _llm(world, "client", outer, chat(100, 10)).end()
        outer.set_attributes(chat(100, 10))
        outer.end()
        assert _said(world, "step") == (names.DUPLICATE, "charged_before")
        _in_a_thread(lambda: _known_next_time(world))
        assert _llm_usd(world) == pytest.approx(2 * chat_usd(100, 10), rel=1e-12)


def _known_next_time(world: World) -> None:
    outer = _llm(world, "unheard of", None, None, name="again")
    inner = start(world.provider.get_tracer("client"), "inner", outer, SpanKind.CLIENT, chat(100, 10))
    inner.end()
    outer.set_attributes(chat(100, 10))
    outer.end()


@pytest.mark.parametrize("has_parent", [True, False])
def test_langchain_span_started_by_a_callback_on_another_thread_is_matched_with_the_call_beside_it(
    has_parent: bool,
) -> None:
    with priced_provider() as world:
        parent = start(world.tracer, "GET", kind=SpanKind.SERVER) if has_parent else None
        for _ in range(2):
            runs: list[Span] = []

            def begin(runs: list[Span] = runs) -> None:
                runs.append(_llm(world, _LANGCHAIN, parent, name="ChatOpenAI"))

            _in_a_thread(begin)
            inner = _llm(world, _OPENAI, parent, chat(100, 10, cached=30))
            inner.end()
            runs[0].set_attributes(chat(100, 10))
            _in_a_thread(runs[0].end)
        if parent is not None:
            parent.end()
        assert _llm_usd(world) == pytest.approx(2 * chat_usd(100, 10, cached=30), rel=1e-12)


def test_silent_outer_span_that_was_another_call_leaves_the_inner_one_to_be_charged() -> None:
    mistral = {**chat(50, 5), "gen_ai.provider.name": "anthropic"}
    with priced_provider() as world:
        outer = _llm(world, _LANGCHAIN, None, name="ChatAnthropic")
        _llm(world, _OPENAI, None, chat(100, 10)).end()
        outer.set_attributes({**mistral, "gen_ai.request.model": "claude-haiku-4-5", "gen_ai.response.model": ""})
        outer.end()
        world.publish()
        spent = {key.line.provider: 0.0 for key in world.recorded.charges if key.line.component == names.LLM}
        for key, sums in world.recorded.charges.items():
            if key.line.component == names.LLM:
                spent[key.line.provider] += sums.usd
        assert spent["openai"] == pytest.approx(chat_usd(100, 10), rel=1e-12)
        assert spent["anthropic"] > 0


def test_request_beside_an_llm_span_to_its_host_is_transport_and_to_another_is_charged() -> None:
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)
        call = _llm(world, _OPENAI, request, {**chat(1, 1), "server.address": "api.openai.com"})
        attributes = {**sms(), "url.full": "https://api.openai.com/v1/chat", "server.address": "api.openai.com"}
        start(world.tracer, "to the model", request, SpanKind.CLIENT, attributes).end()
        start(world.tracer, "sms", request, SpanKind.CLIENT, sms()).end()
        call.end()
        request.end()
        world.publish()
        assert _said(world, "to the model") == (names.DUPLICATE, "transport")
        assert world.recorded.usd(names.HTTP) == pytest.approx(SMS_USD, rel=1e-12)


def test_request_beside_an_llm_span_without_a_host_is_transport_unless_it_has_a_price_of_its_own() -> None:
    with priced_provider() as world:
        call = _llm(world, _OPENAI, None, chat(1, 1))
        own = {
            **sms(),
            "url.full": "https://models.internal.example/v1/chat",
            "server.address": "models.internal.example",
        }
        start(world.tracer, "to the model", None, SpanKind.CLIENT, own).end()
        start(world.tracer, "sms", None, SpanKind.CLIENT, sms()).end()
        call.end()
        start(world.tracer, "afterwards", None, SpanKind.CLIENT, own).end()
        assert _said(world, "to the model") == (names.DUPLICATE, "transport")
        assert _said(world, "sms")[0] in (names.PRICED, names.ESTIMATED)
        assert _said(world, "afterwards") == (names.UNPRICED, "unknown_host")


def test_request_inside_an_http_span_of_another_scope_is_charged_once_and_a_second_one_is_a_call() -> None:
    with priced_provider() as world:
        outer = start(world.provider.get_tracer("sdk"), "outer", None, SpanKind.CLIENT, sms())
        for name in ("first", "second"):
            start(world.provider.get_tracer("http library"), name, outer, SpanKind.CLIENT, sms()).end()
        outer.end()
        assert _said(world, "first") == (names.DUPLICATE, "outer_span")
        world.publish()
        assert world.recorded.usd(names.HTTP) == pytest.approx(2 * SMS_USD, rel=1e-12)


def test_bedrock_call_without_usage_inside_an_llm_span_is_the_same_call() -> None:
    bedrock = {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "InvokeModel"}
    with priced_provider(region="us-east-1") as world:
        outer = _llm(world, "genai.bedrock", None, chat(10, 10))
        start(world.provider.get_tracer("botocore.bedrock"), "invoke", outer, SpanKind.CLIENT, bedrock).end()
        outer.end()
        assert _said(world, "invoke") == (names.DUPLICATE, "outer_span")
        world.publish()
        assert all(key.line.reason != "no_usage" for key in world.recorded.charges)


@pytest.mark.parametrize("begins_before", [True, False])
def test_bedrock_call_without_usage_beside_a_call_that_cannot_be_it_is_known_to_be_unpriced(
    begins_before: bool,
) -> None:
    bedrock = {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "InvokeModel"}
    with priced_provider(region="us-east-1") as world:
        tracer = world.provider.get_tracer("botocore.bedrock")
        if begins_before:
            beside = _llm(world, _OPENAI, None, chat(10, 10))
            call = start(tracer, "invoke", None, SpanKind.CLIENT, bedrock)
        else:
            call = start(tracer, "invoke", None, SpanKind.CLIENT, bedrock)
            beside = _llm(world, _OPENAI, None, {**chat(10, 10), "gen_ai.provider.name": "aws.bedrock"})
        call.end()
        beside.end()
        assert _said(world, "invoke") == (names.UNPRICED, "no_usage")


def test_bedrock_call_without_usage_beside_an_open_view_of_it_is_the_same_call() -> None:
    bedrock = {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "InvokeModel"}
    with priced_provider(region="us-east-1") as world:
        outer = _llm(world, "genai.bedrock", None, {**chat(10, 10), "gen_ai.provider.name": "aws.bedrock"})
        start(world.provider.get_tracer("botocore.bedrock"), "invoke", None, SpanKind.CLIENT, bedrock).end()
        outer.end()
        assert _said(world, "invoke") == (names.DUPLICATE, "outer_span")


def test_usage_held_by_a_span_beside_it_that_never_ends_is_charged_in_the_end() -> None:
    with priced_provider(max_root_quiet_s=60.0) as world:
        outer = _llm(world, "framework", None, chat(100, 10))
        _llm(world, "client", None, chat(100, 10)).end()
        _llm(world, "client", None, chat(300, 10)).end()  # one to one: this one does not wait
        assert _llm_usd(world) == pytest.approx(chat_usd(300, 10), rel=1e-12)
        world.clock.advance(61.0)
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + chat_usd(300, 10), rel=1e-12)
        outer.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + chat_usd(300, 10), rel=1e-12)


def test_calls_are_forgotten_with_their_spans_in_a_thread_that_lives_long() -> None:
    with priced_provider() as world:
        seen: list[weakref.ref[Any]] = []

        def call() -> None:
            abandoned = _llm(world, "framework", None, {**chat(1, 1), "gen_ai.request.model": "another"})
            ended = _llm(world, "client", None, chat(1, 1))
            ended.end()
            seen.append(weakref.ref(abandoned._spancost_node))  # type: ignore[attr-defined]
            seen.append(weakref.ref(ended._spancost_node))  # type: ignore[attr-defined]

        def serve() -> None:
            for _ in range(2000):
                call()
            world.publish()
            world.exporter.clear()
            world.clock.advance(world.engine.config.max_root_quiet_s + 1)
            world.publish()
            gc.collect()
            assert sum(node() is not None for node in seen) < 400

        _in_a_thread(serve)
        assert len(seen) == 4000


@pytest.mark.parametrize("has_usage", [True, False])
def test_call_begun_while_another_streams_in_the_same_task_is_charged_on_its_own_span(has_usage: bool) -> None:
    asked = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)
        views: dict[str, list[Span]] = {}
        for call in ("first", "second"):
            outer = _llm(world, "framework", request, asked, name=f"{call} outer")
            views[call] = [_llm(world, "client", outer, asked, name=f"{call} inner"), outer]
        for call, tokens in (("second", 50), ("first", 100)):
            for view in views[call]:
                if has_usage or view.name != "first outer":
                    view.set_attributes(chat(tokens, 10, response_id=call))
                view.end()
        request.end()
        assert world.attributes("first outer")[names.DIRECT_USD] == pytest.approx(chat_usd(100, 10), rel=1e-12)
        assert world.attributes("second outer")[names.DIRECT_USD] == pytest.approx(chat_usd(50, 10), rel=1e-12)
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10) + chat_usd(50, 10), rel=1e-12)


def test_calls_that_three_tracers_see_one_after_another_keep_what_only_inner_views_know() -> None:
    asked = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    with priced_provider() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER)
        calls = [
            (_llm(world, "framework", None, asked, name="outer"), _llm(world, "openai", None, asked)) for _ in range(2)
        ]
        seen = _llm(world, "openai", request, chat(2204, 10, response_id="same"))
        seen.end()
        late = _llm(
            world, "back-dating", request, chat(2204, 10, response_id="same"), start_ns=(seen.start_time or 0) - 1000
        )
        late.end()
        for tokens, (outer, inner) in ((1690, calls[1]), (1300, calls[0])):
            inner.set_attributes(chat(tokens, 10, cached=100, response_id="same"))
            inner.end()
            outer.set_attributes(chat(tokens, 10, response_id="same"))
            outer.end()
        request.end()
        usd = chat_usd(2204, 10) + chat_usd(1690, 10, cached=100) + chat_usd(1300, 10, cached=100)
        assert _llm_usd(world) == pytest.approx(usd, rel=1e-12)


def test_calls_are_forgotten_without_a_garbage_collection() -> None:
    with priced_provider() as world:
        seen: list[weakref.ref[Any]] = []
        gc.collect()
        gc.disable()
        try:
            for _ in range(1000):
                _call_seen_twice(world, seen)
                world.exporter.clear()
            world.publish()
            assert sum(node() is not None for node in seen) < 300  # those that a later view is compared with
        finally:
            gc.enable()


def _call_seen_twice(world: World, seen: list[weakref.ref[Any]]) -> None:
    outer = _llm(world, "framework", None, chat(1, 1))
    inner = _llm(world, "client", outer, chat(1, 1))
    seen += [weakref.ref(span._spancost_node) for span in (outer, inner)]  # type: ignore[attr-defined]
    inner.end()
    outer.end()


def test_outer_span_of_another_engine_keeps_the_views_that_wait_for_it() -> None:
    asked = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    with priced_provider() as world, priced_provider() as other:
        outer = _llm(world, "framework", None, asked)
        _llm(world, "client", None, chat(100, 10)).end()
        others = _llm(other, "framework", None, chat(100, 10), start_ns=(outer.start_time or 0) - 1)
        holder = _llm(other, "another framework", None, asked)
        _llm(other, "client", None, chat(300, 10)).end()
        for span in (others, holder, outer):
            span.end()
        assert _llm_usd(world) == pytest.approx(chat_usd(100, 10), rel=1e-12)
        assert _llm_usd(other) == pytest.approx(chat_usd(100, 10) + chat_usd(300, 10), rel=1e-12)


def test_concurrent_runs_of_a_framework_are_one_charge_each_in_whatever_order_they_end() -> None:
    with priced_provider() as world:
        parent = start(world.tracer, "GET", kind=SpanKind.SERVER)
        outer: list[Span] = []
        inner: list[Span] = []
        for _ in range(4):
            _in_a_thread(lambda: outer.append(_llm(world, _LANGCHAIN, parent, name="ChatOpenAI")))
            _in_a_thread(lambda: inner.append(_llm(world, "client", parent, chat(100, 10))))
        for place in (0, 2, 1, 3):
            _in_a_thread(inner[place].end)
            outer[place].set_attributes(chat(100, 10))
            _in_a_thread(outer[place].end)
        parent.end()
        assert _llm_usd(world) == pytest.approx(4 * chat_usd(100, 10), rel=1e-12)


def test_call_that_was_charged_inside_a_span_is_not_charged_again_when_that_span_has_waited_at_another() -> None:
    asked = {name: value for name, value in chat(0, 0).items() if "usage" not in name and "response" not in name}
    with priced_provider() as world:
        first = _llm(world, "x", None, asked)
        inner = _llm(world, "y", None, chat(1300, 10, cached=100))
        inner.end()
        second = _llm(world, "z", None, asked)
        _llm(world, "x", None, chat(1690, 10, cached=100)).end()
        second.set_attributes(chat(1690, 10))
        second.end()
        for tokens in range(5000, 5006):
            _llm(world, "x", None, chat(tokens, 10)).end()
        first.set_attributes(chat(1300, 10))
        first.end()
        others = sum(chat_usd(tokens, 10) for tokens in range(5000, 5006))
        both = chat_usd(1300, 10, cached=100) + chat_usd(1690, 10, cached=100)
        assert _llm_usd(world) == pytest.approx(both + others, rel=1e-12)


def test_what_inner_views_know_of_a_call_is_kept_when_its_outer_view_is_charged_on_another_span() -> None:
    asked = {name: value for name, value in chat(0, 0).items() if "usage" not in name and "response" not in name}
    with priced_provider() as world:
        framework, openai = (_llm(world, scope, None, asked) for scope in ("framework", "openai"))
        another = _llm(world, "another tracer", None, asked)
        second = [_llm(world, scope, None, asked) for scope in ("framework", "openai")]
        third = [_llm(world, scope, openai, asked) for scope in ("framework", "openai")]
        # The inner view of the third call waits at the first, its outer one at the span it hangs on.
        for view, cached in ((third[1], 100), (third[0], 0)):
            view.set_attributes(chat(2856, 10, cached=cached, response_id="same"))
            view.end()
        for view, cached in ((another, 100), (openai, 0), (framework, 0)):
            view.set_attributes(chat(1690, 10, cached=cached, response_id="same"))
            view.end()
        for view, cached in ((second[1], 100), (second[0], 0)):
            view.set_attributes(chat(2197, 10, cached=cached, response_id="same"))
            view.end()
        due = sum(chat_usd(tokens, 10, cached=100) for tokens in (1690, 2197, 2856))
        assert _llm_usd(world) == pytest.approx(due, rel=1e-12)


def test_an_inner_view_that_is_charged_before_its_outer_one_takes_that_along() -> None:
    asked = {name: value for name, value in chat(0, 0).items() if "usage" not in name and "response" not in name}
    with priced_provider() as world:
        others = [_llm(world, scope, None, asked) for scope in ("framework", "framework", "openai")]
        outer, inner = (_llm(world, scope, None, asked) for scope in ("another tracer", "openai"))
        # The inner view waits at a framework's span, its outer one at one of the same scope as the inner.
        for view, cached in ((inner, 100), (outer, 0)):
            view.set_attributes(chat(2856, 10, cached=cached, response_id="same"))
            view.end()
        reported = (3719, 4833)
        for tokens in reported:
            seen = _llm(world, "openai", others[0], chat(tokens, 10, response_id="same"))
            seen.end()
            began = (seen.start_time or 0) - 1000
            report = chat(tokens, 10, response_id="same")
            _llm(world, "back-dating", others[0], report, start_ns=began).end()
        last = _llm(world, "framework", None, asked)
        ends = ((others[0], 1300), (others[1], 1690), (others[2], 2197), (last, 6274))
        for view, tokens in ends:
            view.set_attributes(chat(tokens, 10, response_id="same"))
            view.end()
        due = chat_usd(2856, 10, cached=100) + sum(chat_usd(tokens, 10) for tokens in reported)
        due += sum(chat_usd(tokens, 10) for _, tokens in ends)
        assert _llm_usd(world) == pytest.approx(due, rel=1e-12)
