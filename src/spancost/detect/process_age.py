"""How long this process has been running."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

MAX_INIT_S: Final = 10.0
"""The INIT phase of AWS Lambda ends here; a process that waited longer was started ahead of its first request."""
_STAT: Final = Path("/proc/self/stat")
_START_TIME: Final = 19
"""Place of the start time among the fields after the name, clock ticks since boot (proc(5), field 22)."""


def process_age_s(stat: Path = _STAT) -> float:
    """Return the age of this process, seconds; 0 if it is not known, or beyond what counts as its start.

    Only the start is asked for: on AWS Lambda it is billed where the function was started on demand
    (`AWS_LAMBDA_INITIALIZATION_TYPE`), and lasts 10 s at most.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand") != "on-demand":
        return 0.0
    try:
        ticks = int(stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[_START_TIME])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
    return age_s if 0.0 < age_s <= MAX_INIT_S else 0.0
