"""Bill requests where the platform bills requests: AWS Lambda and Cloud Run.

Such a platform bills the time in which at least one request is open, rounded up, and a fee for each request. The
compute clock already gives every request its part of that time, and time without a request is free. Added here, on the
local root: what rounding adds to a billed period, for the request that ends it; the start of the process, for the
first request where it is billed (AWS Lambda, INIT phase, since 2025-08-01); and the fee, for roots that serve.

Unit: instance-seconds, and requests. Left out: what runs before and after the handler's span in the platform's own
code; a span is shorter by that than what is billed, so the time is marked `estimated`, basis `span_time`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

from spancost import names
from spancost.charge import CONSUMER, SERVER, Charge, price_line
from spancost.prices.machine_rate import ComputeRate, RequestBilling
from spancost.tree import Tree

SPAN_TIME: Final = "span_time"
_TOLERANCE: Final = 1e-6
"""Part of a step by which a period may exceed a whole number of steps through the clock's own rounding."""
_SERVED: Final = (SERVER, CONSUMER)


class RequestClock:
    """Rounds the billed periods of one process.

    Args:
        rate: What the instance costs; it has `billing`.

        billing: Its steps and its fee.

        init_s: Billed time before the first request, seconds.
    """

    __slots__ = ("_busy_s", "_fee", "_init_s", "_is_new", "_step_s", "_tree")

    def __init__(self, rate: ComputeRate, billing: RequestBilling, init_s: float = 0.0) -> None:
        line = price_line(
            names.COMPUTE,
            rate.provider,
            "request",
            unit="request",
            region=billing.fee_region,
            sku=billing.fee_sku,
            source=billing.fee_source,
        )
        self._fee = Charge(line, 1.0, billing.fee_usd, billing.fee_list_usd)
        self._step_s = billing.step_s
        self._init_s = init_s
        self._tree: Tree | None = None
        self._busy_s = 0.0
        """Busy time of the tree up to the end of the last billed period."""
        self._is_new = False

    def settle(
        self, tree: Tree, kind: int, seconds: float, charges: Sequence[Charge]
    ) -> tuple[float, Sequence[Charge]]:
        """Return instance-seconds and charges of a local root that has ended; under the engine's lock.

        Args:
            tree: The cost tree, after the root's own span was closed in it.

            kind: SpanKind value of the root.

            seconds: Instance-seconds of its own span.

            charges: What its own span was charged.
        """
        if tree is not self._tree:  # the first request, or the first one after a fork
            self._is_new = self._tree is None
            self._tree = tree
            self._busy_s = 0.0
        if not tree.active_roots:
            period_s = tree.busy_s - self._busy_s
            self._busy_s = tree.busy_s
            if self._is_new:
                self._is_new = False
                seconds += self._init_s
                period_s += self._init_s
            steps = ceil(period_s / self._step_s - _TOLERANCE)
            seconds += max(0.0, steps * self._step_s - period_s)
        return seconds, (*charges, self._fee) if kind in _SERVED else charges
