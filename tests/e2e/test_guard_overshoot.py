"""A hard limit is never overshot: many threads or tasks of several processes, one of them killed in mid-work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

import pytest

from spancost.budgets.store import Cell, Claim, Standing, Store
from tests.e2e.apps.guarded import RESERVE_USD, RULE, Settings, rule
from tests.e2e.zero_code import ROOT
from tests.support.patient_store import patient_store
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.e2e, pytest.mark.long]

_PROCESSES = 3
_WORKERS = 64
"""Threads or tasks of each process."""
_LIMIT_USD = 3.0
_LEASE_S = 8.0
_ASKING_S = 1.0
"""Longest time that a look into the store takes; living leases have more than that left."""
"""Shortened in the workers, so that those of the killed process expire within the test."""
_HANGING = 20
"""Calls that the killed process has begun and will never end."""
_EXACT = 1e-9
_ENDS_WITHIN_S = 60.0


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'budgets.sqlite'}"
        return
    with RedisServer(tmp_path / "redis") as redis:
        yield redis.url


class _Worker:
    """One of the processes."""

    def __init__(self, directory: Path, number: int, settings: Settings, stack: ExitStack) -> None:
        self.truth_file = Path(settings.truth)
        self.truth_file.touch()
        told = directory / f"worker-{number}.json"
        told.write_text(json.dumps(asdict(settings)))
        self.log = directory / f"worker-{number}.log"
        self._log = stack.enter_context(self.log.open("w+b"))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.apps.guarded", str(told)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        stack.callback(self._end)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def begin(self) -> None:
        """Let it begin once it is ready."""
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while "ready" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def truth(self) -> list[float]:
        """What its calls cost, USD."""
        return [float(line) for line in self.truth_file.read_text().splitlines()]

    @property
    def hangs_since(self) -> list[float]:
        return [
            float(line.split()[1])
            for line in self.said.splitlines(keepends=True)
            if line.startswith("hangs ") and line.endswith("\n")
        ]


def _standing(store: Store, budget_slot: int, now: float) -> Standing:
    """Return spent and reserved as they are together at one moment."""
    claim = Claim(Cell(RULE, 0, "", budget_slot), budget_slot, _LIMIT_USD, 0.0)
    (standing,) = store.reserve("watcher", [claim], now=now, expires_at=now, timeout_s=5.0).standings
    return standing


@pytest.mark.parametrize("is_async", [False, True], ids=["64 threads", "64 tasks"])
def test_limit_is_never_overshot_though_a_process_is_killed(tmp_path: Path, store: str, is_async: bool) -> None:
    slot = rule(_LIMIT_USD).window.slot_of(int(time.time() // 60))
    most_usd = _LIMIT_USD * (1 + _EXACT)
    with ExitStack() as stack:
        watched = stack.enter_context(closing(patient_store(store)))
        workers = [
            _Worker(
                tmp_path,
                number,
                Settings(
                    store=store,
                    truth=str(tmp_path / f"truth-{number}"),
                    limit_usd=_LIMIT_USD,
                    workers=_WORKERS,
                    is_async=is_async,
                    lease_s=_LEASE_S,
                    hangs=_HANGING if number == 0 else 0,
                ),
                stack,
            )
            for number in range(_PROCESSES)
        ]
        victim, survivors = workers[0], workers[1:]
        began_at = time.time()
        victim.begin()
        while len(victim.hangs_since) < _HANGING:
            assert time.time() < began_at + _LEASE_S, victim.said
            time.sleep(0.01)
        for worker in survivors:
            worker.begin()
        killed_at = in_flight_usd = 0.0
        looks = looks_after_kill = 0
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while any(worker.process.poll() is None for worker in workers):
            assert time.monotonic() < deadline, [worker.said for worker in workers]
            now = time.time()
            # Leases of the killed one that end while this is asked are over for those who ask a moment later.
            standing = _standing(watched, slot, now + _ASKING_S)
            assert standing.spent_usd + standing.reserved_usd <= most_usd
            truth_usd = sum(sum(worker.truth) for worker in workers)
            looks += 1
            hanging = victim.hangs_since
            if killed_at and not looks_after_kill:
                in_flight_usd = standing.reserved_usd  # all that the killed one had reserved, and what others have
            if killed_at and now + _ASKING_S < min(hanging) + _LEASE_S:
                # Nobody will ever settle them; until they expire they count as spent.
                assert standing.reserved_usd >= _HANGING * RESERVE_USD * (1 - _EXACT)
                looks_after_kill += 1
            if not killed_at or time.time() < began_at + _LEASE_S:
                assert truth_usd <= most_usd
            # When the leases of the killed one are over, nobody knows what it had spent and not settled.
            assert truth_usd <= most_usd + in_flight_usd
            if not killed_at and len(hanging) == _HANGING and truth_usd > _LIMIT_USD / 10 and victim.truth:
                victim.process.send_signal(signal.SIGKILL)
                victim.process.wait()
                killed_at = time.time()
            time.sleep(0.01)
        assert killed_at, "nobody was killed in mid-work"
        assert looks_after_kill > 0, "the killed process's reservations were not seen"
        assert looks > 20
        assert [worker.process.returncode for worker in survivors] == [0, 0], [worker.said for worker in survivors]
        assert all("done" in worker.said for worker in survivors)
        end = _standing(watched, slot, time.time())
        assert end.spent_usd <= most_usd
        told_usd = sum(sum(worker.truth) for worker in survivors)
        settled_by_victim = end.spent_usd - told_usd
        victim_usd = sum(victim.truth)
        assert settled_by_victim <= victim_usd + _EXACT
        assert settled_by_victim >= victim_usd - in_flight_usd
        assert all(worker.truth for worker in survivors)
        # Everybody stopped since not even one call more would have fitted, not for anything that stayed reserved.
        assert end.spent_usd > _LIMIT_USD - RESERVE_USD
        later = _standing(watched, slot, time.time() + _LEASE_S)
        assert later.reserved_usd == 0.0
