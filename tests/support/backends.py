"""Programs that tests start for real: found on the PATH, else the test is skipped, or fails where all must be there."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

REQUIRED: Final = "REQUIRE_BACKENDS"
"""Set by `.ci/run`: a missing program is a failure there."""
_NAMES: Final = {
    "redis-server": ("redis-server",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "amtool": ("amtool",),
    "promtool": ("promtool",),
    "prometheus": ("prometheus",),
}
"""Under their own names, and under those that Debian gives them."""


def program(name: str) -> str:
    """Return the path of a program, or skip the test that needs it.

    Args:
        name: One of `redis-server`, `alertmanager`, `amtool`, `promtool`, `prometheus`.
    """
    for candidate in _NAMES[name]:
        found = shutil.which(candidate)
        if found is not None:
            return found
    said = f"{name} is not installed: apt-get install redis-server prometheus prometheus-alertmanager"
    if os.environ.get(REQUIRED):
        pytest.fail(said)
    pytest.skip(said)
