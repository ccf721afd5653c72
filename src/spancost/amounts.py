"""How amounts look to people: significant digits, never a rounded-away small figure. Used by commands and alerts."""

from __future__ import annotations

import math


def usd(amount: float) -> str:
    """Return USD with at least two decimals and three or four significant digits: `$1,234.50`, `$0.00000123`."""
    if amount == 0:
        return "$0"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size >= 100:
        return f"{sign}${size:,.2f}"
    if size < 1e-12:
        return f"{sign}${size:.2e}"
    return f"{sign}${significant(size, 4 if size >= 0.01 else 3, at_least_decimals=2)}"


def share(part: float, whole: float) -> str:
    """Return a percentage; small shares keep a digit that is not zero."""
    if not whole or not part:
        return "0 %" if whole else ""
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent >= 0.05 else f"{significant(percent, 1, at_least_decimals=0)} %"


def times(factor: float) -> str:
    """Return how many times something is, with three significant digits: `1,160`, `14.4`."""
    if not factor:
        return "0"
    return f"{round(factor):,}" if factor >= 100 else significant(factor, 3, at_least_decimals=0)


def significant(value: float, digits: int, *, at_least_decimals: int) -> str:
    """Return a number that is not zero with so many significant digits, trailing zeros cut."""
    decimals = max(at_least_decimals, digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{decimals}f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(at_least_decimals, "0")
    return f"{whole}.{fraction}" if fraction else whole
