"""Handlers of AWS Lambda, invoked in process through the real instrumentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import World, priced_provider
from tests.entrypoints.apps import lambda_handler
from tests.entrypoints.booked import Requests, instrumented, requests_of, usd_by_entrypoint
from tests.spans import PUT_USD, REGION, put_item


@dataclass
class Context:
    """What Lambda hands to a handler beside the event."""

    function_name: str = "shop"
    function_version: str = "1"
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:shop"
    memory_limit_in_mb: int = 512
    aws_request_id: str = "5f0c1a52-33f5-4a0e-9d0e-4f9f4b8f7a11"
    log_group_name: str = "/aws/lambda/shop"
    log_stream_name: str = "1"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    monkeypatch.setenv("_HANDLER", "tests.entrypoints.apps.lambda_handler.handle")
    with (
        priced_provider(region=REGION, egress_clients="private") as world,
        instrumented(world, AwsLambdaInstrumentor(), meter_provider=MeterProvider()),
    ):

        def work() -> None:
            world.tracer.start_span("DynamoDB.PutItem", kind=SpanKind.CLIENT, attributes=put_item()).end()

        monkeypatch.setattr(lambda_handler, "work", work)
        yield world


_SQS = {"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:1:orders", "messageId": "1"}]}
_REST = {"requestContext": {"stage": "prod"}, "httpMethod": "GET", "resource": "/carts/{id}", "path": "/carts/7"}
_HTTP = {
    "version": "2.0",
    "requestContext": {"http": {"method": "GET", "path": "/carts/7"}},
    "routeKey": "GET /carts/{id}",
}


@pytest.mark.parametrize(
    ("event", "entrypoint"),
    [
        ({"detail": "anything"}, "shop"),
        (_SQS, "shop"),
        (_REST, "GET /carts/{id}"),
        (_HTTP, "shop"),  # the instrumentation takes the raw path for the route: it is not kept
    ],
)
def test_an_invocation_is_a_request_of_its_function_or_of_its_route(
    world: World, event: dict[str, Any], entrypoint: str
) -> None:
    handle: Callable[..., Any] = lambda_handler.handle
    assert handle(event, Context()) == {"statusCode": 200}
    world.publish()
    assert requests_of(world) == {Requests(entrypoint, "ok", 1)}
    assert usd_by_entrypoint(world, names.AWS) == {entrypoint: pytest.approx(PUT_USD)}


def test_an_invocation_that_raises_has_failed(world: World) -> None:
    with pytest.raises(ValueError, match="wrong"):
        lambda_handler.handle({"fail": True}, Context())
    world.publish()
    assert requests_of(world) == {Requests("shop", "error", 1)}
