"""What a store that comes, goes, forgets or answers late does to budgets and guards."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from spancost import BudgetExceeded, add_usage, guard
from spancost.budgets.alert import FIRING
from spancost.budgets.reservation import Reservation
from spancost.budgets.rules import CLOSED, BudgetRule, RequestRule
from spancost.budgets.store import Changes, Claim, Delivery, Grant, OutboxEntry, StateRecord, StoreUnavailableError
from spancost.budgets.store_breaker import StoreBreaker
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.windows import Window
from spancost.testing import World, priced_provider
from tests.budgets.books import Books, Clock
from tests.spans import start

_DAY = Window("day")
_TENANTS = BudgetRule(name="tenants", limit_usd=1.0, window=_DAY, per=("tenant",))
_CUSTOM = BudgetRule(name="custom", limit_usd=1.0, window=_DAY)


class _Away(MemoryStore):
    """A store that is away while it is told to be."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.is_away_for_states = False
        self.asked = 0
        self.deliveries: list[Delivery] = []

    def exchange(self, delivery: Delivery | None, cursor: int) -> Changes:
        self._fail(self.is_away)
        if delivery is not None:
            self.deliveries.append(delivery)
        return super().exchange(delivery, cursor)

    def transition(self, after: StateRecord, alerts: Sequence[OutboxEntry] = ()) -> bool:
        self._fail(self.is_away or self.is_away_for_states)
        return super().transition(after, alerts)

    def reserve(self, lease: str, claims: Sequence[Claim], **more: Any) -> Grant:
        self._fail(self.is_away)
        return super().reserve(lease, claims, **more)

    def _fail(self, is_away: bool) -> None:
        self.asked += 1
        if is_away:
            raise StoreUnavailableError("away")


class _Deliverer:
    def __init__(self) -> None:
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1

    def flush(self, timeout_s: float) -> bool:
        return True

    def after_fork_in_child(self) -> None:
        self.wakes = 0


def _use(world: World, store: MemoryStore) -> None:
    with world.tracer.start_as_current_span("first"):
        pass
    book = world.engine.budgets
    assert book is not None
    book.store = store


def _spent(store: MemoryStore) -> float:
    return sum(sums.usd for _, sums in store.exchange(None, 0).cells)


@pytest.mark.parametrize("states_only", [False, True])
def test_a_store_that_is_away_is_waited_for_once_however_many_keys_have_something_to_tell(states_only: bool) -> None:
    store = _Away()
    shop = Books([_TENANTS], store)
    store.is_away, store.is_away_for_states = not states_only, states_only
    for tenant in range(50):
        shop.spend(2.0, tenant=f"t{tenant}")
    before = store.asked
    shop.book.tick()
    assert store.asked - before <= 2
    store.is_away = store.is_away_for_states = False
    shop.book.tick()
    assert {(alert.key, alert.status) for alert in shop.alerts()} == {(f"t{tenant}", FIRING) for tenant in range(50)}


def test_a_dear_request_that_was_seen_while_the_store_was_away_is_told_afterwards() -> None:
    store = _Away()
    shop = Books([RequestRule(name="dear", max_request_usd=0.25)], store)
    store.is_away = True
    shop.request(0.75, trace=0xBEEF)
    shop.request(0.5, trace=0xCAFE)
    shop.wait(5.0)
    store.is_away = False
    shop.wait(5.0)
    (alert,) = shop.alerts()
    assert (alert.rule, alert.value, alert.costliest_trace_id) == ("dear", 0.75, f"{0xBEEF:032x}")
    shop.wait(5.0)
    assert shop.alerts() == []


def test_what_an_emptied_store_no_longer_knows_is_no_longer_shown() -> None:
    store = _Away()
    shop = Books([_TENANTS], store)
    shop.spend(0.75, tenant="acme")
    assert shop.book.standing_of["tenants", "acme"].reading.spend.usd == 0.75
    store.after_fork_in_child()  # begins empty
    shop.wait(5.0)
    assert shop.book.standing_of["tenants", "acme"].reading.spend.usd == 0.0


