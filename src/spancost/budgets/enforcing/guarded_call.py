"""The guard of one call that a wrapped client makes."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import get_current_span

from spancost import names
from spancost.budget_guard import guard, present_guards, reserved
from spancost.budgets.decision import ALLOWED, BudgetExceeded, Decision
from spancost.budgets.guard import EVERYTHING
from spancost.budgets.reservation import Reservation
from spancost.capture.aws.facts import NOT_SENT
from spancost.capture.facts import NODE_ATTRIBUTE, facts_for
from spancost.meters.llm import operation_of
from spancost.nodes import SpanNode
from spancost.span_attributes import mapping_of
from spancost.usage import connected_engine, present_values

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_PLACE: Final = "budgets.enforce"
_MOST_CALLS: Final = 50
"""Of one span; what later ones reserve is let go when they return."""
_covering = threading.Lock()
"""Two calls of one span may begin at the same time. Never taken on the span path."""


class Wanted(NamedTuple):
    """What is known of a call before it is made."""

    component: str
    """The component that will be charged."""
    values: Mapping[str, str]
    """Model, provider, operation, as far as they are known."""
    reserve_usd: float | None
    """The worst case, USD; None: not known."""


Describe = Callable[["CostEngine", Any, tuple[Any, ...], Mapping[str, Any]], Wanted | None]
"""Says from engine, client and arguments what a call is about; None for a call that costs nothing."""


class _CallGuard(guard):
    """A guard that looks at the call only when it is entered, and lets it pass if something of ours fails."""

    __slots__ = ("_look",)

    def __init__(self, look: Callable[[CostEngine], Wanted | None]) -> None:
        super().__init__(EVERYTHING)
        self._look = look

    def _reserve(self) -> tuple[Decision, Reservation | None]:
        engine = connected_engine()
        if engine is None or present_guards() is None:
            return ALLOWED, None
        try:
            wanted = self._look(engine)
            if wanted is None:
                return ALLOWED, None
            span = get_current_span()
            node = _node_of_call(span, wanted.component)
            # Not the component as scope: a rule may have its name, and would be asked alone.
            values = {**present_values(), **wanted.values, "component": wanted.component}
            try:
                decision, reservation = reserved(EVERYTHING, wanted.reserve_usd, values)
            except BudgetExceeded as refused:
                _mark_refused(span, node, refused.decision)
                raise
            if reservation is not None and node is not None:
                _cover(node, reservation)
        except BudgetExceeded:
            raise
        except Exception:
            engine.errors.caught(_PLACE)
            return ALLOWED, None
        return decision, reservation


def _node_of_call(span: Any, component: str) -> SpanNode | None:
    """Return the node of the current span if that is the call itself, started outside of the client."""
    node = getattr(span, NODE_ATTRIBUTE, None)
    if not isinstance(node, SpanNode) or not node.is_open or node.span is None:
        return None
    attributes = mapping_of(span)
    if component == names.LLM:
        is_call = bool(operation_of(attributes))
    else:
        is_call = "aws-api" in (attributes.get("rpc.system"), attributes.get("rpc.system.name"))
    return node if is_call else None


def _cover(node: SpanNode, reservation: Reservation) -> None:
    """Have the reservation of a call settle the span that is the call, unless it belongs to one that is unrelated.

    A span of a framework may be around several calls, also at the same time: then the reservation of an earlier one
    is put around that of this one, and all of them are kept until the span has ended.
    """
    with _covering:
        before = node.reservation
        if before is not None and not before.is_settled and before not in _chain(reservation):
            chain = _chain(before)
            if len(chain) >= _MOST_CALLS or (reservation.outer is not None and reservation.outer not in chain):
                return
            reservation.outer = before
        reservation.take_over(node)
    if not node.is_open:  # ended meanwhile
        reservation.leave(node)


def _chain(reservation: Reservation | None) -> list[Reservation]:
    found: list[Reservation] = []
    while reservation is not None:
        found.append(reservation)
        reservation = reservation.outer
    return found


def _mark_refused(span: Any, node: SpanNode | None, decision: Decision) -> None:
    if node is None:
        return
    mark(span, decision)
    facts = facts_for(span)
    if facts is not None:
        facts[NOT_SENT] = True


def mark(span: Any, decision: Decision) -> None:
    """Say on a span what a guard has decided; nothing where no rule was asked."""
    if decision.rule and span.is_recording():
        span.set_attribute(names.GUARD_ACTION, decision.action)
        span.set_attribute(names.GUARD_RULE, decision.rule)
        span.set_attribute(names.GUARD_REASON, decision.reason)


def guarded(original: Callable[..., Any], describe: Describe, is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return a client's method whose calls are guarded while the switch is on."""

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = _bound(original, self)
        if not is_on() or present_guards() is None:
            return bound(*args, **kwargs)
        with _CallGuard(lambda engine: describe(engine, self, args, kwargs)):
            return bound(*args, **kwargs)

    return call


def guarded_async(
    original: Callable[..., Coroutine[Any, Any, Any]], describe: Describe, is_on: Callable[[], bool]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return a client's coroutine method whose calls are guarded while the switch is on."""

    @functools.wraps(original)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = _bound(original, self)
        if not is_on() or present_guards() is None:
            return await bound(*args, **kwargs)
        guarding = _CallGuard(lambda engine: describe(engine, self, args, kwargs))
        if not _is_asyncio():  # another kind of loop: there is no way to ask beside it
            with guarding:
                return await bound(*args, **kwargs)
        async with guarding:
            return await bound(*args, **kwargs)

    return call


def _bound(method: Any, instance: Any) -> Callable[..., Any]:
    """Return a method as an attribute of its object would be: wrappers of instrumentations look at that."""
    return method.__get__(instance, type(instance))


def _is_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _renew_lock() -> None:
    """A thread that held it does not live on in a forked child."""
    global _covering
    _covering = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
