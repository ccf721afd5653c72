"""Limits of the container this process runs in: cgroup v2 (`cpu.max`, `memory.max`) and v1."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_CONTAINER_MARKS: Final = (".dockerenv", "run/.containerenv")
_GIB: Final = 2**30
_MAX_FILE_BYTES: Final = 100
_MAX_CPUS: Final = 10_000
_NO_LIMIT_GIB: Final = 2**20
"""A memory limit from here on, 1 PiB, is v1's way to say that there is none."""


class Limits(NamedTuple):
    """What the container may use at most."""

    cpu: float | None = None
    """vCPUs; None: no limit, or not known."""
    memory_gib: float | None = None


def read_limits(root: Path = CGROUP_ROOT) -> Limits:
    """Return the limits of this process's cgroup, as the container sees it; never raises.

    Args:
        root: Where cgroups are mounted.
    """
    quota, period = _cpu_v2(root / "cpu.max") or _cpu_v1(root / "cpu")
    cpu = quota / period if quota > 0 and period > 0 else None
    memory = _number(_first(root / "memory.max")) or _number(_first(root / "memory" / "memory.limit_in_bytes"))
    memory_gib = memory / _GIB
    return Limits(
        cpu if cpu is not None and cpu < _MAX_CPUS else None,
        memory_gib if 0 < memory_gib < _NO_LIMIT_GIB else None,
    )


def is_in_container(root: Path = Path("/")) -> bool:
    """Say whether Docker or Podman has left its mark: a machine that is asked for is then not this process's alone."""
    return any((root / mark).exists() for mark in _CONTAINER_MARKS)


def _cpu_v2(file: Path) -> tuple[float, float] | None:
    words = _first(file).split()
    return (_number(words[0]), _number(words[1])) if len(words) == 2 else None


def _cpu_v1(folder: Path) -> tuple[float, float]:
    return _number(_first(folder / "cpu.cfs_quota_us")), _number(_first(folder / "cpu.cfs_period_us"))


def _first(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_FILE_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _number(text: str) -> float:
    """Return a number of at most 19 digits; 0 for `max`, `-1`, and everything else."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0.0
