"""The Redis store when its server is away, comes back, or comes back without what it had."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from spancost.budgets.store import (
    WARNING,
    Cell,
    Claim,
    Delivery,
    OutboxEntry,
    StateRecord,
    StoreUnavailableError,
    Sums,
)
from spancost.budgets.stores.contributions import Contribution
from spancost.budgets.stores.redis import RedisStore
from tests.support.patient_store import PATIENCE_S
from tests.support.processes import ReservedPort
from tests.support.redis_server import RedisServer

CELL = Cell("r", 0, "k", 60)
CLAIM = Claim(CELL, 0, 10.0, 1.0)
STATE = StateRecord("r", "k", state=WARNING, level=1, episode="e", version=1)


def spends(number: int, usd: float = 1.0, *, writer: str = "w", cell: Cell = CELL) -> Delivery:
    return Delivery(writer, number, {cell: Sums(usd, 0.0, 0, 1)})


def usd_in(store: RedisStore) -> float:
    return dict(store.exchange(None, 0).cells)[CELL].usd


def patient(server: RedisServer, **options: Any) -> RedisStore:
    """A store that waits for as long as a busy machine may stop; who is away still shows himself at once."""
    return RedisStore(server.url, timeout_s=PATIENCE_S, **options)


def client(server: RedisServer) -> Any:
    return redis.Redis(unix_socket_path=server.socket)


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that comes back empty."""
    with RedisServer(tmp_path / "redis", persistent=False) as server:
        yield server


def reserve(store: RedisStore, lease: str = "l", timeout_s: float = 1.0) -> bool:
    return store.reserve(lease, [CLAIM], now=1.0, expires_at=60.0, timeout_s=timeout_s).is_granted


def test_a_server_that_is_away_is_said_and_found_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        store = patient(server)
        store.exchange(spends(1), 0)
        server.kill()
        for use in (lambda: store.exchange(spends(2), 0), lambda: reserve(store), lambda: store.reserved(1.0)):
            with pytest.raises(StoreUnavailableError, match="budget store unix://"):
                use()
        server.start()
        store.exchange(spends(2), 0)
        assert reserve(store)
        assert usd_in(store) == 2.0
        store.close()


def test_every_connection_finds_the_server_again_at_once(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        store = patient(server)
        store.exchange(spends(1), 0)
        gate = threading.Barrier(8)
        opened: list[bool] = []

        def use() -> None:
            gate.wait(10)
            opened.append(reserve(store, f"{threading.get_ident()}"))

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert opened == [True] * 8
        server.restart()
        for number in range(8):
            store.renew([str(number)], 70.0)  # none of them meets a dead connection
        store.close()


class Silent:
    """A server that takes connections and never answers."""

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        return f"redis://user:s3cret@127.0.0.1:{self._socket.getsockname()[1]}/0"

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def test_a_server_that_does_not_answer_keeps_nobody_longer_than_agreed() -> None:
    with Silent() as url:
        store = RedisStore(url)
        for timeout_s, use in (
            (0.05, lambda: reserve(store, timeout_s=0.05)),
            (0.5, lambda: store.exchange(spends(1), 0)),
            (0.5, lambda: store.transition(STATE)),
        ):
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError) as caught:
                use()
            assert time.monotonic() - began < timeout_s + 1.0  # the machine may be slow; a second try would be longer
            assert "s3cret" not in str(caught.value)
        store.close()


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(redis_server: RedisServer) -> None:
    store = patient(redis_server, namespace="late")
    store.exchange(spends(1), 0)
    assert reserve(store, "first")
    client(redis_server).client_pause(300, all=True)
    with pytest.raises(StoreUnavailableError):
        reserve(store, "second", timeout_s=0.05)
    deadline = time.monotonic() + 10
    while True:
        try:
            held = store.reserved(1.0)
            break
        except StoreUnavailableError:
            assert time.monotonic() < deadline
    assert set(held) == {("r", "k")}
    assert usd_in(store) == 1.0
    store.close()


