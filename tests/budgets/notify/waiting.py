"""The outbox of a store, for tests of what delivers; keeps what `Store` says of alerts, and counts what is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import cast

from spancost.budgets.alert import Alert
from spancost.budgets.notify.outbox import outbox_entries
from spancost.budgets.store import OutboxEntry, Store, StoreUnavailableError


class Waiting:
    """Alerts that wait, in the order in which they came."""

    def __init__(self, *, now: Callable[[], float] = time.time, bound: int = 1000) -> None:
        self.now = now
        self.bound = bound
        self.dropped_alerts = 0
        self.is_away = False
        self.looks = 0
        self.entries: dict[str, tuple[OutboxEntry, float]] = {}
        self._lock = threading.Lock()

    def as_store(self) -> Store:
        return cast("Store", self)

    def put(self, alert: Alert, channels: Iterable[str] = ("ops",)) -> None:
        with self._lock:
            for entry in outbox_entries(alert, channels):
                if len(self.entries) >= self.bound:
                    self.dropped_alerts += 1
                else:
                    self.entries[entry.id] = entry, 0.0

    def take_alerts(self, worker: str, *, now: float, lease_s: float, limit: int = 16) -> list[OutboxEntry]:
        self._check()
        with self._lock:
            self.looks += 1
            taken = [entry for entry, until in self.entries.values() if until <= now][:limit]
            for entry in taken:
                self.entries[entry.id] = entry._replace(attempts=entry.attempts + 1), now + lease_s
        return taken

    def finish_alert(self, id: str) -> None:
        self._check()
        with self._lock:
            self.entries.pop(id, None)

    def postpone_alert(self, id: str, until: float) -> None:
        self._check()
        with self._lock:
            if id in self.entries:
                self.entries[id] = self.entries[id][0], until

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self.entries.clear()

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailableError("away")
