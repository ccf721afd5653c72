from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import Context, copy_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from spancost import BudgetExceeded, add_usage, attribute, guard, names
from spancost.budgets.decision import (
    ALLOW,
    BREACHED_RULE,
    COVERED,
    EXHAUSTED,
    NO_BUDGET,
    REQUEST_LIMIT,
    RESERVED,
    THROTTLE,
    TOO_LITTLE,
    UNAVAILABLE,
    UNPRICED,
)
from spancost.budgets.rules import ASSUME_USD, BLOCK, CLOSED, OPEN, BudgetRule, Match, RequestRule, SpikeRule
from spancost.budgets.store import Grant, StoreUnavailableError
from spancost.budgets.windows import Window
from spancost.testing import World, priced_provider
from tests.spans import chat, chat_usd, start

_MONTH = Window("month")
_UNKNOWN = {"gen_ai.request.model": "no-such-model", "gen_ai.response.model": "no-such-model"}
_RULE = BudgetRule(name="llm", limit_usd=1.0, window=_MONTH, match=Match(component=("llm", "custom")))


def _world(*rules: Any, **settings: Any) -> Any:
    return priced_provider(budget_rules=rules or (_RULE,), budget_store="memory", **settings)


def _spent(world: World, rule: str = "llm", key: str = "") -> float:
    world.engine.flush()
    book = world.engine.budgets
    assert book is not None
    book.tick()
    standing = book.standing_of.get((rule, key))
    return 0.0 if standing is None else standing.reading.spend.usd


def _reserved(world: World) -> float:
    book = world.engine.budgets
    assert book is not None
    book.guards.settle()
    return sum(book.store.reserved(time.time()).values())


def _spend(world: World, usd: float) -> None:
    with world.tracer.start_as_current_span("earlier"):
        add_usage("work", 1, "unit", usd)
    world.engine.flush()


def test_a_call_that_fits_is_allowed_and_settled_with_what_it_really_cost() -> None:
    with _world() as world:
        with world.tracer.start_as_current_span("request"), guard("llm", reserve_usd=0.9) as decision:
            start(world.tracer, "chat", None, SpanKind.CLIENT, chat(1200, 250)).end()
            assert decision.action == ALLOW
            assert (decision.limit_usd, decision.reserve_usd, decision.remaining_usd) == (1.0, 0.9, 1.0)
            assert _reserved(world) == 0.9
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250), rel=1e-12)
        assert world.recorded.usd(names.LLM) == pytest.approx(chat_usd(1200, 250), rel=1e-12)


def test_the_settlement_reaches_the_store_at_once_and_the_flush_does_not_add_it_again() -> None:
    with _world() as world:
        root = start(world.tracer, "request", kind=SpanKind.SERVER)
        with trace.use_span(root), guard("llm", reserve_usd=0.5):
            add_usage("work", 1, "unit", 0.25)
        book = world.engine.budgets
        assert book is not None
        book.guards.settle()
        cells = book.store.exchange(None, 0).cells
        assert [sums.usd for cell, sums in cells if cell.rule == "llm"] == [0.25]
        root.end()
        assert _spent(world) == 0.25
        assert world.recorded.usd(names.CUSTOM) == 0.25


def test_the_thread_that_settles_ends_with_the_budgets() -> None:
    others = set(threading.enumerate())
    with _world():
        with guard("llm", reserve_usd=0.5):
            add_usage("work", 1, "unit", 0.25)
        (thread,) = [one for one in threading.enumerate() if one.name == "spancost-guards" and one not in others]
    thread.join(10)
    assert not thread.is_alive()


def test_rules_that_were_not_asked_get_the_charge_with_the_flush() -> None:
    other = BudgetRule(name="all", limit_usd=5.0, window=_MONTH)
    with _world(_RULE, other) as world:
        with world.tracer.start_as_current_span("request"), guard("llm", reserve_usd=0.5):
            add_usage("work", 1, "unit", 0.25)
        assert _spent(world) == 0.25
        assert _spent(world, "all") == 0.25


