"""Price usage that is reported rather than read from a span: `add_usage` and third-party meters.

Its name is the operation, the quantity is in a unit of whoever reports it. What one unit costs is said by the
`custom:` rates of the configuration, less the discounts of component `custom`; an amount that comes with the usage
stands as it is (source `application`). Without either it is `unpriced` (`no_rate`, or `unit_mismatch` where there is a
rate for another unit), and so are quantities and amounts that are impossible (`bad_usage`): negative, huge, no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from spancost import names
from spancost._guard import ErrorLog
from spancost.charge import Charge, PriceLine, new_charge, price_line
from spancost.prices.custom_rates import CustomRates
from spancost.prices.discounts import NO_DISCOUNTS, Discounts
from spancost.prices.quantity import is_possible

NO_RATE: Final = "no_rate"
UNIT_MISMATCH: Final = "unit_mismatch"
BAD_USAGE: Final = "bad_usage"
APPLICATION: Final = "application"
"""Source of an amount that came with the usage."""

NO_NAME: Final = "(no name)"
MAX_NAMES: Final = 1000
"""Names with their units that are kept apart; all further ones are `other`."""
_MAX_TEXT: Final = 100

_RANK: Final = names.STATUS_RANK


class _Price(NamedTuple):
    """What some usage costs in an interval of time."""

    line: PriceLine
    usd: float
    """Per unit, what it costs you."""
    list_usd: float
    """Per unit."""
    from_ns: int
    until_ns: int


class CustomMeter:
    """Charges reported usage.

    Args:
        rates: What units cost.

        discounts: Percentages off them.
    """

    def __init__(self, rates: CustomRates | None = None, discounts: Discounts = NO_DISCOUNTS) -> None:
        self._rates = CustomRates() if rates is None else rates
        self._discounts = discounts
        self._prices: dict[tuple[str, str], _Price] = {}
        self._given: dict[tuple[str, str], PriceLine] = {}
        self._shown: set[tuple[str, str]] = set()

    def charge(
        self, name: str, quantity: Any, unit: str, usd: Any, at_ns: int, errors: ErrorLog | None = None
    ) -> Charge:
        """Return the charge of some usage; never raises because of a value.

        Args:
            name: What was used; the first 100 characters count.

            quantity: How much, in `unit`: any number.

            unit: Unit of the quantity.

            usd: USD for the whole quantity; None: by the rates.

            at_ns: Time of the usage, Unix nanoseconds.

            errors: Where an impossible value is logged.
        """
        if len(name) > _MAX_TEXT or len(unit) > _MAX_TEXT:
            name, unit = name[:_MAX_TEXT], unit[:_MAX_TEXT]
        if type(quantity) is not float:
            quantity = _number(quantity)
        if not is_possible(quantity):
            return self._bad(name, unit, 0.0, "quantity", errors)
        if usd is not None:
            if type(usd) is not float:
                usd = _number(usd)
            if not is_possible(usd):
                return self._bad(name, unit, quantity, "usd", errors)
            line = self._given.get((name, unit)) or self._line_of_given(name, unit)
            return new_charge((line, quantity, usd, usd))
        price = self._prices.get((name, unit))
        if price is None or not price.from_ns <= at_ns < price.until_ns:
            price = self._price(name, unit, at_ns)
        line, unit_usd, unit_list_usd, _, _ = price
        return new_charge((line, quantity, quantity * unit_usd, quantity * unit_list_usd))

    def _bad(self, name: str, unit: str, quantity: float, what: str, errors: ErrorLog | None) -> Charge:
        operation, unit = self._named(name, unit)
        if errors is not None:
            errors.log_once(
                f"usage.{operation}", "usage of %s is not priced: its %s is no possible number", operation, what
            )
        line = price_line(names.CUSTOM, "", operation, unit=unit, status=names.UNPRICED, reason=BAD_USAGE)
        return Charge(line, quantity, 0.0, 0.0)

    def _line_of_given(self, name: str, unit: str) -> PriceLine:
        operation, shown_unit = self._named(name, unit)
        line = price_line(names.CUSTOM, "", operation, unit=shown_unit, source=APPLICATION)
        if len(self._given) < MAX_NAMES:
            self._given[name, unit] = line
        return line

    def _price(self, name: str, unit: str, at_ns: int) -> _Price:
        operation, shown_unit = self._named(name, unit)
        found = self._rates.find(name, unit, at_ns)
        rate, from_ns, until_ns = found.rate, found.from_ns, found.until_ns
        if rate is None:
            reason = UNIT_MISMATCH if found.other_unit else NO_RATE
            line = price_line(names.CUSTOM, "", operation, unit=shown_unit, status=names.UNPRICED, reason=reason)
            price = _Price(line, 0.0, 0.0, from_ns, until_ns)
        else:
            list_usd, source = float(rate.usd), f"configured:{rate.place}"
            applied = self._discounts.applied(names.CUSTOM, rate.provider, name, "", at_ns)
            if applied.names:
                source = f"{source}+discount:{applied.names}"
            line = price_line(names.CUSTOM, rate.provider, operation, unit=shown_unit, source=source)
            from_ns, until_ns = max(from_ns, applied.from_ns), min(until_ns, applied.until_ns)
            price = _Price(line, list_usd * applied.factor, list_usd, from_ns, until_ns)
        if len(self._prices) < MAX_NAMES or (name, unit) in self._prices:
            self._prices[name, unit] = price
        return price

    def _named(self, name: str, unit: str) -> tuple[str, str]:
        """Return name and unit as they are shown: from the thousandth on as `other`."""
        shown = (name or NO_NAME, unit)
        if shown not in self._shown:
            if len(self._shown) >= MAX_NAMES:
                return names.OTHER, names.OTHER
            self._shown.add(shown)
        return shown


def _number(value: Any) -> float:
    """Return a number of any type; NaN for what is none, booleans and texts included."""
    if isinstance(value, bool | str | bytes | bytearray):
        return float("nan")
    try:
        return float(value)
    except Exception:  # whatever `__float__` of somebody else's type does
        return float("nan")


def beside(charges: Sequence[Charge], used: Sequence[Charge]) -> Sequence[Charge]:
    """Join what a meter charges a span and what was used on it, in the order in which the span tells of them.

    The first component is the one whose status and source stand on the span: the worse known one, else the call that
    the span itself is.
    """
    if not charges or not used:
        return charges or used
    worst, worst_used = (max(_RANK[charge.line.status] for charge in some) for some in (charges, used))
    is_call = charges[0].line.component != names.EGRESS
    first = worst_used < worst or (worst_used == worst and is_call)
    return [*charges, *used] if first else [*used, *charges]
