"""What a kill -9 costs: at most what the killed worker had charged since its last flush."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import LLM_CALL_USD, Books, Program, wait_until

pytestmark = pytest.mark.e2e

_FLUSH_S = 0.5
_GRACE_S = 1.0
"""For the flush itself, on a busy machine."""
_FLUSHES_SEEN = 5
"""So that most of what the victim has charged is older than what it may lose."""
_CLIENTS = 3


class _EndlessLoad:
    """Clients that ask one after the other until told to stop, and note who answered and when."""

    def __init__(self, program: Program, path: str) -> None:
        self._program = program
        self._path = path
        self._lock = Lock()
        self._done = Event()
        self.answered: dict[str, list[float]] = {}
        """Times of the answers by worker, seconds of the monotonic clock."""
        self.failed = 0
        self._threads = [Thread(target=self._ask) for _ in range(_CLIENTS)]

    def __enter__(self) -> _EndlessLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._done.is_set():
            try:
                worker = self._program.get(self._path).worker
            except (HTTPException, urllib.error.URLError, OSError):
                with self._lock:
                    self.failed += 1
                continue
            with self._lock:
                self.answered.setdefault(worker, []).append(time.monotonic())

    def counts(self) -> Counter[str]:
        """Answers so far by worker."""
        with self._lock:
            return Counter({worker: len(times) for worker, times in self.answered.items()})


def _charged(books: Books) -> Counter[str]:
    """LLM calls in the ledger by worker: each request makes one."""
    found = books.rows("SELECT tenant, SUM(usd) FROM ledger_rows WHERE component = 'llm' GROUP BY tenant")
    return Counter({tenant.removeprefix("worker-"): round(usd / LLM_CALL_USD) for tenant, usd in found})


def test_killed_worker_loses_at_most_its_last_flush_interval(tmp_path: Path) -> None:
    environ = zero_code.environment(
        tmp_path, instrumentations=frozenset({"flask", "threading"}), SPANCOST_FLUSH_INTERVAL=str(_FLUSH_S)
    )
    command = (
        "gunicorn",
        "--no-control-socket",
        "--bind",
        "127.0.0.1:{port}",
        "-w",
        "2",
        "tests.e2e.apps.flask_app:app",
    )
    with Program(tmp_path, command, environ) as program:
        books = Books(program.ledger)
        with _EndlessLoad(program, "/tenant") as load:
            books.wait_for(lambda got: len(_charged(got)) == 2, "both workers have written to the ledger")
            victim = load.counts().most_common(1)[0][0]
            for _ in range(_FLUSHES_SEEN):
                seen = _charged(books)[victim]
                books.wait_for(lambda got, seen=seen: _charged(got)[victim] > seen, "the victim has flushed once more")
            os.kill(int(victim), signal.SIGKILL)
            killed_at = time.monotonic()
            wait_until(lambda: len(load.counts()) == 3, "the worker that takes its place has answered")
    charged = _charged(books)
    answered = load.counts()
    survivors = {worker: count for worker, count in answered.items() if worker != victim}
    assert {worker: charged[worker] for worker in survivors} == survivors
    assert len(survivors) == 2
    at_risk = sum(answer > killed_at - _FLUSH_S - _GRACE_S for answer in load.answered[victim])
    assert at_risk < answered[victim]
    assert answered[victim] - at_risk <= charged[victim] <= answered[victim] + load.failed
    whole = books.by_component()
    assert whole[names.LLM] == pytest.approx(sum(charged.values()) * LLM_CALL_USD, rel=1e-9)
    # The victim may have flushed between the one call and the end of the request it was in.
    assert sum(charged.values()) - 1 <= books.served() <= sum(charged.values())
