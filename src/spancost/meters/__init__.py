"""What is used: one small module per thing that is metered.

A meter turns a `SpanView` into charges. It never touches the network, the disk or a lock, keeps no
reference to the view, and raises only on its own defects: bad input is an `unpriced` charge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spancost.charge import Charge, SpanView


class Meter(Protocol):
    """Turns what a span shows into charges."""

    def measure(self, view: SpanView) -> Sequence[Charge]:
        """Return the charges of this span; empty if the span is none of this meter's business."""
        ...
