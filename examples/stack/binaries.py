"""Where the programs of the stack are: built once by `python -m examples.stack.build`, kept in a cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from examples.shop.processes import StackError

ENV_CACHE: Final = "SPANCOST_STACK_CACHE"
"""Folder of the built programs; `~/.cache/spancost/stack` unless set."""
PROGRAMS: Final = ("otelcol", "otelcol-router", "prometheus", "promtool", "alertmanager", "amtool", "telemetrygen")


def cache() -> Path:
    """Return the folder of the built programs."""
    return Path(os.environ.get(ENV_CACHE) or Path.home() / ".cache" / "spancost" / "stack")


def program(name: str) -> str:
    """Return the path of a program of the stack.

    Args:
        name: One of `PROGRAMS`.

    Raises:
        StackError: It has not been built.
    """
    path = cache() / "bin" / name
    if not path.exists():
        raise StackError(f"{name} is not in {path.parent}: build it by `make stack`")
    return str(path)
