"""CostSpanProcessor: the only room that knows the life cycle of an SDK span."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import INVALID_SPAN, StatusCode, set_span_in_context

from spancost import names
from spancost.attribution import ATTRIBUTION_KEY, as_attributes
from spancost.budgets import reservation
from spancost.capture.facts import NODE_ATTRIBUTE
from spancost.charge import CONSUMER, LLM_SPAN, Charge, PriceLine, described
from spancost.claims import claims, mark
from spancost.context_calls import begin, names_call, scopes
from spancost.entry_labels import PROCESS, RECEIVE, final_labels, message_step
from spancost.journal import COMPUTE_SECONDS, NO_RULES, Ended, Late
from spancost.measuring import measure, measure_held, measure_llm
from spancost.meters.custom import beside
from spancost.nodes import LocalRoot, SpanNode
from spancost.prices.days import MAX_NS, possible_ns
from spancost.span_attributes import (
    END_PATCH,
    MAPPING,
    choose_technique,
    kind_of,
    mapping_of,
    patch_end,
    reader_of_starts,
    unpatch_end,
    write_public,
)
from spancost.window import INNER, LATE_INNER, NOBODY, Attribution, GuardedRule, KeptNode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from spancost.engine import CostEngine

_MINUTE_NS: Final = 60_000_000_000
_MAX_TRAIL: Final = 1000
_MAX_SAID: Final = 8192
_ENDED: Final[Sequence[Charge]] = ()
_SPAN_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""Key of the current span in a context. `get_current_span` would look it up with three calls and a type test more."""
_ERROR: Final = StatusCode.ERROR
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = {}
_COMPONENT_USD: Final = names.COMPONENT_USD
_DIRECT_USD: Final = names.DIRECT_USD
_TOTAL_USD: Final = names.TOTAL_USD
_TOTAL_NANO_USD: Final = names.TOTAL_NANO_USD
_COMPUTE_USD: Final = names.COMPONENT_USD[names.COMPUTE]
_MAX_INT64: Final = 2**63 - 1
_new_tuple: Final = cast("Callable[[type[Ended], tuple[Any, ...]], Ended]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]

_RANK: Final = names.STATUS_RANK


class CostSpanProcessor(SpanProcessor):
    """Prices each span as it ends, and writes direct and total cost on it.

    Its place among the processors of a provider does not matter. Two of them on one provider price once.

    Args:
        engine: Where charges go; the engine of this process by default, made at the first use.

    Example:
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from spancost import CostSpanProcessor
        >>> provider = TracerProvider()
        >>> provider.add_span_processor(CostSpanProcessor())
    """

    def __init__(self, engine: CostEngine | None = None) -> None:
        if engine is None:
            from spancost._install import default_engine

            engine = default_engine()
        self._engine = engine
        engine.serve(self)
        technique = choose_technique()
        self._in_place = technique == MAPPING
        """Values are written straight into the mapping behind the attributes; else collected, then `write_public`."""
        self._read_start = reader_of_starts()
        self._reads_baggage = bool(engine.attributing.baggage)
        if technique == END_PATCH:
            patch_end(self._ending)

    @property
    def engine(self) -> CostEngine:
        """The engine that books what this processor prices."""
        return self._engine

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Link the span into the cost tree."""
        engine = self._engine
        if engine.idle:
            return
        try:
            if getattr(span, NODE_ATTRIBUTE, None) is not None:
                return
            context = get_current() if parent_context is None else parent_context
            parent: Any = getattr(context.get(_SPAN_KEY), NODE_ATTRIBUTE, None)
            # The root's kind first: it is there already, and nearly never a consumer's.
            if parent is not None and parent.is_entry and parent.root.kind == CONSUMER:
                parent = None if _is_one_message(span, parent) else parent
            node = SpanNode(span)
            if ATTRIBUTION_KEY in context:
                node.tags = cast("Attribution | None", context[ATTRIBUTION_KEY])
            if self._reads_baggage or reservation.is_used:
                self._note_context(node, context)
            span._spancost_node = node  # type: ignore[attr-defined]
            scope, attributes = self._read_start(span)
            if scopes.get(scope, True) or (attributes and names_call(attributes)):
                begin(node, parent, scope, attributes)
            if engine.tree is None:
                engine.get_ready(span.resource.attributes)
            elif parent is not None and not engine.meters.compute.is_split:
                # A parent whose own start was deferred has no root yet, and neither can this span be linked now.
                root = getattr(parent, "root", None)
                if root is not None and root.epoch == engine.epoch and not root.is_closed:
                    # Nothing is shared with other threads here, so there is nothing to lock.
                    node.root = root
                    node.parent = parent
                    node.is_timed = False
                    root.last_event = engine.monotonic()
                    return
            now = engine.monotonic()
            with engine.lock:
                if engine.busy:
                    engine.deferred.append((self._link, (node, parent, span, now)))
                    return
                engine.busy = True
                try:
                    if parent is not None and parent.root.epoch == engine.epoch and not parent.root.is_closed:
                        # `tree` exists: the parent was started in this epoch.
                        engine.tree.start_child(parent, node, now)  # type: ignore[union-attr]
                    else:
                        self._start_root(node, span, now)
                    if engine.deferred:
                        engine.run_deferred()
                finally:
                    engine.busy = False
        except Exception:
            engine.errors.caught("on_start")

    def _note_context(self, node: SpanNode, context: Context) -> None:
        if reservation.is_used:
            reservation.enter(context, node)
        if not self._reads_baggage:
            return
        carried = self._engine.attributing.carried(context)
        if carried is not None:
            node.baggage = carried
            node.tags = node.tags or NOBODY

    def _link(self, node: SpanNode, parent: SpanNode | None, span: Span, now: float) -> None:
        engine = self._engine
        root = None if parent is None else getattr(parent, "root", None)
        if parent is not None and root is not None and root.epoch == engine.epoch and not root.is_closed:
            assert engine.tree is not None
            engine.tree.start_child(parent, node, now)
        else:
            self._start_root(node, span, now)

    def _start_root(self, node: SpanNode, span: Span, now: float) -> None:
        engine = self._engine
        tree = engine.tree or engine.begin(now)
        root = LocalRoot(span, engine.epoch, kind_of(span), now)
        tags = node.tags
        if tags is not None:
            root.attribution = tags
            root.baggage = node.baggage
        if engine.keep_traces:
            root.trail = []
            root.trace_id = span.get_span_context().trace_id
        tree.start_root(root, node, now)
        node.is_entry = True  # last: whoever sees it finds the root

    def _ending(self, span: Span, end_time: int | None) -> None:
        """Entry of the `end_patch` technique."""
        self._on_ending(span, end_time if end_time is not None else time.time_ns())

    def _on_ending(self, span: Span, end_ns: int | None = None) -> None:
        """Price the span, which is frozen but not yet exported."""
        engine = self._engine
        if engine.idle:
            return
        try:
            node: SpanNode | None = getattr(span, NODE_ATTRIBUTE, None)
            if node is None:
                return
            if claims.wanted:
                mark(span.get_span_context())
            if node.span is None:
                return
            if end_ns is None:
                end_ns = span.end_time or 0
            if not 0 < end_ns < MAX_NS:
                end_ns = possible_ns(None)
            attributes = mapping_of(span)
            charges = _ENDED
            is_llm_span = False
            if attributes:
                if engine.is_preparing or (engine.busy and not hasattr(node, "root")):
                    # We have interrupted the making of the meters, or a hook that will link this span only now.
                    engine.alone(self._measure_and_settle, span, node, attributes, end_ns, engine.monotonic())
                    return
                charges = measure(engine.meters, engine.errors, span, node, attributes, end_ns)
                is_llm_span = charges is LLM_SPAN
                if is_llm_span and engine.meters.llm is not None:
                    engine.load_llm_prices()
            elif not node.is_timed and not node.below_usd and node.is_plain:
                node.is_open = False
                node.span = None
                return
            now = engine.monotonic()
            with engine.lock:
                if engine.busy:
                    engine.deferred.append((self._settle, (span, node, attributes, charges, is_llm_span, end_ns, now)))
                    return
                engine.busy = True
                try:
                    self._settle(span, node, attributes, charges, is_llm_span, end_ns, now)
                    if engine.deferred:
                        engine.run_deferred()
                finally:
                    engine.busy = False
        except Exception:
            engine.errors.caught("on_ending")

    def _measure_and_settle(
        self, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int, now: float
    ) -> None:
        """Do all that the end of a span asks for, now that its place in the tree is known; under the lock."""
        engine = self._engine
        charges = measure(engine.meters, engine.errors, span, node, attributes, end_ns)
        self._settle(span, node, attributes, charges, charges is LLM_SPAN, end_ns, now)

    def _settle(
        self,
        span: Span,
        node: SpanNode,
        attributes: Mapping[str, Any],
        charges: Sequence[Charge],
        is_llm_span: bool,
        end_ns: int,
        now: float,
    ) -> None:
        """Close the node, book its cost and write its attributes; under the lock."""
        engine = self._engine
        root = node.root
        tree = engine.tree
        if not isinstance(root, LocalRoot) or root.epoch != engine.epoch or tree is None:
            node.span = None
            reservation.leave(node, (), 0)
            return
        used = _ENDED
        rules = NO_RULES
        if is_llm_span or not node.is_plain:
            charges = self._llm_charges(span, node, attributes, charges, is_llm_span, end_ns, now)
            used = tuple((node.used or {}).values())
            rules = self._leave_guard(root, node, attributes, charges, end_ns)
        if node.is_timed:
            seconds = tree.end(node, now)
        else:
            seconds = 0.0
            node.is_open = False
        compute = engine.meters.compute
        if compute.billing is not None and root.span is span:
            seconds, charges = compute.billing.settle(tree, root.kind, seconds, charges)
        usd_per_s = compute.usd_per_s
        own = None
        # A span whose attributes' names are known to say nothing of it is by far the most frequent.
        if node.tags is not None or (attributes and engine.attributing.shapes.get(tuple(attributes), 1)):
            own = self._own(root, node, attributes, is_charged=bool(charges or used))
        earned_s = seconds
        seconds, repaid_usd = self._repaid(root, own, seconds, now) if root.advanced_s else (seconds, 0.0)
        direct = node.direct_usd + repaid_usd + seconds * (usd_per_s or 0.0)
        for charge in charges:
            direct += charge.usd
        node.direct_usd = direct
        node.span = None
        # Collecting the values first would cost a dict and a copy for every span.
        values = cast("dict[str, Any]", attributes) if self._in_place else {}
        if root.span is span:
            total = self._settle_root(root, span, attributes, values, charges, seconds, usd_per_s, end_ns)
        else:
            total = tree.roll_up(node)
            if own is None and not charges and root.span is not None:
                root.inner_s += seconds
                root.inner_count += node.is_timed
            else:
                self._leave_or_note(root, node, seconds, charges, own, end_ns, rules)
            if usd_per_s is None and not charges and not node.below_usd and not used:
                return
            values[_TOTAL_USD] = total
        if charges or used:
            self._describe(values, attributes, node, charges, used, own, usd_per_s is not None)
        else:
            if usd_per_s is not None:
                values[_DIRECT_USD] = direct
            values.update(compute.attributes[engine.share_estimated])
        if root.trail is not None:
            self._leave_trail(root, span, node, (*charges, *used), total, earned_s, end_ns)
        if values is not attributes:
            write_public(span, values)

    def _leave_guard(
        self, root: LocalRoot, node: SpanNode, attributes: Mapping[str, Any], charges: Sequence[Charge], end_ns: int
    ) -> frozenset[GuardedRule]:
        """Leave the charges of a span with the guard it was started under; return the rules that settles them with."""
        minute = end_ns // _MINUTE_NS
        rules = reservation.leave(node, charges, minute)
        if rules and charges and root.span is not None:
            own = self._own(root, node, attributes, is_charged=True)
            root.note_guarded(charges, own, minute, rules)
        return rules

    def _repaid(self, root: LocalRoot, own: Attribution | None, seconds: float, now: float) -> tuple[float, float]:
        """Set an ended span off against what was booked while spans were open; see `LocalRoot.repay`."""
        tree = self._engine.tree
        if own is None or tree is None:
            return root.repay(seconds)
        # What was booked for spans that are still open is not to be repaid by one that is somebody else's.
        return root.repay(seconds, tree.open_s(root, now))

    def _own(
        self, root: LocalRoot, node: SpanNode, attributes: Mapping[str, Any], *, is_charged: bool
    ) -> Attribution | None:
        """Return whose an inner span is, None if its local root's."""
        if root.span is node.span:
            return None
        return self._engine.attributing.of_span(node, attributes, is_charged=is_charged)

    def _llm_charges(
        self,
        span: Span,
        node: SpanNode,
        attributes: Mapping[str, Any],
        charges: Sequence[Charge],
        is_llm_span: bool,
        end_ns: int,
        now: float,
    ) -> Sequence[Charge]:
        """Charge an LLM span, and what a span has held that did not turn out to be one."""
        engine = self._engine
        if is_llm_span:
            charges = measure_llm(engine.meters, engine.errors, span, node, attributes, end_ns, engine.llm_calls, now)
        if node.held is not None:
            charges = [*charges, *measure_held(engine.meters, engine.errors, node, engine.llm_calls, now)]
        node.charged_inside = None  # its calls lead back to this node: no reference cycle outlives the span
        return charges

    def _settle_root(
        self,
        root: LocalRoot,
        span: Span,
        attributes: Mapping[str, Any],
        values: dict[str, Any],
        charges: Sequence[Charge],
        seconds: float,
        usd_per_s: float | None,
        end_ns: int,
    ) -> float:
        """Add up what the local root has cost, note it down, and return it, USD."""
        engine = self._engine
        attributing = engine.attributing
        whose = root.attribution
        if attributing.looks_at_roots:
            whose = attributing.settle_root(root, span.name, attributes)
        if charges or root.charges is not None or root.booked_usd is not None:
            components = root.components(usd_per_s, seconds, charges)
            total = sum(components.values())
            for component, usd in components.items():
                values[_COMPONENT_USD[component]] = usd
        elif usd_per_s is not None:
            total = values[_COMPUTE_USD] = (root.inner_s + seconds) * usd_per_s
        else:
            total = 0.0
        if whose is not NOBODY:
            _say_whose(values, attributes, whose)
        if engine.budgets is not None:
            self._mark_budgets(root, span.name, attributes, values, total)
        root.span = None
        root.exported = (values, charges, root.charges)
        failed = span.status.status_code is _ERROR
        ended = (root, span, attributes, seconds, charges, end_ns // _MINUTE_NS, failed, total, end_ns)
        # `Ended(...)` without the Python call that makes a NamedTuple.
        engine.note(_new_tuple(Ended, ended))
        values[_TOTAL_USD] = total
        values[_TOTAL_NANO_USD] = min(round(total * 1e9), _MAX_INT64)
        if root.trail is not None and not engine.trace_choice.wants(total, root.trace_id):
            root.trail = None
        return total

    def _mark_budgets(
        self, root: LocalRoot, name: str, attributes: Mapping[str, Any], values: dict[str, Any], total: float
    ) -> None:
        """Say on the local root which of its budgets are not ok."""
        engine = self._engine
        budgets = engine.budgets
        if budgets is None or not (budgets.alarms or total > budgets.least_request_usd):
            return
        try:
            labels = root.labels or final_labels(name, root.kind, attributes, engine.config.entrypoint)
            marks = budgets.marks(labels, engine.attributing.of_root(root, attributes, labels), total)
        except Exception:
            engine.errors.caught("budgets.marks")
            return
        if marks:
            values[names.BUDGETS] = marks

    def _leave_or_note(
        self,
        root: LocalRoot,
        node: SpanNode,
        seconds: float,
        charges: Sequence[Charge],
        own: Attribution | None,
        end_ns: int,
        rules: frozenset[GuardedRule],
    ) -> None:
        """Leave what an inner span has cost with its local root; where that has ended, note it down as late."""
        if root.span is None:
            late = Late(root, seconds, int(node.is_timed), charges, own, end_ns // _MINUTE_NS, LATE_INNER, rules)
            self._engine.note(late)
            return
        if own is None:
            root.inner_s += seconds
            root.inner_count += node.is_timed
            if not charges:
                return
        minute = end_ns // _MINUTE_NS
        if own is not None and node.is_timed:
            compute = self._engine.meters.compute
            usd, list_usd = seconds * (compute.usd_per_s or 0.0), seconds * (compute.list_usd_per_s or 0.0)
            root.leave((Charge(COMPUTE_SECONDS, seconds, usd, list_usd),), own, INNER, minute)
        root.leave(charges, own, INNER, minute)

    def _describe(
        self,
        values: dict[str, Any],
        attributes: Mapping[str, Any],
        node: SpanNode,
        charges: Sequence[Charge],
        used: Sequence[Charge],
        own: Attribution | None,
        has_rate: bool,
    ) -> None:
        """Add direct cost, status, source and whose it is to the attributes of an ending span."""
        if used:
            charges = beside(charges, used)
            has_rate = has_rate or node.direct_usd > 0.0
            if any(charge.line.status is names.PRICED for charge in used):  # and unless the span is a call itself
                values[names.OPERATION_COST] = sum(charge.usd for charge in used)
        worst, _, spent, _ = charges[0]
        if len(charges) > 1:
            for charge in charges[1:]:
                line = charge.line
                if line.component != worst.component:
                    continue  # the upload beside an API call must not hide what the call itself costs
                spent += charge.usd
                if line.status is not worst.status and _RANK[line.status] > _RANK[worst.status]:
                    worst = line
        said = _said.get(worst) or _say(worst)
        if has_rate or said.is_known:
            values[_DIRECT_USD] = node.direct_usd
        values.update(said.attributes)
        for name in said.costs:
            values[name] = spent
        if own is not None:
            _say_whose(values, attributes, own)

    def _leave_trail(
        self,
        root: LocalRoot,
        span: Span,
        node: SpanNode,
        charges: Sequence[Charge],
        total: float,
        seconds: float,
        end_ns: int,
    ) -> None:
        trail = root.trail
        if trail is None or len(trail) >= _MAX_TRAIL:
            return
        compute = self._engine.meters.compute
        earned = Charge(
            self._engine.compute_line,
            seconds,
            seconds * (compute.usd_per_s or 0.0),
            seconds * (compute.list_usd_per_s or 0.0),
        )
        parent = span.parent
        trail.append(
            KeptNode(
                span.get_span_context().span_id,
                0 if parent is None else parent.span_id,
                span.name,
                span.start_time or 0,
                end_ns,
                node.direct_usd,
                total,
                (earned, *charges),
            )
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Nothing is left to do: the span was priced while it was ending."""

    def shutdown(self) -> None:
        """Flush; the last processor of an engine stops it."""
        unpatch_end(self._ending)
        try:
            self._engine.release(self)
        except Exception:
            self._engine.errors.caught("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Publish everything booked so far; False if a sink failed or the time was up.

        No MeterProvider is pushed: only `spancost.flush` does that.
        """
        try:
            return self._engine.flush(timeout_millis / 1000, push=False)
        except Exception:
            self._engine.errors.caught("flush")
            return False


def _is_one_message(span: Span, parent: SpanNode) -> bool:
    """True for the processing of one message below the local root that has received it: a local root of its own."""
    receiving = parent.span
    return (
        receiving is not None
        and kind_of(span) == CONSUMER
        and message_step(receiving.name, receiving.attributes or _NO_ATTRIBUTES) == RECEIVE
        and message_step(span.name, span.attributes or _NO_ATTRIBUTES) == PROCESS
    )


class _Said(NamedTuple):
    """What a price line says on a span."""

    attributes: dict[str, Any]
    """Status, source, basis and reason, where there are any."""
    costs: tuple[str, ...]
    """Names under which other tools look for the cost."""
    is_known: bool
    """The direct cost is known, if only to be nothing."""


_said: dict[PriceLine, _Said] = {}


def _say(line: PriceLine) -> _Said:
    is_priced = line.status in (names.PRICED, names.ESTIMATED)
    costs: list[str] = []
    if is_priced and line.component == names.LLM:
        costs.append(names.GEN_AI_USAGE_COST)
    if is_priced and line.component not in (names.EGRESS, names.COMPUTE):
        costs.append(names.OPERATION_COST)
    if len(_said) >= _MAX_SAID:
        _said.clear()
    said = _said[line] = _Said(described(line), tuple(costs), line.status != names.UNPRICED)
    return said


def _say_whose(values: dict[str, Any], attributes: Mapping[str, Any], whose: Attribution) -> None:
    """Say on the span whose cost it is; what its own attributes say stays."""
    for name, value in as_attributes(whose).items():
        if name not in attributes:
            values[name] = value
