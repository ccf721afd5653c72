"""A process that uses a store as an application does; the tests of load start several of it, and kill some.

    python -m tests.budgets.stores.load_worker guard|deliver STORE JOURNAL

What it is about to send stands in its journal before: `sent NUMBER USD LEASE,LEASE,...`, and then `taken NUMBER`.
Amounts are multiples of 1/1024 USD, so that every sum of them is exact.
"""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
from typing import Final

from spancost.budgets.store import Cell, Claim, Delivery, Store, StoreUnavailableError, Sums
from spancost.budgets.stores.opening import open_store

CELL: Final = Cell("llm", 0, "acme", 0)
LIMIT_USD: Final = 24.0
RESERVE_USD: Final = 16 / 1024
LEASE_S: Final = 600.0
"""Longer than the test: what a killed process has reserved counts to the end."""
THREADS: Final = 64
DELIVERIES: Final = 250
_REFUSALS: Final = 12
_TIMEOUT_S: Final = 0.5


class Worker:
    """Sends deliveries one after the other, and writes down what it sends."""

    def __init__(self, store: Store, journal: str) -> None:
        self.store = store
        self.writer = f"worker {os.getpid()}"
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._note(f"writer {self.writer}")
        self._number = 0
        self._cursor = 0
        self.cells: dict[Cell, Sums] = {}

    def _note(self, line: str) -> None:
        os.write(self._journal, f"{line}\n".encode())

    def send(self, usd: float, released: tuple[str, ...]) -> None:
        self._number += 1
        delivery = Delivery(self.writer, self._number, {CELL: Sums(usd, 0.0, 0, 1)}, released)
        self._note(f"sent {self._number} {usd!r} {','.join(released)}")
        while not self.look(delivery):
            time.sleep(0.01)
        self._note(f"taken {self._number}")

    def look(self, delivery: Delivery | None) -> bool:
        try:
            changes = self.store.exchange(delivery, self._cursor)
        except StoreUnavailableError:
            return False
        if changes.is_reset:
            self.cells.clear()
        self.cells.update(changes.cells)
        self._cursor = changes.cursor
        return True


def deliver(worker: Worker) -> None:
    """Deliver many amounts, then stay until the end of the input: who has ended brings nothing back."""
    chance = random.Random(os.getpid())
    for _ in range(DELIVERIES):
        worker.send(chance.randrange(1, 2048) / 1024, ())
        time.sleep(0.004)
    print("delivered", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.wait(0.02):
        worker.look(None)


def guard(worker: Worker) -> None:
    """Reserve in many threads, refuse what is not granted, and settle with at most what was reserved."""
    # Calls wait where settling cannot keep up, so that a process has only so much in hand when it is killed.
    settled: queue.Queue[tuple[str, float] | None] = queue.Queue(maxsize=THREADS)
    threads = [threading.Thread(target=_call, args=(worker, number, settled)) for number in range(THREADS)]
    settling = threading.Thread(target=_settle, args=(worker, settled))
    for thread in (*threads, settling):
        thread.start()
    for thread in threads:
        thread.join()
    settled.put(None)
    settling.join()


def _call(worker: Worker, number: int, settled: queue.Queue[tuple[str, float] | None]) -> None:
    chance = random.Random(f"{os.getpid()}/{number}")
    refused = turn = 0
    while refused < _REFUSALS:
        turn += 1
        lease = f"{os.getpid()}/{number}/{turn}"
        now = time.time()
        try:
            claim = Claim(CELL, 0, LIMIT_USD, RESERVE_USD)
            granted = worker.store.reserve(
                lease, [claim], now=now, expires_at=now + LEASE_S, timeout_s=_TIMEOUT_S
            ).is_granted
        except StoreUnavailableError:
            settled.put((lease, 0.0))  # it may have been granted, and the answer lost
            continue
        refused = 0 if granted else refused + 1
        if granted:
            time.sleep(chance.random() / 500)
            settled.put((lease, chance.randrange(4, 17) / 1024))
        else:
            time.sleep(0.01)


def _settle(worker: Worker, settled: queue.Queue[tuple[str, float] | None]) -> None:
    is_last = False
    while not is_last:
        done = [settled.get()]
        while not settled.empty() and len(done) < 4 * THREADS:
            done.append(settled.get())
        is_last = None in done
        real = [one for one in done if one is not None]
        worker.send(sum(usd for _, usd in real), tuple(lease for lease, _ in real))


def main() -> None:
    mode, store, journal = sys.argv[1:]
    worker = Worker(open_store(store, environ={}), journal)
    {"guard": guard, "deliver": deliver}[mode](worker)
    worker.store.close()


if __name__ == "__main__":
    main()
