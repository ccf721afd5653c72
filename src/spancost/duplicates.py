"""One real call is one charge, however many instrumentations saw it (design rule 2): live spans.

The outermost LLM span of a call that is open owns its charge; inner views wait for its end. A view that comes after
its call was charged (a tracer that makes its span afterwards, an outer span that nobody could know for one) charges
nothing. What belongs together is told by the tree of spans and by the context in which they were begun
(`context_calls.py`); whether it is the same call, by provider, model, response id and counts (`same_call.py`). Each
scope has one view of a call: spans of one scope are never duplicates of each other.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from spancost import context_calls, names
from spancost.charge import CLIENT, Charge
from spancost.meters.aws import is_aws
from spancost.meters.http_parts import host_and_path
from spancost.meters.llm import PRICED_OPERATIONS, LlmUsage, operation_of
from spancost.nodes import ChargedCall, HeldUsage, LocalRoot, SpanNode
from spancost.same_call import (
    OTHER_TRACE,
    OUTER_SPAN,
    SAME_CONTEXT,
    host_of_call,
    is_same_call,
    is_surely_same,
    joined,
    may_be_of_provider,
    may_be_same_call,
    surest_match,
)
from spancost.span_attributes import kind_of, mapping_of, scope_of

_MAX_DEPTH: Final = 64
_MAX_CHARGED: Final = 256
"""Charged calls that later views are compared with; those charged last."""
_MAX_CHARGED_INSIDE: Final = 16
_MAX_HELD: Final = 256
"""Views that wait at one span: one that is open for days (a session, or abandoned) must not keep all that is spent."""
_SILENT_SCOPES: Final[Mapping[str, re.Pattern[str]]] = {
    "opentelemetry.util.genai.handler": re.compile(rf"({'|'.join(map(re.escape, sorted(PRICED_OPERATIONS)))})( |$)"),
    "openinference.instrumentation.langchain": re.compile(
        r".*(Chat|LLM|OpenAI|Anthropic|Bedrock|Embeddings)(?!.*Agent)"
    ),
}
"""Scopes that set no attribute before the call is over, with the names of their spans that are calls."""


class LlmCalls:
    """LLM calls that wait for an outer span, and those charged a moment ago; all of it under the engine's lock."""

    def __init__(self) -> None:
        self.holders: dict[SpanNode, float] = {}
        """Open LLM spans that hold usage of inner ones, with the time of the last, monotonic seconds."""
        self._charged: deque[tuple[SpanNode, ChargedCall]] = deque(maxlen=_MAX_CHARGED)
        """With the spans that own them, which contexts know by weak references only."""

    def hold(self, outer: SpanNode, held: HeldUsage, node: SpanNode, now: float) -> None:
        """Leave the usage of an inner span, and what it holds itself, with an outer one."""
        if outer.held is None:
            outer.held = []
            outer.is_plain = False
        outer.held.append(held)
        outer.held.extend(node.held or ())
        node.held = None
        self.holders[outer] = now
        self.holders.pop(node, None)
        if node.reservation is not None and outer.reservation is None:
            node.reservation.take_over(outer)

    def with_views_of_others(self, node: SpanNode, call: HeldUsage) -> HeldUsage:
        """Return the call of an outer span that ends, with views of it that wait at other spans beside it.

        Of concurrent calls under one span it is not known which inner view belongs to which outer one before one of
        them ends. What is taken here leaves the other holder free for its own.
        """
        epoch = _epoch_of(node)
        # A holder of the same scope may have it, too: two runs of one framework.
        for other in context_calls.company_of(node, ""):
            if _epoch_of(other) != epoch:
                continue
            for item in tuple(other.held or ()):
                if (
                    item.scope != call.scope
                    and item.scope not in call.also
                    and _are_nested(call, item)
                    and may_be_same_call(call.usage, item.usage)
                    and is_surely_same(call.usage, item.usage)
                ):
                    call = joined(call, item)
                    other.held = [held for held in other.held or () if held is not item] or None
                    if other.held is None:
                        self.holders.pop(other, None)
        return call

    def note_charged(self, held: HeldUsage, node: SpanNode, company: Sequence[SpanNode]) -> None:
        """Remember a charged call for views of it that are still to come.

        Args:
            held: The call, with its start and end.

            node: The span that owns the charge.

            company: Calls of other scopes in its context.
        """
        parent, epoch, order = node.parent, _epoch_of(node), next(context_calls.order)
        call = ChargedCall(
            held.scope,
            held.usage,
            held.start_ns,
            held.end_ns,
            parent if isinstance(parent, SpanNode) else None,
            node.is_entry,
            epoch,
            order,
            set(held.also),
        )
        self._charged.append((node, call))
        node.charged = call
        for others in (_ancestors(node), company):
            for other in others:
                if other.is_open and _epoch_of(other) == epoch:
                    inside = other.charged_inside
                    if inside is None:
                        inside = other.charged_inside = []
                        other.is_plain = False
                    inside.append(call)
                    del inside[:-_MAX_CHARGED_INSIDE]

    def charged_before(
        self, node: SpanNode, held: HeldUsage, company: Sequence[SpanNode], *, surely: bool = False
    ) -> bool:
        """True if a call has been charged of which this is another view; its scope is then known there.

        The view lies around the call or inside of it, hangs on its span, or was made afterwards with an earlier start.

        Args:
            node: Node of the view's span.

            held: The view.

            company: Calls of other scopes in its context.

            surely: Only where response id or counts are the same.
        """
        scope = held.scope
        is_framework = context_calls.is_framework(scope)
        around = [other.charged for other in _ancestors(node) if other.charged is not None]
        if not company and not is_framework and not around and node.charged_inside is None:
            return False
        found = [
            call
            for call in self._related(node, held, company, around, starts_elsewhere=is_framework)
            if scope not in call.seen_by
            and (
                held.start_ns <= call.start_ns
                or call.order < node.begun
                or (call.start_ns <= held.start_ns and held.end_ns <= call.end_ns)
                # Callbacks of two frameworks come in any order.
                or (is_framework and context_calls.is_framework(call.scope))
                # A stream may be closed after the span around it has ended.
                or (is_surely_same(call.usage, held.usage) and any(call is outer for outer in around))
            )
            and may_be_same_call(call.usage, held.usage)
            and (not surely or is_surely_same(call.usage, held.usage))
        ]
        place = surest_match([call.usage for call in found], held.usage)
        if place is None:
            return False
        found[place].seen_by.add(scope)
        return True

    def _related(
        self,
        node: SpanNode,
        held: HeldUsage,
        company: Sequence[SpanNode],
        around: Sequence[ChargedCall],
        *,
        starts_elsewhere: bool,
    ) -> Iterator[ChargedCall]:
        """Yield calls of other scopes in the time of a span: charged inside or around it, in its context, beside it."""
        seen: set[int] = {id(node.charged)}
        epoch = _epoch_of(node)
        groups = [
            node.charged_inside or (),
            around,
            (other.charged for other in company),
        ]
        if starts_elsewhere:
            groups.append(call for _, call in self._charged if _hang_together(node, call))
        for group in groups:
            for call in group:
                if (
                    call is not None
                    and held.start_ns < call.end_ns
                    and call.start_ns <= held.end_ns
                    and call.scope != held.scope
                    and id(call) not in seen
                    and call.epoch == epoch
                ):
                    seen.add(id(call))
                    yield call


