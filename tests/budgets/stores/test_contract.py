"""What every store does, whatever it keeps its content in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from spancost.budgets.store import (
    MAX_ALERTS,
    STATE_AGE_S,
    WARNING,
    Cell,
    Claim,
    Delivery,
    OutboxEntry,
    StateRecord,
    Store,
    Sums,
)
from spancost.budgets.stores.memory import MemoryStore

NOW = 1_800_000_000.0
JULY = Cell("monthly", 0, "acme", 1000)
AUGUST = Cell("monthly", 0, "acme", 2000)
STATE = StateRecord("monthly", "acme", state=WARNING, level=1, period_start=1000, since=NOW, episode="e1", version=1)


def wants(usd: float, *, limit: float = 10.0, cell: Cell = JULY, first: int = 0) -> Claim:
    return Claim(cell, first, limit, usd)


def spends(number: int, usd: float, *released: str, cell: Cell = JULY, writer: str = "w") -> Delivery:
    return Delivery(writer, number, {cell: Sums(usd, 0.0, 0, 1)}, released)


def test_a_delivery_adds_to_what_others_have_added(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    one.exchange(Delivery("a", 1, {JULY: Sums(1.5, 0.5, 2, 3)}), 0)
    changes = other.exchange(Delivery("b", 1, {JULY: Sums(0.25, 0.25, 1, 1), AUGUST: Sums(4.0, 0.0, 0, 1)}), 0)
    assert dict(changes.cells) == {JULY: Sums(1.75, 0.75, 3, 4), AUGUST: Sums(4.0, 0.0, 0, 1)}
    assert not changes.is_reset


def test_a_delivery_that_is_sent_again_counts_once(new_store: Callable[[], Store]) -> None:
    first, after_lost_reply = new_store(), new_store()
    for _ in range(3):
        first.exchange(spends(1, 2.0), 0)
    assert dict(after_lost_reply.exchange(spends(1, 2.0), 0).cells) == {JULY: Sums(2.0, 0.0, 0, 1)}
    first.exchange(spends(2, 1.0), 0)
    assert dict(first.exchange(spends(1, 2.0), 0).cells) == {JULY: Sums(3.0, 0.0, 0, 2)}


def test_what_changed_is_told_once(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    first = one.exchange(spends(1, 2.0), 0)
    assert other.transition(STATE)
    second = one.exchange(None, first.cursor)
    assert (list(second.cells), list(second.states), second.is_reset) == ([], [STATE], False)
    other.exchange(spends(1, 3.0, cell=AUGUST, writer="other"), 0)
    third = one.exchange(None, second.cursor)
    assert (dict(third.cells), list(third.states)) == ({AUGUST: Sums(3.0, 0.0, 0, 1)}, [])
    fourth = one.exchange(None, third.cursor)
    assert (list(fourth.cells), list(fourth.states), fourth.cursor) == ([], [], third.cursor)


def test_much_is_told_completely(store: Store) -> None:
    adds = {Cell("r", 1, f"tenant {number}", 60 * number): Sums(number / 8, 0.0, 0, 1) for number in range(4500)}
    assert dict(store.exchange(Delivery("w", 1, adds), 0).cells) == adds


def test_keys_may_be_any_text(store: Store) -> None:
    keys = ["", "a:b/c{d}", "x\x1fy", "Größe 🦊", "line\nbreak", "nul\0", "'; DROP TABLE cells; --", "%s *?["]
    adds = {Cell("r", 0, key, 60): Sums(1.0, 0.0, 0, 1) for key in keys}
    assert dict(store.exchange(Delivery("w", 1, adds), 0).cells) == adds
    for key in keys:
        assert store.transition(replace(STATE, rule="r", key=key))
        assert store.reserve(f"lease {key}", [wants(2.0, cell=Cell("r", 0, key, 60))], now=1, expires_at=9).is_granted
    assert store.reserved(2) == {("r", key): 2.0 for key in keys}
    assert {state.key for state in store.exchange(None, 0).states} == set(keys)


def test_a_text_that_is_not_unicode_does_not_stop_the_rest(store: Store) -> None:
    store.exchange(Delivery("w", 1, {Cell("r", 0, "a\ud800", 60): Sums(1.0), JULY: Sums(2.0)}), 0)
    assert dict(store.exchange(None, 0).cells)[JULY] == Sums(2.0)


def test_many_small_amounts_add_up(store: Store) -> None:
    for number in range(1, 301):
        store.exchange(spends(number, 0.000_001), 0)
    (sums,) = dict(store.exchange(None, 0).cells).values()
    assert sums.usd == pytest.approx(0.0003, rel=1e-12)
    assert sums.calls == 300


def test_a_cursor_of_another_content_starts_anew(store: Store) -> None:
    elsewhere = MemoryStore().exchange(spends(1, 9.0), 0)
    store.exchange(spends(1, 2.0), 0)
    changes = store.exchange(None, elsewhere.cursor)
    assert changes.is_reset
    assert dict(changes.cells) == {JULY: Sums(2.0, 0.0, 0, 1)}
    assert not store.exchange(None, changes.cursor).is_reset


def test_of_two_processes_one_makes_a_transition(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    assert one.transition(STATE, [OutboxEntry("one", "{}")])
    assert not other.transition(STATE, [OutboxEntry("other", "{}")])
    assert not other.transition(replace(STATE, version=3))
    assert other.transition(replace(STATE, version=2, level=2))
    assert list(one.exchange(None, 0).states) == [replace(STATE, version=2, level=2)]
    assert [entry.id for entry in one.take_alerts("w", now=NOW, lease_s=60)] == ["one"]


def test_only_one_of_many_threads_makes_a_transition(new_store: Callable[[], Store]) -> None:
    stores = [new_store() for _ in range(4)]
    won: list[int] = []
    gate = threading.Barrier(8)

    def race(number: int) -> None:
        gate.wait(10)
        if stores[number % 4].transition(STATE, [OutboxEntry(str(number), "{}")]):
            won.append(number)

    run_all([threading.Thread(target=race, args=(number,)) for number in range(8)])
    assert len(won) == 1
    assert [entry.id for entry in stores[0].take_alerts("w", now=NOW, lease_s=60)] == [str(won[0])]


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_what_is_spent_and_reserved_stays_below_the_limit(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    one.exchange(spends(1, 4.0), 0)
    grant = one.reserve("a", [wants(4.0)], now=NOW, expires_at=NOW + 60)
    assert grant.is_granted
    assert grant.standings[0] == (4.0, 0.0, 0)
    refused = other.reserve("b", [wants(2.5)], now=NOW, expires_at=NOW + 60)
    assert not refused.is_granted
    assert refused.standings[0] == (4.0, 4.0, 0)
    assert other.reserve("c", [wants(2.0)], now=NOW, expires_at=NOW + 60).is_granted  # exactly at the limit
    assert one.reserved(NOW) == {("monthly", "acme"): 6.0}
    asked = other.reserve("d", [wants(0.0)], now=NOW, expires_at=NOW + 60)
    assert asked.is_granted
    assert asked.standings[0] == (4.0, 6.0, 0)


def test_a_settlement_turns_a_reservation_into_money_spent(store: Store) -> None:
    assert store.reserve("a", [wants(6.0)], now=NOW, expires_at=NOW + 60).is_granted
    for _ in range(2):
        store.exchange(spends(1, 5.0, "a", "never heard of"), 0)
    assert store.reserved(NOW) == {}
    grant = store.reserve("b", [wants(5.0)], now=NOW, expires_at=NOW + 60)
    assert (grant.is_granted, grant.standings[0].spent_usd) == (True, 5.0)


def test_only_the_slots_that_count_are_spent(store: Store) -> None:
    adds = {Cell("r", 1, "k", slot): Sums(1.0, 0.0, 2, 1) for slot in (60, 120, 180)}
    adds[Cell("r", 2, "k", 180)] = adds[Cell("r", 1, "other", 180)] = Sums(100.0, 0.0, 9, 1)
    store.exchange(Delivery("w", 1, adds), 0)
    cell = Cell("r", 1, "k", 240)
    for first, spent in ((0, 3.0), (60, 3.0), (61, 2.0), (180, 1.0), (181, 0.0)):
        grant = store.reserve("l", [wants(0.0, cell=cell, first=first)], now=NOW, expires_at=NOW + 1)
        assert grant.standings[0] == (spent, 0.0, 2 * spent)


def test_all_claims_are_granted_or_none(store: Store) -> None:
    other = Cell("daily", 0, "", 500)
    claims = [wants(4.0), wants(4.0, limit=3.0, cell=other)]
    assert not store.reserve("a", claims, now=NOW, expires_at=NOW + 60).is_granted
    assert store.reserved(NOW) == {}
    claims = [wants(4.0), wants(4.0, limit=4.0, cell=other)]
    assert store.reserve("a", claims, now=NOW, expires_at=NOW + 60).is_granted
    assert store.reserved(NOW) == {("monthly", "acme"): 4.0, ("daily", ""): 4.0}
    store.exchange(Delivery("w", 1, {}, ("a",)), 0)
    assert store.reserved(NOW) == {}


def test_two_claims_about_the_same_key_count_together(store: Store) -> None:
    claims = [wants(3.0), wants(3.0, cell=AUGUST)]
    assert not store.reserve("a", [*claims, wants(5.0)], now=NOW, expires_at=NOW + 60).is_granted
    assert store.reserve("a", claims, now=NOW, expires_at=NOW + 60).is_granted
    assert store.reserved(NOW) == {("monthly", "acme"): 6.0}


def test_a_reservation_that_is_asked_for_again_counts_once(store: Store) -> None:
    for _ in range(2):
        grant = store.reserve("a", [wants(8.0)], now=NOW, expires_at=NOW + 60)
        assert grant.is_granted
        assert grant.standings[0].reserved_usd == 0.0
    assert store.reserved(NOW) == {("monthly", "acme"): 8.0}


def test_a_reservation_expires_unless_it_is_renewed(store: Store) -> None:
    assert store.reserve("a", [wants(5.0)], now=NOW, expires_at=NOW + 10).is_granted
    assert store.reserve("b", [wants(5.0)], now=NOW, expires_at=NOW + 10).is_granted
    store.renew(["a", "unknown"], NOW + 20)
    store.renew(["a"], NOW + 5)  # never shorter
    assert store.reserved(NOW + 9.5) == {("monthly", "acme"): 10.0}
    assert store.reserved(NOW + 10) == {("monthly", "acme"): 5.0}
    assert not store.reserve("c", [wants(5.5)], now=NOW + 11, expires_at=NOW + 60).is_granted
    assert store.reserve("c", [wants(5.0)], now=NOW + 11, expires_at=NOW + 60).is_granted
    assert store.reserve("d", [wants(5.0)], now=NOW + 20, expires_at=NOW + 60).is_granted


def test_an_alert_is_taken_by_one_worker_at_a_time(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    one.transition(STATE, [OutboxEntry(str(number), f'{{"n":{number}}}') for number in range(5)])
    assert one.take_alerts("one", now=NOW, lease_s=60, limit=2) == [
        OutboxEntry("0", '{"n":0}', 0),
        OutboxEntry("1", '{"n":1}', 0),
    ]
    assert [entry.id for entry in other.take_alerts("other", now=NOW, lease_s=60)] == ["2", "3", "4"]
    assert one.take_alerts("one", now=NOW + 59, lease_s=60) == []
    one.finish_alert("0")
    other.finish_alert("3")
    other.postpone_alert("2", NOW + 300)
    other.postpone_alert("4", NOW + 5)
    other.postpone_alert("unknown", NOW)
    assert [entry[::2] for entry in one.take_alerts("one", now=NOW + 5, lease_s=60)] == [("4", 1)]
    assert [entry[::2] for entry in one.take_alerts("one", now=NOW + 60, lease_s=1000)] == [("1", 1)]
    assert [entry[::2] for entry in one.take_alerts("one", now=NOW + 300, lease_s=10)] == [("2", 1), ("4", 2)]


def test_an_alert_never_overtakes_an_earlier_one_of_its_episode_and_channel(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    ids = ["e1.1.3.firing:pager", "e1.1.3.firing:slack", "e1.4.3.resolved:pager", "e2.1.1.firing:pager"]
    one.transition(STATE, [OutboxEntry(id, "{}") for id in ids])
    assert [entry.id for entry in one.take_alerts("one", now=NOW, lease_s=60, limit=2)] == ids[:2]
    assert [entry.id for entry in other.take_alerts("other", now=NOW, lease_s=60)] == [ids[3]]
    one.postpone_alert(ids[0], NOW + 300)  # its receiver is away
    assert other.take_alerts("other", now=NOW + 1, lease_s=60) == []
    one.finish_alert(ids[0])
    assert [entry.id for entry in other.take_alerts("other", now=NOW + 2, lease_s=60)] == [ids[2]]


def test_alerts_beyond_the_bound_are_dropped_and_counted(new_store: Callable[[], Store]) -> None:
    one, other = new_store(), new_store()
    one.transition(STATE, [OutboxEntry(f"{number:04}", "{}") for number in range(MAX_ALERTS - 1)])
    before = (one.dropped_alerts, other.dropped_alerts)
    assert before == (0, 0)
    assert other.transition(replace(STATE, version=2), [OutboxEntry(name, "{}") for name in ("fits", "not", "nor")])
    assert other.dropped_alerts == 2
    taken = one.take_alerts("w", now=NOW, lease_s=60, limit=2 * MAX_ALERTS)
    assert [entry.id for entry in taken] == [*(f"{number:04}" for number in range(MAX_ALERTS - 1)), "fits"]
    assert [state.version for state in one.exchange(None, 0).states] == [2]


def test_the_same_alert_waits_once(store: Store) -> None:
    store.transition(STATE, [OutboxEntry("a", "{}")])
    store.transition(replace(STATE, version=2), [OutboxEntry("a", "{}"), OutboxEntry("b", "{}")])
    assert [entry.id for entry in store.take_alerts("w", now=NOW, lease_s=60)] == ["a", "b"]


def test_what_is_old_is_forgotten(new_store: Callable[[], Store]) -> None:
    store = new_store()
    other_track = Cell("monthly", 1, "acme", 1000)
    adds = {cell: Sums(1.0, 0.0, 0, 1) for cell in (JULY, AUGUST, other_track)}
    store.exchange(Delivery("w", 1, adds), 0)
    store.transition(STATE)
    now = time.time()
    store.reserve("dead", [wants(1.0)], now=now - 20, expires_at=now - 10)
    store.reserve("live", [wants(1.0)], now=now - 20, expires_at=now + 10)
    store.forget({("monthly", 0): 2000}, now=now)
    changes = new_store().exchange(None, 0)
    assert {cell for cell, _ in changes.cells} == {AUGUST, other_track}
    assert list(changes.states) == [STATE]
    assert store.reserved(now - 15) == {("monthly", "acme"): 1.0}
    store.forget({}, now=now + STATE_AGE_S + 100)
    assert list(store.exchange(None, 0).states) == []
    assert not store.exchange(None, changes.cursor).is_reset
    assert store.transition(STATE)


def test_it_can_be_used_again_after_it_was_closed(store: Store) -> None:
    store.exchange(spends(1, 2.0), 0)
    store.close()
    store.close()
    assert dict(store.exchange(None, 0).cells) == {JULY: Sums(2.0, 0.0, 0, 1)}


def test_threads_reserve_and_settle_without_passing_the_limit(new_store: Callable[[], Store]) -> None:
    stores = [new_store() for _ in range(3)]
    granted: list[str] = []

    def work(number: int) -> None:
        store = stores[number % 3]
        for turn in range(5):
            lease = f"{number}/{turn}"
            if store.reserve(lease, [wants(0.25)], now=NOW, expires_at=NOW + 60, timeout_s=5).is_granted:
                granted.append(lease)
                store.exchange(spends(turn + 1, 0.25, lease, writer=f"w{number}"), 0)

    run_all([threading.Thread(target=work, args=(number,)) for number in range(12)])
    (sums,) = dict(stores[0].exchange(None, 0).cells).values()
    assert sums == Sums(10.0, 0.0, 0, 40)
    assert len(granted) == 40
    assert stores[0].reserved(NOW) == {}
