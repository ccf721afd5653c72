"""A second figure in your own currency, for people: everything is computed and stored in USD."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency and what one USD was worth in it on a day."""

    code: str
    """ISO 4217: `EUR`."""
    per_usd: Decimal
    """Units of the currency for one USD."""
    day: date
    """Day of that rate."""

    def amount(self, usd: float) -> str:
        """Return an amount of USD in this currency, at least two decimals, three or more significant digits."""
        value = usd * float(self.per_usd)
        decimals = 2
        while value and abs(value) * 10**decimals < 100 and decimals < 15:
            decimals += 1
        text = f"{value:,.{decimals}f}"
        whole, _, fraction = text.partition(".")
        return f"{self.code} {whole}.{fraction.rstrip('0').ljust(2, '0')}"

    def figure(self, usd: float) -> str:
        """Return the second figure behind an amount: `= EUR 1.23 at 0.92 of 2026-11-20`."""
        return f"= {self.amount(usd)} at {self.per_usd:f} of {self.day}"