def test_what_does_not_fit_is_refused_with_the_reason_and_when_to_come_again() -> None:
    with _world() as world:
        _spend(world, 0.75)
        with pytest.raises(BudgetExceeded, match="less than the call may cost") as refused, guard("llm", 0.5):
            pass
        decision = refused.value.decision
        assert (decision.reason, decision.rule, decision.spent_usd, decision.limit_usd) == (
            TOO_LITTLE,
            "llm",
            0.75,
            1.0,
        )
        assert decision.retry_after_s is not None
        assert 0 < decision.retry_after_s <= 31 * 86_400
        _spend(world, 0.25)
        assert guard("llm", 0.0).decide().reason == EXHAUSTED
        assert guard("llm").decide().reason == EXHAUSTED  # and now without asking the store


def test_what_others_have_reserved_counts_until_it_is_settled() -> None:
    with _world() as world, world.tracer.start_as_current_span("request"), guard("llm", 0.75):
        decision = Context().run(guard("llm", 0.5).decide)  # somebody else's: this one has the money reserved
        assert (decision.reason, decision.reserved_usd, decision.is_allowed) == (RESERVED, 0.75, False)
        assert Context().run(guard("llm", 0.25).decide).is_allowed
    # Left without a charge: nothing stays reserved.
    with _world() as world:
        with world.tracer.start_as_current_span("request"), pytest.raises(RuntimeError), guard("llm", 0.75):
            raise RuntimeError
        assert _reserved(world) == 0.0
        assert _spent(world) == 0.0


def test_a_stream_that_outlives_the_guard_is_settled_when_it_ends() -> None:
    with _world() as world:
        with world.tracer.start_as_current_span("request"):
            with guard("llm", reserve_usd=0.9):
                stream = start(world.tracer, "chat", None, SpanKind.CLIENT)
            assert _reserved(world) == 0.9
            assert not guard("llm", 0.5).decide().is_allowed
            stream.set_attributes(chat(1200, 250))
            stream.end()
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250), rel=1e-12)


def test_a_call_without_a_parent_and_usage_without_a_span_are_settled_too() -> None:
    with _world() as world:
        with guard("llm", reserve_usd=0.5):
            start(world.tracer, "chat", None, SpanKind.CLIENT, chat(1200, 250)).end()
            add_usage("work", 1, "unit", 0.125)
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250) + 0.125, rel=1e-12)


def test_a_span_that_ends_after_its_request_is_settled_once() -> None:
    with _world() as world:
        root = start(world.tracer, "request", kind=SpanKind.SERVER)
        with trace.use_span(root), guard("llm", reserve_usd=0.5):
            late = start(world.tracer, "chat", root, SpanKind.CLIENT, chat(1200, 250))
        root.end()
        world.engine.flush()
        late.end()
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250), rel=1e-12)


def test_an_inner_view_of_a_call_that_is_charged_outside_of_the_guard_keeps_the_reservation() -> None:
    with _world() as world:
        outer = start(world.provider.get_tracer("framework"), "chat", None, SpanKind.CLIENT, chat(0, 0))
        with guard("llm", reserve_usd=0.5):
            start(world.provider.get_tracer("openai"), "chat", outer, SpanKind.CLIENT, chat(1200, 250)).end()
        assert _reserved(world) == 0.5
        outer.end()
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250), rel=1e-12)


def test_guards_inside_each_other_settle_each_rule_once() -> None:
    both = BudgetRule(name="all", limit_usd=5.0, window=_MONTH)
    with _world(_RULE, both) as world:
        with guard("all", 2.0), guard("llm", 0.5), guard("all", 1.0):
            start(world.tracer, "chat", None, SpanKind.CLIENT, chat(1200, 250)).end()
        assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250), rel=1e-12)
        assert _spent(world, "all") == pytest.approx(chat_usd(1200, 250), rel=1e-12)


