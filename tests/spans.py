"""Spans as instrumentations make them, for tests that send them through the real SDK."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind, Tracer

from spancost import names
from spancost.testing import World

REGION = "us-east-1"
PUT_USD = 0.625e-6
"""One DynamoDB write request unit in us-east-1 since 2024-11-01."""
SMS_USD = 0.0083
"""One US segment at Twilio, 2026-10."""
EGRESS_USD_PER_GB = 0.09
"""AWS us-east-1 to the internet, first paid tier."""
INPUT_USD, CACHED_USD, OUTPUT_USD = 0.25e-6, 0.025e-6, 2e-6
"""One token of gpt-5-mini."""
GB = 2**30


def start(
    tracer: Tracer,
    name: str,
    parent: Span | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: dict[str, Any] | None = None,
    start_ns: int | None = None,
) -> Span:
    """Start a span below `parent`, or a local root, whatever the current context."""
    context = trace.set_span_in_context(trace.INVALID_SPAN if parent is None else parent)
    span = tracer.start_span(name, context, kind, attributes, start_time=start_ns)
    assert isinstance(span, Span)
    return span


def server(route: str = "/carts/{id}", *, response_bytes: int | None = 0, method: str = "GET") -> dict[str, Any]:
    """Attributes of an HTTP server span, by default of an empty answer."""
    attributes: dict[str, Any] = {"http.request.method": method, "http.response.status_code": 200}
    if route:
        attributes["http.route"] = route
    if response_bytes is not None:
        attributes["http.response.body.size"] = response_bytes
    return attributes


def put_item() -> dict[str, Any]:
    """Attributes of a DynamoDB PutItem of which nothing more is known: one write unit."""
    return {
        "rpc.system": "aws-api",
        "rpc.service": "DynamoDB",
        "rpc.method": "PutItem",
        "cloud.region": REGION,
        "http.status_code": 200,
        "server.address": "dynamodb.us-east-1.amazonaws.com",
    }


def sms() -> dict[str, Any]:
    """Attributes of one message sent through Twilio."""
    return {
        "http.request.method": "POST",
        "url.full": "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json",
        "server.address": "api.twilio.com",
        "http.response.status_code": 201,
    }


def chat(tokens_in: int, tokens_out: int, *, cached: int = 0, response_id: str = "") -> dict[str, Any]:
    """Attributes of a finished chat with gpt-5-mini."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.response.model": "gpt-5-mini-2025-08-07",
        "gen_ai.usage.input_tokens": tokens_in,
        "gen_ai.usage.output_tokens": tokens_out,
    }
    if cached:
        attributes["gen_ai.usage.cache_read.input_tokens"] = cached
    if response_id:
        attributes["gen_ai.response.id"] = response_id
    return attributes


def chat_usd(tokens_in: int, tokens_out: int, *, cached: int = 0) -> float:
    """What that chat costs."""
    return (tokens_in - cached) * INPUT_USD + cached * CACHED_USD + tokens_out * OUTPUT_USD


def exported_usd(world: World, component: str) -> float:
    """Σ over the exported local roots of what they say they cost in one component."""
    return sum(
        float((span.attributes or {}).get(names.COMPONENT_USD[component], 0.0))  # type: ignore[arg-type]
        for span in world.spans
        if names.TOTAL_NANO_USD in (span.attributes or {})
    )


def counted_usd(world: World, component: str) -> float:
    """What the cost counter has gained in one component."""
    return sum(reading.value for reading in world.totals.read(world.totals.cost) if reading.labels[0] == component)
