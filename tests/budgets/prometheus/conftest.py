"""Streams of money of several processes, as counters and as truth."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.backends import program
from tests.support.promtool import series


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where promtool works; skip the test where it is not installed."""
    program("promtool")
    return tmp_path


Process = tuple[tuple[str, str], ...]
Spent = tuple[int, Mapping[str, str], float]


@dataclass(slots=True)
class Fleet:
    """Processes that spend money, with the counters they show once a minute."""

    metric: str
    booked: list[tuple[int, Mapping[str, str], float]] = field(
        default_factory=list[tuple[int, Mapping[str, str], float]]
    )
    """Minute, labels without the process, USD."""
    _counters: dict[Process, list[tuple[float, float | None]]] = field(
        default_factory=dict["Process", "list[tuple[float, float | None]]"]
    )
    _totals: dict[Process, float] = field(default_factory=dict["Process", float])
    minute: int = 0

    def spend(self, usd: float, process: Mapping[str, str], **labels: str) -> None:
        """Spend money in the minute that ends with the next tick."""
        self.booked.append((self.minute, {**labels}, usd))
        key = tuple(sorted({**process, **labels}.items()))
        self._totals[key] = self._totals.get(key, 0.0) + usd

    def show(self, process: Mapping[str, str], **labels: str) -> None:
        """Let a process show a counter that has nothing in it yet."""
        self._totals.setdefault(tuple(sorted({**process, **labels}.items())), 0.0)

    def end(self, process: Mapping[str, str]) -> None:
        """Let the counters of a process go, as at its end."""
        for key in self._of(process):
            del self._totals[key]

    def start_anew(self, process: Mapping[str, str]) -> None:
        """Let the counters of a process begin at 0 again, and be seen so, as a new series is."""
        for key in self._of(process):
            self._totals[key] = 0.0
        self.tick()

    def _of(self, process: Mapping[str, str]) -> list[Process]:
        return [key for key in self._totals if process.items() <= dict(key).items()]

    def tick(self, *, hidden: Mapping[str, str] | None = None) -> None:
        """End a minute: everybody's counters are scraped, apart from those of one process."""
        for key, total in self._totals.items():
            if hidden is None or not hidden.items() <= dict(key).items():
                self._counters.setdefault(key, []).append((60.0 * (self.minute + 1), total))
        self.minute += 1

    def inputs(self) -> list[dict[str, str]]:
        """Return the counters as input series of promtool."""
        return [series(self.metric, dict(key), samples, 60.0) for key, samples in self._counters.items()]


def random_fleet(seed: int, minutes: int, keys: Sequence[str]) -> Fleet:
    """Return three processes that spend for some tenants, end, and start again as the same or as another."""
    chance = random.Random(seed)
    fleet = Fleet("spancost_attributed_cost_usd_total")
    processes = [{"job": "shop", "instance": str(number)} for number in range(3)]
    fleet.show(processes[0], tenant="nobody", component="llm")
    while fleet.minute < minutes:
        minute = fleet.minute
        for process in processes:
            if minute > 1 and chance.random() < 0.3:
                for _ in range(chance.randint(1, 3)):
                    fleet.spend(chance.choice((0.01, 0.25, 1.5)), process, tenant=chance.choice(keys), component="llm")
        fleet.tick()
        if minute > 1 and chance.random() < 0.05:
            place = chance.randrange(3)
            if chance.random() < 0.5:
                fleet.start_anew(processes[place])
            else:
                fleet.end(processes[place])
                processes[place] = {"job": "shop", "instance": f"{place}-{minute}"}
    return fleet