def test_scripts_that_the_server_has_forgotten_are_sent_again(redis_server: RedisServer) -> None:
    store = patient(redis_server, namespace="scripts")
    store.exchange(spends(1), 0)
    client(redis_server).script_flush()
    store.exchange(spends(2), 0)
    assert usd_in(store) == 2.0
    store.close()


def test_all_keys_have_one_hash_tag_and_expire(redis_server: RedisServer) -> None:
    store = patient(redis_server, namespace="keys")
    store.exchange(spends(1), 0)
    store.transition(STATE, [OutboxEntry("a", "{}")])
    store.take_alerts("w", now=1.0, lease_s=1.0)
    store.postpone_alert("a", 2.0)
    assert reserve(store)
    store.renew(["l"], 100.0)
    connected = client(redis_server)
    ours = [key for key in connected.scan_iter() if b"keys}" in key]
    assert len(ours) >= 10
    assert all(key.startswith(b"{keys}:") for key in ours)
    assert {key: connected.ttl(key) for key in ours if connected.ttl(key) <= 0} == {}
    store.close()


def test_an_emptied_server_gets_back_what_living_processes_have_given_it(forgetful: RedisServer) -> None:
    one, other = patient(forgetful), patient(forgetful)
    cursor = one.exchange(spends(1, 2.0, writer="one"), 0).cursor
    other.exchange(spends(1, 3.0, writer="other"), 0)
    other.transition(STATE)
    one.exchange(spends(2, 0.5, writer="one"), 0)
    forgetful.restart()
    with pytest.raises(StoreUnavailableError, match="has lost data"):  # nobody is granted what others have spent
        reserve(one)
    changes = one.exchange(None, cursor)
    assert changes.is_reset
    assert dict(changes.cells) == {CELL: Sums(2.5, 0.0, 0, 2)}
    assert list(changes.states) == [STATE]  # it had seen it
    assert dict(other.exchange(spends(2, 4.0, writer="other"), 0).cells) == {CELL: Sums(9.5, 0.0, 0, 4)}
    assert dict(one.exchange(spends(2, 0.5, writer="one"), 0).cells) == {CELL: Sums(9.5, 0.0, 0, 4)}
    assert one.transition(replace(STATE, version=2))
    assert reserve(one, "after") is (9.5 + 1.0 <= 10.0)
    for store in (one, other):
        store.close()


def test_an_emptied_server_gets_back_what_living_processes_have_reserved(forgetful: RedisServer) -> None:
    one, other = patient(forgetful), patient(forgetful)
    for store in (one, other):
        store.exchange(spends(1, writer=repr(id(store))), 0)
    for lease in ("settled", "expired", "open", "renewed"):
        assert reserve(one, lease)
    assert other.reserve("other", [CLAIM._replace(usd=2.0)], now=1.0, expires_at=90.0, timeout_s=1.0).is_granted
    one.renew(["renewed"], 80.0)
    one.exchange(Delivery(repr(id(one)), 2, {}, ("settled",)), 0)
    forgetful.restart()
    one.exchange(None, 0)
    assert one.reserved(5.0) == {("r", "k"): 3.0}
    other.exchange(Delivery(repr(id(other)), 2, {}), 0)
    assert other.reserved(70.0) == {("r", "k"): 3.0}  # the renewed one, and two USD of the other
    one.exchange(Delivery(repr(id(one)), 3, {}, ("open", "expired", "renewed")), 0)
    assert other.reserved(5.0) == {("r", "k"): 2.0}
    for store in (one, other):
        store.close()