def test_a_scope_asks_every_budget_that_may_be_about_the_call() -> None:
    rules = (
        BudgetRule(name="gpt", limit_usd=1.0, window=_MONTH, match=Match(model=("gpt-*",))),
        BudgetRule(name="aws", limit_usd=1e-6, window=_MONTH, match=Match(component=("aws",))),
        BudgetRule(name="acme", limit_usd=0.1, window=_MONTH, match=Match(tenant=("acme",))),
    )
    with _world(*rules):
        assert guard("llm", 0.5).decide().rule == "acme"  # it is not known whose call it is: it may be theirs
        assert guard("llm", 0.5, tenant="other").decide().is_allowed
        assert guard("llm", 2.0, tenant="other", model="claude-3").decide().reason == NO_BUDGET
        with attribute(tenant="acme"):
            decision = guard("*", 0.01, model="gpt-4o").decide()
        assert (decision.rule, decision.reason) == ("aws", TOO_LITTLE)


def test_a_split_budget_is_asked_for_the_tenant_of_the_work() -> None:
    rule = BudgetRule(name="tenants", limit_usd=1.0, window=_MONTH, per=("tenant",))
    with _world(rule) as world:
        with world.tracer.start_as_current_span("request"), attribute(tenant="acme"):
            with guard("tenants", 0.75):
                add_usage("work", 1, "unit", 0.75)
            assert guard("tenants", 0.5).decide().key == "acme"
        assert _spent(world, "tenants", "acme") == 0.75
        assert not guard("tenants", 0.5, tenant="acme").decide().is_allowed
        assert guard("tenants", 0.5, tenant="globex").decide().is_allowed


def test_near_the_limit_calls_are_delayed_more_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = BudgetRule(name="llm", limit_usd=1.0, window=_MONTH, throttle_from=0.5, throttle_delay_s=2.0)
    waited: list[float] = []
    with _world(rule) as world:
        _spend(world, 0.25)
        assert guard("llm", 0.125).decide().action == ALLOW
        monkeypatch.setattr("spancost.budget_guard.time.sleep", waited.append)
        with guard("llm", 0.5) as decision:
            assert (decision.action, decision.delay_s) == (THROTTLE, 1.0)
    assert waited == [1.0]


def test_without_a_price_a_guard_reserves_what_is_assumed_or_does_as_it_was_told() -> None:
    assuming = BudgetRule(name="a", limit_usd=1.0, window=_MONTH, on_unpriced=ASSUME_USD, assume_usd=0.25)
    with _world(assuming), guard("a") as decision:
        assert decision.reserve_usd == 0.25
    with _world(BudgetRule(name="a", limit_usd=1.0, window=_MONTH, when_unavailable=CLOSED)):
        assert guard("a").decide().reason == UNPRICED
    with _world(BudgetRule(name="a", limit_usd=1.0, window=_MONTH, when_unavailable=OPEN)), guard("a") as decision:
        assert decision.reserve_usd == 0.0


def test_a_charge_without_a_price_under_a_guard_counts_as_the_rule_says() -> None:
    assuming = BudgetRule(
        name="a", limit_usd=1.0, window=_MONTH, match=Match(component=("llm",)), on_unpriced=ASSUME_USD, assume_usd=0.25
    )
    blocking = BudgetRule(name="b", limit_usd=1.0, window=_MONTH, match=Match(component=("llm",)), on_unpriced=BLOCK)
    with _world(assuming, blocking) as world:
        with guard("*", 0.5):
            start(world.tracer, "chat", None, SpanKind.CLIENT, chat(12, 2) | _UNKNOWN).end()
        assert _spent(world, "a") == 0.25
        assert guard("b", 0.01).decide().reason == UNPRICED


def test_a_request_that_has_cost_too_much_may_spend_no_more() -> None:
    with _world(RequestRule(name="dear", max_request_usd=0.5)) as world:
        with world.tracer.start_as_current_span("request"):
            add_usage("work", 1, "unit", 0.4)
            assert guard("*", 0.05).decide().reason == NO_BUDGET
            with pytest.raises(BudgetExceeded) as refused, guard("dear", 0.2):
                pass
        assert (refused.value.decision.reason, refused.value.retry_after_s) == (REQUEST_LIMIT, None)


