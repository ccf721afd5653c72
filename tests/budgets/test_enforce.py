# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportPrivateUsage=false
"""The switch that guards every LLM and boto3 call: real clients, real instrumentations, a local server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import anthropic
import boto3
import openai
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from spancost import BudgetExceeded, guard, names
from spancost.budgets.decision import EXHAUSTED, TOO_LITTLE
from spancost.budgets.enforcing.switch import enforce, let_go
from spancost.budgets.enforcing.worst_case import IMAGE_TOKENS, worst_case
from spancost.budgets.rules import ASSUME_USD, BLOCK, CLOSED, BudgetRule, Match
from spancost.budgets.store import Claim, Grant
from spancost.budgets.windows import Window
from spancost.meters.llm import LlmMeter
from spancost.testing import World, priced_provider
from tests.support.wire_llm import LlmServer

_MONTH = Window("month")
_IN_USD, _OUT_USD = 0.15e-6, 0.60e-6
"""gpt-4o-mini, per token."""
_HAIKU_IN_USD, _HAIKU_OUT_USD = 1e-6, 5e-6
"""claude-haiku-4-5, per token."""
_TEXT = "x" * 300
_ASK: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": _TEXT}], "max_tokens": 100}
_USD = 75 * _IN_USD + 100 * _OUT_USD
"""What one such call costs: the server counts a token for four characters."""
_CLAUDE: Any = {**_ASK, "model": "claude-haiku-4-5"}
_CLAUDE_USD = 75 * _HAIKU_IN_USD + 48 * _HAIKU_OUT_USD
"""Its answers have 48 tokens whatever is allowed."""
_INSTRUMENTORS = (OpenAIInstrumentor, AnthropicInstrumentor, BotocoreInstrumentor)


def _rule(limit_usd: float = 1.0, **more: Any) -> BudgetRule:
    return BudgetRule(name="llm", limit_usd=limit_usd, window=_MONTH, match=Match(component=("llm",)), **more)


@pytest.fixture(scope="module")
def server() -> Generator[LlmServer]:
    with LlmServer() as running:
        yield running


@contextmanager
def _enforced(
    *rules: BudgetRule, on: tuple[str, ...] = ("llm",), first: bool = True, traced: bool = True, **settings: Any
) -> Generator[World]:
    """A priced provider with the switch on; `first`: before the instrumentors, as under zero-code."""
    with priced_provider(budget_rules=rules or (_rule(),), budget_store="memory", **settings) as world:
        instrumentors = [make() for make in _INSTRUMENTORS] if traced else []
        try:
            if first:
                enforce(on)
            for instrumentor in instrumentors:
                instrumentor.instrument(tracer_provider=world.provider)
            if not first:
                enforce(on)
            yield world
        finally:  # the last one first: each takes off what is on top
            if not first:
                let_go()
            for instrumentor in instrumentors:
                instrumentor.uninstrument()
            let_go()


def _spent(world: World, rule: str = "llm") -> float:
    world.engine.flush()
    book = world.engine.budgets
    assert book is not None
    book.tick()
    standing = book.standing_of.get((rule, ""))
    return 0.0 if standing is None else standing.reading.spend.usd


def _reserved(world: World) -> float:
    book = world.engine.budgets
    assert book is not None
    book.guards.settle()
    return sum(book.store.reserved(time.time()).values())


def _settled(world: World, rule: str = "llm") -> float:
    """Return what reservations alone have brought to the store, before any flush has."""
    book = world.engine.budgets
    assert book is not None
    book.guards.settle()
    return sum(sums.usd for cell, sums in book.store.exchange(None, 0).cells if cell.rule == rule)


@contextmanager
def _claims(world: World, monkeypatch: pytest.MonkeyPatch) -> Generator[list[Claim]]:
    """Collect what is reserved."""
    found: list[Claim] = []
    assert guard("llm", 0.0).decide().is_allowed  # makes the book
    book = world.engine.budgets
    assert book is not None
    reserve = book.store.reserve

    def reserving(lease: str, claims: Any, **more: Any) -> Grant:
        found.extend(claims)
        return reserve(lease, claims, **more)

    with monkeypatch.context() as patch:
        patch.setattr(book.store, "reserve", reserving)
        yield found


def _openai(server: LlmServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0)


def _chat(server: LlmServer) -> None:
    _openai(server).chat.completions.create(**_ASK)


def _chat_stream(server: LlmServer) -> None:
    stream = _openai(server).chat.completions.create(**_ASK, stream=True, stream_options={"include_usage": True})
    for _ in stream:
        pass


def _async_chat(server: LlmServer) -> None:
    async def call() -> None:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
            await client.chat.completions.create(**_ASK)

    asyncio.run(call())


def _async_chat_stream(server: LlmServer) -> None:
    async def call() -> None:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(**_ASK, stream=True, stream_options={"include_usage": True})
            async for _ in stream:
                pass

    asyncio.run(call())


def _raw_chat(server: LlmServer) -> None:
    _openai(server).chat.completions.with_raw_response.create(**_ASK).parse()


def _message(server: LlmServer) -> None:
    anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0).messages.create(**_CLAUDE)


def _message_stream(server: LlmServer) -> None:
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    with client.messages.stream(**_CLAUDE) as stream:
        for _ in stream.text_stream:
            pass


def _async_message(server: LlmServer) -> None:
    async def call() -> None:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
            await client.messages.create(**_CLAUDE)

    asyncio.run(call())


_CALLS: list[tuple[Callable[[LlmServer], None], float]] = [
    (_chat, _USD),
    (_chat_stream, _USD),
    (_async_chat, _USD),
    (_async_chat_stream, _USD),
    (_raw_chat, _USD),
    (_message, _CLAUDE_USD),
    (_message_stream, _CLAUDE_USD),
    (_async_message, _CLAUDE_USD),
]
_each_call = pytest.mark.parametrize(("call", "usd"), _CALLS, ids=[call.__name__[1:] for call, _ in _CALLS])


@_each_call
@pytest.mark.parametrize("first", [True, False], ids=["zero-code", "after the instrumentors"])
def test_a_call_is_settled_by_its_own_reservation_and_counted_once(
    call: Callable[[LlmServer], None], usd: float, first: bool, server: LlmServer, caplog: pytest.LogCaptureFixture
) -> None:
    with _enforced(first=first) as world:
        with world.tracer.start_as_current_span("request"):
            call(server)
        assert _settled(world) == pytest.approx(usd, rel=1e-9)
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(usd, rel=1e-9)
        assert world.recorded.usd(names.LLM) == pytest.approx(usd, rel=1e-9)
        assert not world.engine.errors.counts
        assert "detach" not in caplog.text


@_each_call
def test_a_call_beyond_the_budget_is_refused_before_it_is_sent(
    call: Callable[[LlmServer], None], usd: float, server: LlmServer
) -> None:
    sent = len(server.usages)
    with _enforced(_rule(usd / 2, on_unpriced=BLOCK)) as world:
        with world.tracer.start_as_current_span("request"), pytest.raises(BudgetExceeded) as refused:
            call(server)
        assert refused.value.decision.reason == TOO_LITTLE
        assert len(server.usages) == sent
        assert _reserved(world) == 0.0
        assert _spent(world) == 0.0
        # A call that was never made is not one whose price is unknown: the rule lets the next one be asked.
        assert guard("llm", usd / 4).decide().is_allowed
        span = next(span for span in world.spans if names.GUARD_ACTION in (span.attributes or {}))
        assert dict(span.attributes or {}) | {"gen_ai.operation.name": "chat"} == dict(span.attributes or {})
        assert (span.attributes or {})[names.GUARD_RULE] == "llm"
        assert (span.attributes or {})[names.GUARD_REASON] == TOO_LITTLE
        assert (span.attributes or {})[names.GUARD_ACTION] == "block"


def test_while_a_stream_is_read_its_worst_case_stays_reserved(server: LlmServer) -> None:
    with _enforced() as world:
        with world.tracer.start_as_current_span("request"):
            stream = _openai(server).chat.completions.create(
                **_ASK, stream=True, stream_options={"include_usage": True}
            )
            next(iter(stream))
            assert _reserved(world) > _USD
            for _ in stream:
                pass
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(_USD, rel=1e-9)


def test_two_calls_inside_one_span_of_a_framework_are_settled_when_that_span_ends(server: LlmServer) -> None:
    with _enforced(traced=False) as world:
        framework = world.provider.get_tracer("framework")
        with framework.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span:
            _chat(server)
            _chat(server)
            assert _reserved(world) > 2 * _USD  # both: what they cost is known only at its end
            span.set_attributes(
                {
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4o-mini",
                    "gen_ai.usage.input_tokens": 150,
                    "gen_ai.usage.output_tokens": 200,
                }
            )
        assert _reserved(world) == 0.0
        assert _settled(world) == pytest.approx(2 * _USD, rel=1e-9)
        assert _spent(world) == pytest.approx(2 * _USD, rel=1e-9)


@pytest.mark.parametrize("calls", [8, 70], ids=["some", "more than are kept"])
def test_calls_at_the_same_time_inside_one_span_of_a_framework_leave_nothing_reserved(
    calls: int, server: LlmServer
) -> None:
    async def together() -> None:
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
            await asyncio.gather(*(client.chat.completions.create(**_ASK) for _ in range(calls)))

    usage = {"gen_ai.usage.input_tokens": 75 * calls, "gen_ai.usage.output_tokens": 100 * calls}
    with _enforced(traced=False) as world:
        framework = world.provider.get_tracer("framework")
        with (
            guard("*", 0.01),
            framework.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span,
        ):
            asyncio.run(together())
            assert _reserved(world) > min(calls, 50) * _USD
            span.set_attributes({"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini", **usage})
        assert _reserved(world) == 0.0
        assert _settled(world) == pytest.approx(calls * _USD, rel=1e-9)
        assert _spent(world) == pytest.approx(calls * _USD, rel=1e-9)


def test_a_call_inside_a_guard_and_below_a_framework_is_counted_once(server: LlmServer) -> None:
    with _enforced() as world:
        framework = world.provider.get_tracer("framework")
        with (
            guard("llm", 0.01),
            framework.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span,
        ):
            _chat(server)
            span.set_attributes({"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"})
            span.set_attributes({"gen_ai.usage.input_tokens": 75, "gen_ai.usage.output_tokens": 100})
        assert _reserved(world) == 0.0
        assert _settled(world) == pytest.approx(_USD, rel=1e-9)
        assert _spent(world) == pytest.approx(_USD, rel=1e-9)


def test_the_span_of_the_request_around_a_call_is_not_taken_for_it(server: LlmServer) -> None:
    with _enforced(traced=False) as world, world.tracer.start_as_current_span("request"):
        _chat(server)
        assert _reserved(world) == 0.0  # nothing would charge it: nothing keeps it open


def test_a_call_reserves_its_worst_case_for_the_rules_that_are_about_it(
    server: LlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = (
        BudgetRule(name="mini", limit_usd=1.0, window=_MONTH, match=Match(model=("gpt-4o-mini",))),
        BudgetRule(name="claude", limit_usd=1.0, window=_MONTH, match=Match(model=("claude*",))),
        BudgetRule(name="embed", limit_usd=1.0, window=_MONTH, match=Match(operation=("embeddings",))),
        BudgetRule(name="aws", limit_usd=1e-9, window=_MONTH, match=Match(component=("aws",))),
    )
    with _enforced(*rules) as world, _claims(world, monkeypatch) as claims:
        _chat(server)
        assert [claim.cell.rule for claim in claims] == ["mini"]
        characters = sum(len(text) for text in ("model", "gpt-4o-mini", "messages", "role", "user", "content", _TEXT))
        tokens = -(-(characters + len("max_tokens") + 3) // 3)
        assert claims[0].usd == pytest.approx(tokens * _IN_USD + 100 * _OUT_USD, rel=1e-9)
        assert claims[0].usd >= _USD


def test_a_list_of_models_or_a_count_of_tokens_is_no_call(server: LlmServer) -> None:
    with _enforced(_rule(1e-9)):
        with pytest.raises(openai.NotFoundError):
            _openai(server).models.list()
        client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
        with pytest.raises(anthropic.NotFoundError):
            client.messages.count_tokens(model="claude-haiku-4-5", messages=[{"role": "user", "content": "x"}])


def test_a_model_without_a_price_follows_the_choice_of_the_rule(server: LlmServer) -> None:
    ask: Any = {**_ASK, "model": "no-such-model"}
    assuming = _rule(0.2, on_unpriced=ASSUME_USD, assume_usd=0.25)
    with _enforced(assuming), pytest.raises(BudgetExceeded, match="less than the call may cost"):
        _openai(server).chat.completions.create(**ask)
    with _enforced(_rule(when_unavailable=CLOSED)), pytest.raises(BudgetExceeded, match="is not known"):
        _openai(server).chat.completions.create(**ask)
    with _enforced(_rule()) as world:
        _openai(server).chat.completions.create(**ask)
        assert _spent(world) == 0.0


def test_a_refused_task_does_not_block_the_loop(server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with _enforced() as world:
        assert guard("llm", 0.0).decide().is_allowed
        book = world.engine.budgets
        assert book is not None
        asked, go_on = threading.Event(), threading.Event()
        reserve = book.store.reserve

        def slowly(*args: Any, **more: Any) -> Grant:
            asked.set()
            assert go_on.wait(10)
            return reserve(*args, **more)

        monkeypatch.setattr(book.store, "reserve", slowly)

        async def both() -> None:
            async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
                calling = asyncio.create_task(client.chat.completions.create(**_ASK))
                await asyncio.to_thread(asked.wait, 10)
                go_on.set()  # could not come here if the task held the loop
                await calling

        asyncio.run(both())
        assert _reserved(world) == 0.0


def test_something_of_ours_that_fails_lets_the_call_through(server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with _enforced(reraise=False) as world:
        assert guard("llm", 0.0).decide().is_allowed

        def broken(*_: Any) -> float:
            raise RuntimeError("ours")

        monkeypatch.setattr("spancost.budgets.enforcing.llm_clients.worst_case", broken)
        _chat(server)
        _async_chat(server)
        assert world.engine.errors.counts == {"budgets.enforce": 2}
        assert _spent(world) == pytest.approx(2 * _USD, rel=1e-9)


def test_switched_off_calls_go_through_and_classes_are_as_they_were(server: LlmServer) -> None:
    from anthropic import _base_client as of_anthropic
    from botocore.client import BaseClient
    from openai import _base_client as of_openai

    methods = [
        lambda: of_openai.SyncAPIClient.request,
        lambda: of_openai.AsyncAPIClient.request,
        lambda: of_anthropic.SyncAPIClient.request,
        lambda: of_anthropic.AsyncAPIClient.request,
        lambda: BaseClient._make_api_call,  # type: ignore[attr-defined]
    ]
    before = [method() for method in methods]
    with _enforced(_rule(1e-9), traced=False):
        assert all(method() is not original for method, original in zip(methods, before, strict=True))
        with pytest.raises(BudgetExceeded):
            _chat(server)
        let_go()
        assert [method() for method in methods] == before
        _chat(server)
        enforce(["llm"])
        enforce(["llm"])  # twice is once
        with pytest.raises(BudgetExceeded):
            _chat(server)
    assert [method() for method in methods] == before


def test_a_wrapper_below_an_instrumentation_stays_and_is_used_again() -> None:
    from botocore.client import BaseClient

    instrumentor = BotocoreInstrumentor()
    with priced_provider(budget_rules=(_aws_rule(1e-9),), budget_store="memory") as world:
        try:
            enforce(["aws"])
            instrumentor.instrument(tracer_provider=world.provider)
            over = BaseClient.__dict__["_make_api_call"]
            let_go()
            assert BaseClient.__dict__["_make_api_call"] is over
            enforce(["aws"])
            assert BaseClient.__dict__["_make_api_call"] is over
        finally:
            instrumentor.uninstrument()
            let_go()
            # What the instrumentation had put over ours is off, and ours is not found by `let_go` any more.
            original = BaseClient.__dict__["_make_api_call"]
            BaseClient._make_api_call = getattr(original, "__wrapped__", original)  # type: ignore[attr-defined]


# --- boto3 ----------------------------------------------------------------------------------------------------------


def _aws_rule(limit_usd: float, **more: Any) -> BudgetRule:
    return BudgetRule(name="aws", limit_usd=limit_usd, window=_MONTH, match=Match(component=("aws",)), **more)


def _put(client: Any = None) -> None:
    client = client or _dynamodb()
    with Stubber(client) as stubber:
        stubber.add_response("put_item", {"ResponseMetadata": {"HTTPStatusCode": 200}})
        client.put_item(TableName="t", Item={"pk": {"S": "x"}})


def _dynamodb() -> Any:
    return boto3.client("dynamodb", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


_PUT_USD = 6.25e-7
"""One write request unit in us-east-1."""


@pytest.mark.parametrize("first", [True, False], ids=["zero-code", "after the instrumentors"])
def test_a_boto3_call_is_guarded_settled_once_and_refused_when_the_budget_is_spent(first: bool) -> None:
    with _enforced(_aws_rule(1.5 * _PUT_USD), on=("aws",), first=first, region="us-east-1") as world:
        with world.tracer.start_as_current_span("request"):
            _put()
            assert _settled(world, "aws") == pytest.approx(_PUT_USD, rel=1e-9)
            _put()
            assert _settled(world, "aws") == pytest.approx(2 * _PUT_USD, rel=1e-9)
            with pytest.raises(BudgetExceeded) as refused:
                _put()
        assert refused.value.decision.reason == EXHAUSTED
        assert _spent(world, "aws") == pytest.approx(2 * _PUT_USD, rel=1e-9)
        assert world.recorded.usd(names.AWS) == pytest.approx(2 * _PUT_USD, rel=1e-9)
        calls = [key.line for key in world.recorded.charges if key.line.component == names.AWS]
        # The refused one has a span only where the instrumentation is outside; its price is not one that is unknown.
        assert {line.status for line in calls} == ({names.ESTIMATED, names.FREE} if first else {names.ESTIMATED})


def test_a_boto3_call_reserves_what_the_rule_assumes_and_asks_the_rules_about_its_operation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = (
        _aws_rule(1.0, on_unpriced=ASSUME_USD, assume_usd=0.25),
        BudgetRule(name="s3", limit_usd=1.0, window=_MONTH, match=Match(operation=("s3.*",))),
        BudgetRule(name="put", limit_usd=1.0, window=_MONTH, match=Match(operation=("dynamodb.PutItem",))),
    )
    with _enforced(*rules, on=("aws",), region="us-east-1") as world:
        with _claims(world, monkeypatch) as claims:
            _put()
        assert [(claim.cell.rule, claim.usd) for claim in claims] == [("aws", 0.25), ("put", 0.0)]


def test_a_bedrock_model_is_an_llm_call_and_boto3_alone_does_not_guard_it() -> None:
    client = boto3.client("bedrock-runtime", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 75, "outputTokens": 100, "totalTokens": 175},
        "metrics": {"latencyMs": 1},
    }

    def converse() -> None:
        with Stubber(client) as stubber:
            stubber.add_response("converse", answer)
            client.converse(
                modelId="anthropic.claude-haiku-4-5-20251001-v1:0",
                messages=[{"role": "user", "content": [{"text": _TEXT}]}],
                inferenceConfig={"maxTokens": 100},
            )

    with _enforced(_rule(1e-9), on=("aws",)):
        converse()
    with _enforced(_rule(1e-9)), pytest.raises(BudgetExceeded, match="less than the call may cost"):
        converse()
    with _enforced(_rule(1.0)) as world:
        with world.tracer.start_as_current_span("request"):
            converse()
        assert _settled(world) > 0
        assert _settled(world) == pytest.approx(_spent(world), rel=1e-9)


# --- the worst case -------------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.text(max_size=200), max_size=5),
    limit=st.integers(1, 5000),
    answers=st.integers(1, 4),
)
def test_the_worst_case_grows_with_all_that_is_asked_and_is_never_below_four_characters_a_token(
    texts: list[str], limit: int, answers: int
) -> None:
    meter = _METER
    body = {"messages": [{"content": text} for text in texts], "max_completion_tokens": limit, "n": answers}
    found = worst_case(meter, "openai", "gpt-4o-mini", "chat", body, 10)
    least = sum(len(text) / 4 for text in texts) * _IN_USD + limit * answers * _OUT_USD
    assert found.usd is not None
    assert found.usd >= least
    more = worst_case(meter, "openai", "gpt-4o-mini", "chat", {**body, "tools": ["x" * 30]}, 10)
    assert more.usd is not None
    assert more.usd > found.usd


_METER = LlmMeter()


def test_the_worst_case_counts_images_caches_and_the_default_of_the_output() -> None:
    def usd(model: str, body: dict[str, Any], provider: str = "openai", operation: str = "chat") -> float:
        found = worst_case(_METER, provider, model, operation, body, 4096)
        assert found.usd is not None
        return found.usd

    assert usd("gpt-4o-mini", {}) == pytest.approx(4096 * _OUT_USD, rel=1e-9)
    assert usd("text-embedding-3-small", {"input": "x" * 295}, operation="embeddings") == pytest.approx(
        100 * 0.02e-6, rel=1e-9
    )
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    image = usd("gpt-4o-mini", {"c": [picture]}) - usd("gpt-4o-mini", {"c": []})
    assert image == pytest.approx(IMAGE_TOKENS * _IN_USD, rel=1e-3)
    plain = usd("claude-haiku-4-5", {"t": "x" * 2999, "max_tokens": 1}, "anthropic")
    assert plain == pytest.approx(-(-(3000 + 10 + 3) // 3) * _HAIKU_IN_USD + _HAIKU_OUT_USD, rel=1e-9)
    cached = {"t": "x" * 3000, "max_tokens": 1, "cache_control": {"type": "ephemeral"}}
    for_an_hour = {**cached, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert plain * 1.2 < usd("claude-haiku-4-5", cached, "anthropic") < plain * 1.3
    assert plain * 1.9 < usd("claude-haiku-4-5", for_an_hour, "anthropic") < plain * 2.1
    assert worst_case(_METER, "openai", "no-such-model", "chat", {}, 1).usd is None
    assert worst_case(_METER, "openai", "gpt-4o-mini-tts", "speech", {}, 1).usd is None


# --- the process as a whole -----------------------------------------------------------------------------------------

_PROGRAM = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
import spancost
from spancost.budgets.rules import BudgetRule
from spancost.budgets.windows import Window
rules = (BudgetRule(name="all", limit_usd=1e-9, window=Window("month")),) if {rules} else ()
config = spancost.load_config(environ={{}}, budget_rules=rules, budget_enforce={enforce}, budget_store="memory",
                              lease="off", detect=False)
spancost.install(config=config)
early = sorted(name for name in ("openai", "anthropic", "botocore", "wrapt") if name in sys.modules)
import openai, botocore.client
client = openai.OpenAI(base_url="http://127.0.0.1:9", api_key="none", max_retries=0)
def call():
    try:
        client.chat.completions.create(model="gpt-4o-mini", messages=[])
    except Exception as error:
        return type(error).__name__
first = call()
patched = hasattr(openai._base_client.SyncAPIClient.request, "_spancost_enforced")
boto = hasattr(botocore.client.BaseClient._make_api_call, "_spancost_enforced")
spancost.shutdown()
after = hasattr(openai._base_client.SyncAPIClient.request, "_spancost_enforced")
print(json.dumps([early, first, patched, boto, call(), after]))
"""


@pytest.mark.parametrize(
    ("rules", "on", "seen"),
    [
        pytest.param(True, "('llm',)", ["BudgetExceeded", True, True], id="on"),
        pytest.param(True, "()", ["APIConnectionError", False, False], id="off", marks=pytest.mark.long),
        pytest.param(
            False, "('llm',)", ["APIConnectionError", False, False], id="without budgets", marks=pytest.mark.long
        ),
    ],
)
def test_install_guards_clients_that_are_imported_later_and_shutdown_ends_it(
    rules: bool, on: str, seen: list[object]
) -> None:
    program = _PROGRAM.format(rules=rules, enforce=on)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    early, *found, after_call, after = json.loads(done.stdout)
    assert [name for name in early if name != "wrapt"] == []
    assert found == seen
    assert (after_call, after) == ("APIConnectionError", False)
