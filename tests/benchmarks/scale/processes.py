"""CPU time and memory of a process, from /proc: they do not depend on what else runs on the machine."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_POLL_S: Final = 0.5
_QUIET_CPU_S: Final = 0.02


class Use(NamedTuple):
    """What a process has used so far."""

    cpu_s: float
    rss_mib: float
    peak_mib: float
    """Most it has ever had resident."""


def use_of(pid: int) -> Use:
    """Return what a process uses."""
    # The name in parentheses may hold blanks; user and system time are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm")
    )
    return Use(
        (int(fields[11]) + int(fields[12])) / _TICKS,
        int(memory["VmRSS"].split()[0]) / 1024,
        int(memory["VmHWM"].split()[0]) / 1024,
    )


def wait_until_quiet(pid: int, *, after_s: float = 0.0, deadline_s: float = 120.0) -> Use:
    """Return what a process has used once it does nothing any more.

    Args:
        pid: Of the process.

        after_s: Wait so long in any case: for what happens by time alone.

        deadline_s: Longest wait.

    Raises:
        TimeoutError: It goes on working.
    """
    began = monotonic()
    before = use_of(pid)
    quiet = 0
    while True:
        sleep(_POLL_S)
        now = use_of(pid)
        quiet = quiet + 1 if now.cpu_s - before.cpu_s <= _QUIET_CPU_S else 0
        if quiet >= 3 and monotonic() - began >= after_s:
            return now
        if monotonic() - began > deadline_s + after_s:
            raise TimeoutError(f"process {pid} still works after {deadline_s + after_s:g} s")
        before = now
