"""Reads figures of money as people and files write them: exact, with the same bounds wherever one may stand."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

TOO_MUCH: Final = Decimal(10) ** 9
"""No unit of anything costs that: the figure was written in another unit."""


def exact_number(value: object) -> Decimal:
    """Return a number as it was written; NaN for what is none, booleans included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return Decimal("NaN")
    try:
        return Decimal(str(value).strip())
    except InvalidOperation:
        return Decimal("NaN")


def usd_per(unit: str, value: object) -> Decimal:
    """Read a price.

    Args:
        unit: What it is the price of, for the message: `page`, `million tokens`.

        value: Number or text as it stands in the file.

    Raises:
        ValueError: It is no price; says what is accepted.
    """
    usd = exact_number(value)
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"USD per {unit}, zero or more")
    if usd >= TOO_MUCH:
        raise ValueError(f"USD per {unit}, below {TOO_MUCH}")
    return usd