def test_a_rule_that_is_no_budget_refuses_while_it_is_breached(monkeypatch: pytest.MonkeyPatch) -> None:
    with _world(SpikeRule(name="spike")) as world:
        _spend(world, 0.1)
        assert guard("spike").decide().is_allowed
        book = world.engine.budgets
        assert book is not None
        standing = book.standing_of["spike", ""]
        from dataclasses import replace

        breached = standing._replace(state=replace(standing.state, state="breached"))
        monkeypatch.setattr(book, "last_standing", lambda *_: breached)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        assert guard("spike").decide().reason == BREACHED_RULE


@pytest.mark.parametrize(("choice", "is_allowed"), [(OPEN, True), (CLOSED, False)])
def test_when_the_store_cannot_answer_a_guard_does_as_it_was_told(
    choice: str, is_allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = BudgetRule(name="llm", limit_usd=1.0, window=_MONTH, when_unavailable=choice)
    with _world(rule) as world:
        _spend(world, 0.25)
        book = world.engine.budgets
        assert book is not None
        asked: list[str] = []

        def reserve(*_: Any, **__: Any) -> Grant:
            asked.append("")
            raise StoreUnavailableError("away")

        monkeypatch.setattr(book.store, "reserve", reserve)
        for _ in range(10):
            decision = guard("llm", 0.5).decide()
            assert decision.is_allowed == is_allowed
            if not is_allowed:
                assert decision.reason == UNAVAILABLE
        assert len(asked) == 3  # then the breaker answers, and nobody waits
        # What this process knows to be spent is refused whatever the choice.
        _spend(world, 1.0)
        book.tick()
        assert not guard("llm", 0.0).decide().is_allowed


def test_while_the_store_is_away_a_guarded_call_is_still_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with _world() as world:
        _spend(world, 0.25)
        book = world.engine.budgets
        assert book is not None

        def away(*_: Any, **__: Any) -> Grant:
            raise StoreUnavailableError("away")

        with monkeypatch.context() as patch:
            patch.setattr(book.store, "reserve", away)
            with guard("llm", 0.5):
                add_usage("work", 1, "unit", 0.125)
        assert _spent(world) == 0.375


def test_unknown_scopes_and_impossible_values_are_refused_with_what_is_accepted() -> None:
    with _world():
        with pytest.raises(ValueError, match="did you mean 'llm'"):
            guard("lm", 0.1).decide()
        with pytest.raises(ValueError, match="zero or more"):
            guard("llm", -1.0)
        with pytest.raises(ValueError, match="zero or more"):
            guard("llm", float("nan"))
        with pytest.raises(ValueError, match="did you mean 'tenant'"):
            guard("llm", 1.0, tenent="acme")
        with pytest.raises(ValueError, match="name of a rule"):
            guard("")


def test_without_budgets_everything_is_allowed() -> None:
    with priced_provider(), guard("anything", 1.0) as decision:
        assert decision.reason == NO_BUDGET


def test_a_decision_is_plain_json_and_explains_itself() -> None:
    with _world():
        told = guard("llm", 2.0).decide()
    assert told.as_dict()["explanation"] == "llm: What is left is less than the call may cost."
    assert told.as_dict()["remaining_usd"] == 1.0


# --- as a decorator, in tasks and threads ---------------------------------------------------------------------------


def test_functions_coroutines_and_generators_can_be_decorated() -> None:
    @guard("llm", 0.5)
    def call() -> str:
        add_usage("work", 1, "unit", 0.0625)
        return "done"

    @guard("llm", 0.5)
    async def task() -> str:
        await asyncio.sleep(0)
        add_usage("work", 1, "unit", 0.0625)
        return "done"

    @guard("llm", 0.5)
    def steps() -> Generator[int]:
        for number in range(2):
            add_usage("work", 1, "unit", 0.03125)
            yield number

    @guard("llm", 0.5)
    async def async_steps() -> AsyncGenerator[int]:
        for number in range(2):
            add_usage("work", 1, "unit", 0.03125)
            yield number

    async def consume() -> list[int]:
        return [number async for number in async_steps()]

    with _world() as world:
        assert call() == "done"
        assert asyncio.run(task()) == "done"
        assert list(steps()) == [0, 1]
        assert asyncio.run(consume()) == [0, 1]
        assert _reserved(world) == 0.0
        assert _spent(world) == 0.25


def test_between_the_steps_of_a_guarded_generator_its_consumer_is_not_guarded() -> None:
    @guard("llm", 0.5)
    def steps() -> Generator[None]:
        yield

    with _world() as world:
        for _ in steps():
            add_usage("work", 1, "unit", 0.125)
            assert _reserved(world) == 0.5
            book = world.engine.budgets
            assert book is not None
        assert _reserved(world) == 0.0
        assert _spent(world) == 0.125


def test_concurrent_calls_never_go_beyond_the_limit() -> None:
    rule = BudgetRule(name="llm", limit_usd=1.0, window=_MONTH, when_unavailable=CLOSED)
    allowed: list[float] = []

    def call(_: int) -> None:
        try:
            with guard("llm", 0.05):
                add_usage("work", 1, "unit", 0.03)
                allowed.append(0.03)
        except BudgetExceeded:
            pass

    with _world(rule) as world:
        _spend(world, 0.0)
        with ThreadPoolExecutor(16) as pool:
            for number in range(400):
                pool.submit(copy_context().run, call, number)
        spent = _spent(world)
        assert spent == pytest.approx(sum(allowed), rel=1e-9)
        assert 0.5 < spent <= 1.0 + 1e-9


def test_sixty_four_tasks_never_go_beyond_the_limit() -> None:
    rule = BudgetRule(name="llm", limit_usd=0.5, window=_MONTH, when_unavailable=CLOSED)
    allowed: list[float] = []

    async def call() -> None:
        try:
            async with guard("llm", 0.05):
                await asyncio.sleep(0.001)
                add_usage("work", 1, "unit", 0.03)
                allowed.append(0.03)
        except BudgetExceeded:
            pass

    async def all_of_them() -> None:
        for _ in range(3):
            await asyncio.gather(*(call() for _ in range(64)))

    with _world(rule) as world:
        asyncio.run(all_of_them())
        assert _spent(world) == pytest.approx(sum(allowed), rel=1e-9)
        assert 0.2 < sum(allowed) <= 0.5 + 1e-9


def test_a_task_that_is_cancelled_while_it_asks_leaves_nothing_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    with _world() as world:
        _spend(world, 0.0)
        book = world.engine.budgets
        assert book is not None
        entered, go_on, granted = threading.Event(), threading.Event(), threading.Event()
        reserve = book.store.reserve

        def slowly(*args: Any, **more: Any) -> Grant:
            entered.set()
            go_on.wait(10)
            try:
                return reserve(*args, **more)
            finally:
                granted.set()

        monkeypatch.setattr(book.store, "reserve", slowly)

        async def call() -> None:
            async with guard("llm", 0.5):
                pytest.fail("nobody may come here")

        async def cancelled() -> None:
            asking = asyncio.create_task(call())
            await asyncio.to_thread(entered.wait, 10)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            go_on.set()
            await asyncio.to_thread(granted.wait, 10)
            while _reserved(world):
                await asyncio.sleep(0.001)

        asyncio.run(cancelled())
        assert _reserved(world) == 0.0


def test_a_guard_that_is_left_in_another_context_reserves_nothing_any_more() -> None:
    with _world() as world:
        shared = guard("llm", reserve_usd=0.25)
        with shared:
            Context().run(shared.__enter__)  # as a web framework runs both halves of a generator in its threads
            with ThreadPoolExecutor(1) as pool:
                assert _reserved(world) == 0.5
                pool.submit(shared.__exit__, None, None, None).result()
            assert _reserved(world) == 0.25
            add_usage("work", 1, "unit", 0.125)
        assert _reserved(world) == 0.0
        shared.__exit__(None, None, None)  # once too often
        assert _spent(world) == 0.125


def test_a_guard_and_the_charges_of_a_tenant_with_an_odd_name_meet_in_one_key_that_can_be_written_everywhere() -> None:
    rule = BudgetRule(name="llm", limit_usd=1.0, window=_MONTH, per=("tenant",))
    name = "\ud800" + "x" * 300
    with _world(rule) as world:
        with attribute(tenant=name), world.tracer.start_as_current_span("request"):
            add_usage("work", 1, "unit", 0.5)
        assert _spent(world, key="?" + "x" * 199) == 0.5
        decision = guard("llm", 0.75, tenant=name).decide()
        assert (decision.is_allowed, decision.spent_usd, decision.key) == (False, 0.5, "?" + "x" * 199)


def test_what_a_guard_did_not_know_is_settled_with_the_rules_and_keys_that_the_charges_say() -> None:
    rules = (
        BudgetRule(name="acme", limit_usd=1.0, window=_MONTH, match=Match(tenant=("acme",))),
        BudgetRule(name="tenants", limit_usd=1.0, window=_MONTH, per=("tenant",)),
        BudgetRule(name="both", limit_usd=1.0, window=_MONTH, per=("tenant", "model")),
        BudgetRule(name="all", limit_usd=1.0, window=_MONTH),
    )
    with _world(*rules) as world:
        with world.tracer.start_as_current_span("request"):
            with guard("*", reserve_usd=0.5), attribute(tenant="bob"):
                add_usage("work", 1, "unit", 0.25)
            with guard("*", reserve_usd=0.25, tenant="acme"):  # that is not said elsewhere
                add_usage("work", 1, "unit", 0.125)
                start(world.tracer, "chat", None, SpanKind.CLIENT, chat(1200, 250)).end()
        usd = chat_usd(1200, 250)
        assert _spent(world, "tenants", "bob") == 0.25
        assert _spent(world, "tenants", "(none)") == 0.0
        assert _spent(world, "acme") == pytest.approx(0.125 + usd, rel=1e-12)
        assert _spent(world, "tenants", "acme") == pytest.approx(0.125 + usd, rel=1e-12)
        assert _spent(world, "both", "bob | (none)") == 0.25
        assert _spent(world, "both", "acme | (none)") == 0.125
        assert _spent(world, "both", "acme | gpt-5-mini") == pytest.approx(usd, rel=1e-12)
        assert _spent(world, "all") == pytest.approx(0.375 + usd, rel=1e-12)
        assert _reserved(world) == 0.0


def test_a_guard_asks_the_key_of_its_component_and_of_its_process() -> None:
    rule = BudgetRule(name="parts", limit_usd=1.0, window=_MONTH, per=("service", "component"))
    with priced_provider(budget_rules=(rule,), budget_store="memory", resource={"service.name": "shop"}) as world:
        with world.tracer.start_as_current_span("request"):
            add_usage("work", 1, "unit", 1.0)
        world.engine.flush()
        decision = guard(names.CUSTOM, 0.5).decide()
        assert (decision.reason, decision.key) == (EXHAUSTED, "shop | custom")
        assert guard(names.LLM, 0.5).decide().is_allowed


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "acme", "bob"]), st.sampled_from(["", "acme", "bob"]), st.integers(1, 64)),
        min_size=1,
        max_size=8,
    )
)
def test_every_charge_is_in_each_budget_once_whatever_its_guard_knew(calls: list[tuple[str, str, int]]) -> None:
    part = Match(component=("custom",))
    rules = (
        BudgetRule(name="all", limit_usd=100.0, window=_MONTH, match=part),
        BudgetRule(name="tenants", limit_usd=100.0, window=_MONTH, match=part, per=("tenant",)),
    )
    with _world(*rules) as world:
        for said, spent_by, parts in calls:
            known = {"tenant": said} if said else {}
            with world.tracer.start_as_current_span("request"), guard("*", reserve_usd=1.0, **known):
                whose = attribute(tenant=spent_by) if spent_by else nullcontext()
                with whose, guard("tenants", reserve_usd=0.5):
                    add_usage("work", 1, "unit", parts / 64)
        spent = sum(parts for _, _, parts in calls) / 64
        assert _spent(world, "all") == spent
        book = world.engine.budgets
        assert book is not None
        found = [one.reading.spend for one in book.standings if one.rule.name == "tenants"]
        assert sum(one.usd for one in found) == spent
        assert sum(one.calls for one in found) == len(calls)


