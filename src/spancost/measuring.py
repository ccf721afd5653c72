"""Which meter a live span belongs to, and what the spans around it mean for its charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from spancost import names
from spancost.charge import LLM_SPAN, NO_FACTS, SERVER, Charge, SpanView, new_view
from spancost.context_calls import company_of, learn
from spancost.duplicates import (
    LlmCalls,
    holder_of,
    is_inside_http_call,
    is_inside_llm_call,
    is_transport,
)
from spancost.meters.choice import component_of, duplicate, lacks_usage, meter_error, withheld, without_usage
from spancost.meters.http_parts import host_and_path
from spancost.meters.llm import LlmMeter, is_llm, operation_of, read_usage
from spancost.meters.plugins import joined
from spancost.nodes import HeldUsage, SpanNode
from spancost.prices.days import MAX_NS
from spancost.same_call import CHARGED_BEFORE, OUTER_SPAN, TRANSPORT, host_of_call, orphaned, settled
from spancost.span_attributes import kind_of, scope_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from spancost._guard import ErrorLog
    from spancost.meters import Meter
    from spancost.meters.meter_set import MeterSet

_NONE: Sequence[Charge] = ()


def measure(
    meters: MeterSet, errors: ErrorLog, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int
) -> Sequence[Charge]:
    """Let the meter of a span price it; takes no lock and never raises.

    LLM spans are only recognised here (`LLM_SPAN`): whether they are charged depends on the spans around, see
    `measure_llm`.
    """
    try:
        charges = _measured(meters, errors, span, node, attributes, end_ns)
    except Exception:  # attributes of types that nobody expects: the span is still to be closed
        errors.caught("measure")
        charges = _NONE
    plugins = meters.plugins
    if plugins is None or plugins.keys.isdisjoint(attributes):
        return charges
    used = plugins.charges_of(view_of(span, node, attributes, end_ns), errors)
    if not used:
        return charges
    node.is_metered_elsewhere = True
    return joined(charges, used)


def _measured(
    meters: MeterSet, errors: ErrorLog, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int
) -> Sequence[Charge]:
    place = component_of(kind_of(span), attributes)
    if not place:
        return _NONE
    meter: Meter | None
    if place == names.EGRESS:
        meter = None if is_inside_server_span(node) else meters.egress
    elif place == names.AWS:
        meter = meters.aws
        node.call_host = host_of_call(attributes)
    elif place == names.LLM:
        if operation_of(attributes):
            node.call_host = host_of_call(attributes)
        return LLM_SPAN
    else:
        meter = None
    charges = _NONE
    try:
        if place == names.HTTP:
            return _measured_http(meters, node, view_of(span, node, attributes, end_ns))
        if meter is not None:
            charges = meter.measure(view_of(span, node, attributes, end_ns))
    except Exception:
        errors.caught(f"meter.{place}")
        return (meter_error(place),)
    if not charges:
        # Inference servers report their own LLM calls as SERVER spans.
        if is_llm(attributes):
            return LLM_SPAN
        # Bedrock is billed by tokens, and this span shows none.
        if place == names.AWS and meter is not None and lacks_usage(attributes):
            unknown = without_usage(attributes)
            if is_inside_llm_call(node, scope_of(span), unknown.line.provider):
                return (withheld(unknown, OUTER_SPAN),)
            return (unknown,)
    return charges


def _measured_http(meters: MeterSet, node: SpanNode, view: SpanView) -> Sequence[Charge]:
    """Price an HTTP call as a third-party API, unless another span is the same call, and in any case its upload."""
    charges: Sequence[Charge] = _NONE
    if meters.http is not None:
        charges = meters.http.measure(view)
        if charges:
            host = host_and_path(view.attributes)[0]
            if is_transport(node, view.scope, host, charges):
                charges = [withheld(charges[0], TRANSPORT)]
            elif is_inside_http_call(node, view.scope, host):
                charges = [withheld(charges[0], OUTER_SPAN)]
    upload = meters.egress.measure_upload(view) if meters.egress is not None else _NONE
    return [*charges, *upload] if upload else charges


def is_inside_server_span(node: SpanNode) -> bool:
    """True for a span below a server span of this process: two instrumentations of one request, or a call in process.

    Its bytes go to that outer span and only once to the client.
    """
    return not node.is_entry and getattr(node.root, "kind", None) == SERVER


def measure_llm(
    meters: MeterSet,
    errors: ErrorLog,
    span: Span,
    node: SpanNode,
    attributes: Mapping[str, Any],
    end_ns: int,
    calls: LlmCalls,
    now: float,
) -> Sequence[Charge]:
    """Charge an LLM span, or leave its usage with the outer span of the same call; under the engine's lock."""
    meter = meters.llm
    if meter is None:
        return _NONE
    try:
        view = view_of(span, node, attributes, end_ns)
        usage = read_usage(view, meter.texts)
        if usage is None:
            return _NONE
        learn(view.scope)
        own = HeldUsage(view.scope, usage, view.start_ns, end_ns, node)
        company = company_of(node, view.scope)
        whole, others = own, list[HeldUsage]()
        if node.held:
            whole, others = settled(view.scope, usage, node.held, view.start_ns)
            whole = whole._replace(end_ns=end_ns)
        # Before it waits at another span: what is charged inside of it is known now, and forgotten by then.
        is_charged = calls.charged_before(node, whole, company, surely=True)
        holder = None if is_charged else holder_of(node, own, company)
        if holder is not None:
            calls.hold(holder[0], own, node, now)
            return (duplicate(usage, holder[1]),)
        charges: list[Charge] = []
        if not is_charged:
            if calls.holders:
                whole = calls.with_views_of_others(node, whole)
            is_charged = calls.charged_before(node, whole, company)
        if is_charged:
            charges.append(duplicate(usage, CHARGED_BEFORE))
        else:
            charges.extend(meter.charges_of(whole.usage, whole.start_ns))
            calls.note_charged(whole, node, company)
        for other in others:
            charges.extend(_charged_or_held(meter, calls, other, node, now))
        node.held = None
        calls.holders.pop(node, None)
    except Exception:
        errors.caught("meter.llm")
        return (meter_error(names.LLM),)
    return charges


