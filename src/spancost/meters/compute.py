"""Price the time of the machine.

How much of an instance-second belongs to which span is worked out in `tree.py`; here is what such a second costs.
Until the rate is known (`is_pending`) seconds are held and priced afterwards; if it stays unknown they are counted as
`unpriced`, reason `compute_rate_unknown`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spancost import names
from spancost.charge import PriceLine, price_line

if TYPE_CHECKING:
    from spancost.prices.compute import ComputeRate


class ComputePricing:
    """The rate of one process.

    Args:
        rate: What the machine costs, or None if unknown.

        assumed: The machine itself was assumed, not stated.

        pending: The rate is being looked up; `settle` will be called.
    """

    __slots__ = ("assumed", "attributes", "is_pending", "is_split", "lines", "list_usd_per_s", "rate", "usd_per_s")

    def __init__(self, rate: ComputeRate | None = None, *, assumed: bool = False, pending: bool = False) -> None:
        self.rate: ComputeRate | None = None
        self.assumed = assumed
        self.is_pending = False
        self.usd_per_s: float | None = None
        """What a second of the whole machine costs you, USD; None if unknown."""
        self.list_usd_per_s: float | None = None
        self.lines: tuple[PriceLine, PriceLine]
        """Price line of compute, and the same where the share is estimated: ready, since every span asks for it."""
        self.attributes: tuple[dict[str, str], dict[str, str]]
        """Span attributes that say how compute is priced, for each of the lines; to be copied, not changed."""
        self.settle(rate, assumed=assumed)
        self.is_pending = pending
        self.is_split = pending or rate is not None
        """Time is split among the spans inside a request. Without a price only requests as a whole are timed: what a
        span inside has earned would be shown nowhere."""

    def settle(self, rate: ComputeRate | None, *, assumed: bool = False) -> None:
        """State the rate, or with None that it stays unknown."""
        self.rate = rate
        self.assumed = assumed
        self.usd_per_s = None if rate is None else rate.usd_per_second
        self.list_usd_per_s = None if rate is None else rate.list_usd_per_second
        self.lines = (self._make_line(False), self._make_line(True))
        self.attributes = (_described(self.lines[0]), _described(self.lines[1]))
        self.is_pending = False
        self.is_split = rate is not None

    def _make_line(self, share_estimated: bool) -> PriceLine:
        rate = self.rate
        if rate is None:
            return price_line(
                names.COMPUTE, "", "instance", unit="s", status=names.UNPRICED, reason="compute_rate_unknown"
            )
        basis = [part for part in (rate.basis, "assumed_machine" if self.assumed else "") if part]
        if share_estimated:
            basis.append("share:1")
        return price_line(
            names.COMPUTE,
            rate.provider,
            "instance",
            unit="s",
            region=rate.region,
            sku=rate.sku,
            status=names.ESTIMATED if basis else names.PRICED,
            basis=",".join(basis),
            source=rate.source,
        )


def _described(line: PriceLine) -> dict[str, str]:
    said = {names.STATUS: line.status, names.SOURCE: line.source, names.BASIS: line.basis, names.REASON: line.reason}
    return {name: value for name, value in said.items() if value}
