"""The cost tree's nodes as they hang on live spans, with what pricing needs to remember of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from spancost.charge import Charge
from spancost.tree import Node, Root
from spancost.window import Attribution, EntryLabels, KeptNode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from spancost.attribution import Tags
    from spancost.meters.llm import LlmUsage

NOBODY = Attribution()


class HeldUsage(NamedTuple):
    """Usage of an inner LLM span that waits for the outer span of the same call."""

    scope: str
    usage: LlmUsage
    start_ns: int


class Waiting(NamedTuple):
    """A charge that waits for its local root to learn its route."""

    minute: int
    charge: Charge
    attribution: Attribution
    position: str
    calls: int


class SpanNode(Node):
    """Node of a live span."""

    __slots__ = ("call_host", "facts", "held", "span", "tags")

    def __init__(self, span: Span, tags: Tags | None) -> None:
        # Repeats `Node.__init__` instead of calling it: one call less for every span.
        self.parent = None
        self.direct_usd = self.below_usd = self.compute_s = self.mark = 0.0
        self.open_children = 0
        self.is_open = True
        self.span: Span | None = span
        """The live span; None once it has ended, which breaks the reference cycle."""
        self.facts: dict[str, Any] | None = None
        """What capture hooks saw."""
        self.tags = tags
        """What `attribute()` had set when the span started."""
        self.held: list[HeldUsage] | None = None
        """Usage of inner LLM spans that this span's charge replaces."""
        self.call_host: str | None = None
        """Set at the end of an LLM or AWS span: its host, or empty if it named none."""


class LocalRoot(Root):
    """Local root of live spans: what its labels, total and late children need."""

    __slots__ = (
        "attribution",
        "components",
        "epoch",
        "holders",
        "inner_count",
        "inner_s",
        "kind",
        "labels",
        "span",
        "touched_at",
        "trace_id",
        "trail",
        "waiting",
    )

    def __init__(self, span: Span, epoch: int, kind: int) -> None:
        # Repeats `Root.__init__` instead of calling it: one call less for every request.
        self.w = self.v_mark = self.last_event = self.accrued_s = self.assigned_s = 0.0
        self.leaves = self.open_spans = 0
        self.is_active = self.is_closed = False
        self.span: Span | None = span
        """The local root's own span while it is open."""
        self.epoch = epoch
        """Process epoch: a fork starts a new one, and nothing is charged across."""
        self.kind = kind
        """SpanKind value of the local root's own span."""
        self.labels: EntryLabels | None = None
        """Labels once they are final."""
        self.attribution = NOBODY
        """Set by `attribute()` inside the request."""
        self.components: dict[str, float] = {}
        """USD charged so far by component, before the local root's own span ended."""
        self.inner_s = 0.0
        """Instance-seconds of ended inner spans that follow the root's own attribution, not yet booked."""
        self.inner_count = 0
        self.holders: list[SpanNode] | None = None
        """Open LLM spans that hold usage of inner ones."""
        self.waiting: list[Waiting] | None = None
        """Charges that wait for the route."""
        self.touched_at = 0.0
        """When something was first left to book, monotonic seconds."""
        self.trail: list[KeptNode] | None = None
        """Ended spans, while traces are kept."""
        self.trace_id = 0