def test_a_budget_of_a_route_is_asked_while_the_route_of_the_request_is_not_known_yet() -> None:
    rule = BudgetRule(name="chats", limit_usd=1.0, window=_MONTH, match=Match(route=("/chat/*",)))
    with _world(rule) as world:
        for route, spent in (("/chat/{id}", 0.25), ("/other", 0.25)):
            request = start(world.tracer, "GET", None, SpanKind.SERVER, {"http.request.method": "GET"})
            with trace.use_span(request):
                assert guard("*", 2.0).decide().reason == TOO_LITTLE
                with guard("*", reserve_usd=0.5):
                    add_usage("work", 1, "unit", 0.25)
                request.set_attribute("http.route", route)
                assert guard("*", 2.0).decide().reason == (TOO_LITTLE if route == "/chat/{id}" else NO_BUDGET)
            request.end()
            assert _spent(world, "chats") == spent


def test_a_call_inside_a_guarded_block_uses_what_the_block_has_reserved() -> None:
    with _world() as world:
        with world.tracer.start_as_current_span("request"):
            with guard("llm", 0.75) as outer:
                assert outer.reserve_usd == 0.75
                with guard("llm", 0.5) as inner:
                    assert (inner.action, inner.reason) == (ALLOW, COVERED)
                    add_usage("work", 1, "unit", 0.25)
                    with pytest.raises(BudgetExceeded), guard("llm", 0.5):  # 0.5 are promised to the one around it
                        pass
                with guard("llm", 0.5) as second:  # 0.25 of 0.75 are spent
                    assert second.reason == COVERED
                    add_usage("work", 1, "unit", 0.25)
                assert _reserved(world) == 0.75
                assert guard("llm", 0.25).decide().reason == COVERED
                assert not guard("llm", 0.5).decide().is_allowed
            assert _reserved(world) == 0.0
        assert _spent(world) == 0.5


