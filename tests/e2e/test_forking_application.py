"""An application that forks while spans are open, threads serve and metrics are being written and exported."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.apps.forking import CALLS_OF_CHILD, GRANDCHILD_EVERY
from tests.e2e.by_worker import calls, in_counters, in_files, in_ledger
from tests.e2e.exposition import from_files, total
from tests.e2e.zero_code import ROOT, Books
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("forks", [12, pytest.param(150, marks=pytest.mark.long)])
def test_every_process_is_charged_what_it_did_and_nobody_hangs(
    tmp_path: Path, receiver: OtlpReceiver, forks: int
) -> None:
    truth, files = tmp_path / "truth", tmp_path / "prometheus"
    files.mkdir()
    environ = zero_code.environment(
        tmp_path,
        otlp=receiver.url,
        PROMETHEUS_MULTIPROC_DIR=str(files),
        SPANCOST_FLUSH_INTERVAL="0.02",
        OTEL_METRIC_EXPORT_INTERVAL="20",
    )
    command = zero_code.under_zero_code(
        Path(sys.executable).name, "-m", "tests.e2e.apps.forking", str(truth), str(forks)
    )
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "spancost" not in done.stderr

    lines = [line.split() for line in truth.read_text().splitlines()]
    made = Counter({pid: int(count) for pid, count, _ in lines})
    assert len(made) == 1 + forks + -(-forks // GRANDCHILD_EVERY)
    assert sorted(made.values())[:-1] == [CALLS_OF_CHILD] * (len(made) - 1)
    books = Books(tmp_path / "ledger.sqlite")
    assert calls(in_ledger(books)) == made
    assert calls(in_files(files)) == made
    assert calls(in_counters(receiver)) == made

    requests = sum(int(count) for _, _, count in lines)
    # An outgoing call of a child below its parent's request is no request that was served.
    assert books.served() == requests
    assert total(from_files(files), "spancost_request_cost_usd_count") == requests
    assert sum(point.count for point in receiver.newest(names.METRIC_REQUEST_COST)) == requests
