"""Several processes with one store, and somebody kills one of them, or the server: the money is exact."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from spancost.budgets.store import Claim, Delivery, Store, StoreUnavailableError, Sums
from tests.budgets.stores.load_worker import CELL, DELIVERIES, LIMIT_USD, RESERVE_USD, THREADS
from tests.support.patient_store import patient_store
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.e2e, pytest.mark.long]

PROCESSES = 3
END_S = 60.0
ROOT = Path(__file__).parents[3]


@contextmanager
def workers(mode: str, store: str, folder: Path) -> Generator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "tests.budgets.stores.load_worker", mode, store]
    started = [
        subprocess.Popen(
            [*command, str(folder / f"journal-{number}")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number in range(PROCESSES)
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def sent_by(journal: Path) -> tuple[str, dict[int, tuple[float, tuple[str, ...]]], set[int]]:
    """Return the writer, what it was about to send, and the numbers that it knows were taken."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    sent: dict[int, tuple[float, tuple[str, ...]]] = {}
    for line in lines:
        if line.startswith("sent "):
            _, number, usd, leases = line.split(" ", 3)
            sent[int(number)] = (float(usd), tuple(lease for lease in leases.split(",") if lease))
    taken = {int(line.split()[1]) for line in lines if line.startswith("taken ")}
    return lines[0].removeprefix("writer ") if lines else "", sent, taken


def spent(store: Store) -> Sums:
    return dict(store.exchange(None, 0).cells).get(CELL, Sums())


def in_all(journals: Sequence[Path]) -> tuple[float, int]:
    amounts = [usd for journal in journals for usd, _ in sent_by(journal)[1].values()]
    return sum(amounts), len(amounts)


@contextmanager
def store_text(name: str, folder: Path) -> Generator[str]:
    if name == "sqlite":
        yield f"sqlite:{folder}/budgets.sqlite"
    else:
        with RedisServer(folder / "redis") as server:
            yield server.url


@pytest.mark.parametrize("name", ["sqlite", "redis"])
def test_no_limit_is_overshot_by_many_threads_and_processes_of_which_one_is_killed(name: str, tmp_path: Path) -> None:
    highest, looks, killed = 0.0, 0, False
    with store_text(name, tmp_path) as text, workers("guard", text, tmp_path) as started:
        store = patient_store(text)
        deadline = time.monotonic() + END_S
        while any(process.poll() is None for process in started):
            assert time.monotonic() < deadline, "the workers do not come to an end"
            try:
                # One step: nothing can move from reserved to spent between the two.
                grant = store.reserve("w", [Claim(CELL, 0, 0.0, 0.0)], now=time.time(), expires_at=0.0, timeout_s=1.0)
            except StoreUnavailableError:
                continue
            standing = grant.standings[0]
            looks += 1
            highest = max(highest, standing.spent_usd + standing.reserved_usd)
            assert standing.spent_usd + standing.reserved_usd <= LIMIT_USD
            if not killed and standing.spent_usd > LIMIT_USD / 4:
                started[0].kill()
                killed = True
            time.sleep(0.002)
        assert killed
        assert [process.returncode for process in started] == [-9, 0, 0]
        journals = [tmp_path / f"journal-{number}" for number in range(PROCESSES)]
        writer, sent, taken = sent_by(journals[0])
        assert len(set(sent) - taken) <= 1
        held = store.reserved(time.time()).get(("llm", "acme"), 0.0)
        assert held <= THREADS * 8 * RESERVE_USD  # what the killed process has left
        for number in sorted(sent):  # as somebody would who takes its place: what was taken already counts once
            usd, leases = sent[number]
            store.exchange(Delivery(writer, number, {CELL: Sums(usd, 0.0, 0, 1)}, leases), 0)
        expected_usd, expected_calls = in_all(journals)
        assert spent(store) == Sums(expected_usd, 0.0, 0, expected_calls)
        assert LIMIT_USD / 2 < expected_usd <= LIMIT_USD
        assert looks > 20
        assert highest > LIMIT_USD * 0.9  # the limit was reached, or nothing was proven
        store.close()


@pytest.mark.parametrize("persistent", [True, False], ids=["with a log", "without any"])
def test_a_server_that_is_killed_in_mid_load_loses_nothing_and_doubles_nothing(
    persistent: bool, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path / "redis", persistent=persistent) as server,
        workers("deliver", server.url, tmp_path) as started,
    ):
        store = patient_store(server.url)
        journals = [tmp_path / f"journal-{number}" for number in range(PROCESSES)]
        for part in (0.25, 0.5, 0.75):
            wait_until_sent(journals, int(part * DELIVERIES))
            server.restart()
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == b"delivered\n"
        deadline = time.monotonic() + END_S
        expected_usd, expected_calls = in_all(journals)
        assert expected_calls == PROCESSES * DELIVERIES
        while spent(store).calls != expected_calls:  # the last to come back may still be at it
            assert spent(store).calls < expected_calls
            assert time.monotonic() < deadline, (spent(store), expected_usd)
            time.sleep(0.02)
        assert spent(store) == Sums(expected_usd, 0.0, 0, expected_calls)
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        assert spent(store) == Sums(expected_usd, 0.0, 0, expected_calls)
        store.close()


def wait_until_sent(journals: Sequence[Path], count: int) -> None:
    deadline = time.monotonic() + END_S
    while not all(len(sent_by(journal)[2]) >= count for journal in journals):
        assert time.monotonic() < deadline, "the workers do not get on"
        time.sleep(0.02)
