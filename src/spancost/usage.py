"""What an application says and asks of its own cost: `add_usage` and `current_cost`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

from spancost import names
from spancost.attribution import from_attributes, names_label, tags_of
from spancost.budgets import reservation
from spancost.capture.facts import NODE_ATTRIBUTE
from spancost.entry_labels import final_labels
from spancost.journal import NO_RULES, Late, Unattributed
from spancost.nodes import NOBODY, LocalRoot, SpanNode, unpriced_of
from spancost.span_attributes import mapping_of
from spancost.window import ENTRY, INNER, LATE_ENTRY, LATE_INNER, Attribution, GuardedRule, filled

if TYPE_CHECKING:
    from spancost.charge import Charge
    from spancost.engine import CostEngine

_MINUTE_NS: Final = 60_000_000_000
_SPAN_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))

_engine: CostEngine | None = None


def connect(engine: CostEngine | None) -> CostEngine | None:
    """Name the engine that usage is booked with, and return the one before."""
    global _engine
    before, _engine = _engine, engine
    return before


def add_usage(name: str, quantity: float, unit: str, usd: float | None = None) -> None:
    """Charge the current span for something that no span shows.

    Belongs to the current span, and to what `attribute()` says; below a span that has ended it is charged late, and
    without a span it is counted as unattributed. Does nothing where spancost is not installed or switched off. No
    value raises: a quantity or an amount that is negative, no number or not finite is counted as unpriced
    (`bad_usage`) and logged once.

    Args:
        name: What was used, for example `pdf.render`: few different ones, never an id of a person.

        quantity: How much, in `unit`.

        unit: For example `page`.

        usd: USD for the whole quantity; without it the `custom:` rates of `spancost.yaml` say what a unit costs. If
            they do not, it is unpriced (`no_rate`).

    Raises:
        TypeError: Name or unit is no text.

    Example:
        >>> from spancost import add_usage
        >>> add_usage("pdf.render", 3, "page", usd=0.006)
    """
    if not isinstance(name, str) or not isinstance(unit, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"add_usage: name and unit are texts, not {type(name).__name__} and {type(unit).__name__}")
    engine = _engine
    if engine is None or engine.idle:
        return
    try:
        if engine.tree is None:
            get_ready(engine)
        now_ns = time.time_ns()
        charge = engine.meters.custom.charge(name, quantity, unit, usd, now_ns, engine.errors)
        context = get_current()
        span = context.get(_SPAN_KEY)
        node = getattr(span, NODE_ATTRIBUTE, None)
        own = _attribution(engine, span, node, context)
        minute = now_ns // _MINUTE_NS
        rules = reservation.take(context, node, charge, minute) if reservation.is_used else NO_RULES
        engine.alone(_book, engine, node, charge, own, minute, rules)
    except Exception:
        engine.errors.caught("add_usage")


def connected_engine() -> CostEngine | None:
    """Return the engine that usage is booked with."""
    return _engine


def present_values() -> Mapping[str, str]:
    """Return what is known of the present work by the dimensions of budget rules; empty ones are left out."""
    engine = _engine
    if engine is None:
        return {}
    try:
        context = get_current()
        whose = tags_of(context) or NOBODY
        found: dict[str, str] = {}
        span = context.get(_SPAN_KEY)
        node = getattr(span, NODE_ATTRIBUTE, None)
        root = getattr(node, "root", None)
        if node is not None and isinstance(root, LocalRoot) and root.epoch == engine.epoch and root.span is not None:
            own = engine.attributing.of_span(node, dict(mapping_of(span)), is_charged=True)
            attributes = dict(mapping_of(root.span))
            labels = root.labels or final_labels(root.span.name, root.kind, attributes, engine.config.entrypoint)
            whose = filled(filled(whose, own or NOBODY), engine.attributing.of_root(root, attributes, labels))
            found = {"route": labels.http_route, "entrypoint": labels.entrypoint}
        elif engine.attributing.baggage:
            whose = filled(whose, engine.attributing.carried(context) or NOBODY)
        found |= zip(names.ATTRIBUTION_LABELS, whose[:3], strict=True)
        # A route is often known only later in the request.
        return {name: value for name, value in found.items() if value and value != names.NO_ROUTE}
    except Exception:
        engine.errors.caught("guard")
        return {}


def get_ready(engine: CostEngine) -> None:
    """Settle region, machine and budgets where no span has started yet."""
    from spancost._install import resource_of_process

    engine.get_ready(resource_of_process())


def _attribution(engine: CostEngine, span: Any, node: SpanNode | None, context: Context) -> Attribution | None:
    """Return whose the usage is, None if that of the local root: span attributes, `attribute()`, baggage, rules."""
    said = tags_of(context) or NOBODY
    attributing = engine.attributing
    if node is None:
        carried = attributing.carried(context) if attributing.baggage else None
        own = filled(said, carried or NOBODY)
    else:
        attributes = dict(mapping_of(span))  # copied at once: another thread may set more meanwhile
        if names_label(attributes):
            said = filled(from_attributes(attributes), said)
        # Of the local root's own span, baggage and rules speak with the root: there `attribute()` goes before them.
        of_span = None if node.is_entry else attributing.of_span(node, attributes, is_charged=True)
        own = filled(said, of_span or NOBODY)
    return None if own == NOBODY else own


def _book(
    engine: CostEngine,
    node: SpanNode | None,
    charge: Charge,
    own: Attribution | None,
    minute: int,
    rules: frozenset[GuardedRule],
) -> None:
    """Book usage with its span; under the lock."""
    root = getattr(node, "root", None)
    if node is None or not isinstance(root, LocalRoot) or root.epoch != engine.epoch:
        if engine.tree is None:  # the publishing thread starts with it
            engine.begin(engine.monotonic())
        engine.note(Unattributed((charge,), minute, own or NOBODY, rules))
        return
    if node.is_open:
        node.use(charge)
    else:
        _add_below(node, charge.usd)
    if root.span is None:
        engine.note(Late(root, 0.0, 0, (charge,), own, minute, LATE_ENTRY if node.is_entry else LATE_INNER, rules))
    else:
        root.gather(charge, own, ENTRY if node.is_entry else INNER, minute)
        if rules:
            root.note_guarded((charge,), own, minute, rules)


def _add_below(node: SpanNode, usd: float) -> None:
    """Add what an ended span has cost since to the total of its nearest open ancestor."""
    parent = node.parent
    while parent is not None and not parent.is_open:
        parent = parent.parent
    if parent is not None:
        parent.below_usd += usd


@dataclass(frozen=True, slots=True)
class RequestCost:
    """What a request has cost so far, USD."""

    total_usd: float
    """The local root with everything below it in this process; once its span has ended, as exported."""
    direct_usd: float
    """The current span itself. What its meter finds (egress, tokens) is known at its end."""
    component_usd: Mapping[str, float]
    """The total by component: `compute`, `egress`, `aws`, `llm`, `http`, `custom`."""
    unpriced: tuple[str, ...] = ()
    """Components of which something has no price: the true cost is higher."""

    @property
    def is_complete(self) -> bool:
        """Everything charged so far has a price."""
        return not self.unpriced


def current_cost() -> RequestCost | None:
    """Return what the current request has cost so far, its share of the machine until now included.

    Returns:
        The cost; None outside of a span that is priced.
    """
    engine = _engine
    if engine is None or engine.idle:
        return None
    try:
        node = getattr(get_current().get(_SPAN_KEY), NODE_ATTRIBUTE, None)
        if not isinstance(node, SpanNode):
            return None
        with engine.lock:
            return _cost(engine, node)
    except Exception:
        engine.errors.caught("current_cost")
        return None


def _cost(engine: CostEngine, node: SpanNode) -> RequestCost | None:
    root, tree = getattr(node, "root", None), engine.tree
    if not isinstance(root, LocalRoot) or root.epoch != engine.epoch or tree is None:
        return None
    now = engine.monotonic()
    if not engine.busy:  # else we have interrupted a hook of this thread in the middle of its sums
        tree.advance(now)
    usd_per_s = engine.meters.compute.usd_per_s
    direct = node.direct_usd
    if node.is_open and node.is_timed:
        direct += tree.earned_s(node, now) * (usd_per_s or 0.0)
    exported = getattr(root, "exported", None)
    if exported is not None:
        written, charges, booked = exported
        components = {one: written[name] for one, name in names.COMPONENT_USD.items() if name in written}
        unpriced = root.booked_unpriced | unpriced_of(charges) | unpriced_of(one[0] for one in booked or ())
        total = written.get(names.TOTAL_USD, 0.0)
        is_compute_known = names.COMPUTE in components
    else:
        components = root.components(usd_per_s, root.unbooked(tree.open_s(root, now)), ())
        unpriced = root.unpriced_components()
        total = sum(components.values())
        is_compute_known = usd_per_s is not None
    missing = unpriced if is_compute_known else unpriced | {names.COMPUTE}
    ordered = tuple(component for component in names.COMPONENTS if component in missing)
    return RequestCost(total, direct, MappingProxyType(components), ordered)
