"""How many vCPUs this process may use, as it sees it itself."""

from __future__ import annotations

import os
from pathlib import Path

from spancost.detect.cgroup import CGROUP_ROOT, read_limits


def usable_vcpus(cgroup_root: Path = CGROUP_ROOT) -> float:
    """Return the vCPUs that the process may run on: its affinity, and the limit of its container.

    Args:
        cgroup_root: Where cgroups are mounted.
    """
    try:
        seen = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on macOS and Windows
        seen = os.cpu_count() or 1
    limit = read_limits(cgroup_root).cpu
    return float(seen) if limit is None else min(float(seen), limit)
