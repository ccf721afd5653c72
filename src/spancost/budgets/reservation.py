"""Money that a guard has reserved, and what really came of it: the part of guards that the span path knows.

A reservation collects the charges of the spans that were started under it. When its guard has been left and the last of
those spans has ended (a stream outlives the `with`), it is handed over to be settled. Nothing here waits or takes a
lock: each step is one operation of a set, a list or a queue that other threads, signal handlers and finalizers may
interrupt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from spancost.charge import Charge
from spancost.window import GuardedRule

if TYPE_CHECKING:
    from spancost.budgets.store import Claim
    from spancost.nodes import SpanNode

KEY: Final = "spancost-reservation"
"""Where a context carries the innermost reservation."""
_NO_RULES: Final[frozenset[GuardedRule]] = frozenset()

is_used = False
"""No guard has been entered in this process yet: the span path looks no further."""


class TakenCharges(NamedTuple):
    """The charges of one span that belong to a reservation."""

    charges: tuple[Charge, ...]
    minute: int
    """UTC minute of the span's end."""
    rules: frozenset[GuardedRule]
    """Those of the reservation's rules that it is settled with."""


Promise: TypeAlias = "tuple[Reservation, str, float]"
"""A reservation that covers another one inside of it, the name of the rule, and USD."""


class Reservation:
    """One guarded call, or block of calls.

    Args:
        id: Of the lease in the store; empty if nothing was reserved there.

        claims: What was reserved, by rule.

        outer: The reservation around it. A rule that both claim is settled by this one.

        promised: What reservations around it have promised of theirs: those settle its charges with these rules.

        on_done: Called once when all that it covers has ended; may be called on any thread, also in a span's end.
    """

    __slots__ = (
        "_is_left",
        "_once",
        "_open",
        "_promised",
        "_promises",
        "began_s",
        "claims",
        "id",
        "on_done",
        "outer",
        "rules",
        "taken",
    )

    def __init__(
        self,
        id: str,
        claims: Mapping[GuardedRule, Claim],
        outer: Reservation | None,
        on_done: Callable[[Reservation], None],
        promised: Sequence[Promise] = (),
    ) -> None:
        self.id = id
        self.claims = claims
        self.rules = frozenset(claims)
        self.outer = None if outer is None or outer.is_settled else outer
        self.on_done = on_done
        self.taken: list[TakenCharges] = []
        self._promised = tuple(promised)
        self._promises: dict[tuple[Reservation, str], float] = {}
        """What reservations inside may use of this one, USD, by the name of the rule."""
        for by, name, usd in self._promised:
            by._promises[self, name] = usd
            by.enter(self)
        self.began_s = time.monotonic()
        self._open: set[int] = set()
        self._is_left = False
        self._once: dict[str, object] = {}

    @property
    def is_settled(self) -> bool:
        """True once it was handed over: what comes later is nobody's but the flush's."""
        return bool(self._once)

    def enter(self, place: object) -> bool:
        """Keep it open for something, until `leave`; False if it is settled already."""
        token = id(place)
        self._open.add(token)
        if self._once:
            self._open.discard(token)
            return False
        if self.outer is not None:
            self.outer.enter(place)
        return True

    def take(
        self, charges: Sequence[Charge], minute: int, settled: frozenset[GuardedRule] = _NO_RULES
    ) -> frozenset[GuardedRule]:
        """Take charges; return all rules that they are settled with.

        Args:
            charges: Of one span.

            minute: UTC minute of its end.

            settled: Rules that a reservation inside this one settles them with.
        """
        mine = self.rules
        if settled:
            names = {rule.name for rule in settled}
            mine = frozenset(rule for rule in mine if rule.name not in names)
        if self._once:
            mine = _NO_RULES
        elif mine:
            mine = self._take(TakenCharges(tuple(charges), minute, mine))
        rules = settled | mine
        return rules if self.outer is None else self.outer.take(charges, minute, rules)

    def _take(self, taken: TakenCharges) -> frozenset[GuardedRule]:
        self.taken.append(taken)
        if self._once:
            # Settled meanwhile. Who gets hold of them has them: this one, or the settlement that empties the list.
            try:
                self.taken.remove(taken)
            except ValueError:
                return taken.rules
            return _NO_RULES
        return taken.rules

    def covering(self, rule: str, key: str, usd: float) -> Reservation | None:
        """Return the innermost reservation from here outwards that has so much left for a call inside of it."""
        found: Reservation | None = self
        while found is not None:
            for guarded, claim in found.claims.items():
                if guarded.name == rule and guarded.key == key and not found.is_settled:
                    return found if found._left_of(guarded, claim.usd) >= usd else None
            found = found.outer
        return None

    def _left_of(self, guarded: GuardedRule, usd: float) -> float:
        for (_, name), promised in list(self._promises.items()):
            if name == guarded.name:
                usd -= promised
        for taken in list(self.taken):
            if guarded in taken.rules:
                usd -= sum(charge.usd for charge in taken.charges)
        return usd

    def drained(self) -> list[TakenCharges]:
        """Return what was taken, each charge once."""
        found: list[TakenCharges] = []
        while self.taken:
            try:
                found.append(self.taken.pop())
            except IndexError:
                break
        return found

    def leave(self, place: object) -> None:
        """Something that has kept it open is over."""
        self._open.discard(id(place))
        if self.outer is not None:
            self.outer.leave(place)
        self._settle_if_done()

    def left(self) -> None:
        """The guard itself has been left; its spans may go on."""
        self._is_left = True
        self._settle_if_done()

    def give_up(self) -> None:
        """Settle with what is known, though something under it has not ended."""
        self._is_left = True
        self._open.clear()
        self._settle_if_done()

    def disown(self) -> None:
        """Take nothing any more, and settle nothing: in a forked child it is the parent's."""
        self._once["by"] = self

    def take_over(self, node: SpanNode) -> None:
        """Cover a span that is going to be charged for one that was started under this."""
        if self.enter(node):
            node.reservation = self
            node.is_plain = False

    def _settle_if_done(self) -> None:
        if self._is_left and not self._open:
            mine = object()
            if self._once.setdefault("by", mine) is mine:  # in one step: it lets exactly one thread through
                self.on_done(self)
                for by, name, _ in self._promised:
                    by._promises.pop((self, name), None)
                    by.leave(self)


def enter(context: Mapping[str, Any], node: SpanNode) -> None:
    """Put a span that starts under the reservation of its context, if there is one."""
    found = context.get(KEY)
    if isinstance(found, Reservation) and found.enter(node):
        node.reservation = found
        node.is_plain = False


def leave(node: SpanNode, charges: Sequence[Charge], minute: int) -> frozenset[GuardedRule]:
    """Leave the charges of a span that ends with its reservation; return the rules that it settles them with."""
    found, node.reservation = node.reservation, None
    if found is None:
        return _NO_RULES
    rules = found.take(charges, minute) if charges else _NO_RULES
    found.leave(node)
    return rules


def take(context: Mapping[str, Any], node: SpanNode | None, charge: Charge, minute: int) -> frozenset[GuardedRule]:
    """Leave usage that was reported in a context with its reservation; return the rules that it settles it with.

    A span that goes on after its guard was left still has the reservation it was started under.
    """
    found = context.get(KEY)
    if not isinstance(found, Reservation) or found.is_settled:
        found = None if node is None else node.reservation
    return _NO_RULES if found is None else found.take((charge,), minute)


def mark_used() -> None:
    """Have the span path look for reservations from now on."""
    global is_used
    is_used = True
