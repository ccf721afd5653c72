"""From the transition in a real store to a receiver that flaps."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from spancost._guard import ErrorLog
from spancost.budgets.notify.channels import open_channel, read_channel
from spancost.budgets.notify.deliverer import BackOff, Deliverer
from spancost.budgets.notify.outbox import outbox_entries
from spancost.budgets.store import StateRecord
from tests.budgets.notify.alerts import alert
from tests.support.alert_receiver import AlertReceiver, Posted, Reply

pytestmark = pytest.mark.e2e
ALERTS = 60
WAIT_S = 30.0


def opened(kind: str, folder: Path) -> tuple[Any, Any]:
    """Return a store as two processes see it: the same object in memory, two connections to a file."""
    module = pytest.importorskip(f"spancost.budgets.stores.{kind}")
    if kind == "memory":
        store = module.MemoryStore()
        return store, store
    return module.SqliteStore(folder / "budgets.db"), module.SqliteStore(folder / "budgets.db")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_each_alert_of_a_store_arrives_once_though_two_deliver(kind: str, tmp_path: Path) -> None:
    chance = random.Random(11)

    def reply(number: int, posted: Posted) -> Reply:
        return chance.choice([Reply(), Reply(), Reply(503), Reply(hangs_up=True), Reply(takes=False, hangs_up=True)])

    stores = opened(kind, tmp_path)
    with AlertReceiver(reply) as receiver:
        channel = open_channel(read_channel("ops", {"type": "webhook", "url": receiver.url}))
        workers = [
            Deliverer(store, {"ops": channel}, errors=ErrorLog(), back_off=BackOff(0.005, 0.05)) for store in stores
        ]
        for number in range(ALERTS):
            told = alert(id=f"e{number}.1.firing", episode=f"e{number}", at=time.time())
            record = StateRecord("llm-monthly", f"k{number}", state="breached", version=1, episode=f"e{number}")
            store, worker = stores[number % 2], workers[number % 2]
            assert store.transition(record, outbox_entries(told, ["ops"]))
            worker.wake()
        receiver.wait_for(lambda: len(receiver.taken) == ALERTS, "all", deadline_s=WAIT_S)
        assert all(_is_done(worker) for worker in workers)
        for worker in workers:
            worker.close()
        assert stores[0].take_alerts("looks", now=time.time() + 3600.0, lease_s=1.0) == []
    assert sorted(receiver.taken) == sorted(f"e{number}.1.firing" for number in range(ALERTS))
    assert sum(worker.counts.sent for worker in workers) == ALERTS
    assert sum(worker.counts.given_up + worker.counts.dropped for worker in workers) == 0
    for store in set(stores):
        store.close()


def _is_done(worker: Deliverer) -> bool:
    ends = time.monotonic() + WAIT_S
    while worker.held and time.monotonic() < ends:
        time.sleep(0.01)
    return worker.held == 0
