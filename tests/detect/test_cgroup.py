"""Limits of containers, cgroup v2 and v1."""

from __future__ import annotations

from pathlib import Path

import pytest

from spancost.detect.cgroup import Limits, is_in_container, read_limits


def cgroup(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000\n", "memory.max": "536870912\n"}, Limits(0.5, 0.5)),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, Limits()),
        ({"cpu.max": "250000 100000\n"}, Limits(2.5, None)),
        ({"memory.max": "1073741824\n"}, Limits(None, 1.0)),
        (
            {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": "2147483648"},
            Limits(1.5, 2.0),
        ),
        (
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": "9223372036854771712"},
            Limits(),
        ),
        ({"cpu.max": "50000 0\n", "memory.max": "0\n"}, Limits()),
        ({"cpu.max": "99999999999999999999999 1\n", "memory.max": "-5\n"}, Limits()),
        ({"cpu.max": "\x00\xff garbage", "memory.max": "1e9"}, Limits()),
        ({}, Limits()),
    ],
)  # fmt: skip
def test_limits_are_read_as_the_kernel_writes_them(tmp_path: Path, files: dict[str, str], expected: Limits) -> None:
    assert read_limits(cgroup(tmp_path, files)) == expected


def test_mark_of_docker_or_podman_makes_a_container(tmp_path: Path) -> None:
    assert not is_in_container(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".containerenv").touch()
    assert is_in_container(tmp_path)