def _are_nested(one: HeldUsage, other: HeldUsage) -> bool:
    """True if one of two views lies within the time of the other: an inner view may be charged before its outer one."""
    if one.start_ns > other.start_ns:
        one, other = other, one
    return other.end_ns <= one.end_ns


def _epoch_of(node: SpanNode) -> int | None:
    """Return the epoch of a span: what was open at a fork, or belongs to another engine, is charged elsewhere."""
    root = getattr(node, "root", None)  # there is none before a deferred start
    return root.epoch if isinstance(root, LocalRoot) else None


def _hang_together(one: SpanNode, call: ChargedCall) -> bool:
    """True for a span and a charged one with the same parent, and for two without any."""
    return one.parent is call.parent and (one.parent is not None or (one.is_entry and call.is_entry))


def holder_of(
    node: SpanNode, held: HeldUsage, company: Sequence[SpanNode], ending: SpanNode | None = None
) -> tuple[SpanNode, str] | None:
    """Return the open LLM span that is to charge the call of an inner one, and why, if there is one.

    Args:
        node: Node of the inner span.

        held: Its usage.

        company: Calls of other scopes in its context.

        ending: A span that has turned out not to be the one.
    """
    scope, usage = held.scope, held.usage
    outer = _outermost_around(node, scope, usage, ending)
    if outer is not None:
        return outer, OUTER_SPAN
    epoch = _epoch_of(node)
    for other in company:
        span = other.span
        if (
            span is None
            or other is ending
            or not other.is_open
            or _is_full(other)
            or (span.start_time or 0) > held.start_ns
            or _epoch_of(other) != epoch
            # One to one; a call that comes from another holder is matched when the last of them ends.
            or (ending is None and any(item.scope == scope for item in other.held or ()))
        ):
            continue
        if (
            _is_llm(span)
            and is_same_call(mapping_of(span), usage)
            and not (ending is None and _is_seen_by(other, scope, usage, node))
        ):
            return other, SAME_CONTEXT if other.root is node.root else OTHER_TRACE
    return None