def _charged_or_held(
    meter: LlmMeter, calls: LlmCalls, held: HeldUsage, ending: SpanNode, now: float
) -> Sequence[Charge]:
    """Charge a call that the span which held it is not, unless another span is; it is charged on that span."""
    inner = held.node
    if inner is not None:
        company = company_of(inner, held.scope)
        holder = holder_of(inner, held, company, ending)
        if holder is not None:
            calls.hold(holder[0], held, inner, now)
            return _NONE
        if calls.charged_before(inner, held, company):
            return _NONE
        if calls.holders:
            held = calls.with_views_of_others(inner, held)
        calls.note_charged(held, inner, company)
    return meter.charges_of(held.usage, held.start_ns)


def measure_held(meters: MeterSet, errors: ErrorLog, node: SpanNode, calls: LlmCalls, now: float) -> list[Charge]:
    """Charge usage held for a call that this span turned out not to be, or that never ends; under the lock."""
    calls.holders.pop(node, None)
    held, node.held = node.held or (), None
    charges: list[Charge] = []
    try:
        if held and meters.llm is not None and not node.is_metered_elsewhere:
            for call in orphaned(held):
                charges.extend(_charged_or_held(meters.llm, calls, call, node, now))
    except Exception:
        errors.caught("meter.llm")
        return [meter_error(names.LLM)]
    return charges


def view_of(span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int) -> SpanView:
    """Return what a meter sees of a live span."""
    name, kind, scope, start_ns, status = _seen_of(span)
    scope_name = "" if scope is None else scope.name
    facts = node.facts
    if start_ns is None or not 0 < start_ns < MAX_NS:
        start_ns = end_ns
    return new_view(
        (name, kind, scope_name, attributes, start_ns, end_ns, NO_FACTS if facts is None else facts, status == 2)
    )


_seen_of: Final = attrgetter(
    "name", "kind._value_", "instrumentation_scope", "start_time", "status.status_code._value_"
)
