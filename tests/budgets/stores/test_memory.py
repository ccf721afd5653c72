"""The store in memory over a fork."""

from __future__ import annotations

import os

from spancost.budgets.store import WARNING, Cell, Claim, Delivery, OutboxEntry, StateRecord, Sums
from spancost.budgets.stores.memory import MemoryStore

CELL = Cell("r", 0, "k", 60)


def test_a_forked_child_begins_empty_though_a_thread_of_its_parent_holds_the_store() -> None:
    store = MemoryStore()
    cursor = store.exchange(Delivery("w", 1, {CELL: Sums(2.0, 0.0, 0, 1)}), 0).cursor
    store.transition(StateRecord("r", "k", state=WARNING, version=1), [OutboxEntry("a", "{}")])
    store.reserve("l", [Claim(CELL, 0, 9.0, 1.0)], now=1.0, expires_at=9.0)
    with store._locked():  # pyright: ignore[reportPrivateUsage]
        child = os.fork()
        if child == 0:
            try:
                store.after_fork_in_child()
                changes = store.exchange(Delivery("child", 1, {CELL: Sums(0.5)}), cursor)
                assert changes.is_reset
                assert (dict(changes.cells), list(changes.states)) == ({CELL: Sums(0.5)}, [])
                assert store.reserved(2.0) == {}
                assert store.take_alerts("w", now=1.0, lease_s=1.0) == []
                os._exit(0)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert dict(store.exchange(None, 0).cells) == {CELL: Sums(2.0, 0.0, 0, 1)}
