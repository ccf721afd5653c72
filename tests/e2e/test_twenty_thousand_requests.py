"""20 000 requests over four workers that are recycled, and one of them killed: every sink has what the clients count.

What a killed worker had charged since its last flush is lost, and nothing else. How much that may be is worked out
from the times of its answers, and printed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spancost import names
from tests.conftest import SHOWN_AT_THE_END
from tests.e2e import by_worker, zero_code
from tests.e2e.by_worker import Money, assert_priced, calls, in_counters, in_files, in_ledger, in_spans, without
from tests.e2e.exposition import from_files, repeated, total
from tests.e2e.load import CountedLoad
from tests.e2e.zero_code import Books, Program, wait_until
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = [pytest.mark.e2e, pytest.mark.long]

_REQUESTS = 20_000
_KILL_AFTER = _REQUESTS // 2
_CLIENTS = 8
_WORKERS = 4
_PER_WORKER = 2000
_JITTER = 600
_FLUSH_S = 0.3
_EXPORT_S = 0.5
_GRACE_S = 1.0
"""For the flush or export itself, on a busy machine."""
_EXACT = 1e-9
_COMMAND = (
    "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "--workers", str(_WORKERS),
    "--max-requests", str(_PER_WORKER), "--max-requests-jitter", str(_JITTER), "tests.e2e.apps.flask_app:app",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What clients counted and every sink has."""

    load: CountedLoad
    victim: str
    killed_at: float
    """Seconds of the monotonic clock."""
    receiver: OtlpReceiver
    books: Books
    files: Path
    log: str

    def at_risk(self, interval_s: float) -> int:
        """Answers of the victim that may not have reached a sink that is written at this interval."""
        since = self.killed_at - interval_s - _GRACE_S
        return sum(answered_at > since for answered_at in self.load.times(self.victim))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    directory = tmp_path_factory.mktemp("requests")
    files = directory / "prometheus"
    files.mkdir()
    with OtlpReceiver() as receiver:
        environ = zero_code.environment(
            directory,
            otlp=receiver.url,
            instrumentations=frozenset({"flask", "threading"}),
            PROMETHEUS_MULTIPROC_DIR=str(files),
            SPANCOST_FLUSH_INTERVAL=str(_FLUSH_S),
            OTEL_METRIC_EXPORT_INTERVAL=str(int(_EXPORT_S * 1000)),
            OTEL_BSP_MAX_QUEUE_SIZE="20000",
        )
        with Program(directory, _COMMAND, environ) as program:
            books = Books(program.ledger)
            with CountedLoad(program, "/tenant", clients=_CLIENTS, at_most=_REQUESTS) as load:
                load.wait_for(_KILL_AFTER, timeout_s=240)
                victim = _one_in_mid_life(load, books, receiver)
                os.kill(int(victim), signal.SIGKILL)
                killed_at = time.monotonic()
                load.join()
        yield Run(load, victim, killed_at, receiver, books, files, program.process.output())


def _one_in_mid_life(load: CountedLoad, books: Books, receiver: OtlpReceiver) -> str:
    """Return a worker that every sink knows, with most of its answers behind what a kill may lose."""
    found: list[str] = []

    def is_there() -> bool:
        known = calls(in_ledger(books)).keys() & calls(in_counters(receiver)).keys()
        long_ago = time.monotonic() - 1.5 * (_EXPORT_S + _GRACE_S)
        found[:] = [
            worker
            for worker, count in load.counts.items()
            if worker in known
            and count < 0.8 * _PER_WORKER
            and sum(answered_at < long_ago for answered_at in load.times(worker)) > count / 4
        ]
        return bool(found)

    wait_until(is_there, "a worker in the middle of its life", timeout_s=60)
    return found[0]


def test_workers_were_recycled_and_all_requests_answered_but_those_of_the_killed_one(run: Run) -> None:
    assert run.load.answered == _REQUESTS
    assert len(run.load.counts) > _WORKERS + _REQUESTS // (_PER_WORKER + _JITTER) // 2
    assert max(run.load.counts.values()) <= _PER_WORKER + _JITTER + 1
    assert run.load.failed <= 1  # a worker has one request at a time
    assert "spancost" not in run.log


def test_every_sink_has_exactly_what_the_surviving_workers_answered(run: Run) -> None:
    survivors = run.load.counts
    del survivors[run.victim]
    ledger = without(in_ledger(run.books), run.victim)
    assert_priced(ledger, survivors)
    others: dict[str, Money] = {
        "OTLP counters": in_counters(run.receiver),
        "Prometheus files": in_files(run.files),
        "spans": in_spans(run.receiver),
    }
    for sink, money in others.items():
        found = without(money, run.victim)
        assert calls(found) == survivors, sink
        assert found == pytest.approx(ledger, rel=_EXACT), sink


def test_the_killed_worker_has_lost_at_most_what_it_charged_since_its_last_flush(
    run: Run, record_property: Callable[[str, object], None]
) -> None:
    answered = run.load.counts[run.victim]
    sinks = {
        "ledger": (calls(in_ledger(run.books)), _FLUSH_S),
        "Prometheus files": (calls(in_files(run.files)), _FLUSH_S),
        "OTLP counters": (calls(in_counters(run.receiver)), _EXPORT_S),
    }
    lost: list[str] = []
    for name, (charged, interval_s) in sinks.items():
        at_risk = run.at_risk(interval_s)
        assert at_risk < answered
        assert answered - at_risk <= charged[run.victim] <= answered + run.load.failed, name
        lost.append(f"{name} {answered - charged[run.victim]} (at most {at_risk}: interval {interval_s:g} s)")
    record_property(
        SHOWN_AT_THE_END,
        f"{_REQUESTS} requests, {len(run.load.counts)} workers, one killed after {answered} of them; "
        f"answers lost: {', '.join(lost)}",
    )


def test_sums_over_everything_agree(run: Run) -> None:
    """Counted requests and money of all sinks, with what each has of the killed worker."""
    files = from_files(run.files)
    assert repeated(files) == []
    served, exported = run.books.served(), calls(in_files(run.files))
    assert total(files, "spancost_request_cost_usd_count") == pytest.approx(exported.total(), abs=1)
    assert _REQUESTS - run.at_risk(_FLUSH_S) <= served <= _REQUESTS + run.load.failed
    counted = sum(point.count for point in run.receiver.newest(names.METRIC_REQUEST_COST))
    assert _REQUESTS - run.at_risk(_EXPORT_S) <= counted <= _REQUESTS + run.load.failed
    ledger = run.books.by_component()
    by_owner = in_ledger(run.books)
    for component in (names.LLM, names.EGRESS, names.COMPUTE):
        parts = sum(usd for (_, part), usd in by_owner.items() if part == component)
        assert parts == pytest.approx(ledger[component], rel=_EXACT)
        assert by_worker.calls(by_owner).total() <= _REQUESTS + run.load.failed
