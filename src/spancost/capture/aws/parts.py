"""Nested parts of parameters and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from spancost.capture.aws.sizes import Params

_NOTHING: Final[Params] = {}


def part(whole: Params, key: str) -> Params:
    """Return the structure under a key; an empty one if there is none."""
    found: Any = whole.get(key)
    return cast("Params", found) if isinstance(found, Mapping) else _NOTHING
