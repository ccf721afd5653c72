"""The store of one process: nothing leaves it, nothing outlives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from spancost.budgets.store import (
    GUARD_TIMEOUT_S,
    MAX_ALERTS,
    PROCESS,
    STATE_AGE_S,
    Cell,
    Changes,
    Claim,
    Delivery,
    Grant,
    OutboxEntry,
    Standing,
    StateRecord,
    StoreUnavailableError,
    Sums,
    group_of,
)
from spancost.budgets.stores.records import cursor_at, decide, new_mark, place_of, wanted_in_all

_TIMEOUT_S = 5.0
_NOTHING = Sums()


class _Entry:
    """An alert that waits."""

    __slots__ = ("attempts", "body", "until")

    def __init__(self, body: str, attempts: int) -> None:
        self.body = body
        self.attempts = attempts
        self.until = float("-inf")


class MemoryStore:
    """Keeps sums, states, reservations and alerts in this process.

    After a fork the child begins with an empty one: money, states and alerts of before are its parent's.

    Args:
        now: Clock, Unix seconds.
    """

    scope = PROCESS

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._begin()

    def __repr__(self) -> str:
        return "MemoryStore()"

    def _begin(self) -> None:
        self.dropped_alerts = 0
        self._lock = threading.Lock()
        self._mark = new_mark()
        self._sequence = 0
        self._slots: dict[tuple[str, int, str], dict[int, Sums]] = {}
        self._changed: dict[Cell | tuple[str, str], int] = {}
        """What has changed last, and when: oldest first."""
        self._states: dict[tuple[str, str], tuple[StateRecord, float]] = {}
        self._writers: dict[str, int] = {}
        self._reserved: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        """By rule and key: USD and expiry of each lease."""
        self._places: dict[str, tuple[tuple[str, str], ...]] = {}
        """By lease: the rules and keys that it holds."""
        self._outbox: dict[str, _Entry] = {}

    @contextmanager
    def _locked(self, timeout_s: float = _TIMEOUT_S) -> Generator[None]:
        lock = self._lock
        if not lock.acquire(timeout=max(timeout_s, 0.0)):
            raise StoreUnavailableError(f"budget store in memory: busy for more than {timeout_s:g} s")
        try:
            yield
        finally:
            lock.release()

    def exchange(self, delivery: Delivery | None, cursor: int) -> Changes:
        """Add a delivery, once, and return what has changed since a cursor; see `Store.exchange`."""
        with self._locked():
            if delivery is not None and delivery.number > self._writers.get(delivery.writer, 0):
                self._writers[delivery.writer] = delivery.number
                self._add(delivery.adds)
                for lease in delivery.released:
                    self._release(lease)
            mark, seen = place_of(cursor)
            is_reset = cursor != 0 and mark != self._mark
            return self._changes(0 if is_reset else seen, is_reset)

    def _add(self, adds: Mapping[Cell, Sums]) -> None:
        all_slots, changed = self._slots, self._changed
        for cell, sums in adds.items():
            rule, track, key, slot = cell
            slots = all_slots.get((rule, track, key))
            if slots is None:
                slots = all_slots[rule, track, key] = {}
            before = slots.get(slot)
            slots[slot] = sums if before is None else before.plus(sums)
            self._sequence += 1
            changed.pop(cell, None)
            changed[cell] = self._sequence

    def _changes(self, seen: int, is_reset: bool) -> Changes:
        cells: list[tuple[Cell, Sums]] = []
        states: list[StateRecord] = []
        all_slots = self._slots
        for changed, sequence in reversed(self._changed.items()):
            if sequence <= seen:
                break
            if isinstance(changed, Cell):
                rule, track, key, slot = changed
                cells.append((changed, all_slots[rule, track, key][slot]))
            else:
                states.append(self._states[changed][0])
        return Changes(cursor_at(self._mark, self._sequence), cells[::-1], states[::-1], is_reset)

    def _has_changed(self, what: Cell | tuple[str, str]) -> None:
        self._sequence += 1
        self._changed.pop(what, None)
        self._changed[what] = self._sequence

    def transition(self, after: StateRecord, alerts: Sequence[OutboxEntry] = ()) -> bool:
        """Store a state whose version is one more than the stored one; see `Store.transition`."""
        with self._locked():
            place = (after.rule, after.key)
            stored = self._states.get(place)
            if after.version != (0 if stored is None else stored[0].version) + 1:
                return False
            self._states[place] = (after, self._now())
            self._has_changed(place)
            for alert in alerts:
                if alert.id in self._outbox:
                    continue
                if len(self._outbox) >= MAX_ALERTS:
                    self.dropped_alerts += 1
                else:
                    self._outbox[alert.id] = _Entry(alert.body, alert.attempts)
            return True

    def reserve(
        self, lease: str, claims: Sequence[Claim], *, now: float, expires_at: float, timeout_s: float = GUARD_TIMEOUT_S
    ) -> Grant:
        """Reserve money in one step, or none; see `Store.reserve`."""
        with self._locked(timeout_s):
            grant = decide(claims, [self._standing(claim, lease, now) for claim in claims])
            held = {place: usd for place, usd in wanted_in_all(claims).items() if usd > 0.0}
            if held:
                self._release(lease)
            if held and grant.is_granted:
                for place, usd in held.items():
                    self._reserved.setdefault(place, {})[lease] = (usd, expires_at)
                self._places[lease] = tuple(held)
            return grant

    def _standing(self, claim: Claim, lease: str, now: float) -> Standing:
        rule, track, key, _ = claim.cell
        slots = self._slots.get((rule, track, key), {})
        spent = [sums for slot, sums in slots.items() if slot >= claim.first_slot]
        held = self._reserved.get((rule, key), {})
        return Standing(
            sum(sums.usd for sums in spent),
            sum(usd for owner, (usd, until) in held.items() if owner != lease and until > now),
            sum(sums.unpriced for sums in spent),
        )

    def _release(self, lease: str) -> None:
        for place in self._places.pop(lease, ()):
            held = self._reserved[place]
            del held[lease]
            if not held:
                del self._reserved[place]

    def renew(self, leases: Sequence[str], expires_at: float) -> None:
        """Let reservations that still exist expire later."""
        with self._locked():
            for lease in leases:
                for place in self._places.get(lease, ()):
                    held = self._reserved[place]
                    usd, until = held[lease]
                    held[lease] = (usd, max(until, expires_at))

    def reserved(self, now: float) -> Mapping[tuple[str, str], float]:
        """Return what is reserved at a moment, by rule and key, USD."""
        with self._locked():
            live = {
                place: [usd for usd, until in held.values() if until > now] for place, held in self._reserved.items()
            }
        return {place: sum(amounts) for place, amounts in live.items() if amounts}

    def take_alerts(self, worker: str, *, now: float, lease_s: float, limit: int = 16) -> list[OutboxEntry]:
        """Take alerts that nobody delivers at present; see `Store.take_alerts`."""
        taken: list[OutboxEntry] = []
        with self._locked():
            waits: set[str] = set()
            for id, entry in self._outbox.items():
                if len(taken) >= limit:
                    break
                if entry.until > now:
                    waits.add(group_of(id))
                elif group_of(id) not in waits:
                    taken.append(OutboxEntry(id, entry.body, entry.attempts))
                    entry.attempts += 1
                    entry.until = now + lease_s
        return taken

    def finish_alert(self, id: str) -> None:
        """Forget an alert that was delivered, or given up."""
        with self._locked():
            self._outbox.pop(id, None)

    def postpone_alert(self, id: str, until: float) -> None:
        """Give an alert back: nobody takes it before a moment, Unix seconds."""
        with self._locked():
            entry = self._outbox.get(id)
            if entry is not None:
                entry.until = until

    def forget(self, oldest_slots: Mapping[tuple[str, int], int], *, now: float) -> None:
        """Delete old cells and states, and dead leases; see `Store.forget`."""
        with self._locked():
            for (rule, track, key), slots in list(self._slots.items()):
                oldest = oldest_slots.get((rule, track))
                for slot in [slot for slot in slots if oldest is not None and slot < oldest]:
                    del slots[slot]
                    del self._changed[Cell(rule, track, key, slot)]
                if not slots:
                    del self._slots[rule, track, key]
            for place in [place for place, (_, at) in self._states.items() if at < now - STATE_AGE_S]:
                del self._states[place]
                del self._changed[place]
            for lease, places in list(self._places.items()):
                if self._reserved[places[0]][lease][1] <= now:
                    self._release(lease)

    def close(self) -> None:
        """Nothing is held."""

    def after_fork_in_child(self) -> None:
        """Begin empty, with a lock that nobody of the parent holds."""
        self._begin()