def _is_seen_by(call: SpanNode, scope: str, usage: LlmUsage, node: SpanNode) -> bool:
    """True if a call began inside an open one of a scope: that is the view which the scope has of it, not `node`."""
    for itself in call.around or ():
        outer = itself()
        if (
            outer is not None
            and outer is not node
            and outer.is_open
            and outer.span is not None
            and outer.call_scope == scope
            and is_same_call(mapping_of(outer.span), usage)
        ):
            return True
    return False


def _outermost_around(node: SpanNode, scope: str, usage: LlmUsage, ending: SpanNode | None) -> SpanNode | None:
    found: SpanNode | None = None
    for ancestor in _ancestors(node):
        span = ancestor.span
        if (
            span is not None
            and ancestor is not ending
            and ancestor.is_open
            and not _is_full(ancestor)
            and scope_of(span) != scope
            and _is_llm(span)
            and is_same_call(mapping_of(span), usage)
        ):
            found = ancestor
    return found


def _is_full(node: SpanNode) -> bool:
    return node.is_settled or (node.held is not None and len(node.held) >= _MAX_HELD)


def is_inside_llm_call(node: SpanNode, scope: str, provider: str) -> bool:
    """True if an open LLM span of another scope is around a span, or beside it and began before it.

    The call is metered there.

    Args:
        node: Node of the span, which does not say what it has used.

        scope: Name of its instrumentation scope.

        provider: The provider of its call.
    """
    if any(_is_open_llm(other, scope) for other in _ancestors(node)):
        return True
    start_ns = 0 if node.span is None else node.span.start_time or 0
    return any(
        _is_open_llm(other, scope)
        and other.span is not None
        and (other.span.start_time or 0) <= start_ns
        and may_be_of_provider(mapping_of(other.span), provider)
        for other in context_calls.company_of(node, scope)
    )


def _is_open_llm(node: SpanNode, scope: str) -> bool:
    """True for an open LLM span of another scope than this."""
    span = node.span
    return span is not None and node.is_open and scope_of(span) != scope and _is_llm(span)


def is_transport(node: SpanNode, scope: str, host: str, charges: Sequence[Charge]) -> bool:
    """True if an HTTP request is how an LLM or AWS call around it, or beside it in its context, travels.

    Args:
        node: Node of the request's span.

        scope: Name of its instrumentation scope.

        host: Host that it went to.

        charges: What it would be charged as a call of its own.
    """
    for ancestor in _ancestors(node):
        call_host = _call_host_of(ancestor)
        if call_host is not None and (not call_host or not host or call_host == host):
            return True
    start_ns = 0 if node.span is None else node.span.start_time or 0
    for other in context_calls.company_of(node, scope):
        span = other.span
        if span is None or not other.is_open or (span.start_time or 0) > start_ns:
            continue
        call_host = _call_host_of(other)
        # One that does not say where it goes could stand beside anything: then only what has no price of its own.
        if call_host is not None and (call_host == host or (not call_host and _is_unpriced(charges))):
            return True
    return False


def is_inside_http_call(node: SpanNode, scope: str, host: str) -> bool:
    """True if an open HTTP client span of another scope around a request to its host is the same call.

    Each of them is matched once: a second request inside of it is a call of its own.
    """
    for ancestor in _ancestors(node):
        span = ancestor.span
        if span is None or not ancestor.is_open or kind_of(span) != CLIENT or scope_of(span) == scope:
            continue
        attributes = mapping_of(span)
        if "http.request.method" not in attributes and "http.method" not in attributes:
            continue
        # In one step: requests of two threads may end inside of it at the same time.
        if host_and_path(attributes)[0] == host and vars(ancestor).setdefault("http_call", node) is node:
            return True
    return False


def _is_unpriced(charges: Sequence[Charge]) -> bool:
    return all(charge.line.status == names.UNPRICED for charge in charges)


def _call_host_of(node: SpanNode) -> str | None:
    """Return the host of an LLM or AWS call, empty if it does not name one; None for other spans."""
    call_host = node.call_host
    span = node.span
    if call_host is None and span is not None:
        attributes = mapping_of(span)
        if is_aws(attributes) or _is_llm(span):
            return host_of_call(attributes)
    return call_host


def _ancestors(node: SpanNode) -> Iterator[SpanNode]:
    ancestor = node.parent
    for _ in range(_MAX_DEPTH):
        if not isinstance(ancestor, SpanNode):
            return
        yield ancestor
        ancestor = ancestor.parent


def _is_llm(span: Any) -> bool:
    """True for a live span that is, or will be, a priced LLM call."""
    attributes = mapping_of(span)
    if operation_of(attributes):
        return True
    silent = _SILENT_SCOPES.get(scope_of(span))
    return silent is not None and silent.match(str(span.name)) is not None
