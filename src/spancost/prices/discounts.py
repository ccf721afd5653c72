"""What you pay less than list price: negotiated rates, spot, commitments. Changes `usd`, never `list_usd`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from spancost.prices.days import midnight_ns

_NS_PER_S: Final = 1_000_000_000
_FOREVER_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Discount:
    """A percentage off the list price of what its globs match."""

    name: str
    """What it is called in reports: `edp-2026`, `compute-savings-plan`."""
    percent: Decimal
    """0 to 100."""
    coverage: Decimal = Decimal(1)
    """Part of the usage that it covers, 0 to 1: a commitment for 70 % of the fleet is 0.7."""
    component: str = "*"
    """Glob of the component: `aws`, `compute`, `llm`, ..."""
    provider: str = "*"
    """Glob of the provider: `aws`, `openai`, `twilio`."""
    price: str = "*"
    """Glob of the price id (`aws.s3.*`), of the LLM model, or of the HTTP operation."""
    region: str = "*"
    """Glob of the region."""
    valid_from: date | None = None
    """First day, UTC; None: always."""
    valid_to: date | None = None
    """Last day, UTC; None: always."""


class Applied(NamedTuple):
    """What all discounts together make of a price, and the interval in which they do."""

    factor: float
    """USD paid per USD of list price."""
    from_ns: int
    """Unix nanoseconds, inclusive."""
    until_ns: int
    """Unix nanoseconds, exclusive."""
    names: str
    """Names of the discounts, with commas; empty if none applies."""
    exact_factor: Decimal = Decimal(1)
    """`factor` without binary noise, for people."""


class Discounts:
    """All discounts of a configuration. Several that match one price multiply."""

    __slots__ = ("_discounts",)

    def __init__(self, discounts: Iterable[Discount] = ()) -> None:
        self._discounts = tuple(discounts)

    def __bool__(self) -> bool:
        return bool(self._discounts)

    def applied(self, component: str, provider: str, price: str, region: str, at_ns: int) -> Applied:
        """Return what is paid of a list price at a time (Unix nanoseconds); asked once per compiled rate."""
        factor, since, until, used = Decimal(1), 0, _FOREVER_NS, list[str]()
        for discount in self._discounts:
            if not (
                fnmatchcase(component, discount.component)
                and fnmatchcase(provider, discount.provider)
                and fnmatchcase(price, discount.price)
                and fnmatchcase(region, discount.region)
            ):
                continue
            first = 0 if discount.valid_from is None else midnight_ns(discount.valid_from)
            end = _FOREVER_NS if discount.valid_to is None else midnight_ns(discount.valid_to) + 86_400 * _NS_PER_S
            if first >= end:
                continue
            if at_ns < first:
                until = min(until, first)
            elif at_ns >= end:
                since = max(since, end)
            else:
                since, until = max(since, first), min(until, end)
                factor *= 1 - discount.percent / 100 * discount.coverage
                used.append(discount.name)
        return Applied(float(factor), since, until, ",".join(used), factor)


NO_DISCOUNTS: Final = Discounts()
