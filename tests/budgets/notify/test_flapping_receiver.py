"""A receiver that fails in every way there is gets every alert, and each of them once by its key."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest

from spancost._guard import ErrorLog
from spancost.budgets.notify.channels import open_channel, read_channel
from spancost.budgets.notify.deliverer import BackOff, Deliverer
from tests.budgets.notify.alerts import alert, resolved
from tests.budgets.notify.waiting import Waiting
from tests.support.alert_receiver import AlertReceiver, Posted, Reply

pytestmark = pytest.mark.e2e
EPISODES = 150
BOUND = 1000
RESTARTS = 5
WAIT_S = 60.0


def flaps(seed: int) -> tuple[AlertReceiver, Counter[str]]:
    """Return a receiver that takes about a third of what it is sent, and what it did with the rest."""
    chance, did = random.Random(seed), Counter[str]()

    def reply(number: int, posted: Posted) -> Reply:
        kind = chance.choices(
            ["taken", "500", "503", "429", "refused while open", "taken, then silent", "taken, then hung up"],
            weights=[8, 3, 3, 3, 3, 1, 2],
        )[0]
        did[kind] += 1
        return {
            "taken": Reply(),
            "500": Reply(500),
            "503": Reply(503, {"Retry-After": "0.01"}),
            "429": Reply(429, {"Retry-After": "0.02"}),
            "refused while open": Reply(takes=False, hangs_up=True),
            "taken, then silent": Reply(hangs=True),
            "taken, then hung up": Reply(hangs_up=True),
        }[kind]

    return AlertReceiver(reply), did


def delivering(store: Waiting, receiver: AlertReceiver, worker: str) -> Deliverer:
    channel = open_channel(read_channel("ops", {"type": "webhook", "url": f"{receiver.url}/in"}))
    return Deliverer(
        store.as_store(),
        {"ops": channel},
        errors=ErrorLog(),
        worker_id=worker,
        back_off=BackOff(0.005, 0.05),
        send_timeout_s=0.1,
    )


def restart(receiver: AlertReceiver, times: int) -> None:
    for number in range(times):
        taken = len(receiver.taken)
        receiver.wait_for(lambda taken=taken, number=number: len(receiver.taken) > taken, f"more before stop {number}")
        receiver.stop()
        time.sleep(0.1)  # how long it is away: connections are refused meanwhile
        receiver.start()


def test_no_alert_is_lost_and_none_is_doubled_over_a_receiver_that_flaps() -> None:
    store = Waiting(bound=BOUND)
    receiver, did = flaps(20261121)
    ids: list[str] = []
    receiver.start()
    workers = [delivering(store, receiver, f"w{number}") for number in range(2)]
    restarting = threading.Thread(target=restart, args=(receiver, RESTARTS))
    restarting.start()
    try:
        for number in range(EPISODES):
            episode = f"e{number}"
            for told in (alert(id=f"{episode}.1", episode=episode), resolved(id=f"{episode}.2", episode=episode)):
                store.put(told)
                ids.append(told.id)
            workers[number % 2].wake()
        ends = time.monotonic() + WAIT_S
        while store.entries:
            assert time.monotonic() < ends, (len(store.entries), [worker.counts for worker in workers])
            time.sleep(0.02)
    finally:
        restarting.join()
        for worker in workers:
            worker.close()
        receiver.stop()
    assert sorted(receiver.taken) == sorted(ids), "0 lost, 0 doubled: each key is there once"
    assert {len({posted.body for posted in taken}) for taken in receiver.taken.values()} == {1}, "a key is one alert"
    sent = [worker.counts for worker in workers]
    assert sum(counts.sent for counts in sent) == len(ids)
    assert sum(counts.given_up + counts.dropped for counts in sent) == 0
    assert sum(counts.failed for counts in sent) >= sum(did.values()) - did["taken"], "each bad answer was a failure"
    assert min(did.values()) > 0
    assert len(did) == 7, "it has failed in every way"


def test_an_end_never_overtakes_its_beginning() -> None:
    store = Waiting(bound=BOUND)
    receiver, _ = flaps(7)
    with receiver:
        worker = delivering(store, receiver, "w")
        for number in range(40):
            store.put(alert(id=f"e{number}.1", episode=f"e{number}"))
            store.put(resolved(id=f"e{number}.2", episode=f"e{number}"))
        worker.wake()
        receiver.wait_for(lambda: len(receiver.taken) == 80, "all", deadline_s=WAIT_S)
        worker.close()
    order = list(receiver.taken)
    for number in range(40):
        assert order.index(f"e{number}.1") < order.index(f"e{number}.2")


def test_what_is_beyond_the_bound_of_the_store_is_dropped_and_counted() -> None:
    store = Waiting(bound=100)
    receiver, _ = flaps(3)
    worker = delivering(store, receiver, "w")
    for number in range(130):  # nobody listens yet: connections are refused
        store.put(alert(id=f"e{number}.1", episode=f"e{number}"))
    worker.wake()
    with receiver:
        receiver.wait_for(lambda: len(receiver.taken) == 100, "what the store has kept", deadline_s=WAIT_S)
        ends = time.monotonic() + WAIT_S
        while store.entries and time.monotonic() < ends:
            time.sleep(0.02)
        assert worker.counts.dropped == 30
        assert worker.counts.sent == 100
        assert sorted(receiver.taken) == sorted(f"e{number}.1" for number in range(100))
    worker.close()
