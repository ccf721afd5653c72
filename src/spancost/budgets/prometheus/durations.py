"""Durations and numbers in the writing of PromQL."""

from __future__ import annotations

from typing import Final

_UNITS_MS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def duration(seconds: float) -> str:
    """Return a duration, such as `5m`, `24h`, `59m59s`; to the millisecond."""
    rest = round(seconds * 1000)
    if rest == 86_400_000:
        return "24h"
    parts: list[str] = []
    for unit, length in _UNITS_MS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def number(value: float) -> str:
    """Return a number without loss: `500`, `0.1`, `1e-07`."""
    return repr(float(value)).removesuffix(".0")