def test_what_is_brought_back_counts_once_though_replies_get_lost(
    forgetful: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spancost.budgets.stores.redis._PART", 2)
    store = patient(forgetful)
    many = {Cell("r", 0, f"key {n}", 60): Sums(float(n), 0.0, 0, 1) for n in range(7)}
    for number in (1, 2):
        store.exchange(Delivery("w", number, many), 0)
    forgetful.restart()
    asked = store._ask  # pyright: ignore[reportPrivateUsage]
    chance = random.Random(7)
    lost: list[int] = []

    def loses_replies(*arguments: Any) -> Any:
        answer = asked(*arguments)
        if chance.random() < 0.5:
            lost.append(1)
            raise redis.TimeoutError("lost")
        return answer

    monkeypatch.setattr(store, "_ask", loses_replies)
    for _ in range(200):
        try:
            store.exchange(Delivery("w", 3, many), 0)
            break
        except StoreUnavailableError:
            continue
    else:
        pytest.fail("never came through")
    monkeypatch.undo()
    assert len(lost) >= 4
    expected = {cell: Sums(3 * sums.usd, 0.0, 0, 3) for cell, sums in many.items()}
    assert dict(store.exchange(None, 0).cells) == expected
    store.close()


def test_a_server_without_the_end_of_its_log_gets_the_missing_deliveries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "redis"
    # Otherwise its log may be seconds behind its answers, on a busy disk.
    with RedisServer(folder, options=("--appendfsync", "always")) as server:
        one, other = patient(server), patient(server)
        cursor = 0
        for number in range(1, 4):
            one.exchange(spends(number, 1.0, writer="one"), 0)
            cursor = other.exchange(spends(number, 10.0, writer="other"), 0).cursor
        one.transition(STATE)
        log = next((folder / "appendonlydir").glob("*.incr.aof"))
        assert other.reserve("l", [CLAIM._replace(limit_usd=99.0)], now=1.0, expires_at=60.0, timeout_s=9.0).is_granted
        kept = log.stat().st_size
        one.exchange(spends(4, 1.0, writer="one"), 0)
        other.exchange(Delivery("other", 4, {CELL: Sums(10.0, 0.0, 0, 1)}, ("l",)), 0)
        assert one.transition(replace(STATE, version=2))
        server.kill()
        os.truncate(log, kept)
        server.start()
        assert one.exchange(spends(5, 1.0, writer="one"), 0).cells[0][1].usd == 5 + 30
        changes = other.exchange(spends(5, 10.0, writer="other"), cursor)
        assert changes.is_reset
        assert dict(changes.cells) == {CELL: Sums(5 + 50.0, 0.0, 0, 10)}
        assert other.reserved(2.0) == {}  # it was settled with one of the deliveries that were lost
        assert [state.version for state in changes.states] == [2]
        assert other.transition(replace(STATE, version=3))
        assert "has lost data" in caplog.text
        for store in (one, other):
            store.close()


def test_a_state_that_the_server_has_lost_does_not_block_the_next(redis_server: RedisServer) -> None:
    store = patient(redis_server, namespace="lost-state")
    store.exchange(spends(1), 0)
    assert store.transition(STATE)
    client(redis_server).hdel("{lost-state}:states", "r\x1fk")
    assert store.transition(replace(STATE, version=2))
    stranger = patient(redis_server, namespace="lost-state")
    assert not stranger.transition(replace(STATE, version=5))
    assert [state.version for state in stranger.exchange(None, 0).states] == [2]
    for each in (store, stranger):
        each.close()


def test_a_process_that_was_away_for_weeks_does_not_count_its_sums_again(redis_server: RedisServer) -> None:
    clock = [1_800_000_000.0]
    store = patient(redis_server, namespace="weeks", now=lambda: clock[0])
    store.exchange(spends(1, 2.0), 0)
    client(redis_server).delete("{weeks}:w:w")  # as its expiry does
    clock[0] += 31 * 86_400
    store.exchange(spends(2, 1.0), 0)
    assert usd_in(store) == 3.0
    store.close()


def test_much_is_told_in_pages(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    store = patient(redis_server, namespace="pages")
    adds = {Cell("r", 0, f"key {n}", 60): Sums(1.0) for n in range(95)}
    store.exchange(Delivery("w", 1, adds), 0)
    monkeypatch.setattr("spancost.budgets.stores.redis._PAGE", 10)
    asked = store._exchange_once  # pyright: ignore[reportPrivateUsage]
    pages = [0]

    def breaks_off(*arguments: Any, **named: Any) -> Any:
        pages[0] += 1
        if pages[0] == 4:
            raise StoreUnavailableError("gone")
        return asked(*arguments, **named)

    monkeypatch.setattr(store, "_exchange_once", breaks_off)
    first = store.exchange(None, 0)
    assert len(first.cells) == 30
    second = store.exchange(None, first.cursor)
    assert not second.is_reset
    assert dict([*first.cells, *second.cells]) == adds
    store.close()


def test_a_child_uses_connections_of_its_own_and_brings_nothing_of_its_parent(forgetful: RedisServer) -> None:
    store = patient(forgetful)
    store.exchange(spends(1, 2.0, writer="parent"), 0)
    child = os.fork()
    if child == 0:
        try:
            forgetful_child(store)
            os._exit(0)
        finally:
            os._exit(1)
    for number in range(2, 30):
        store.exchange(spends(number, 2.0, writer="parent"), 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert usd_in(store) == 58.0 + 29.0
    store.close()


def forgetful_child(store: RedisStore) -> None:
    for number in range(1, 30):
        store.exchange(spends(number, 1.0, writer="child"), 0)
    assert set(store._contributions) == {"child"}  # pyright: ignore[reportPrivateUsage]


def test_no_instrumentation_takes_its_calls_for_the_application_s(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def instrumented(*_: object, **__: object) -> Callable[..., object]:
        raise AssertionError("went through redis-py's client")

    monkeypatch.setattr(redis.Redis, "execute_command", instrumented)
    store = patient(redis_server, namespace="spans")
    store.exchange(spends(1), 0)
    assert reserve(store)
    store.close()


def test_a_contribution_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spancost.budgets.stores.contributions._MAX_CELLS", 10)
    monkeypatch.setattr("spancost.budgets.stores.contributions._MAX_RING_CELLS", 20)
    contribution = Contribution(b"1")
    for number in range(1, 41):
        contribution.took(Delivery("w", number, {Cell("r", 0, "k", number): Sums(1.0)}))
    contribution.took(Delivery("w", 40, {Cell("r", 0, "k", 1): Sums(1.0)}))  # an old one
    assert [cell.slot for cell, _ in contribution.in_parts(100)[0]] == list(range(31, 41))
    assert [delivery.number for delivery in contribution.after(0)] == list(range(21, 41))
    assert contribution.is_complete_after(20)
    assert not contribution.is_complete_after(19)


def test_old_slots_are_not_brought_back(forgetful: RedisServer) -> None:
    store = patient(forgetful)
    new = Cell("r", 0, "k", 120)
    store.exchange(spends(1), 0)
    store.exchange(spends(2, cell=new), 0)
    store.forget({("r", 0): 120}, now=1.0)
    forgetful.restart()
    assert dict(store.exchange(None, 0).cells) == {new: Sums(1.0, 0.0, 0, 1)}
    store.close()


@pytest.mark.e2e
def test_in_a_cluster_any_node_may_be_named(tmp_path: Path) -> None:
    """Two nodes: the one that is named has other keys than ours."""
    ports = [ReservedPort(), ReservedPort()]
    buses = [ReservedPort(), ReservedPort()]
    common = ("--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
    options = [
        [*common, "--port", f"{port.number}", "--cluster-port", f"{bus.number}"]
        for port, bus in zip(ports, buses, strict=True)
    ]
    for reserved in (*ports, *buses):
        reserved.release()
    with (
        RedisServer(tmp_path / "a", options=options[0]) as a,
        RedisServer(tmp_path / "b", options=options[1]) as b,
    ):
        client(b).execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        client(a).execute_command("CLUSTER MEET", "127.0.0.1", ports[1].number, buses[1].number)
        deadline = time.monotonic() + 30
        while {client(node).execute_command("CLUSTER INFO")["cluster_state"] for node in (a, b)} != {"ok"}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        store = RedisStore(f"redis://127.0.0.1:{ports[0].number}", timeout_s=10.0)
        with pytest.raises(StoreUnavailableError, match="another node"):
            store.exchange(spends(1), 0)
        store.exchange(spends(1), 0)
        assert reserve(store)
        assert usd_in(store) == 1.0
        assert client(b).exists("{spancost}:meta")
        store.close()
