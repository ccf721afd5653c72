"""Hard stops: a guard asks the budgets before a call is made, reserves what it may cost, and settles what it did.

    with spancost.guard("llm-monthly", reserve_usd=0.05):      # BudgetExceeded if that does not fit
        client.chat.completions.create(...)

One atomic call of the store reserves the worst case for all rules that are concerned. The charges of the spans started
inside are kept apart by the reservation and added to those rules by its settlement, when the last of the spans has
ended, in one step with the release of what was reserved. A process that is killed leaves its reservation behind: it
counts as spent until it expires.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from spancost import names
from spancost.budgets import reservation as reservations
from spancost.budgets.decision import (
    ALLOWED,
    BLOCK,
    BREACHED_RULE,
    COVERED,
    EXHAUSTED,
    NEAR_LIMIT,
    REQUEST_LIMIT,
    RESERVED,
    THROTTLE,
    TOO_LITTLE,
    UNAVAILABLE,
    UNPRICED,
    WITHIN,
    Decision,
)
from spancost.budgets.matching import key_of
from spancost.budgets.reservation import Promise, Reservation
from spancost.budgets.rules import ASSUME_USD, CLOSED, AnyRule, BudgetRule, RequestRule
from spancost.budgets.rules import BLOCK as BLOCK_UNPRICED
from spancost.budgets.store import (
    BREACHED,
    GUARD_TIMEOUT_S,
    Cell,
    Claim,
    Delivery,
    Standing,
    StoreUnavailableError,
    Sums,
)
from spancost.budgets.store_breaker import StoreBreaker
from spancost.charge import Charge, calls_of
from spancost.errors import suggest
from spancost.window import GuardedRule, as_utf8, label_text

if TYPE_CHECKING:
    from spancost._guard import ErrorLog
    from spancost.budgets.book import BudgetBook

logger: Final = logging.getLogger("spancost")

LEASE_S: Final = 120.0
"""A reservation of a process that is gone counts as spent for so long."""
_RENEWALS: Final = 4
"""So often a reservation is renewed in the time of its lease."""
_LONGEST_S: Final = 3600.0
"""A reservation whose spans have not ended by then is settled with what is known."""
_AWAY_RETRY_S: Final = 1.0
_LOOK_S: Final = 0.5
_REMEMBERED_S: Final = 60.0
"""A spent budget is looked at again after so long: its limit may be another one in the store's next life."""
EVERYTHING: Final = "*"
"""Scope of a guard that asks all rules that may be about the call."""
SCOPES: Final = (EVERYTHING, *names.COMPONENTS)


class _Asked(NamedTuple):
    """One budget that a guard asks."""

    rule: BudgetRule
    key: str
    claim: Claim
    guarded: GuardedRule


class _SpentOut(NamedTuple):
    """A budget that is spent until its window ends: nobody has to ask the store for a while."""

    decision: Decision
    retry_after_s: float
    since_s: float
    """Monotonic."""

    def decision_now(self) -> Decision | None:
        """Return the decision as it is now, None if the store is to be asked again."""
        passed_s = time.monotonic() - self.since_s
        if passed_s >= min(self.retry_after_s, _REMEMBERED_S):
            return None
        return _later(self.decision, self.retry_after_s - passed_s)