def test_every_process_looks_for_alerts_that_another_has_made_since_that_may_have_been_killed() -> None:
    store, clock, deliverer = _Away(), Clock(), _Deliverer()
    winner = Books([_TENANTS], store, clock)
    other = Books([_TENANTS], store, clock, deliverer=deliverer)
    other.wait(5.0)
    assert deliverer.wakes == 0
    winner.spend(2.0, tenant="acme")
    other.wait(5.0)
    assert deliverer.wakes == 1
    newcomer = _Deliverer()
    Books([_TENANTS], store, clock, deliverer=newcomer).wait(5.0)
    assert newcomer.wakes == 1


def test_what_a_guarded_call_that_goes_on_has_cost_is_settled_at_the_end_of_the_process() -> None:
    store = _Away()
    with priced_provider(budget_rules=(_CUSTOM,), budget_store="memory") as world:
        _use(world, store)
        root = start(world.tracer, "request", kind=SpanKind.SERVER)
        with trace.use_span(root), guard("custom", reserve_usd=0.5):
            add_usage("work", 1, "unit", 0.25)
            world.engine.leave()
            assert _spent(store) == 0.25
            add_usage("work", 1, "unit", 0.125)
        root.end()
        world.engine.flush()
        assert _spent(store) == 0.375
        assert world.recorded.usd("custom") == 0.375


def test_reservations_that_end_while_the_store_is_away_become_sums_and_are_settled_once() -> None:
    store = _Away()
    with priced_provider(budget_rules=(_CUSTOM,), budget_store="memory") as world:
        _use(world, store)
        book = world.engine.budgets
        assert book is not None
        store.is_away = True
        with world.tracer.start_as_current_span("request"):
            for _ in range(1200):
                with guard("custom", reserve_usd=0.0):
                    add_usage("work", 1, "unit", 2.0**-12)
        assert not book.guards.settle()
        gc.collect()
        assert sum(type(one) is Reservation for one in gc.get_objects()) <= 2
        store.is_away = False
        world.engine.flush()
        assert _spent(store) == 1200 * 2.0**-12


def test_the_last_flush_tells_what_a_guard_has_settled() -> None:
    store = _Away()
    with priced_provider(budget_rules=(_CUSTOM,), budget_store="memory") as world:
        _use(world, store)
        with world.tracer.start_as_current_span("job"), guard("custom", reserve_usd=0.9):
            add_usage("work", 1, "unit", 2.0)
        world.engine.flush()
        assert [entry.id for entry in store.take_alerts("test", now=1e10, lease_s=1.0)]


def test_asking_writes_nothing() -> None:
    store = _Away()
    with priced_provider(budget_rules=(_CUSTOM,), budget_store="memory") as world:
        _use(world, store)
        assert guard("custom", 0.5).decide().is_allowed
        assert not guard("custom", 1.5).decide().is_allowed
        world.engine.flush()
        assert [one for one in store.deliveries if one.released] == []


class _TimeLimit(BaseException):
    pass


def test_a_time_limit_of_the_application_while_the_store_is_tried_again_shuts_no_guard_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = _Away()
    rule = BudgetRule(name="custom", limit_usd=1.0, window=_DAY, when_unavailable=CLOSED)
    with priced_provider(budget_rules=(rule,), budget_store="memory", reraise=False) as world:
        _use(world, store)
        book = world.engine.budgets
        assert book is not None
        moment = [0.0]
        monkeypatch.setattr(book.guards, "_breaker", StoreBreaker(clock=lambda: moment[0]))
        store.is_away = True
        for _ in range(3):
            with pytest.raises(BudgetExceeded), guard("custom", 0.5):
                pass
        moment[0] += 100.0
        with monkeypatch.context() as patch:
            patch.setattr(store, "reserve", _raise)
            with pytest.raises(_TimeLimit):
                guard("custom", 0.5).__enter__()
        store.is_away = False
        moment[0] += 100.0
        with guard("custom", 0.5) as decision:
            assert decision.is_allowed


def _raise(*_: Any, **__: Any) -> Grant:
    raise _TimeLimit
