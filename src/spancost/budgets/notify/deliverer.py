"""Delivers what a store's outbox holds, each channel on a thread of its own, until it is done or given up.

The store keeps an alert until it is finished: what a killed process had taken comes back to others when its lease is
over. A process that lives holds on to what it has taken by extending the lease, tries again with longer and longer
pauses, and keeps the order of the alerts of an episode in each channel: what resolves waits for what it resolves.

A receiver that hangs holds up its own channel alone. What does not fit into a channel's line waits in the store.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from spancost._guard import ErrorLog
from spancost.budgets.alert import Alert, alert_from_json
from spancost.budgets.notify.outbox import channel_of
from spancost.budgets.notify.sending import SEND_TIMEOUT_S, DeliveryError, SendsAlerts
from spancost.budgets.store import OutboxEntry, Store, StoreUnavailableError

LEASE_S: Final = 60.0
"""How long others leave alone what a process has taken, unless it extends that."""
MAX_WAIT_S: Final = 5.0
"""Longest pause between two looks into the store: other processes may have left something."""
MAX_HELD: Final = 128
"""Alerts of one channel in memory; the others wait in the store."""
MAX_AGE_S: Final = 86_400.0
"""After this long an alert is given up when it fails again."""
MAX_ATTEMPTS: Final = 400
"""So many failures, and it is given up."""
_TAKEN_AT_ONCE: Final = 16
_MAX_ROUNDS: Final = 100
_FULL_PAUSE_S: Final = 1.0
_LONGEST_FULL_PAUSE_S: Final = 60.0
_STRANGER_S: Final = 1.0
"""How long an alert for a channel of another process is left to that one, before we would see it again."""
_LONGEST_PAUSE_S: Final = 3600.0
"""What a receiver may ask for at most."""
_MAX_REMEMBERED: Final = 4096
_PLACE: Final = "notify"


class BackOff(NamedTuple):
    """Pauses between attempts: doubled each time, and spread so that processes do not come at once."""

    first_s: float = 1.0
    longest_s: float = 300.0

    def pause_s(self, failures: int, wanted_s: float | None) -> float:
        """Return how long to wait after so many failures.

        Args:
            failures: From 1.

            wanted_s: What the receiver has asked for.
        """
        pause_s = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)
        return pause_s if wanted_s is None else max(pause_s, min(wanted_s, _LONGEST_PAUSE_S))


class DeliveryCounts(NamedTuple):
    """What has become of alerts, one for each alert and channel, since the start."""

    sent: int = 0
    failed: int = 0
    """Attempts."""
    given_up: int = 0
    dropped: int = 0
    """Beyond what the store holds."""


@dataclass(slots=True)
class _Held:
    """An alert that this process has taken."""

    id: str
    alert: Alert
    leased_until: float
    """Unix seconds."""
    failures: int = 0
    next_at: float = 0.0
    """Monotonic seconds."""


class _Lane:
    """What waits for one channel, in the order in which it was taken."""

    def __init__(self, name: str, channel: SendsAlerts) -> None:
        self.name = name
        self.channel = channel
        self.held: dict[str, _Held] = {}
        self.full_until = 0.0
        """Until then all that comes goes back to the store, so that nothing overtakes, Unix seconds."""
        self.full_pause_s = _FULL_PAUSE_S
        """How long it will be full the next time: longer and longer while nothing can be sent."""
        self.thread: threading.Thread | None = None
        self.sending = ""
        """Id of what is on its way now."""

    def next_due(self) -> _Held | None:
        """Return what is tried next: the oldest of each episode, whichever is due first; None if nothing is held."""
        episodes: set[str] = set()
        best: _Held | None = None
        for held in self.held.values():
            episode = held.alert.episode or held.alert.id
            if episode not in episodes and (best is None or held.next_at < best.next_at):
                best = held
            episodes.add(episode)
        return best


class Deliverer:
    """Takes alerts from a store and sends them. Thread-safe; nothing it does reaches the caller as an exception.

    Args:
        store: Whose outbox is delivered.

        channels: By the name that stands in the ids of the entries.

        errors: Counts and logs what goes wrong.

        now: Unix seconds.

        worker_id: Tells this process from others; a forked child appends its process id.

        back_off: Pauses between attempts.

        send_timeout_s: How long one attempt may take.
    """

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, SendsAlerts],
        *,
        errors: ErrorLog,
        now: Callable[[], float] = time.time,
        worker_id: str = "",
        back_off: BackOff = BackOff(),  # noqa: B008 - a tuple
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        self._store = store
        self._channels = dict(channels)
        self._errors = errors
        self._now = now
        self._base_id = worker_id or f"{os.getpid()}-{random.getrandbits(48):x}"
        self._worker_id = self._base_id
        self._back_off = back_off
        self._send_timeout_s = send_timeout_s
        self._sent = self._failed = self._given_up = 0
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._looking = threading.Lock()
        self._lanes = {name: _Lane(name, channel) for name, channel in self._channels.items()}
        self._done: dict[str, bool] = {}
        """The newest that were delivered or given up, never sent again by this process: whether the store knows."""
        self._thread: threading.Thread | None = None
        self._is_woken = False
        self._is_closed = False

    @property
    def counts(self) -> DeliveryCounts:
        """What has become of alerts; after a fork the parent's figures stay with the parent."""
        dropped = getattr(self._store, "dropped_alerts", 0)
        return DeliveryCounts(self._sent, self._failed, self._given_up, int(dropped))

    @property
    def held(self) -> int:
        """Alerts that this process has taken and not delivered yet."""
        with self._changed:
            return sum(len(lane.held) for lane in self._lanes.values())

    def wake(self) -> None:
        """Look into the store now: something was put there. The first call starts the thread."""
        try:
            if self._pid != os.getpid():
                self.after_fork_in_child()
            with self._changed:
                self._is_woken = True
                self._changed.notify_all()
                if self._thread is None and not self._is_closed:
                    self._thread = threading.Thread(target=self._run, name="spancost-alerts", daemon=True)
                    try:
                        self._thread.start()
                    except RuntimeError:  # the interpreter is ending: `flush` does it on its own thread
                        self._thread = None
        except Exception:
            self._errors.caught(_PLACE)

    def flush(self, timeout_s: float) -> bool:
        """Try what is due once, now. What fails stays in the store, for the next attempt or the next process.

        Args:
            timeout_s: Longest time.

        Returns:
            True if everything was delivered.
        """
        deadline = time.monotonic() + timeout_s
        try:
            return self._flush(deadline)
        except Exception:
            self._errors.caught(_PLACE)
            return False

    def close(self) -> None:
        """Take no more, and give back what is held, so that another process need not wait for the lease."""
        try:
            with self._changed:
                self._is_closed = True
                given_back = [held for lane in self._lanes.values() for held in lane.held.values()]
                sending = {lane.sending for lane in self._lanes.values()}
                for lane in self._lanes.values():
                    lane.held.clear()
                self._changed.notify_all()
            for held in given_back:
                # What is on its way now keeps its lease: somebody else would send it a second time.
                if held.id not in sending:
                    self._store.postpone_alert(held.id, self._now())
        except StoreUnavailableError:
            pass  # the leases end by themselves
        except Exception:
            self._errors.caught(_PLACE)

    def after_fork_in_child(self) -> None:
        """Forget what the parent holds: the parent delivers it."""
        self._worker_id = f"{self._base_id}.{os.getpid()}"
        self._sent = self._failed = self._given_up = 0
        self._reset()

    # --- the thread that looks into the store -----------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                self._is_woken = False
            try:
                self._look()
            except StoreUnavailableError:
                pass  # it is counted where sums are exchanged; here it only takes longer
            except Exception:
                self._errors.caught(_PLACE)
            with self._changed:
                self._changed.wait_for(lambda: self._is_woken or self._is_closed, self._wait_s())

    def _wait_s(self) -> float:
        """Return how long nothing has to be looked at: full lanes are looked at again when their pause is over."""
        now = self._now()
        pauses = [lane.full_until - now for lane in self._lanes.values() if lane.full_until > now]
        return max(0.01, min(MAX_WAIT_S, *pauses)) if pauses else MAX_WAIT_S

    def _look(self, longest_wait_s: float = MAX_WAIT_S) -> None:
        """Take what is there, and extend what is held."""
        if not self._looking.acquire(timeout=max(0.0, longest_wait_s)):
            return  # another thread is at it, and its store takes its time
        try:
            self._finish_late()
            self._extend()
            for _ in range(_MAX_ROUNDS):
                entries = self._store.take_alerts(
                    self._worker_id, now=self._now(), lease_s=LEASE_S, limit=_TAKEN_AT_ONCE
                )
                for entry in entries:
                    self._accept(entry)
                if len(entries) < _TAKEN_AT_ONCE:
                    break
            self._start_lanes()
        finally:
            self._looking.release()

    def _accept(self, entry: OutboxEntry) -> None:
        now = self._now()
        if entry.attempts and entry.id in self._done:
            self._done[entry.id] = False  # taken while it was finished: that is to be said again
            return
        try:
            alert = alert_from_json(entry.body)
        except Exception:  # of a newer version, or damaged: it would come back for ever
            self._errors.caught(_PLACE)
            self._given_up += 1
            self._finish(entry.id)
            return
        lane = self._lanes.get(channel_of(entry))
        if lane is None:
            self._leave_to_others(entry, alert, now)
            return
        with self._changed:
            known = lane.held.get(entry.id)
            if known is not None:  # its lease was over before it was extended
                known.leased_until = now + LEASE_S
                return
            if now >= lane.full_until and len(lane.held) < MAX_HELD:
                lane.held[entry.id] = _Held(entry.id, alert, now + LEASE_S)
                return
            if now >= lane.full_until:
                lane.full_until = now + lane.full_pause_s
                lane.full_pause_s = min(2 * lane.full_pause_s, _LONGEST_FULL_PAUSE_S)
            until = lane.full_until
        self._store.postpone_alert(entry.id, until)

    def _leave_to_others(self, entry: OutboxEntry, alert: Alert, now: float) -> None:
        """Give back an alert for a channel that this process does not have: others of the store may have it."""
        if now - alert.at <= MAX_AGE_S:
            self._store.postpone_alert(entry.id, now + _STRANGER_S)
            return
        self._given_up += 1
        self._errors.log_once(
            f"{_PLACE}.{channel_of(entry)}",
            "an alert of %s is given up: no process has a channel %s",
            alert.rule,
            channel_of(entry),
        )
        self._finish(entry.id)

    def _extend(self) -> None:
        now = self._now()
        with self._changed:
            old = [
                held
                for lane in self._lanes.values()
                for held in lane.held.values()
                if held.leased_until - now < LEASE_S / 2
            ]
        for held in old:
            self._store.postpone_alert(held.id, now + LEASE_S)
            held.leased_until = now + LEASE_S

    def _finish(self, id: str) -> None:
        """Tell the store that an alert is done with; if the store is away, later."""
        with self._changed:
            if len(self._done) >= _MAX_REMEMBERED:
                self._done.pop(next(iter(self._done)))
            self._done[id] = False
        try:
            self._store.finish_alert(id)
        except StoreUnavailableError:
            return
        except Exception:
            self._errors.caught(_PLACE)
            return
        self._done[id] = True

    def _finish_late(self) -> None:
        with self._changed:
            unknown = [id for id, is_known in self._done.items() if not is_known]
        for id in unknown:
            self._store.finish_alert(id)
            self._done[id] = True

    # --- the threads that send --------------------------------------------------------------------

    def _start_lanes(self) -> list[_Lane]:
        """Start a thread for each channel that has something; return those for which none could be started."""
        without: list[_Lane] = []
        with self._changed:
            for lane in self._lanes.values():
                if not lane.held or lane.thread is not None:
                    continue
                lane.thread = threading.Thread(
                    target=self._send_all, args=(lane,), name=f"spancost-alerts-{lane.name}", daemon=True
                )
                try:
                    lane.thread.start()
                except RuntimeError:  # the interpreter is ending
                    lane.thread = None
                    without.append(lane)
            self._changed.notify_all()
        return without

    def _send_all(self, lane: _Lane) -> None:
        """Send what a lane holds; ends when it holds nothing."""
        try:
            while self._send_next(lane):
                pass
        except Exception:
            self._errors.caught(_PLACE)
        finally:  # also where a callback has ended its thread
            with self._changed:
                if lane.thread is threading.current_thread():
                    lane.thread, lane.sending = None, ""

    def _send_next(self, lane: _Lane) -> bool:
        with self._changed:
            held = lane.next_due()
            if held is None or self._is_closed:
                lane.thread = None  # in one step with the look: what comes now starts another
                return False
            wait_s = held.next_at - time.monotonic()
            if wait_s > 0:
                self._changed.wait(wait_s)
                return True
            lane.sending = held.id
        self._attempt(lane, held, self._send_timeout_s)
        return True

    def _attempt(self, lane: _Lane, held: _Held, timeout_s: float) -> None:
        """Try to send one alert; the lane is marked as sending before."""
        failure: DeliveryError | None = None
        try:
            lane.channel.send(held.alert, timeout_s=timeout_s)
        except DeliveryError as error:
            failure = error
        except (Exception, SystemExit) as error:  # its text may hold anything, and callbacks may leave
            failure = DeliveryError(f"{type(error).__name__} in the channel")
            self._errors.counts[_PLACE] = self._errors.counts.get(_PLACE, 0) + 1
        is_done = True
        if failure is None:
            with self._changed:
                self._sent += 1
                lane.full_pause_s = _FULL_PAUSE_S
        else:
            is_done = self._failed_once(lane, held, failure)
        if is_done:
            self._finish(held.id)  # before the lane lets go of it: it must not be taken anew in between
        with self._changed:
            lane.sending = ""
            if is_done:
                lane.held.pop(held.id, None)
            self._changed.notify_all()

    def _failed_once(self, lane: _Lane, held: _Held, failure: DeliveryError) -> bool:
        """Count a failure; returns True if there will be no other attempt."""
        with self._changed:
            self._failed += 1
            held.failures += 1
            held.next_at = time.monotonic() + self._back_off.pause_s(held.failures, failure.retry_after_s)
            is_old = self._now() - held.alert.at > MAX_AGE_S or held.failures >= MAX_ATTEMPTS
            is_given_up = failure.is_final or is_old
            self._given_up += is_given_up
        kind = f"{_PLACE}.{lane.name}"
        if is_given_up:
            self._errors.log_once(
                f"{kind}.given_up",
                "an alert of %s is given up, channel %s does not take it: %s",
                held.alert.rule,
                lane.name,
                failure,
            )
        else:
            self._errors.log_once(
                kind, "an alert of %s waits, channel %s fails: %s", held.alert.rule, lane.name, failure
            )
        return is_given_up

    # --- the end ----------------------------------------------------------------------------------

    def _flush(self, deadline: float) -> bool:
        if self._pid != os.getpid():
            self.after_fork_in_child()
        began = time.monotonic()
        with suppress(StoreUnavailableError):  # what is held already can be tried nevertheless
            self._look(deadline - time.monotonic())
        stranded = self._start_lanes()
        for done, lane in enumerate(stranded):
            self._send_here(lane, began, (deadline - time.monotonic()) / (len(stranded) - done))
        with self._changed:
            self._changed.wait_for(lambda: not self._has_untried(began), max(0.0, deadline - time.monotonic()))
            return not any(lane.held for lane in self._lanes.values()) and all(self._done.values())

    def _has_untried(self, began: float) -> bool:
        """Say whether something that was due has not had its attempt yet."""
        for lane in self._lanes.values():
            if lane.sending:
                return True
            held = lane.next_due()
            if lane.thread is not None and held is not None and held.next_at <= began:
                return True
        return False

    def _send_here(self, lane: _Lane, began: float, seconds: float) -> None:
        """Send what is due on this thread, where no other can be started."""
        ends = time.monotonic() + seconds
        while (left_s := ends - time.monotonic()) > 0:
            with self._changed:
                held = lane.next_due()
                if held is None or held.next_at > began or lane.sending:
                    return
                lane.sending = held.id
            self._attempt(lane, held, min(self._send_timeout_s, left_s))
