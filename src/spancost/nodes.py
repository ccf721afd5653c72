"""The cost tree's nodes as they hang on live spans, with what pricing needs to remember of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import ref

from spancost import names
from spancost.charge import Charge, PriceLine, calls_of
from spancost.tree import Node, Root
from spancost.window import NOBODY, Attribution, EntryLabels, GuardedRule, KeptNode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from spancost.budgets.reservation import Reservation
    from spancost.meters.llm import LlmUsage

Booked: TypeAlias = "tuple[Charge, Attribution | None, str, int, int]"
"""(charge, its own attribution or None for the root's, position, minute, calls as `calls_of` counts them)."""
Guarded: TypeAlias = "tuple[Charge, Attribution | None, int, int, frozenset[GuardedRule]]"
"""(charge, its own attribution or None for the root's, minute, calls, rules whose guard settles it)."""


class HeldUsage(NamedTuple):
    """Usage of an inner LLM span that waits for the outer span of the same call."""

    scope: str
    usage: LlmUsage
    start_ns: int
    end_ns: int = 0
    node: SpanNode | None = None
    """Node of the inner span; None for stored spans."""
    also: frozenset[str] = frozenset()
    """Further scopes that have seen the same call."""


class ChargedCall(NamedTuple):
    """An LLM call that has been charged, as later views of it are compared with it."""

    scope: str
    usage: LlmUsage
    start_ns: int
    end_ns: int
    parent: SpanNode | None
    """Parent of the span that owns the charge. Not that span itself, which leads here: a reference cycle."""
    is_entry: bool
    """That span is a local root's own."""
    epoch: int | None
    """Epoch of its engine."""
    order: int
    """Its place in the order in which calls begin and are charged."""
    seen_by: set[str]
    """Scopes whose views of this call are known: each has at most one."""


# What every span and every root needs is in slots, set in `__init__` (which repeats that of the base class: one call
# less on the span path). What few need are class-level defaults over the `__dict__`, which only those few come to have.


class SpanNode(Node):
    """Node of a live span."""

    facts: dict[str, Any] | None = None
    """What capture hooks saw."""
    tags: Attribution | None = None
    """What `attribute()` had set when the span started; not None where `baggage` is not."""
    baggage: Attribution | None = None
    """What the baggage said when the span started; None where none of it is to be read."""
    held: list[HeldUsage] | None = None
    """Usage of inner LLM spans that this span's charge replaces."""
    around: tuple[ref[SpanNode], ...] | None = None
    """Calls begun in its context when it started; None where nobody has asked."""
    calls_below: tuple[ref[SpanNode], ...] | None = None
    """Spans of frameworks that hang on this one and may be calls."""
    is_settled: bool = False
    """What it held was charged though it is open: no call waits for it any more."""
    charged_inside: list[ChargedCall] | None = None
    """LLM calls charged while this span was open, below it or in its context, the last few."""
    charged: ChargedCall | None = None
    """The LLM call that was charged on this span."""
    http_call: SpanNode | None = None
    """The request inside this HTTP span that is the same call."""
    call_scope: str = ""
    """Name of its scope, where it may be a call."""
    begun: int = 0
    """Its place in the order in which calls begin and are charged; 0 where nobody has asked."""
    call_host: str | None = None
    """Set at the end of an LLM or AWS span: its host, or empty if it named none."""
    is_entry: bool = False
    """This is the local root's own span."""
    used: dict[PriceLine, Charge] | None = None
    """What `add_usage` has charged this span; it is booked already, and in `direct_usd`."""
    reservation: Reservation | None = None
    """The guard's, under which it was started: that settles its charges with the budgets."""
    is_plain: bool = True
    """False once it has `held`, `charged_inside` or `used`."""
    is_metered_elsewhere: bool = False
    """A third-party meter has charged it: what it holds of inner LLM spans is the same call."""

    __slots__ = ("__dict__", "__weakref__", "is_timed", "span")

    def __init__(self, span: Span) -> None:
        self.parent = None
        self.direct_usd = self.below_usd = self.compute_s = self.mark = 0.0
        self.open_children = 0
        self.is_open = self.is_timed = True
        self.span: Span | None = span
        """The live span; None once it has ended, which breaks the reference cycle."""

    def use(self, charge: Charge) -> None:
        """Take usage that was reported while the span is open; charges of one price line are added up."""
        used = self.used
        if used is None:
            used = self.used = {}
            self.is_plain = False
        before = used.get(charge.line)
        used[charge.line] = charge if before is None else before.plus(charge)
        self.direct_usd += charge.usd


class LocalRoot(Root):
    """Local root of live spans, which gathers what they cost."""

    labels: EntryLabels | None = None
    """Labels once they are final."""
    attribution: Attribution = NOBODY
    """Set by `attribute()` inside the request; at its end also by its attributes, baggage and rules."""
    baggage: Attribution | None = None
    """What the baggage said when the root started."""
    booked_usd: dict[str, float] | None = None
    """USD by component that partial bookings took out."""
    advanced_s: float = 0.0
    """Instance-seconds of spans that are still open which have been booked already: their ends repay them."""
    advanced_usd: float = 0.0
    """What those were booked at, USD."""
    trail: list[KeptNode] | None = None
    """Ended spans, while traces are kept."""
    booked_unpriced: frozenset[str] = frozenset()
    """Components with unpriced charges that partial bookings took out."""
    gathered: tuple[list[Booked], dict[tuple[PriceLine, Attribution | None, str, int], int]] | None = None
    """`charges`, and where in it reported usage is added up."""
    trace_id: int = 0
    guarded: list[Guarded] | None = None
    """Those of the charges, its own span's included, that a guard settles with the budgets; not yet booked."""

    __slots__ = (
        "__dict__",
        "booked_at",
        "charges",
        "epoch",
        "exported",
        "inner_count",
        "inner_s",
        "kind",
        "span",
    )

    def __init__(self, span: Span, epoch: int, kind: int, now: float) -> None:
        self.w = self.v_mark = self.last_event = self.accrued_s = self.assigned_s = 0.0
        self.leaves = self.open_spans = 0
        self.is_active = self.is_closed = False
        self.span: Span | None = span
        """The local root's own span while it is open."""
        self.epoch = epoch
        """Epoch of the engine: a fork or another engine starts a new one, and nothing is charged across."""
        self.kind = kind
        """SpanKind value of the local root's own span."""
        self.booked_at = now
        """Start, or the last partial booking, monotonic seconds."""
        self.inner_s = 0.0
        """Instance-seconds of ended inner spans that follow the root's own attribution, not yet booked."""
        self.inner_count = 0
        self.charges: list[Booked] | None = None
        """Charges of ended inner spans, and reported usage, not yet booked."""

    exported: tuple[Mapping[str, Any], Sequence[Charge], Sequence[Booked] | None]
    """Set when the local root's own span has ended: what was written on it, its charges, and `charges` of then."""

    def unbooked(self, seconds: float) -> float:
        """Return what of the instance-seconds that open spans have earned so far is not booked yet."""
        return max(0.0, seconds - self.advanced_s)

    def advance(self, seconds: float, usd_per_s: float) -> None:
        """Note that instance-seconds of open spans are booked now."""
        self.advanced_s += seconds
        self.advanced_usd += seconds * usd_per_s

    def repay(self, seconds: float, open_s: float = 0.0) -> tuple[float, float]:
        """Set what an ended span has earned off against what was booked while spans were open.

        Args:
            seconds: Instance-seconds of the span.

            open_s: What spans that are still open have earned so far and will repay themselves, instance-seconds.

        Returns:
            Instance-seconds still to be booked, and what the others were booked at, USD.
        """
        repaid_s = min(seconds, self.advanced_s - open_s)
        if repaid_s <= 0.0:
            return seconds, 0.0
        if repaid_s == self.advanced_s:
            repaid_usd, self.advanced_s, self.advanced_usd = self.advanced_usd, 0.0, 0.0
        else:
            repaid_usd = self.advanced_usd * (repaid_s / self.advanced_s)
            self.advanced_s -= repaid_s
            self.advanced_usd -= repaid_usd
        return seconds - repaid_s, repaid_usd

    def leave(self, charges: Sequence[Charge], own: Attribution | None, position: str, minute: int) -> None:
        """Leave charges of one span with this root until they are booked."""
        booked = self.charges
        if booked is None:
            booked = self.charges = []
        for charge, calls in zip(charges, calls_of(charges), strict=True):
            booked.append((charge, own, position, minute, calls))

    def note_guarded(
        self, charges: Sequence[Charge], own: Attribution | None, minute: int, rules: frozenset[GuardedRule]
    ) -> None:
        """Note charges that a guard settles with the budgets of some rules."""
        guarded = self.guarded
        if guarded is None:
            guarded = self.guarded = []
        for charge, calls in zip(charges, calls_of(charges), strict=True):
            guarded.append((charge, own, minute, calls, rules))

    def gather(self, charge: Charge, own: Attribution | None, position: str, minute: int) -> None:
        """Leave reported usage with this root: a million small reports of one thing become one charge."""
        booked = self.charges
        if booked is None:
            booked = self.charges = []
        gathered = self.gathered
        if gathered is None or gathered[0] is not booked:
            gathered = self.gathered = (booked, {})
        place = gathered[1].setdefault((charge.line, own, position, minute), len(booked))
        if place == len(booked):
            booked.append((charge, own, position, minute, 1))
        else:
            before, _, _, _, calls = booked[place]
            booked[place] = (before.plus(charge), own, position, minute, calls + 1)

    def unpriced_components(self) -> frozenset[str]:
        """Return the components of which something below this root has no price so far; compute is not looked at."""
        return self.booked_unpriced | unpriced_of(booked[0] for booked in self.charges or ())

    def components(self, usd_per_s: float | None, seconds: float, charges: Sequence[Charge]) -> dict[str, float]:
        """Return USD by component of everything charged below this root so far.

        Args:
            usd_per_s: Price of an instance-second; None if unknown.

            seconds: Instance-seconds of the root's own span.

            charges: Charges of the root's own span.
        """
        usd = {} if self.booked_usd is None else dict(self.booked_usd)
        if usd_per_s is not None:
            usd[names.COMPUTE] = usd.get(names.COMPUTE, 0.0) + (self.inner_s + seconds) * usd_per_s
        for charge in charges:
            component = charge.line.component
            usd[component] = usd.get(component, 0.0) + charge.usd
        if self.charges is not None:
            for booked in self.charges:
                charge = booked[0]
                component = charge.line.component
                usd[component] = usd.get(component, 0.0) + charge.usd
        return usd


def unpriced_of(charges: Iterable[Charge]) -> frozenset[str]:
    """Return the components of charges without a price."""
    return frozenset(charge.line.component for charge in charges if charge.line.status == names.UNPRICED)
