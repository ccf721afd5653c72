"""A cron script under `spancost run`: its calls have no span around them and one entrypoint, its run is one request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import ROOT, Books
from tests.support.moto_server import MotoServer, moto_server

pytestmark = pytest.mark.e2e

_SCRIPT = "tests/entrypoints/apps/nightly.py"
_PUT_USD = 5e-6
"""One PUT to S3 in us-east-1."""
_SPANCOST = [sys.executable, "-c", "from spancost.cli import main; main()"]


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with moto_server() as server:
        client: Any = server.client("s3")
        client.create_bucket(Bucket="nightly")
        yield server


def _run(folder: Path, moto: MotoServer, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = zero_code.environment(folder, instrumentations=frozenset({"botocore"}), **more)
    environ["SPANCOST_FLUSH_INTERVAL"] = "600"  # whatever is booked was booked at the end of its process
    command = [*_SPANCOST, "run", "--", "python", _SCRIPT, moto.url, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


def _reported(folder: Path) -> dict[str, tuple[int, float]]:
    """Requests and USD on AWS by the report's column `entrypoint`."""
    command = [*_SPANCOST, "report", "--ledger", str(folder / "ledger.sqlite"), "--by", "entrypoint,component"]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, timeout=60, check=True)
    rows = json.loads(done.stdout)["rows"]
    return {row["entrypoint"]: (row["requests"], row["total_usd"]) for row in rows if row["component"] == names.AWS}


def _outcomes(folder: Path) -> dict[str, int]:
    found = Books(folder / "ledger.sqlite").rows("SELECT outcome, SUM(count) FROM requests_minute GROUP BY outcome")
    return {outcome: count for outcome, count in found if count}


def test_each_run_is_one_request_named_by_the_script(tmp_path: Path, moto: MotoServer) -> None:
    for runs in (1, 2):
        done = _run(tmp_path, moto, "1")
        assert done.returncode == 0, done.stderr
        assert _reported(tmp_path) == {"nightly": (runs, pytest.approx(runs * _PUT_USD))}
    assert _outcomes(tmp_path) == {"ok": 2}


def test_children_of_multiprocessing_lose_nothing_and_each_is_a_run(tmp_path: Path, moto: MotoServer) -> None:
    done = _run(tmp_path, moto, "3")
    assert done.returncode == 0, done.stderr
    assert _reported(tmp_path) == {"nightly": (3, pytest.approx(3 * _PUT_USD))}


def test_run_that_raises_has_failed(tmp_path: Path, moto: MotoServer) -> None:
    done = _run(tmp_path, moto, "1", "fail")
    assert done.returncode == 1
    assert "the last step is wrong" in done.stderr
    assert _outcomes(tmp_path) == {"error": 1}


def test_name_that_was_set_wins(tmp_path: Path, moto: MotoServer) -> None:
    _run(tmp_path, moto, "1", SPANCOST_ENTRYPOINT="close the books")
    assert _reported(tmp_path) == {"close the books": (1, pytest.approx(_PUT_USD))}
