"""Each worker process of an application spends as a tenant of its own, so that a test can tell them apart."""

from __future__ import annotations

import os

PREFIX = "worker-"


def tenant_of_this_process() -> str:
    """Return the tenant under which this process spends."""
    return f"{PREFIX}{os.getpid()}"
