"""RQ over a Redis server in this process: one line around the job names it; each job may have a child of its own."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rq
from fakeredis import TcpFakeServer
from redis import Redis

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import LLM_CALL_USD, ROOT, Books
from tests.entrypoints.apps import rq_jobs

pytestmark = pytest.mark.e2e

_ORDERS = 10
_FAILED = len(range(0, _ORDERS, rq_jobs.FAILING))


@pytest.fixture
def port() -> Iterator[int]:
    server: Any = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize("worker", ["Worker", "SimpleWorker"])
def test_every_job_is_counted_and_charged_once(tmp_path: Path, port: int, worker: str) -> None:
    with Redis(port=port) as connection:
        queue: Any = rq.Queue("orders", connection=connection)
        for order in range(_ORDERS):
            queue.enqueue("tests.entrypoints.apps.rq_jobs.bill", order)
    environ = zero_code.environment(tmp_path, SPANCOST_FLUSH_INTERVAL="600")
    command = zero_code.under_zero_code("python", "-m", "tests.entrypoints.apps.rq_jobs", str(port), worker)
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    books = Books(tmp_path / "ledger.sqlite")
    found = books.rows(
        "SELECT b.entrypoint, r.outcome, SUM(r.count) FROM requests_minute r JOIN labels b ON b.id = r.labels_id "
        "WHERE r.served GROUP BY 1, 2 ORDER BY 2"
    )
    assert found == [("shop.bill", "error", _FAILED), ("shop.bill", "ok", _ORDERS - _FAILED)], done.stderr
    assert books.by_component()[names.LLM] == pytest.approx(_ORDERS * LLM_CALL_USD, rel=1e-9)
