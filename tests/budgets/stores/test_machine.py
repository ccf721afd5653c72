"""Every store does what a plain model does, whatever happens in which order."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from spancost.budgets.store import STATES, Cell, Claim, Delivery, OutboxEntry, StateRecord, Store, Sums
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.stores.redis import RedisStore
from spancost.budgets.stores.sqlite import SqliteStore
from tests.support.redis_server import RedisServer

START = 1_800_000_000.0
OPEN = Callable[[], Store]
_numbers = itertools.count()

amounts = st.integers(0, 80).map(lambda number: number / 8)  # exact in binary: sums can be compared exactly
cells = st.builds(Cell, st.sampled_from(["r", "s"]), st.integers(0, 1), st.sampled_from(["", "k"]), st.integers(0, 3))
sums = st.builds(Sums, amounts, amounts, st.integers(0, 3), st.integers(0, 3))
leases = st.sampled_from(["l1", "l2", "l3", "l4"])
claims = st.builds(Claim, cells, st.integers(0, 3), amounts.map(lambda usd: usd * 4), amounts)
writers = st.sampled_from(["w1", "w2"])
which = st.integers(0, 1)


@dataclass
class Waiting:
    """An alert."""

    id: str
    attempts: int = 0
    until: float = 0.0


@dataclass
class Model:
    """What a store keeps, in the plainest form."""

    cells: dict[Cell, Sums] = field(default_factory=dict[Cell, Sums])
    states: dict[tuple[str, str], StateRecord] = field(default_factory=dict[tuple[str, str], StateRecord])
    leases: dict[str, tuple[dict[tuple[str, str], float], float]] = field(
        default_factory=dict[str, tuple[dict[tuple[str, str], float], float]]
    )
    outbox: list[Waiting] = field(default_factory=list["Waiting"])

    def reserved(self, now: float, but: str = "") -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for lease, (held, until) in self.leases.items():
            for place, usd in held.items():
                if until > now and lease != but:
                    found[place] = found.get(place, 0.0) + usd
        return found


class StoreMachine(RuleBasedStateMachine):
    """Drives two stores that share their content, and the model."""

    def __init__(self, open_both: Callable[[], tuple[Store, Store]]) -> None:
        super().__init__()
        self._open_both = open_both

    @initialize()
    def begin(self) -> None:
        self.stores = self._open_both()
        self.model = Model()
        self.now = START
        self.sent: dict[str, list[Delivery]] = {}
        self.views: list[tuple[int, dict[Cell, Sums], dict[tuple[str, str], StateRecord]]] = [(0, {}, {}), (0, {}, {})]
        self.ids = itertools.count()

    def look(self, index: int, delivery: Delivery | None) -> None:
        """Exchange, and bring the replica of that process up to date: it must be the model then."""
        cursor, seen, states = self.views[index]
        changes = self.stores[index].exchange(delivery, cursor)
        assert not changes.is_reset
        seen.update(changes.cells)
        states.update({(state.rule, state.key): state for state in changes.states})
        self.views[index] = (changes.cursor, seen, states)
        assert {cell: seen[cell] for cell in self.model.cells} == self.model.cells
        assert states == self.model.states

    @rule(index=which, writer=writers, adds=st.dictionaries(cells, sums, max_size=4), released=st.lists(leases))
    def deliver(self, index: int, writer: str, adds: dict[Cell, Sums], released: list[str]) -> None:
        sent = self.sent.setdefault(writer, [])
        delivery = Delivery(writer, len(sent) + 1, adds, tuple(released))
        sent.append(delivery)
        for cell, more in adds.items():
            self.model.cells[cell] = self.model.cells.get(cell, Sums()).plus(more)
        for lease in released:
            self.model.leases.pop(lease, None)
        self.look(index, delivery)

    @rule(index=which, writer=writers, back=st.integers(0, 2))
    def deliver_again(self, index: int, writer: str, back: int) -> None:
        sent = self.sent.get(writer, [])
        if back < len(sent):
            self.look(index, sent[-1 - back])

    @rule(index=which)
    def look_only(self, index: int) -> None:
        self.look(index, None)

    @rule(index=which, lease=leases, wanted=st.lists(claims, min_size=1, max_size=3), lasts=st.integers(1, 30))
    def reserve(self, index: int, lease: str, wanted: list[Claim], lasts: int) -> None:
        others = self.model.reserved(self.now, but=lease)
        in_all: dict[tuple[str, str], float] = {}
        for claim in wanted:
            place = (claim.cell.rule, claim.cell.key)
            in_all[place] = in_all.get(place, 0.0) + claim.usd
        expected: list[tuple[float, float, int]] = []
        fits = True
        for claim in wanted:
            counted = [
                found
                for cell, found in self.model.cells.items()
                if (cell.rule, cell.track, cell.key) == (claim.cell.rule, claim.cell.track, claim.cell.key)
                and cell.slot >= claim.first_slot
            ]
            place = (claim.cell.rule, claim.cell.key)
            spent, held = sum(found.usd for found in counted), others.get(place, 0.0)
            expected.append((spent, held, sum(found.unpriced for found in counted)))
            fits = fits and spent + held + in_all[place] <= claim.limit_usd
        grant = self.stores[index].reserve(lease, wanted, now=self.now, expires_at=self.now + lasts, timeout_s=5)
        assert grant.is_granted == fits
        assert list(grant.standings) == expected
        held_now = {place: usd for place, usd in in_all.items() if usd}
        if held_now:  # who only asks changes nothing
            self.model.leases.pop(lease, None)
            if fits:
                self.model.leases[lease] = (held_now, self.now + lasts)

    @rule(index=which, some=st.lists(leases, max_size=3), lasts=st.integers(1, 60))
    def renew(self, index: int, some: list[str], lasts: int) -> None:
        self.stores[index].renew(some, self.now + lasts)
        for lease in some:
            if lease in self.model.leases:
                held, until = self.model.leases[lease]
                self.model.leases[lease] = (held, max(until, self.now + lasts))

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        index=which,
        place=st.tuples(st.sampled_from(["r", "s"]), st.sampled_from(["", "k"])),
        state=st.sampled_from(STATES),
        ahead=st.sampled_from([0, 1, 1, 1, 2]),
        alerts=st.integers(0, 3),
    )
    def transition(self, index: int, place: tuple[str, str], state: str, ahead: int, alerts: int) -> None:
        before = self.model.states.get(place, StateRecord(*place))
        after = replace(before, state=state, since=self.now, version=before.version + ahead)
        entries = [OutboxEntry(f"{next(self.ids)}", "{}") for _ in range(alerts)]
        assert self.stores[index].transition(after, entries) == (ahead == 1)
        if ahead == 1:
            self.model.states[place] = after
            self.model.outbox += [Waiting(entry.id) for entry in entries]

    @rule(index=which, limit=st.integers(1, 4), lasts=st.integers(1, 30))
    def take(self, index: int, limit: int, lasts: int) -> None:
        taken = self.stores[index].take_alerts("w", now=self.now, lease_s=lasts, limit=limit)
        due = [entry for entry in self.model.outbox if entry.until <= self.now][:limit]
        assert [(entry.id, entry.attempts) for entry in taken] == [(entry.id, entry.attempts) for entry in due]
        for entry in due:
            entry.attempts += 1
            entry.until = self.now + lasts

    @rule(index=which, at=st.integers(0, 5))
    def finish(self, index: int, at: int) -> None:
        if at < len(self.model.outbox):
            self.stores[index].finish_alert(self.model.outbox.pop(at).id)

    @rule(index=which, at=st.integers(0, 5), lasts=st.integers(-5, 30))
    def postpone(self, index: int, at: int, lasts: int) -> None:
        if at < len(self.model.outbox):
            self.model.outbox[at].until = self.now + lasts
            self.stores[index].postpone_alert(self.model.outbox[at].id, self.now + lasts)

    @rule(index=which, oldest=st.dictionaries(st.tuples(st.just("r"), st.integers(0, 1)), st.integers(0, 3)))
    def forget(self, index: int, oldest: dict[tuple[str, int], int]) -> None:
        self.stores[index].forget(oldest, now=self.now)
        for cell in list(self.model.cells):
            if cell.slot < oldest.get((cell.rule, cell.track), 0):
                del self.model.cells[cell]
        for lease, (_, until) in list(self.model.leases.items()):
            if until <= self.now:
                del self.model.leases[lease]

    @invariant()
    def the_same_is_reserved(self) -> None:
        if hasattr(self, "model"):
            assert dict(self.stores[0].reserved(self.now)) == self.model.reserved(self.now)

    def teardown(self) -> None:
        for store in getattr(self, "stores", ()):
            store.close()


def clock() -> float:
    return START


def drive(name: str, folder: Path, request: pytest.FixtureRequest, *, examples: int, steps: int) -> None:
    def open_both() -> tuple[Store, Store]:
        if name == "memory":
            store = MemoryStore(now=clock)
            return store, store
        if name == "sqlite":
            path = Path(tempfile.mkdtemp(dir=folder)) / "budgets.sqlite"
            return SqliteStore(path, now=clock), SqliteStore(path, now=clock)
        server: RedisServer = request.getfixturevalue("redis_server")
        namespace = f"machine-{next(_numbers)}"
        return (
            RedisStore(server.url, namespace=namespace, timeout_s=10.0, now=clock),
            RedisStore(server.url, namespace=namespace, timeout_s=10.0, now=clock),
        )

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(open_both)

    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["memory", "sqlite", "redis"])
def test_it_does_what_the_model_does(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    drive(name, tmp_path, request, examples=10, steps=25)


@pytest.mark.long
@pytest.mark.parametrize("name", ["memory", "sqlite", "redis"])
def test_it_does_what_the_model_does_for_long(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    drive(name, tmp_path, request, examples=60, steps=60)
