"""What checks are given: each function returns it, or raises ValueError with name, value and what is accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

MAX_USD: Final = 1e15
"""No sum of money is above; so no result is infinite."""
MIN_LIMIT_USD: Final = 1e-9
MAX_SECONDS: Final = 1e12
"""Also of a moment: beyond the year 30000."""


def usd(name: str, value: object) -> float:
    """Return an amount of USD from 0."""
    return number(name, value, 0.0, MAX_USD, "an amount of USD from 0 to 1e15")


def limit(name: str, value: object) -> float:
    """Return an amount of USD above zero."""
    return number(name, value, MIN_LIMIT_USD, MAX_USD, "an amount of USD from 1e-9 to 1e15")


def amounts(name: str, values: Iterable[object]) -> list[float]:
    """Return amounts of USD from 0, in their order."""
    return [usd(f"{name}[{index}]", value) for index, value in enumerate(values)]


def seconds(name: str, value: object) -> float:
    """Return a length of time above zero, seconds."""
    found = number(name, value, 0.0, MAX_SECONDS, "seconds above 0")
    if found <= 0:
        raise ValueError(f"{name}: {value!r} is not accepted: seconds above 0")
    return found


def moment(name: str, value: object) -> float:
    """Return a moment, Unix seconds."""
    return number(name, value, 0.0, MAX_SECONDS, "Unix seconds")


def between(name: str, value: object, least: float, most: float) -> float:
    """Return a number above `least` and at most `most`."""
    accepted = f"a number above {least:g} and at most {most:g}"
    found = number(name, value, least, most, accepted)
    if found <= least:
        raise ValueError(f"{name}: {value!r} is not accepted: {accepted}")
    return found


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: {value!r} is not accepted: a whole number from {least}")
    return value


def one_of(name: str, value: object, choices: Collection[str]) -> str:
    """Return one of some words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: {value!r} is not accepted: one of {', '.join(choices)}")
    return value


def number(name: str, value: object, least: float, most: float, accepted: str) -> float:
    """Return a number within bounds; NaN is never within."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is not accepted: {accepted}")
    return float(value)
