"""What a store of budgets does: keeps sums, states and reservations of all who share it, and hands out alerts once.

Three of them keep this contract (`stores/`): memory for one process, SQLite for one machine, Redis for a fleet. What
is slow or away shows itself as `StoreUnavailableError`; the caller keeps what it has and comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from spancost.errors import SpancostError

PROCESS: Final = "process"
MACHINE: Final = "machine"
FLEET: Final = "fleet"
"""Whose money a store knows; told in each alert."""

OK: Final = "ok"
WARNING: Final = "warning"
BREACHED: Final = "breached"
RECOVERING: Final = "recovering"
STATES: Final = (OK, WARNING, BREACHED, RECOVERING)

GUARD_TIMEOUT_S: Final = 0.05
"""How long a guard waits for its store."""

MAX_ALERTS: Final = 1000
"""Alerts that wait in a store at most; what comes beyond them is dropped and counted."""
STATE_AGE_S: Final = 400 * 86_400.0
"""A state that nothing has changed for so long is forgotten."""


class StoreUnavailableError(SpancostError):
    """The store cannot answer now; nothing is known to have changed in it."""


class Cell(NamedTuple):
    """Where money is added up: one slot of time of one key of a rule."""

    rule: str
    track: int
    """A rule may add up the same money in slots of several lengths; which of them."""
    key: str
    """Value by which the rule is split; empty if it is not."""
    slot: int
    """Start of the slot, Unix seconds."""


class Sums(NamedTuple):
    """Money of one cell."""

    usd: float = 0.0
    """Effective cost; what was assumed for charges without a price included."""
    estimated_usd: float = 0.0
    """How much of that rests on an assumption, USD."""
    unpriced: int = 0
    """Calls without a price."""
    calls: int = 0
    """Calls."""

    def plus(self, other: Sums) -> Sums:
        """Return the sum of both."""
        usd, estimated_usd, unpriced, calls = self  # a flush adds thousands of them
        more_usd, more_estimated_usd, more_unpriced, more_calls = other
        return Sums(usd + more_usd, estimated_usd + more_estimated_usd, unpriced + more_unpriced, calls + more_calls)

    def minus(self, other: Sums) -> Sums:
        """Return what this is more than another."""
        return Sums(
            self.usd - other.usd,
            self.estimated_usd - other.estimated_usd,
            self.unpriced - other.unpriced,
            self.calls - other.calls,
        )


@dataclass(frozen=True, slots=True)
class StateRecord:
    """Where one key of a rule stands."""

    rule: str
    key: str
    state: str = OK
    """One of `STATES`."""
    level: int = 0
    """Thresholds that have been told in this period, or in this episode of a rolling rule."""
    period_start: int = 0
    """Start of the period that this is about, Unix seconds; 0 for rules that roll."""
    since: float = 0.0
    """When it came into this state, Unix seconds."""
    below_since: float = 0.0
    """When the value fell below the threshold, Unix seconds; 0 while it is above."""
    episode: str = ""
    """Id of what began with the first alert; alerts of one episode belong together."""
    is_incomplete: bool = False
    """Something in it had no price."""
    version: int = 0
    """Counts its changes: 0 has never been stored."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one process adds in one atomic step, exactly once however often it is sent."""

    writer: str
    """Id of the process, new after a fork."""
    number: int
    """1, 2, 3, ... for each writer; the next one is sent only when this one has been taken."""
    adds: Mapping[Cell, Sums] = field(default_factory=dict[Cell, Sums])
    released: tuple[str, ...] = ()
    """Leases that are settled with these sums."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed in a store since a cursor."""

    cursor: int
    """Give it back to see what comes after."""
    cells: Sequence[tuple[Cell, Sums]] = ()
    """Cells that have changed, with all that everybody has added to them."""
    states: Sequence[StateRecord] = ()
    """States that have changed."""
    is_reset: bool = False
    """The store is another one, or was emptied: what was seen before is gone."""


