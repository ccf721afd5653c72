"""Which traces are kept whole: the costliest, and a random sample.

The sample is drawn by trace id, so that all services and processes keep the same traces, and so that what is drawn of
parts, and then of those, is what would have been drawn of the whole.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from spancost.window import KeptTrace

COSTLIEST: Final = 20
"""Costliest traces kept of one publishing."""
SAMPLED: Final = 5
"""Traces kept of one publishing whatever they cost."""


def lot_of(trace_id: int) -> int:
    """Return a trace's lot: the lowest ones are the random sample."""
    # Fibonacci hashing: ids that count up, as those of tests do, are spread as well as random ones.
    return (trace_id * 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF


def chosen(traces: Sequence[KeptTrace], costliest: int, sampled: int) -> list[KeptTrace]:
    """Return the costliest traces, and those with the lowest lots among all; each of them once."""
    kept = heapq.nlargest(costliest, traces, key=lambda trace: trace.total_usd)
    drawn = heapq.nsmallest(sampled, traces, key=lambda trace: lot_of(trace.trace_id))
    have = {id(trace) for trace in kept}
    return kept + [trace for trace in drawn if id(trace) not in have]


class TraceChoice:
    """Decides at the end of each local root whether it may be among the traces that are kept."""

    __slots__ = ("_costliest", "_lots")

    def __init__(self) -> None:
        self._costliest: list[float] = []
        """Totals of the costliest so far, a heap."""
        self._lots: list[int] = []
        """Lowest lots so far, negated: a heap with the highest first."""

    def wants(self, total_usd: float, trace_id: int) -> bool:
        """Say whether a trace is among the costliest or in the sample so far, and count it in."""
        return self._is_costly(total_usd) | self._is_drawn(-lot_of(trace_id))

    def _is_costly(self, total_usd: float) -> bool:
        if len(self._costliest) < COSTLIEST:
            heapq.heappush(self._costliest, total_usd)
            return True
        if total_usd <= self._costliest[0]:
            return False
        heapq.heapreplace(self._costliest, total_usd)
        return True

    def _is_drawn(self, lot: int) -> bool:
        if len(self._lots) < SAMPLED:
            heapq.heappush(self._lots, lot)
            return True
        if lot <= self._lots[0]:
            return False
        heapq.heapreplace(self._lots, lot)
        return True
