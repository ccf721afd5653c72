"""What spans were charged while files are read: columns of some 50 bytes a charge."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from spancost.charge import Charge, PriceLine, calls_of
from spancost.meters.choice import withheld

ALWAYS: Final = 0
"""The charge stands."""
UNLESS_NESTED: Final = 1
"""It falls where the span is below a SERVER span of its process."""
UNLESS_TRANSPORT: Final = 2
"""It falls where the span is how an LLM or AWS call travels."""
FALLEN: Final = 3


class ChargeTable:
    """Charges by number."""

    def __init__(self) -> None:
        self.lines: list[PriceLine] = []
        self.spans = array("I")
        """Number of the span."""
        self.line_numbers = array("I")
        """Index into `lines`."""
        self.calls = array("B")
        """Calls that the charge stands for, 1 or 0: see `calls_of`."""
        self.quantities = array("d")
        self.usd = array("d")
        self.list_usd = array("d")
        self.rules = array("B")
        """When the charge stands: one of the constants above."""
        self.hosts = array("H")
        """Host of an HTTP call, numbered by the span table."""
        self.starts = array("Q")
        """Start of the span, Unix nanoseconds."""
        self.ends = array("Q")
        self._numbers: dict[PriceLine, int] = {}

    def __len__(self) -> int:
        return len(self.spans)

    def withhold(self, number: int, reason: str) -> None:
        """Leave a charge to the span that bears it: a duplicate stands in its place.

        Args:
            number: Number of the charge.

            reason: Why it is not charged here.
        """
        charge = withheld(Charge(self.lines[self.line_numbers[number]], 0.0, 0.0, 0.0), reason)
        self.line_numbers[number] = self._number_of(charge.line)
        self.quantities[number] = self.usd[number] = self.list_usd[number] = 0.0
        self.rules[number] = ALWAYS

    def _number_of(self, line: PriceLine) -> int:
        number = self._numbers.get(line)
        if number is None:
            number = self._numbers[line] = len(self.lines)
            self.lines.append(line)
        return number

    def add(
        self, span: int, charges: Sequence[Charge], start_ns: int, end_ns: int, rule: int = ALWAYS, host: int = 0
    ) -> None:
        """Add the charges of one span.

        Args:
            span: Its number.

            charges: What its meter charges.

            start_ns: Its start, Unix nanoseconds.

            end_ns: Its end.

            rule: When they stand.

            host: Number of the host it went to.
        """
        counted = calls_of(charges)
        for place, (line, quantity, usd, list_usd) in enumerate(charges):
            self.spans.append(span)
            self.line_numbers.append(self._number_of(line))
            self.calls.append(counted[place])
            self.quantities.append(quantity)
            self.usd.append(usd)
            self.list_usd.append(list_usd)
            self.rules.append(rule)
            self.hosts.append(host)
            self.starts.append(start_ns)
            self.ends.append(end_ns)