def test_a_covered_call_that_outlives_its_block_keeps_the_reservation_of_the_block() -> None:
    with _world() as world:
        with world.tracer.start_as_current_span("request"):
            with guard("llm", 0.75), guard("llm", 0.5):
                stream = start(world.tracer, "chat", None, SpanKind.CLIENT)
            assert _reserved(world) == 0.75
            stream.set_attributes(chat(1200, 250))
            stream.end()
            assert _reserved(world) == 0.0
        assert _spent(world) == pytest.approx(chat_usd(1200, 250), rel=1e-12)


def test_a_spent_budget_says_when_its_window_ends_also_when_the_store_is_not_asked() -> None:
    with _world() as world:
        _spend(world, 1.0)
        first, second = guard("llm", 0.0).decide(), guard("llm", 0.0).decide()
        assert first.retry_after_s is not None
        assert second.retry_after_s is not None
        assert first.retry_after_s >= second.retry_after_s > first.retry_after_s - 60.0


def test_usage_of_a_stream_that_outlives_its_guard_is_settled_with_it() -> None:
    with _world() as world:
        with guard("llm", reserve_usd=0.75):
            stream = start(world.tracer, "stream", None, SpanKind.CLIENT)
        with trace.use_span(stream):
            add_usage("work", 1, "unit", 0.25)
        world.engine.flush()
        book = world.engine.budgets
        assert book is not None
        assert sum(sums.usd for _, sums in book.store.exchange(None, 0).cells) == 0.0  # not beside what is reserved
        assert _reserved(world) == 0.75
        stream.end()
        assert _reserved(world) == 0.0
        assert _spent(world) == 0.25
