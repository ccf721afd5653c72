"""Rates for usage that an application or a third-party meter reports in units of its own.

    custom:
      - {name: pdf.render, unit: page, usd: 0.002, valid_from: 2026-01-01}
      - {name: "gpu.*", unit: s, usd: 0.0006, provider: acme}

Of several rates that are in force for a name and a unit, one by its name comes before a glob, a longer glob before a
shorter one, a later first day before an earlier one, and at last the one that stands further down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from spancost.prices.book import is_glob
from spancost.prices.days import midnight_ns

_DAY_NS: Final = 86_400 * 1_000_000_000
_FOREVER_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CustomRate:
    """What one unit of some custom usage costs."""

    name: str
    """Name of the usage, or a glob."""
    unit: str
    """Must be the unit of the usage exactly."""
    usd: Decimal
    """USD per unit."""
    provider: str = ""
    """Who bills it; empty if not said."""
    valid_from: date | None = None
    """First day, UTC; None: always."""
    valid_to: date | None = None
    """Last day, UTC; None: always."""
    place: str = ""
    """File it was read from."""

    @property
    def from_ns(self) -> int:
        """First moment, Unix nanoseconds."""
        return 0 if self.valid_from is None else midnight_ns(self.valid_from)

    @property
    def until_ns(self) -> int:
        """First moment after the last day, Unix nanoseconds."""
        return _FOREVER_NS if self.valid_to is None else midnight_ns(self.valid_to) + _DAY_NS


class FoundRate(NamedTuple):
    """What there is for a name and a unit at a time, and the interval in which that holds."""

    rate: CustomRate | None
    """None: there is no rate for it."""
    other_unit: str
    """Where there is none: the unit of a rate that is for the same name; empty if no rate is for it."""
    from_ns: int
    """Unix nanoseconds, inclusive."""
    until_ns: int
    """Unix nanoseconds, exclusive."""


class CustomRates:
    """All rates of a configuration."""

    __slots__ = ("_rates",)

    def __init__(self, rates: Iterable[CustomRate] = ()) -> None:
        self._rates = tuple(rates)

    def find(self, name: str, unit: str, at_ns: int) -> FoundRate:
        """Return the rate for some usage; asked once per name, unit and interval of time.

        Args:
            name: Name of the usage.

            unit: Unit of its quantity.

            at_ns: Time of the usage, Unix nanoseconds.
        """
        named = [rate for rate in self._rates if fnmatchcase(name, rate.name)]
        moments = [moment for rate in named for moment in (rate.from_ns, rate.until_ns)]
        from_ns = max((moment for moment in moments if moment <= at_ns), default=0)
        until_ns = min((moment for moment in moments if moment > at_ns), default=_FOREVER_NS)
        in_force = [rate for rate in named if rate.from_ns <= at_ns < rate.until_ns]
        chosen: CustomRate | None = None
        for rate in in_force:
            if rate.unit == unit and (chosen is None or _rank(rate) >= _rank(chosen)):
                chosen = rate
        other = "" if chosen is not None or not in_force else max(in_force, key=_rank).unit
        return FoundRate(chosen, "" if other == unit else other, from_ns, until_ns)


def _rank(rate: CustomRate) -> tuple[bool, int, int]:
    return (not is_glob(rate.name), len(rate.name), rate.from_ns)
