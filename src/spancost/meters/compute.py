"""Price the time of the machine.

How much of an instance-second belongs to which span is worked out in `tree.py`; here is what such a second costs.
Until the rate is known (`is_pending`) seconds are held and priced afterwards; if it stays unknown they are counted as
`unpriced`, reason `compute_rate_unknown`, or `container_share_unknown` where the machine is known and the part of it
that this container bears is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from spancost import names
from spancost.charge import PriceLine, described, price_line
from spancost.meters.request_billing import SPAN_TIME, RequestClock

if TYPE_CHECKING:
    from spancost.prices.compute import ComputeRate

RATE_UNKNOWN: Final = "compute_rate_unknown"
RATE_PENDING: Final = "compute_rate_pending"


class ComputePricing:
    """The rate of one process.

    Args:
        rate: What the machine costs, or None if unknown.

        assumed: The machine itself was assumed, not stated.

        pending: The rate is being looked up; `settle` will be called.

        bills_requests: It will depend on whether a request is open.
    """

    __slots__ = (
        "_will_bill_requests",
        "assumed",
        "attributes",
        "billing",
        "idle_list_usd_per_s",
        "idle_usd_per_s",
        "is_pending",
        "is_split",
        "lines",
        "list_usd_per_s",
        "rate",
        "reason",
        "reprice",
        "usd_per_s",
    )

    def __init__(
        self,
        rate: ComputeRate | None = None,
        *,
        assumed: bool = False,
        pending: bool = False,
        bills_requests: bool = False,
    ) -> None:
        self._will_bill_requests = bills_requests
        self.rate: ComputeRate | None = None
        self.assumed = assumed
        self.is_pending = False
        self.usd_per_s: float | None = None
        """What a second of the whole machine costs you, USD; None if unknown."""
        self.list_usd_per_s: float | None = None
        self.idle_usd_per_s = 0.0
        """What a second without any request costs you, USD; 0 while the rate is unknown."""
        self.idle_list_usd_per_s = 0.0
        self.billing: RequestClock | None = None
        """Set where requests are billed, not machines."""
        self.reason = RATE_UNKNOWN
        """Why the rate is not known, where it is not."""
        self.reprice: Callable[[], ComputeRate | None] | None = None
        """Returns the rate as it is now: prices change, and discounts end."""
        self.lines: tuple[PriceLine, PriceLine]
        """Price line of compute, and the same where the share is estimated: ready, since every span asks for it."""
        self.attributes: tuple[dict[str, str], dict[str, str]]
        """Span attributes that say how compute is priced, for each of the lines; to be copied, not changed."""
        self.settle(rate, assumed=assumed, reason=RATE_PENDING if pending else RATE_UNKNOWN)
        self.is_pending = pending
        self.is_split = pending or rate is not None
        """Time is split among the spans inside a request. Without a price only requests as a whole are timed: what a
        span inside has earned would be shown nowhere."""

    @property
    def bills_requests(self) -> bool:
        """The price depends on whether a request is open, so CPU time says nothing of it; as far as is known yet."""
        if self.is_pending:
            return self._will_bill_requests
        return self.billing is not None or self.idle_usd_per_s < (self.usd_per_s or 0.0)

    @property
    def vcpus(self) -> float | None:
        """vCPUs of what the rate is for; None where it does not say."""
        return None if self.rate is None else self.rate.vcpu

    def renewed(self, now_ns: int) -> ComputePricing | None:
        """Return the pricing from now on if the present rate has ended; None while it holds.

        Where requests are billed the rate of the process's start stays: a billed period has one.

        Args:
            now_ns: Unix nanoseconds.
        """
        rate, reprice = self.rate, self.reprice
        if rate is None or reprice is None or now_ns < rate.valid_until_ns or self.billing is not None:
            return None
        pricing = ComputePricing(reprice(), assumed=self.assumed)
        pricing.reprice = reprice
        return pricing

    def settle(
        self, rate: ComputeRate | None, *, assumed: bool = False, reason: str = RATE_UNKNOWN, init_s: float = 0.0
    ) -> None:
        """State the rate, or with None that it stays unknown; under the engine's lock once spans are priced.

        Args:
            rate: What the machine costs.

            assumed: The machine itself was assumed.

            reason: Why it is not known, where it is not.

            init_s: Time from the start of the process to its first request where that is billed, seconds.
        """
        self.rate = rate
        self.assumed = assumed
        self.reason = reason
        self.billing = None
        if rate is None:
            self.usd_per_s = self.list_usd_per_s = None
            self.idle_usd_per_s = self.idle_list_usd_per_s = 0.0
        else:
            self.usd_per_s, self.list_usd_per_s = rate.usd_per_second, rate.list_usd_per_second
            idle, idle_list = rate.idle_usd_per_second, rate.idle_list_usd_per_second
            self.idle_usd_per_s = rate.usd_per_second if idle is None else idle
            self.idle_list_usd_per_s = rate.list_usd_per_second if idle_list is None else idle_list
            if rate.billing is not None:
                self.billing = RequestClock(rate, rate.billing, init_s if rate.billing.bills_init else 0.0)
        self.lines = (self._make_line(False), self._make_line(True))
        self.attributes = (described(self.lines[0]), described(self.lines[1]))
        self.is_pending = False
        self.is_split = rate is not None

    def _make_line(self, share_estimated: bool) -> PriceLine:
        rate = self.rate
        if rate is None:
            return price_line(names.COMPUTE, "", "instance", unit="s", status=names.UNPRICED, reason=self.reason)
        assumed = "assumed_machine" if self.assumed else ""
        basis = [part for part in (rate.basis, assumed, SPAN_TIME if rate.billing else "") if part]
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
