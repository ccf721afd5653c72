"""Which meter a live span belongs to, and what the spans around it mean for its charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from spancost import names
from spancost.charge import INTERNAL, LLM_SPAN, SERVER, Charge, SpanView, price_line
from spancost.duplicates import host_of_call, is_transport, orphaned, outermost_llm_span, settled
from spancost.meters.aws import is_aws
from spancost.meters.llm import is_llm, operation_of, read_usage
from spancost.nodes import HeldUsage, SpanNode
from spancost.span_attributes import kind_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from spancost._guard import ErrorLog
    from spancost.meters import Meter
    from spancost.meters.meter_set import MeterSet

_NONE: Sequence[Charge] = ()
_BEDROCK = "Bedrock Runtime"


def measure(
    meters: MeterSet, errors: ErrorLog, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int
) -> Sequence[Charge]:
    """Let the meter of a span price it; takes no lock and never raises.

    LLM spans are only recognised here (`LLM_SPAN`): whether they are charged depends on the spans around, see
    `measure_llm`.
    """
    try:
        return _measured(meters, errors, span, node, attributes, end_ns)
    except Exception:  # attributes of types that nobody expects: the span is still to be closed
        errors.caught("measure")
        return _NONE


def _measured(
    meters: MeterSet, errors: ErrorLog, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int
) -> Sequence[Charge]:
    kind = kind_of(span)
    meter: Meter | None
    if kind == SERVER:
        place, meter = names.EGRESS, None if is_inside_server_span(node) else meters.egress
    elif is_aws(attributes) and not _is_priced_llm(attributes):
        place, meter = names.AWS, meters.aws
        node.call_host = host_of_call(attributes)
    elif is_llm(attributes):
        if operation_of(attributes):
            node.call_host = host_of_call(attributes)
        return LLM_SPAN
    elif kind != INTERNAL and ("http.request.method" in attributes or "http.method" in attributes):
        place, meter = names.HTTP, meters.http
    else:
        return _NONE
    charges = _NONE
    try:
        if meter is not None and not (place == names.HTTP and is_transport(node, host_of_http(attributes))):
            charges = meter.measure(view_of(span, node, attributes, end_ns))
    except Exception:
        errors.caught(f"meter.{place}")
        return (_meter_error(place),)
    if not charges:
        # Inference servers report their own LLM calls as SERVER spans.
        if is_llm(attributes):
            return LLM_SPAN
        # Bedrock is billed by tokens, and this span shows none.
        if place == names.AWS and meter is not None and attributes.get("rpc.service") == _BEDROCK:
            return (_without_usage(str(attributes.get("rpc.method", ""))),)
    return charges


def is_inside_server_span(node: SpanNode) -> bool:
    """True for a span below a server span of this process: two instrumentations of one request, or a call in process.

    Its bytes go to that outer span and only once to the client.
    """
    return not node.is_entry and getattr(node.root, "kind", None) == SERVER


Holders: TypeAlias = "dict[SpanNode, float]"
"""Open LLM spans that hold usage of inner ones, with the time of the last, monotonic seconds."""


def measure_llm(
    meters: MeterSet,
    errors: ErrorLog,
    span: Span,
    node: SpanNode,
    attributes: Mapping[str, Any],
    end_ns: int,
    holders: Holders,
    now: float,
) -> Sequence[Charge]:
    """Charge an LLM span, or leave its usage with the outer span of the same call; under the engine's lock."""
    meter = meters.llm
    if meter is None or not operation_of(attributes):
        return _NONE
    try:
        view = view_of(span, node, attributes, end_ns)
        usage = read_usage(view)
        if usage is None:
            return _NONE
        outer = outermost_llm_span(node, view.scope, usage)
        if outer is not None:
            if outer.held is None:
                outer.held = []
            outer.held.append(HeldUsage(view.scope, usage, view.start_ns))
            outer.held.extend(node.held or ())
            node.held = None
            holders[outer] = now
            holders.pop(node, None)
            return (_duplicate(usage.provider, usage.operation),)
        held = node.held
        if not held:
            return meter.charges_of(usage, view.start_ns)
        node.held = None
        holders.pop(node, None)
        charges: list[Charge] = []
        for call, start_ns in settled(view.scope, usage, held, view.start_ns):
            charges.extend(meter.charges_of(call, start_ns))
    except Exception:
        errors.caught("meter.llm")
        return (_meter_error(names.LLM),)
    return charges


def measure_held(meters: MeterSet, errors: ErrorLog, node: SpanNode, holders: Holders) -> list[Charge]:
    """Charge usage held for a call that this span turned out not to be, or that never ends; under the lock."""
    holders.pop(node, None)
    held, node.held = node.held or (), None
    charges: list[Charge] = []
    try:
        if held and meters.llm is not None:
            for usage, start_ns in orphaned(held):
                charges.extend(meters.llm.charges_of(usage, start_ns))
    except Exception:
        errors.caught("meter.llm")
        return [_meter_error(names.LLM)]
    return charges


def view_of(span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int) -> SpanView:
    """Return what a meter sees of a live span."""
    scope = span.instrumentation_scope
    return SpanView(
        span.name,
        kind_of(span),
        "" if scope is None else scope.name,
        attributes,
        span.start_time or 0,
        end_ns,
        node.facts or {},
        span.status.status_code.value == 2,
    )


def _is_priced_llm(attributes: Mapping[str, Any]) -> bool:
    return is_llm(attributes) and bool(operation_of(attributes))


def host_of_http(attributes: Mapping[str, Any]) -> str:
    """Return the host an HTTP client span talks to, without port; empty if unknown."""
    get = attributes.get
    host = get("server.address") or get("net.peer.name") or get("http.host")
    if not host:
        url = str(get("url.full") or get("http.url") or "")
        host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return str(host).partition(":")[0].lower()


def _meter_error(component: str) -> Charge:
    line = price_line(component, "", "", status=names.UNPRICED, reason="meter_error")
    return Charge(line, 0.0, 0.0, 0.0)


def _without_usage(operation: str) -> Charge:
    line = price_line(names.LLM, "aws.bedrock", operation, status=names.UNPRICED, reason="no_usage")
    return Charge(line, 0.0, 0.0, 0.0)


def _duplicate(provider: str, operation: str) -> Charge:
    line = price_line(names.LLM, provider[:100], operation, status=names.DUPLICATE, reason="outer_span")
    return Charge(line, 0.0, 0.0, 0.0)