class Guards:
    """Decides, reserves and settles for one process.

    Args:
        book: The budgets.

        errors: Where our own errors are counted.
    """

    def __init__(self, book: BudgetBook, errors: ErrorLog) -> None:
        self._book = book
        self._errors = errors
        self._by_name = {rule.name: place for place, rule in enumerate(book.rules)}
        self._reset()

    def _reset(self) -> None:
        self._writer = uuid.uuid4().hex
        self._number = 0
        self._forsaken: deque[str] = deque(maxlen=_MAX_FORSAKEN)
        """Leases of which it is not known whether they were granted: the answer came too late."""
        self._sending: Delivery | None = None
        self._settled = 0
        """Number of the last delivery that the store has taken."""
        self._changed = threading.Condition()
        """Told when it has."""
        self._adds: dict[Cell, Sums] = {}
        self._released: list[str] = []
        """What is to be sent next."""
        self._is_away = False
        self._ended: deque[Reservation] = deque()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        """One for each reservation that has ended: a span's end may put it there, also one inside of another."""
        self._live: dict[Reservation, None] = {}
        self._spent_out: dict[tuple[int, str], _SpentOut] = {}
        self._breaker = StoreBreaker()
        self._settling = threading.RLock()
        self._thread: threading.Thread | None = None
        self._renewed_s = time.monotonic()

    # --- deciding -----------------------------------------------------------------------------------------------

    def ask(
        self,
        scope: str,
        reserve_usd: float | None,
        values: Mapping[str, str],
        request_usd: float | None,
        outer: Reservation | None = None,
    ) -> Decision:
        """Decide without reserving anything; see `reserve`."""
        return self.reserve(scope, reserve_usd, values, request_usd, outer, only_asks=True)[0]

    def reserve(
        self,
        scope: str,
        reserve_usd: float | None,
        values: Mapping[str, str],
        request_usd: float | None,
        outer: Reservation | None,
        *,
        only_asks: bool = False,
    ) -> tuple[Decision, Reservation | None]:
        """Decide whether a call may be made, and reserve what it may cost.

        Args:
            scope: Name of a rule, a component such as `llm`, or `*`.

            reserve_usd: The worst case, USD; None: not known.

            values: What is known of the call, by dimension. A rule that looks at something unknown is asked, too.

            request_usd: What the present request has cost so far; None outside of one.

            outer: The reservation that is in force.

            only_asks: Nothing is to be reserved.

        Returns:
            The decision, and the reservation if something is to be settled.

        Raises:
            ValueError: There is no such rule or scope.
        """
        asked: list[_Asked] = []
        promised: list[Promise] = []
        now = self._book.now()
        if scope in names.COMPONENTS and scope not in self._by_name:
            values = {**values, "component": scope}
        origin = self._book.origin
        values = {"service": origin.service, "environment": origin.environment, **values}
        for place in self._places(scope, values):
            rule = self._book.rules[place]
            key = self._book.admitted_key(place, key_of(self._book.per[place], values))
            if not isinstance(rule, BudgetRule):
                refused = self._refused_by_state(rule, key, reserve_usd, request_usd)
                if refused is not None:
                    return refused, None
                continue
            known = self._spent_out.get((place, key))
            if known is not None and (again := known.decision_now()) is not None:
                return again, None
            amount = reserve_usd
            if amount is None:
                amount = rule.assume_usd if rule.on_unpriced == ASSUME_USD else 0.0
                if not amount and rule.when_unavailable == CLOSED:
                    return self._blocked(rule, key, UNPRICED, None, 0.0, now), None
            cover = None if outer is None else outer.covering(rule.name, key, amount)
            if cover is not None:  # reserved already, for the block that this call is in
                promised.append((cover, rule.name, amount))
                continue
            window = rule.window
            cell = Cell(rule.name, 0, key, window.slot_of(int(now // 60)))
            claim = Claim(cell, window.first_slot(now), rule.limit_usd, amount)
            asked.append(_Asked(rule, key, claim, GuardedRule(rule.name, key, self._unsure(place, values))))
        if not asked:
            return self._covered(promised, only_asks=only_asks, outer=outer)
        before = self._settled
        decision, reservation = self._reserve(asked, now, outer, promised, only_asks=only_asks)
        if decision.reason == RESERVED and self._settle_ended(before):
            # What has been reserved by calls of this process that have ended meanwhile is free now.
            decision, reservation = self._reserve(asked, now, outer, promised, only_asks=only_asks)
        return decision, reservation

    def _covered(
        self, promised: Sequence[Promise], outer: Reservation | None, *, only_asks: bool
    ) -> tuple[Decision, Reservation | None]:
        """Allow a call for which a reservation around it has the money, or that no budget is about."""
        if not promised:
            return ALLOWED, None
        _, name, usd = max(promised, key=lambda promise: promise[2])
        decision = Decision(reason=COVERED, rule=name, reserve_usd=usd)
        return decision, None if only_asks else self._open("", (), outer, promised)

    def _unsure(self, place: int, values: Mapping[str, str]) -> tuple[tuple[str, str], ...] | None:
        """Return what is known of a call if a rule looks at something that is not; what is charged says that itself."""
        rule = self._book.rules[place]
        if all(values.get(name) for name in (*rule.match.given(), *rule.per) if name in _CALLERS or name in rule.per):
            return None
        return tuple((name, as_utf8(label_text(value))) for name, value in sorted(values.items()) if value)

    def _reserve(
        self,
        asked: Sequence[_Asked],
        now: float,
        outer: Reservation | None,
        promised: Sequence[Promise],
        *,
        only_asks: bool,
    ) -> tuple[Decision, Reservation | None]:
        lease = uuid.uuid4().hex
        claims = [one.claim._replace(usd=0.0) if only_asks else one.claim for one in asked]
        if not self._breaker.allows():
            return self._without_store(asked, outer, now, promised, only_asks=only_asks)
        try:
            grant = self._book.store.reserve(lease, claims, now=now, expires_at=now + LEASE_S)
        except StoreUnavailableError as error:
            self._breaker.failed()
            self._forsaken.append(lease)
            self._start_thread()
            self._errors.counts["budgets.guard"] = self._errors.counts.get("budgets.guard", 0) + 1
            self._errors.log_once("budgets.guard", "a guard could not ask the store of budgets in time: %s", error)
            return self._without_store(asked, outer, now, promised, only_asks=only_asks)
        except BaseException:  # a time limit of the application, too: the one that was let to try must not stay at it
            self._breaker.failed()
            self._forsaken.append(lease)
            raise
        self._breaker.succeeded()
        for one, standing in zip(asked, grant.standings, strict=True):
            refused = self._refused(one, standing, now, is_granted=grant.is_granted, only_asks=only_asks)
            if refused is not None:
                if grant.is_granted and not only_asks:
                    self._open(lease, asked, None).left()
                return refused, None
        if not grant.is_granted:  # by what came in between: nobody's standing says why
            return self._blocked(asked[0].rule, asked[0].key, RESERVED, grant.standings[0], 0.0, now), None
        return self._allowed(asked, grant.standings), None if only_asks else self._open(lease, asked, outer, promised)

    def _refused(
        self, one: _Asked, standing: Standing, now: float, *, is_granted: bool, only_asks: bool
    ) -> Decision | None:
        rule, wanted = one.rule, one.claim.usd
        if standing.unpriced and rule.on_unpriced == BLOCK_UNPRICED:
            return self._blocked(rule, one.key, UNPRICED, standing, wanted, now)
        if standing.spent_usd >= rule.limit_usd:
            decision = self._blocked(rule, one.key, EXHAUSTED, standing, wanted, now)
            if decision.retry_after_s is not None:
                place = self._by_name[rule.name]
                self._spent_out[place, one.key] = _SpentOut(decision, decision.retry_after_s, time.monotonic())
                while len(self._spent_out) > _MAX_SPENT_OUT:
                    self._spent_out.pop(next(iter(self._spent_out)), None)
            return decision
        if standing.spent_usd + standing.reserved_usd + wanted > rule.limit_usd and (only_asks or not is_granted):
            fits_later = standing.spent_usd + wanted <= rule.limit_usd
            reason = RESERVED if fits_later else TOO_LITTLE
            return self._blocked(rule, one.key, reason, standing, wanted, now)
        return None

    def _allowed(self, asked: Sequence[_Asked], standings: Sequence[Standing]) -> Decision:
        """Return the strictest decision of budgets that all have room."""
        worst: Decision | None = None
        nearest = -1.0
        for one, standing in zip(asked, standings, strict=True):
            rule = one.rule
            used = (standing.spent_usd + standing.reserved_usd + one.claim.usd) / rule.limit_usd
            delay_s = 0.0
            if rule.throttle_from is not None and used >= rule.throttle_from:
                room = 1.0 - rule.throttle_from
                delay_s = rule.throttle_delay_s * (min(1.0, (used - rule.throttle_from) / room) if room > 0 else 1.0)
            if worst is None or (delay_s, used) > (worst.delay_s, nearest):
                nearest = used
                worst = Decision(
                    action=THROTTLE if delay_s else "allow",
                    reason=NEAR_LIMIT if delay_s else WITHIN,
                    rule=rule.name,
                    key=one.key,
                    limit_usd=rule.limit_usd,
                    spent_usd=standing.spent_usd,
                    reserved_usd=standing.reserved_usd,
                    reserve_usd=one.claim.usd,
                    delay_s=delay_s,
                )
        return worst or ALLOWED

    def _without_store(
        self,
        asked: Sequence[_Asked],
        outer: Reservation | None,
        now: float,
        promised: Sequence[Promise],
        *,
        only_asks: bool,
    ) -> tuple[Decision, Reservation | None]:
        """Decide by what this process has seen last, each rule as it was told to."""
        standings: list[Standing] = []
        for one in asked:
            seen = self._book.last_standing(one.rule.name, one.key)
            spent = 0.0 if seen is None else seen.reading.spend.usd
            standing = Standing(spent, 0.0, 0)
            if spent >= one.rule.limit_usd:
                return self._blocked(one.rule, one.key, EXHAUSTED, standing, one.claim.usd, now), None
            if one.rule.when_unavailable == CLOSED:
                decision = self._blocked(one.rule, one.key, UNAVAILABLE, standing, one.claim.usd, now)
                return _later(decision, max(_AWAY_RETRY_S, self._breaker.retry_after_s)), None
            standings.append(standing)
        decision = self._allowed(asked, standings)
        return decision, None if only_asks else self._open("", asked, outer, promised)

    def _refused_by_state(
        self, rule: AnyRule, key: str, reserve_usd: float | None, request_usd: float | None
    ) -> Decision | None:
        """Refuse by a rule that is no budget: a dear request, or one whose breach is to stop calls."""
        if isinstance(rule, RequestRule):
            so_far = request_usd or 0.0
            if so_far + (reserve_usd or 0.0) <= rule.max_request_usd:
                return None
            return Decision(
                action=BLOCK,
                reason=REQUEST_LIMIT,
                rule=rule.name,
                key=key,
                limit_usd=rule.max_request_usd,
                spent_usd=so_far,
                reserve_usd=reserve_usd or 0.0,
            )
        seen = self._book.last_standing(rule.name, key)
        if seen is None or seen.state.state != BREACHED:
            return None
        return Decision(
            action=BLOCK,
            reason=BREACHED_RULE,
            rule=rule.name,
            key=key,
            limit_usd=seen.reading.limit_usd,
            spent_usd=seen.reading.spend.usd,
            retry_after_s=rule.cooldown_s,
        )

    def _blocked(
        self, rule: BudgetRule, key: str, reason: str, standing: Standing | None, wanted: float, now: float
    ) -> Decision:
        spent, reserved, _ = standing or Standing(0.0, 0.0, 0)
        window = rule.window
        if reason == RESERVED:
            retry_after_s: float | None = _AWAY_RETRY_S
        elif window.is_rolling:
            retry_after_s = float(window.slot_s - int(now) % window.slot_s)
        else:
            end = window.period_at(now).end
            retry_after_s = None if end is None else max(0.0, end - now)
        return Decision(
            action=BLOCK,
            reason=reason,
            rule=rule.name,
            key=key,
            limit_usd=rule.limit_usd,
            spent_usd=spent,
            reserved_usd=reserved,
            reserve_usd=wanted,
            retry_after_s=retry_after_s,
        )

    def _places(self, scope: str, values: Mapping[str, str]) -> Sequence[int]:
        """Return the rules that a guard asks."""
        place = self._by_name.get(scope)
        if place is not None:
            return (place,) if self._book.matcher.may_be_about(place, values) else ()
        if scope not in SCOPES:
            raise ValueError(f"guard: {scope!r} is no rule and no scope: {suggest(scope, (*self._by_name, *SCOPES))}")
        return [
            place
            for place, rule in enumerate(self._book.rules)
            if isinstance(rule, (BudgetRule, RequestRule)) and self._book.matcher.may_be_about(place, values)
        ]

    # --- settling -----------------------------------------------------------------------------------------------

    def _open(
        self, lease: str, asked: Sequence[_Asked], outer: Reservation | None, promised: Sequence[Promise] = ()
    ) -> Reservation:
        reservations.mark_used()
        claims = {one.guarded: one.claim for one in asked}
        reservation = Reservation(lease, claims, outer, self._note_ended, promised)
        self._live[reservation] = None
        self._start_thread()
        return reservation

    def _note_ended(self, reservation: Reservation) -> None:
        self._ended.append(reservation)
        self._wake.put(None)

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="spancost-guards", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: settled with the last flush
                return
            self._thread = thread

    def _run(self) -> None:
        mine = self._wake
        while mine is self._wake:
            with suppress(queue.Empty):
                mine.get(timeout=LEASE_S / _RENEWALS if self._sending is None else _LOOK_S)
                if self._is_away:
                    time.sleep(_LOOK_S)  # not once more for each call that ends
                while True:
                    mine.get_nowait()
            try:
                self._settle()
                self._keep_alive()
            except Exception:
                self._errors.caught("budgets.settle")

    def settle(self) -> bool:
        """Settle everything that has ended; False if the store is away."""
        self._settle()
        return self._sending is None

    def leave(self) -> None:
        """The process ends: settle what is known of everything, and leave the reservations to their expiry.

        What ends later is added by the flush.
        """
        with self._settling:
            for reservation in list(self._live):
                reservation.disown()
                self._add(reservation)
                self._live.pop(reservation, None)
        self._settle()

    def close(self) -> None:
        """Settle everything that has ended, and stop the thread."""
        self._settle()
        before, self._wake, self._thread = self._wake, queue.SimpleQueue(), None
        before.put(None)

    def _settle_ended(self, before: int) -> bool:
        """Have settled what has ended, in a guard's time; False if nothing has been since a number was read."""
        self._start_thread()
        self._wake.put(None)
        with self._changed:
            self._changed.wait_for(lambda: self._settled > before or self._is_idle(), GUARD_TIMEOUT_S)
        return self._settled > before  # by an earlier wake, perhaps

    def _is_idle(self) -> bool:
        return not (self._ended or self._forsaken or self._adds or self._released or self._sending)

    def _settle(self) -> None:
        """Add what reservations have really cost, and release them, all in one step."""
        with self._settling:
            # Also while the store is away: sums are few, reservations many.
            while self._ended:
                reservation = self._ended[0]
                self._add(reservation)
                if reservation.id:
                    self._released.append(reservation.id)
                self._live.pop(reservation, None)
                self._ended.popleft()  # last: until then it is seen that there is something to settle
            while self._forsaken:
                self._released.append(self._forsaken.popleft())
            if self._sending is not None and not self._send():
                return
            if not self._adds and not self._released:
                return
            adds, released = self._adds, tuple(self._released)
            self._sending = Delivery(self._writer, self._number + 1, adds, released)
            self._number, self._adds, self._released = self._number + 1, {}, []
            self._send()

    def _add(self, reservation: Reservation) -> None:
        adds = self._adds
        for taken in reservation.drained():
            for guarded in taken.rules:
                rule = self._book.rules[self._by_name[guarded.name]]
                if not isinstance(rule, BudgetRule):
                    continue
                cell = reservation.claims[guarded].cell._replace(slot=rule.window.slot_of(taken.minute))
                for sums in self._sums_of(self._by_name[guarded.name], taken.charges):
                    before = adds.get(cell)
                    adds[cell] = sums if before is None else before.plus(sums)

    def _sums_of(self, place: int, charges: Sequence[Charge]) -> Iterator[Sums]:
        """Yield what the charges of one span add to a rule."""
        for charge, calls in zip(charges, calls_of(charges), strict=True):
            if charge.line.status != names.DUPLICATE and self._book.matcher.is_about_line(place, charge.line):
                yield self._book.sums_of(place, charge.line, charge.usd, calls)

    def _send(self) -> bool:
        try:
            # What others have changed is for the book to see; nothing more than that is asked for.
            self._book.store.exchange(self._sending, self._book.cursor)
        except StoreUnavailableError as error:
            self._errors.log_once("budgets.settle", "the store of budgets is away, settlements wait: %s", error)
            self._is_away = True
            return False
        self._is_away = False
        with self._changed:
            self._settled, self._sending = self._number, None
            self._changed.notify_all()
        return True

    def _keep_alive(self) -> None:
        """Renew what is still open, and settle what has been open for too long."""
        now_s = time.monotonic()
        if now_s - self._renewed_s < LEASE_S / _RENEWALS:
            return
        self._renewed_s = now_s
        for reservation in list(self._live):
            if now_s - reservation.began_s > _LONGEST_S:
                reservation.give_up()
        leases = [one.id for one in list(self._live) if one.id]
        if leases:
            try:
                self._book.store.renew(leases, self._book.now() + LEASE_S)
            except StoreUnavailableError as error:
                self._errors.log_once("budgets.settle", "reservations could not be renewed: %s", error)

    def after_fork_in_child(self) -> None:
        """What the parent has reserved is the parent's: what is spent under it here comes with the flush."""
        for reservation in self._live:
            reservation.disown()
        self._reset()


_CALLERS: Final = frozenset({"route", "entrypoint", "feature", "tenant", "team"})
"""What the charges of a call do not say themselves when they are settled."""
_MAX_FORSAKEN: Final = 1000
_MAX_SPENT_OUT: Final = 10_000


def _later(decision: Decision, retry_after_s: float) -> Decision:
    return replace(decision, retry_after_s=retry_after_s)
