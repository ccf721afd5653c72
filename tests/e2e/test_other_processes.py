"""Work in processes that were forked and spawned, and in greenlets: every call is charged once, to its tenant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.apps.processes import PIECES
from tests.e2e.by_worker import calls, in_counters, in_ledger
from tests.e2e.zero_code import ROOT, Books, by_component_of_roots, local_roots, otlp_by_component
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("mode", "parts"),
    [
        ("fork", frozenset({"threading"})),
        pytest.param("spawn", frozenset[str](), marks=pytest.mark.long),
        pytest.param("pool", frozenset[str](), marks=pytest.mark.long),
        pytest.param("pool-spawn", frozenset[str](), marks=pytest.mark.long),
        pytest.param("threads as greenlets", frozenset({"threading"}), marks=pytest.mark.long),
        ("threads as greenlets", frozenset[str]()),
        pytest.param("bare greenlets", frozenset[str](), marks=pytest.mark.long),
    ],
)
def test_work_is_charged_once_wherever_it_is_done(
    tmp_path: Path, receiver: OtlpReceiver, mode: str, parts: frozenset[str]
) -> None:
    environ = zero_code.environment(
        tmp_path,
        otlp=receiver.url,
        instrumentations=parts,
        # Whatever arrives was sent at the end of a process.
        SPANCOST_FLUSH_INTERVAL="600",
        OTEL_BSP_SCHEDULE_DELAY="600000",
        OTEL_METRIC_EXPORT_INTERVAL="600000",
    )
    command = zero_code.under_zero_code(Path(sys.executable).name, "-m", "tests.e2e.apps.processes", mode)
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "spancost" not in done.stderr
    workers = done.stdout.split()
    assert len(workers) == PIECES

    books = Books(tmp_path / "ledger.sqlite")
    wanted = {"": PIECES} if mode == "bare greenlets" else {f"tenant-{number}": 1 for number in range(PIECES)}
    assert calls(in_ledger(books)) == wanted
    assert calls(in_counters(receiver)) == wanted
    ledger = books.by_component()
    assert by_component_of_roots(receiver.spans) == pytest.approx(ledger, rel=1e-9)
    assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger, rel=1e-9)
    own_roots = sum(root.scope == "e2e.llm" for root in local_roots(receiver.spans))
    assert own_roots == (0 if parts and mode != "fork" else PIECES)
