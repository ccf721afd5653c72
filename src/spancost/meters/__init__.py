"""What is used: one small module per thing that is metered.

A meter turns a `SpanView` into charges. It never touches the network, the disk or a lock, keeps no
reference to the view, and raises only on its own defects: bad input is an `unpriced` charge.

`CustomUsage`, `SpanView` and `UsageMeter` are for meters of third parties, which are found by the entry-point group
`spancost.meters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from spancost.charge import Charge, SpanView

__all__ = ["CustomUsage", "Meter", "SpanView", "UsageMeter"]


class Meter(Protocol):
    """Turns what a span shows into charges."""

    def measure(self, view: SpanView) -> Sequence[Charge]:
        """Return the charges of this span; empty if the span is none of this meter's business."""
        ...


@dataclass(frozen=True, slots=True)
class CustomUsage:
    """What a third-party meter has seen on a span; priced as `spancost.add_usage` prices it."""

    name: str
    """What was used, for example `pdf.render`: few different ones."""
    quantity: float
    """How much, in `unit`."""
    unit: str
    """For example `page`."""
    usd: float | None = None
    """USD for the whole quantity; None: by the `custom:` rates of the configuration."""


class UsageMeter(Protocol):
    """Meter of a third party: what an entry point of the group `spancost.meters` makes when it is called."""

    @property
    def keys(self) -> frozenset[str]:
        """Attribute names: spans that have any of them are shown to this meter."""
        ...

    def measure(self, view: SpanView) -> Iterable[CustomUsage]:
        """Return what was used; empty if the span is none of this meter's business.

        Called while the span ends: no network, no disk, no waiting. An exception is counted and logged, and the span
        is priced as if this meter were not there.
        """
        ...
