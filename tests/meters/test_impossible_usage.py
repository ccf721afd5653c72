"""Whatever stands in a span's attributes: no exception, no wrong number, nothing long kept."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import World, priced_provider
from tests.recorded import NOW_NS
from tests.spans import PUT_USD

LONG = "9" * 10_000_000
KINDS: dict[str, tuple[SpanKind, dict[str, Any]]] = {
    "aws": (
        SpanKind.CLIENT,
        {
            "rpc.system": "aws-api",
            "rpc.service": "DynamoDB",
            "rpc.method": "PutItem",
            "cloud.region": "us-east-1",
            "http.status_code": 200,
            "aws.dynamodb.table_names": ("orders",),
            "aws.dynamodb.consumed_capacity": ('{"TableName": "orders", "CapacityUnits": 2.0}',),
            "retry_attempts": 1,
        },
    ),
    "llm": (
        SpanKind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.model": "gpt-5-mini-2025-08-07",
            "gen_ai.response.id": "id",
            "gen_ai.usage.input_tokens": 1000,
            "gen_ai.usage.output_tokens": 100,
            "gen_ai.usage.cache_read.input_tokens": 500,
            "gen_ai.usage.cost": 0.001,
        },
    ),
    "http": (
        SpanKind.CLIENT,
        {
            "http.request.method": "POST",
            "url.full": "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json",
            "server.address": "api.twilio.com",
            "http.response.status_code": 201,
            "http.request.body.size": 100,
        },
    ),
    "server": (
        SpanKind.SERVER,
        {
            "http.request.method": "GET",
            "http.route": "/items/{id}",
            "http.response.status_code": 200,
            "http.response.body.size": 2048,
            "client.address": "93.184.216.34",
        },
    ),
}
MUTABLE = [(kind, key) for kind, (_, attributes) in KINDS.items() for key in attributes]
SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.text(max_size=30), st.just(""), st.none()
)


def _end(world: World, kind: str, attributes: dict[str, Any]) -> None:
    span_kind, _ = KINDS[kind]
    given = {key: value for key, value in attributes.items() if value is not None}
    world.tracer.start_span(kind, kind=span_kind, attributes=given).end()
    world.publish()


def _all_is_sane(world: World) -> None:
    for key, sums in world.recorded.charges.items():
        line = key.line
        assert math.isfinite(sums.usd)
        assert sums.usd >= 0
        assert math.isfinite(sums.quantity)
        assert line.status in names.STATUSES
        assert line.status not in (names.UNPRICED, names.DUPLICATE) or (sums.usd == 0 and line.reason)
        assert max(len(text) for text in (line.operation, line.provider, line.model, line.resource, line.region)) < 300


@pytest.mark.parametrize(("kind", "key"), MUTABLE, ids=[f"{kind}: {key}" for kind, key in MUTABLE])
def test_ten_megabytes_in_any_attribute_are_neither_an_error_nor_kept(kind: str, key: str) -> None:
    with priced_provider(region="us-east-1") as world:
        _end(world, kind, {**KINDS[kind][1], key: LONG})
        _all_is_sane(world)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_values_of_any_type_and_size_never_make_a_wrong_number(kind: str, data: st.DataObject) -> None:
    attributes = dict(KINDS[kind][1])
    for key in data.draw(st.lists(st.sampled_from(sorted(attributes)), min_size=1, max_size=4)):
        attributes[key] = data.draw(SCALARS)
    with priced_provider(region="us-east-1") as world:
        _end(world, kind, attributes)
        _all_is_sane(world)


@pytest.mark.parametrize(
    "usage",
    [
        {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.cache_read.input_tokens": 11},
        {"gen_ai.usage.input_tokens": -1},
        {"gen_ai.usage.output_tokens": float("nan")},
        {"gen_ai.usage.input_tokens": "many"},
        {"gen_ai.usage.input_tokens": 1.5},
        {"gen_ai.usage.reasoning.output_tokens": 101},
    ],
)
def test_impossible_token_counts_are_unpriced_with_a_reason(usage: dict[str, Any]) -> None:
    attributes = {key: value for key, value in KINDS["llm"][1].items() if key != "gen_ai.usage.cost"}
    with priced_provider() as world:
        tracer = world.provider.get_tracer("opentelemetry.instrumentation.genai.openai")
        tracer.start_span("chat", attributes={**attributes, **usage}).end()
        world.publish()
        (line,) = [key.line for key in world.recorded.charges if key.line.component == names.LLM]
    assert (line.status, line.reason) == (names.UNPRICED, "bad_usage")


def test_bedrock_call_without_tokens_keeps_a_bounded_operation() -> None:
    attributes = {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": ["x"] * 2_000}
    with priced_provider(region="us-east-1") as world:
        world.tracer.start_span("call", kind=SpanKind.CLIENT, attributes=attributes).end()
        world.publish()
        (line,) = [key.line for key in world.recorded.charges if key.line.component == names.LLM]
        assert (line.status, line.reason) == (names.UNPRICED, "no_usage")
        assert 0 < len(line.operation) <= 200


@pytest.mark.parametrize("start_ns", [0, -1, 2**63, -(10**30), 10**30])
def test_span_with_an_impossible_start_is_priced_by_its_end(start_ns: int) -> None:
    with priced_provider(region="us-east-1") as world:
        kind, attributes = KINDS["aws"]
        world.tracer.start_span("call", kind=kind, attributes=attributes, start_time=start_ns).end(NOW_NS)
        world.publish()
        ((key, sums),) = [one for one in world.recorded.charges.items() if one[0].line.component == names.AWS]
        assert key.minute == NOW_NS // 60_000_000_000
        assert sums.usd == pytest.approx(2 * PUT_USD)


@pytest.mark.parametrize("end_ns", [0, -1, 2**63, -(10**30), 10**30])
def test_span_with_an_impossible_end_is_booked_as_of_now(end_ns: int) -> None:
    before = time.time_ns() // 60_000_000_000
    with priced_provider(region="us-east-1") as world:
        kind, attributes = KINDS["aws"]
        world.tracer.start_span("call", kind=kind, attributes=attributes).end(end_ns)
        world.publish()
        ((key, sums),) = [one for one in world.recorded.charges.items() if one[0].line.component == names.AWS]
        assert before <= key.minute <= time.time_ns() // 60_000_000_000
        assert sums.usd == pytest.approx(2 * PUT_USD)
