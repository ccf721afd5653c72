"""Keeps the budgets of a process: adds up what each flush brings, shares it by the store, and says what has changed.

Called on the publishing thread (`write`, `tick`), never in a request. A store that is away keeps back nothing but
alerts; what could not be sent is counted on top of what the store has said last, and sent, once, when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from spancost import names
from spancost.budgets.alerting import AlertFacts, alert_of
from spancost.budgets.contributors import Contributors
from spancost.budgets.evaluation import Evaluator, Reading, request_reading
from spancost.budgets.guard import Guards
from spancost.budgets.intake import Intake
from spancost.budgets.matching import Hit, Matcher
from spancost.budgets.quiet import Quiet, quiet_of
from spancost.budgets.rules import ASSUME_USD, OVERFLOW_KEY, AnyRule, BudgetRule, RequestRule
from spancost.budgets.states import step
from spancost.budgets.store import (
    GUARD_TIMEOUT_S,
    OK,
    Cell,
    Changes,
    Delivery,
    OutboxEntry,
    StateRecord,
    Store,
    StoreUnavailableError,
    Sums,
)
from spancost.budgets.tracks import oldest_slot, tracks_of
from spancost.budgets.view import View
from spancost.charge import PriceLine
from spancost.window import Attribution, Batch, ChargeSum, CostlyRequest, EntryLabels, GuardedKey, Origin

if TYPE_CHECKING:
    from spancost._guard import ErrorLog
    from spancost.budgets.notify.deliverer import DeliveryCounts

logger: Final = logging.getLogger("spancost")
_FORGET_EVERY_S: Final = 600.0
_NOISE: Final = 1e-9
"""Part of what was added and taken off again that may be left by rounding."""
_SHOWN_S: Final = 1.0
"""A collection of metrics asks once for each gauge: it gets the same answer."""
_SHOW_WAIT_S: Final = 0.1
"""How long somebody who asks how budgets stand waits for the present flush."""
_MOST_SHOWN_FRESH: Final = 2000
"""Keys that are read again at once where somebody asks how budgets stand."""
_MAX_UNSENT: Final = 200_000
"""Cells that wait for a store that is away."""


class Delivers(Protocol):
    """Sends the alerts that lie in a store."""

    @property
    def counts(self) -> DeliveryCounts:
        """What became of them."""
        ...

    def wake(self) -> None:
        """There is something new."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Try once what is due."""
        ...

    def close(self) -> None:
        """Give back what has not been delivered."""
        ...

    def after_fork_in_child(self) -> None:
        """What the parent delivers is the parent's."""
        ...


class Standing(NamedTuple):
    """How one key of a rule stands, for metrics and for people."""

    rule: AnyRule
    key: str
    state: StateRecord
    reading: Reading


