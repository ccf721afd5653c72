"""CostSpanProcessor: the only room that knows the life cycle of an SDK span."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import INVALID_SPAN, StatusCode, set_span_in_context

from spancost import names
from spancost.attribution import ATTRIBUTION_KEY
from spancost.capture.facts import NODE_ATTRIBUTE
from spancost.charge import LLM_SPAN, Charge
from spancost.nodes import LocalRoot, SpanNode
from spancost.span_attributes import (
    END_PATCH,
    MAPPING,
    choose_technique,
    kind_of,
    mapping_of,
    patch_end,
    unpatch_end,
    write_public,
)
from spancost.window import KeptNode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from spancost.attribution import Tags
    from spancost.engine import CostEngine

_MINUTE_NS: Final = 60_000_000_000
_MAX_TRAIL: Final = 1000
_ENDED: Final[Sequence[Charge]] = ()
_SPAN_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""Key of the current span in a context. `get_current_span` would look it up with three calls and a type test more."""
_ERROR: Final = StatusCode.ERROR

_RANK: Final = {names.UNPRICED: 4, names.ESTIMATED: 3, names.PRICED: 2, names.DUPLICATE: 1, names.FREE: 0}


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
        technique = choose_technique()
        self._in_place = technique == MAPPING
        """Values are written straight into the mapping behind the attributes; else collected, then `write_public`."""
        if technique == END_PATCH:
            patch_end(self._ending)

    @property
    def engine(self) -> CostEngine:
        """The engine that books what this processor prices."""
        return self._engine

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Link the span into the cost tree."""
        engine = self._engine
        try:
            if getattr(span, NODE_ATTRIBUTE, None) is not None:
                return
            context = get_current() if parent_context is None else parent_context
            parent: Any = getattr(context.get(_SPAN_KEY), NODE_ATTRIBUTE, None)
            node = SpanNode(span, cast("Tags | None", context.get(ATTRIBUTION_KEY)))
            span._spancost_node = node  # type: ignore[attr-defined]
            if engine.tree is None:
                engine.get_ready(span.resource.attributes)
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
        root = LocalRoot(span, engine.epoch, kind_of(span))
        tags = node.tags
        if tags is not None:
            root.attribution = tags.attribution
        if engine.keep_traces:
            root.trail = []
            root.trace_id = span.get_span_context().trace_id
        tree.start_root(root, node, now)

    def _ending(self, span: Span, end_time: int | None) -> None:
        """Entry of the `end_patch` technique."""
        self._on_ending(span, end_time if end_time is not None else time.time_ns())

    def _on_ending(self, span: Span, end_ns: int | None = None) -> None:
        """Price the span, which is frozen but not yet exported."""
        engine = self._engine
        try:
            node: SpanNode | None = getattr(span, NODE_ATTRIBUTE, None)
            if node is None or node.span is None:
                return
            if end_ns is None:
                end_ns = span.end_time or 0
            attributes = mapping_of(span)
            charges = _ENDED
            is_llm_span = False
            if attributes:
                charges = engine.measure(span, node, attributes, end_ns)
                is_llm_span = charges is LLM_SPAN
                if is_llm_span and engine.meters.llm is not None:
                    engine.load_llm_prices()
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
            return
        if is_llm_span:
            charges = engine.measure_llm(span, node, attributes, end_ns)
        seconds = tree.end(node, now)
        usd_per_s = engine.meters.compute.usd_per_s
        direct = 0.0 if usd_per_s is None else seconds * usd_per_s
        for charge in charges:
            direct += charge.usd
        node.direct_usd += direct
        node.span = None
        minute = end_ns // _MINUTE_NS
        # Collecting the values first would cost a dict and a copy for every span.
        values = cast("dict[str, Any]", attributes) if self._in_place else {}
        if root.span is span:
            failed = span.status.status_code is _ERROR
            total, labels, attribution = engine.book_entry(root, span, seconds, charges, minute, failed, attributes)
            values[names.TOTAL_USD] = total
            values[names.TOTAL_NANO_USD] = round(total * 1e9)
            for component, usd in root.components.items():
                values[names.COMPONENT_USD[component]] = usd
            if charges:
                self._describe(values, node, charges, usd_per_s is not None)
            else:
                self._describe_compute(values, node, usd_per_s is not None)
            if root.trail is not None:
                self._leave_trail(root, span, node, charges, total, seconds, end_ns)
                engine.keep(root, labels, attribution, total, end_ns)
                root.trail = None
        else:
            total = tree.roll_up(node)
            attribution = None if node.tags is None and not attributes else engine.attribution_of(node, attributes)
            engine.book_inner(root, seconds, charges, attribution, minute, now)
            if usd_per_s is None and not charges and not node.below_usd:
                return
            values[names.TOTAL_USD] = total
            if charges:
                self._describe(values, node, charges, usd_per_s is not None)
            else:
                self._describe_compute(values, node, usd_per_s is not None)
            if root.trail is not None:
                self._leave_trail(root, span, node, charges, total, seconds, end_ns)
        if values is not attributes:
            write_public(span, values)

    def _describe_compute(self, values: dict[str, Any], node: SpanNode, has_rate: bool) -> None:
        """Add direct cost, status and source to the attributes of an ending span that has nothing but compute."""
        line = self._engine.compute_line
        values[names.DIRECT_USD] = node.direct_usd
        values[names.STATUS] = line.status
        if has_rate:
            values[names.SOURCE] = line.source
            if line.basis:
                values[names.BASIS] = line.basis
        elif line.reason:
            values[names.REASON] = line.reason

    def _describe(self, values: dict[str, Any], node: SpanNode, charges: Sequence[Charge], has_rate: bool) -> None:
        """Add direct cost, status and source to the attributes of an ending span."""
        worst, _, spent, _ = charges[0]
        for charge in charges[1:]:
            spent += charge.usd
            if _RANK[charge.line.status] > _RANK[worst.status]:
                worst = charge.line
        is_priced = worst.status in (names.PRICED, names.ESTIMATED)
        if has_rate or is_priced or worst.status != names.UNPRICED:
            values[names.DIRECT_USD] = node.direct_usd
        values[names.STATUS] = worst.status
        if worst.source:
            values[names.SOURCE] = worst.source
        if worst.basis:
            values[names.BASIS] = worst.basis
        if worst.reason:
            values[names.REASON] = worst.reason
        if is_priced:
            component = worst.component
            if component == names.LLM:
                values[names.GEN_AI_USAGE_COST] = spent
            if component not in (names.EGRESS, names.COMPUTE):
                values[names.OPERATION_COST] = spent
        tags = node.tags
        if tags is not None:
            _write_tags(values, tags.attribution, tags.labels)

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
        """Flush and stop."""
        unpatch_end(self._ending)
        try:
            self._engine.shutdown()
        except Exception:
            self._engine.errors.caught("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Publish everything booked so far; False if a sink failed or the time was up."""
        try:
            return self._engine.flush(timeout_millis / 1000)
        except Exception:
            self._engine.errors.caught("flush")
            return False


def _write_tags(values: dict[str, Any], attribution: Any, labels: tuple[tuple[str, str], ...]) -> None:
    if attribution.feature:
        values[names.FEATURE] = attribution.feature
    if attribution.tenant:
        values[names.TENANT] = attribution.tenant
    if attribution.team:
        values[names.TEAM] = attribution.team
    for name, value in labels:
        values[names.LABEL_PREFIX + name] = value