class Claim(NamedTuple):
    """What a guard wants of one rule."""

    cell: Cell
    """Where its money will go; of a rolling window the newest slot."""
    first_slot: int
    """The oldest slot that counts."""
    limit_usd: float
    usd: float
    """To be reserved; 0 asks only."""


class Standing(NamedTuple):
    """How one claim stood when a guard asked."""

    spent_usd: float
    """Sum of the slots that count, everybody's."""
    reserved_usd: float
    """Reserved by others and not yet settled or expired."""
    unpriced: int
    """Calls without a price in those slots."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a guard: all claims are reserved, or none."""

    is_granted: bool
    standings: tuple[Standing, ...]
    """One for each claim, as it was before."""


class OutboxEntry(NamedTuple):
    """An alert that has to be delivered."""

    id: str
    body: str
    """JSON of an `Alert`."""
    attempts: int = 0
    """How often somebody has taken it before."""


def group_of(id: str) -> str:
    """Return what alerts to one channel about one episode have in common: none of them overtakes an earlier one.

    Args:
        id: Of an outbox entry, `EPISODE.rest:CHANNEL`.
    """
    return f"{id.partition('.')[0]}:{id.rpartition(':')[2]}"


class Store(Protocol):
    """Keeps what everybody who shares it has spent.

    Thread-safe. Each method is one atomic step, and raises `StoreUnavailableError` when it cannot be made.
    """

    scope: str
    """`PROCESS`, `MACHINE` or `FLEET`."""
    dropped_alerts: int
    """Alerts of this process that its transitions could not store, since `MAX_ALERTS` wait already."""

    def exchange(self, delivery: Delivery | None, cursor: int) -> Changes:
        """Add a delivery, once, and return what everybody has changed since a cursor.

        Args:
            delivery: What to add; the same one again after an error. None only looks.

            cursor: Of the last `Changes`; 0 for everything.
        """
        ...

    def transition(self, after: StateRecord, alerts: Sequence[OutboxEntry] = ()) -> bool:
        """Store a state whose version is one more than the stored one, with the alerts that it sends.

        Returns:
            False if another process was faster: nothing is stored then, and its state comes with the next exchange.
        """
        ...

    def reserve(
        self, lease: str, claims: Sequence[Claim], *, now: float, expires_at: float, timeout_s: float = GUARD_TIMEOUT_S
    ) -> Grant:
        """Reserve money in one step if for each claim spent + reserved + wanted <= limit.

        Args:
            lease: Id of the reservation.

            claims: All are granted, or none is.

            now: Unix seconds; reservations that have expired by then no longer count.

            expires_at: When this one expires, unless it is renewed or released.

            timeout_s: Longest wait.
        """
        ...

    def renew(self, leases: Sequence[str], expires_at: float) -> None:
        """Let reservations that still exist expire later."""
        ...

    def reserved(self, now: float) -> Mapping[tuple[str, str], float]:
        """Return what is reserved at a moment, by rule and key, USD."""
        ...

    def take_alerts(self, worker: str, *, now: float, lease_s: float, limit: int = 16) -> list[OutboxEntry]:
        """Take alerts that nobody delivers at present; what is not finished comes back when the lease is over.

        An alert waits as long as an earlier one of its group (`group_of`) is with somebody else, or has been put off.
        """
        ...

    def finish_alert(self, id: str) -> None:
        """Forget an alert that was delivered, or given up."""
        ...

    def postpone_alert(self, id: str, until: float) -> None:
        """Give an alert back: nobody takes it before a moment, Unix seconds."""
        ...

    def forget(self, oldest_slots: Mapping[tuple[str, int], int], *, now: float) -> None:
        """Delete cells of older slots than these, by rule and track, states untouched for 400 days, and dead leases."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...

    def after_fork_in_child(self) -> None:
        """Use nothing that the parent goes on using."""
        ...
