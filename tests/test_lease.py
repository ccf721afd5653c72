"""Processes that share a machine divide its price by the lease file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spancost import lease as lease_module
from spancost.lease import Lease, LeaseUnavailableError

_MEMBER = """
import sys, time
from spancost.lease import Lease
lease = Lease(sys.argv[1])
lease.join(time.monotonic())
print("joined", flush=True)
sys.stdin.readline()
lease.settle(leave=len(sys.argv) < 3)
"""


def _member(path: Path, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _MEMBER, str(path), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "joined\n"
    return process


def _stop(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=30)


def test_process_alone_is_entitled_to_all_of_the_time_since_its_first_span(tmp_path: Path) -> None:
    began = time.monotonic()
    lease = Lease(str(tmp_path / "lease.json"))
    assert not lease.others_live()
    lease.join(began)
    lease.settle()
    assert 0.0 <= lease.entitled_s <= time.monotonic() - began
    assert [share for _, share in lease.plan] == [1.0]
    lease.settle(leave=True)


def test_second_member_halves_the_share_at_a_moment_that_was_announced(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    lease = Lease(str(path))
    lease.join(time.monotonic())
    other = _member(path)
    try:
        assert lease.others_live()
        lease.settle()
        assert [share for _, share in lease.plan] == [1.0, 0.5]
        assert lease.plan[1][0] > lease.plan[0][0]
    finally:
        _stop(other)
    lease.settle(leave=True)


def test_killed_member_is_found_dead_and_counts_no_more(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    other = _member(path)
    other.kill()
    other.communicate(timeout=30)
    lease = Lease(str(path))
    assert not lease.others_live()
    lease.join(time.monotonic())
    lease.settle()
    assert lease.plan[-1][1] == 1.0


@pytest.mark.parametrize("content", ["", "no json", "[1, 2]", json.dumps({"boot": "another", "members": [{"pid": 1}]})])
def test_damaged_or_foreign_file_is_begun_anew(content: str, tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text(content)
    lease = Lease(str(path))
    lease.join(time.monotonic())
    lease.settle()
    assert lease.plan[-1][1] == 1.0
    path.unlink()
    lease.settle()
    assert lease.plan[-1][1] == 1.0


def test_file_that_cannot_be_written_is_told_as_a_reason(tmp_path: Path) -> None:
    with pytest.raises(LeaseUnavailableError, match=str(tmp_path)):
        Lease(str(tmp_path)).join(time.monotonic())


_HOLDER = """
import os, sys
from pathlib import Path
from spancost.lease import _LockedFile
with _LockedFile(Path(sys.argv[1])):
    if os.fork() == 0:  # lives on with a copy of the open file
        sys.stdin.readline()
        os._exit(0)
print("left", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_child_forked_while_its_parent_writes_the_file_does_not_keep_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "left\n"
        Lease(str(path)).join(time.monotonic())  # else an error, after its time-out
    finally:
        process.communicate("\n", timeout=30)


def test_file_that_a_frozen_process_holds_is_given_up_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "_LOCK_TIMEOUT_S", 0.1)
    path = tmp_path / "lease.json"
    with (
        lease_module._LockedFile(path),  # pyright: ignore[reportPrivateUsage]
        pytest.raises(LeaseUnavailableError, match=r"lease\.json: held by another process for 0\.1 s"),
    ):
        Lease(str(path)).join(time.monotonic())
    Lease(str(path)).join(time.monotonic())