class BudgetBook:
    """Sink of an engine that keeps the budgets.

    Args:
        rules: All rules, checked.

        origin: Service and environment of the process.

        store: Where sums, states and alerts are shared.

        channels: Names of the channels that alerts go to.

        errors: Where our own errors are counted.

        deliverer: Sends what lies in the store.

        costly_requests: Returns the requests that go on and have cost more than so many USD.

        now: Clock, Unix seconds.
    """

    name = "budgets"

    def __init__(
        self,
        rules: Sequence[AnyRule],
        origin: Origin,
        store: Store,
        *,
        channels: Sequence[str],
        errors: ErrorLog,
        deliverer: Delivers | None = None,
        costly_requests: Callable[[float], Sequence[CostlyRequest]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.rules = tuple(rules)
        self.origin = origin
        self.store = store
        self.deliverer = deliverer
        self._channels = tuple(channels)
        self._errors = errors
        self.now = now
        self._costly_requests = costly_requests
        budgets = self._budgets = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
        # A rule about a budget adds up what that budget does.
        shaped = [_shape_of(rule, budgets) for rule in rules]
        self.matcher = Matcher(shaped, origin)
        self.per = tuple(rule.per for rule in shaped)
        self._max_keys = tuple(rule.max_keys for rule in shaped)
        self._counts_idle = tuple(rule.include_idle for rule in shaped)
        self._unpriced_usd = tuple(rule.assume_usd if rule.on_unpriced == ASSUME_USD else 0.0 for rule in shaped)
        self.tracks = tuple(tracks_of(rule, budgets) for rule in rules)
        self.guards = Guards(self, errors)
        """Stop calls before they are made."""
        self._place_of = {rule.name: place for place, rule in enumerate(rules)}
        limits = [rule.max_request_usd for rule in rules if isinstance(rule, RequestRule)]
        self.least_request_usd = min(limits, default=float("inf"))
        """A request that has cost no more is over no rule's limit, USD."""
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._writer = uuid.uuid4().hex
        self._number = 0
        self._sending: Delivery | None = None
        self._unsent: dict[Cell, Sums] = {}
        self.cursor = 0
        self._view = View()
        self._evaluator = Evaluator(self.rules, self.tracks, self._view)
        self._keys: list[set[str]] = [set() for _ in self.rules]
        self._again: set[tuple[int, str]] = set()
        """Rules and keys to be looked at again: another process was faster, or something went wrong."""
        self._dear: dict[tuple[int, str], tuple[float, int]] = {}
        """USD and trace of the costliest request that is to be told, by rule and key."""
        self._contributors = Contributors(self.now, self.admitted_key)
        self._intake = Intake(
            self.rules, self.tracks, self.matcher, self._contributors, self.sums_of, self.admitted_key
        )
        self._forgot_at = 0.0
        self._incomplete_told: set[str] = set()
        self.alarms: Mapping[Hit, str] = {}
        """Rules and keys that are not ok, with their state; replaced as a whole, so that anybody may read it."""
        self._standings: dict[tuple[int, str], Standing] = {}
        self._quiet: dict[tuple[int, str], Quiet] = {}
        """Keys that need not be read before they have grown by so much, or before a moment."""
        self._restless: dict[tuple[int, str], None] = {}
        """The others."""
        self._stale: dict[tuple[int, str], None] = {}
        """Quiet ones that have grown since they were read."""
        self._shown: tuple[float, tuple[Standing, ...]] | None = None
        """When somebody has asked, Unix seconds, and what was said; None: something has changed since."""
        self._shown_from = 0
        self._next_due = 0.0
        self._looked_at = 0.0
        self._looked_at_minute = 0
        self._synced_at = 0.0
        self.is_store_away = False
        self.dropped_usd = 0.0
        """What could not be kept for a store that was away for too long, USD."""

    # --- what comes in ------------------------------------------------------------------------------------------

    def write(self, batch: Batch, *, final: bool) -> None:
        """Add what was charged since the last flush, and see what follows."""
        with self._lock:
            touched = self._add(batch)  # in one step: the same batch may be given again after an error in it
        if final:
            self.guards.settle()  # before the look at what everybody has spent: there may be no other
        with self._lock:
            self._followed(batch, touched)
        if final and self.deliverer is not None:
            self.deliverer.wake()

    def _followed(self, batch: Batch, touched: set[Hit]) -> None:
        try:
            self._see_requests(batch)
            self._sync(touched)
        except Exception:
            self._errors.caught("budgets")

    def tick(self) -> None:
        """See what others have spent, what time has changed, and what requests that go on have cost."""
        found: Sequence[CostlyRequest] = ()
        if self._costly_requests is not None and self.least_request_usd != float("inf"):
            try:
                found = self._costly_requests(self.least_request_usd)
            except Exception:
                self._errors.caught("budgets.requests")
        with self._lock:
            for request in found:
                hits = self.matcher.of_request(request.labels, request.attribution)
                self._see_request(hits, request.usd, request.trace_id)
            self._sync(set())

    def _add(self, batch: Batch) -> set[Hit]:
        """Add a batch to what is to be sent; return what it has touched."""
        if self.matcher.is_idle:
            return set()
        adds, touched = self._intake.cells_of(batch, self._counts_idle)
        taken_off: set[Cell] = set()
        for guarded, sums in batch.guarded.items():
            if guarded.line.status != names.DUPLICATE:
                self._take_off(adds, guarded, sums, taken_off)
        for cell in taken_off:
            left = adds[cell]
            if not left.calls and not left.unpriced and abs(left.usd) < _NOISE:
                del adds[cell]
        if not self._unsent and len(adds) <= _MAX_UNSENT:
            self._unsent = adds
            return touched
        for cell, more in adds.items():
            before = self._unsent.get(cell)
            if before is None and len(self._unsent) >= _MAX_UNSENT:
                self.dropped_usd += more.usd
                self._errors.counts["budgets.dropped"] = self._errors.counts.get("budgets.dropped", 0) + 1
                continue
            self._unsent[cell] = more if before is None else before.plus(more)
        return touched

    def _take_off(self, adds: dict[Cell, Sums], guarded: GuardedKey, sums: ChargeSum, cells: set[Cell]) -> None:
        """Take off what guards settle, and bring what they settle under the wrong key to the right one."""
        hits = {hit.rule: hit for hit in self.matcher.of_charge(guarded.line, guarded.labels, guarded.attribution)}
        for rule in guarded.rules:
            place = self._place_of[rule.name]
            if not isinstance(self.rules[place], BudgetRule) or not self.matcher.is_about_line(place, guarded.line):
                continue
            amount = self.sums_of(place, guarded.line, sums.usd, sums.count)
            less = Sums().minus(amount)
            hit = hits.get(place)
            if hit is not None:
                self._intake.add_to(adds, hit, guarded.minute, less, cells)
            if rule.known is not None:
                key = self.matcher.key_with(place, guarded.line, guarded.labels, guarded.attribution, rule.known)
                if key != rule.key:
                    self._intake.add_to(adds, Hit(place, rule.key), guarded.minute, less, cells)
                    if key is not None:
                        self._intake.add_to(adds, Hit(place, key), guarded.minute, amount, cells)

    def admitted_key(self, place: int, key: str) -> str:
        """Return the key under which a rule keeps another one: itself, or `other` beyond the rule's bound."""
        known = self._keys[place]
        if key not in known:
            if len(known) >= self._max_keys[place]:
                return OVERFLOW_KEY
            known.add(key)
        return key

    def sums_of(self, place: int, line: PriceLine, usd: float, calls: int) -> Sums:
        """Return what a charge adds to a rule.

        Args:
            place: Of the rule.

            line: What is charged.

            usd: Its effective cost, USD.

            calls: Calls that it stands for.
        """
        if line.status == names.UNPRICED:
            assumed = calls * self._unpriced_usd[place]
            return Sums(usd + assumed, assumed, calls, calls)
        return Sums(usd, usd if line.status == names.ESTIMATED else 0.0, 0, calls)

    # --- the store ----------------------------------------------------------------------------------------------

    def _sync(self, touched: set[Hit]) -> None:
        now = self._synced_at = self.now()
        try:
            self._exchange()  # which also tells of what was touched here
            if now - self._forgot_at >= _FORGET_EVERY_S or now < self._forgot_at:
                self._forgot_at = now
                self._forget(now)
            self.is_store_away = False
        except StoreUnavailableError as error:
            self.is_store_away = True
            self._again |= touched
            self._errors.counts["budgets.store"] = self._errors.counts.get("budgets.store", 0) + 1
            self._errors.log_once("budgets.store", "the store of budgets is away, what is spent waits: %s", error)
        waiting = dict(self._unsent)
        if self._sending is not None:
            for cell, sums in self._sending.adds.items():
                waiting[cell] = waiting.get(cell, Sums()).plus(sums)
        self._view.set_unsent(waiting)
        dirty, self._again = self._again, set()
        self._evaluate(dirty, now)

    def _exchange(self) -> None:
        """Send what is to be sent and take over what has changed."""
        while True:
            if self._sending is None and self._unsent:
                self._number += 1
                self._sending = Delivery(self._writer, self._number, self._unsent)
                self._unsent = {}
            changes = self.store.exchange(self._sending, self.cursor)
            self._sending = None
            self._take_over(changes)
            if not self._unsent:
                return

    def _take_over(self, changes: Changes) -> None:
        """Take over what has changed; those rules and keys are to be looked at again."""
        changed = self._again
        if changes.is_reset:
            self._view.clear()
            self._quiet.clear()
            changed.update(self._standings)
        self.cursor = changes.cursor
        place_of, set_cell, stays_quiet = self._place_of, self._view.set, self._stays_quiet
        for cell, sums in changes.cells:
            rule, track, key, slot = cell
            place = place_of.get(rule)
            if place is None or track >= len(self.tracks[place]):
                continue  # a rule of another configuration
            before = set_cell(cell, sums)
            if not track and not stays_quiet((place, key), slot, before, sums):  # other tracks have got the same
                changed.add((place, key))
                self._keys[place].add(key)
        for record in changes.states:
            place = self._place_of.get(record.rule)
            if place is not None:
                self._view.states[record.rule, record.key] = record
                changed.add((place, record.key))
        if changes.states and self.deliverer is not None:
            self.deliverer.wake()  # whoever has made them may have been killed before it told anybody

    def _stays_quiet(self, where: tuple[int, str], slot: int, before: Sums | None, after: Sums) -> bool:
        """True if a key may grow by so much without being looked at; what it shows is older than its sums then."""
        quiet = self._quiet.get(where)
        if quiet is None or after.unpriced or self._synced_at >= quiet.touch_until:
            return False
        if quiet.slot is not None and quiet.slot != slot:
            return False
        quiet.left_usd -= after.usd if before is None else after.usd - before.usd
        if quiet.left_usd > 0:
            self._stale[where] = None
            self._shown = None
            return True
        return False

    def _forget(self, now: float) -> None:
        oldest: dict[tuple[str, int], int] = {}
        for rule, tracks in zip(self.rules, self.tracks, strict=True):
            for track in tracks:
                slot = oldest_slot(track, now)
                if slot > 0:
                    oldest[rule.name, track.index] = slot
                    self._view.forget(rule.name, track.index, slot)
        self.store.forget(oldest, now=now)
        living: list[set[str]] = [set() for _ in self.rules]
        for name, key in (*self._view.keys(), *self._view.states):
            place = self._place_of.get(name)
            if place is not None:
                living[place].add(key)
        self._keys = living
        for where in [where for where in self._standings if where[1] not in living[where[0]]]:
            self._shown = None
            del self._standings[where]
            self._quiet.pop(where, None)
            self._restless.pop(where, None)
            self._stale.pop(where, None)
        self._contributors.forget()

    # --- what follows -------------------------------------------------------------------------------------------

    def _evaluate(self, dirty: set[tuple[int, str]], now: float) -> None:
        for (name, key), record in self._view.states.items():
            if record.state != OK:
                dirty.add((self._place_of[name], key))
        minute = int(now // 60)
        is_new_minute, self._looked_at_minute = minute != self._looked_at_minute, minute
        if now >= self._next_due or now < self._looked_at:
            is_back = now < self._looked_at
            dirty.update(where for where, quiet in self._quiet.items() if is_back or quiet.until <= now)
        self._looked_at = now
        dirty.update(where for where in self._restless if _moves(self._standings[where].reading, now, is_new_minute))
        alarms: dict[Hit, str] = {}
        for place, key in dirty:
            rule = self.rules[place]
            try:
                reading = self._evaluator.read(rule, key, now)
                dear = None
                if reading is None and isinstance(rule, RequestRule):
                    dear = self._dear.pop((place, key), None)
                    # Without one it is well again a cooldown after the last one.
                    reading = request_reading(rule, 0.0 if dear is None else dear[0])
                if reading is not None:
                    self._step(rule, key, reading, now, dear)
                    self._keep(place, rule, key, reading, now)
            except Exception:  # the other rules and keys still speak
                self._quiet.pop((place, key), None)
                self._again.add((place, key))
                self._errors.caught("budgets.rule")
        for (name, key), record in self._view.states.items():
            if record.state != OK:
                alarms[Hit(self._place_of[name], key)] = record.state
        self.alarms = alarms
        self._next_due = min((quiet.until for quiet in self._quiet.values()), default=0.0)

    def _keep(self, place: int, rule: AnyRule, key: str, reading: Reading, now: float) -> None:
        where = Hit(place, key)
        record = self._record(rule.name, key)
        self._standings[where] = Standing(rule, key, record, reading)
        self._shown = None
        self._stale.pop(where, None)
        tracks = self.tracks[place]
        is_told = where not in self._again  # else there is something that another process, or nobody, has stored
        quiet = quiet_of(rule, reading, record, now, tracks[0], self._budgets) if tracks and is_told else None
        if quiet is None:
            self._quiet.pop(where, None)
            self._restless[where] = None
        else:
            self._quiet[where] = quiet
            self._restless.pop(where, None)

    def last_standing(self, rule: str, key: str) -> Standing | None:
        """Return how a key stood when it was last looked at; far from its limit that may be some minutes ago.

        Waits for nothing.
        """
        place = self._place_of.get(rule)
        return None if place is None else self._standings.get(Hit(place, key))

    def standing(self, rule: str, key: str) -> Standing | None:
        """Return how a key stands; None if nothing is known of it. Waits for a flush no longer than a guard does."""
        place = self._place_of.get(rule)
        if place is None:
            return None
        where = Hit(place, key)
        if where in self._stale and self._lock.acquire(timeout=GUARD_TIMEOUT_S):
            try:
                self._read_again(where, self.now())
            finally:
                self._lock.release()
        return self._standings.get(where)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How all keys stand. Of very many that are far from their limits some may be shown as a minute ago."""
        shown = self._shown
        if shown is not None and 0.0 <= self.now() - shown[0] < _SHOWN_S:
            return shown[1]
        if self._lock.acquire(timeout=_SHOW_WAIT_S):
            try:
                self._refresh()
                found = tuple(self._standings.values())
                self._shown = (self.now(), found)
                return found
            finally:
                self._lock.release()
        return tuple(dict(self._standings).values())

    @property
    def standing_of(self) -> Mapping[tuple[str, str], Standing]:
        """The same by rule and key."""
        return {(standing.rule.name, standing.key): standing for standing in self.standings}

    def _refresh(self) -> None:
        """Read again what has grown or moved since it was read, without a word about it: it is quiet."""
        now = self.now()
        moved = [where for where, standing in self._standings.items() if _moves(standing.reading, now, True)]
        begin = self._shown_from % max(1, len(moved))  # by turns, where there are very many
        self._shown_from = begin + _MOST_SHOWN_FRESH
        for where in islice(dict.fromkeys((*self._stale, *moved[begin:], *moved[:begin])), _MOST_SHOWN_FRESH):
            self._read_again(where, now)

    def _read_again(self, where: tuple[int, str], now: float) -> None:
        self._stale.pop(where, None)
        standing = self._standings.get(where)
        reading = None if standing is None else self._evaluator.read(standing.rule, standing.key, now)
        if standing is not None and reading is not None:
            self._standings[where] = standing._replace(reading=reading)

    def fresh_standings(self) -> tuple[Standing, ...]:
        """Return how every key of every rule stands now, also where nothing has been spent lately."""
        with self._lock:
            now = self.now()
            found: list[Standing] = []
            for name, key in dict.fromkeys((*self._view.keys(), *self._view.states)):
                rule = self.rules[self._place_of[name]]
                reading = self._evaluator.read(rule, key, now)
                if reading is not None:
                    found.append(Standing(rule, key, self._record(name, key), reading))
            return tuple(found)

    def _record(self, name: str, key: str) -> StateRecord:
        return self._view.states.get((name, key)) or StateRecord(name, key)

    def _step(
        self, rule: AnyRule, key: str, reading: Reading, now: float, trace: tuple[float, int] | None = None
    ) -> None:
        before = self._record(rule.name, key)
        done = step(before, reading.seen, now, cooldown_s=rule.cooldown_s, episode=uuid.uuid4().hex)
        if done.record is before:
            return
        place = self._place_of[rule.name]
        if self.is_store_away:  # one wait for it is enough, however many keys have something to tell
            self._tell_later(place, key, trace)
            return
        if reading.seen.is_incomplete and not before.is_incomplete and rule.name not in self._incomplete_told:
            self._incomplete_told.add(rule.name)
            logger.warning(
                "budget rule %s is incomplete: something it counts has no price (spancost doctor says what)", rule.name
            )
        top = self._contributors.top((place, key))
        facts = AlertFacts(
            rule, key, self.per[place], reading, self.origin, self.store.scope, now, top,
            self._contributors.costliest((place, key)) if trace is None else trace,
        )  # fmt: skip
        alerts = [alert_of(facts, event, done.record) for event in done.events]
        channels = rule.notify or self._channels
        entries = [OutboxEntry(f"{alert.id}:{channel}", alert.as_json()) for alert in alerts for channel in channels]
        try:
            is_first = self.store.transition(done.record, entries)
        except StoreUnavailableError as error:
            self.is_store_away = True
            self._errors.log_once("budgets.store", "the store of budgets is away, alerts wait: %s", error)
            is_first = False
        if not is_first:
            self._tell_later(place, key, trace)
            return
        self._view.states[rule.name, key] = done.record
        if entries and self.deliverer is not None:
            self.deliverer.wake()

    def _tell_later(self, place: int, key: str, trace: tuple[float, int] | None) -> None:
        self._again.add((place, key))
        if trace is not None:
            self._dear[place, key] = trace

    # --- single requests ----------------------------------------------------------------------------------------

    def _see_requests(self, batch: Batch) -> None:
        for key, sums in batch.requests.items():
            if not sums.costliest_trace:
                continue
            hits = self.matcher.of_request(key.labels, key.attribution)
            if hits:
                self._contributors.see_trace_later(hits, sums.costliest_usd, sums.costliest_trace)
            if sums.costliest_usd > self.least_request_usd:
                self._see_request(hits, sums.costliest_usd, sums.costliest_trace)

    def _see_request(self, hits: Iterable[Hit], usd: float, trace_id: int) -> None:
        for hit in hits:
            rule = self.rules[hit.rule]
            if isinstance(rule, RequestRule) and usd > rule.max_request_usd:
                place = hit.rule, self.admitted_key(*hit)
                self._dear[place] = max(self._dear.get(place, (0.0, 0)), (usd, trace_id))
                self._again.add(place)

    def marks(self, labels: EntryLabels, attribution: Attribution, total_usd: float) -> tuple[str, ...]:
        """Return what a local root that ends says of its budgets: `rule:state` of each that is not ok.

        Called in a span's end, under the engine's lock: reads what is there, waits for nothing.

        Args:
            labels: The root's.

            attribution: The root's.

            total_usd: What it has cost.
        """
        alarms = self.alarms
        if not alarms and total_usd <= self.least_request_usd:
            return ()
        said: list[str] = []
        for hit in self.matcher.of_request(labels, attribution):
            rule = self.rules[hit.rule]
            state = alarms.get(hit)
            if isinstance(rule, RequestRule):
                state = "breached" if total_usd > rule.max_request_usd else None
            if state is not None:
                said.append(f"{rule.name}:{state}")
        return tuple(said)

    # --- life ---------------------------------------------------------------------------------------------------

    def release_for_good(self) -> None:
        """The process ends: what calls under guards have cost so far must not wait for their ends."""
        self.guards.leave()

    def close(self) -> None:
        """Send what is left, and let go of the store."""
        self.guards.close()
        with self._lock:
            self._sync(set())
        if self.deliverer is not None:
            self.deliverer.flush(_LAST_FLUSH_S)
            self.deliverer.close()
        self.store.close()

    def after_fork_in_child(self) -> None:
        """Start with what the store says: what the parent has not sent yet is the parent's."""
        self.store.after_fork_in_child()
        self.guards.after_fork_in_child()
        if self.deliverer is not None:
            self.deliverer.after_fork_in_child()
        self._reset()


_LAST_FLUSH_S: Final = 2.0


def _moves(reading: Reading, now: float, is_new_minute: bool) -> bool:
    """True if a reading changes though nothing is spent: its window rolls, in slots of whole minutes, or is over."""
    period = reading.period
    if period is None or period.end is None:
        return is_new_minute and period is None and reading.spend.usd > 0
    return now >= period.end


def _shape_of(rule: AnyRule, budgets: Mapping[str, BudgetRule]) -> AnyRule:
    """Return the rule whose match and split hold for a rule: those of its budget where it speaks about one."""
    budget = getattr(rule, "budget", "")
    return budgets[budget] if budget else rule
