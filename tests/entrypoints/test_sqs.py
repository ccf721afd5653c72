"""An SQS consumer on moto's server: with the instrumentation of boto3's SQS client, without it, as a named process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry.instrumentation.boto3sqs import Boto3SQSInstrumentor
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

from spancost import names
from spancost.testing import World, priced_provider
from tests.entrypoints.booked import Requests, instrumented, requests_of, usd_by_entrypoint
from tests.spans import REGION
from tests.support.moto_server import MotoServer, moto_server

_SQS_USD = 0.40e-6
"""One request to a standard queue in us-east-1."""
_PUT_USD = 5e-6
"""One PUT to S3 in us-east-1."""
_MESSAGES = 3


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with moto_server() as server:
        yield server


@pytest.fixture
def consume(moto: MotoServer) -> Iterator[Callable[[World], None]]:
    """A consumer's loop over a queue with three messages: each is stored in S3 and deleted."""
    sqs: Any
    s3: Any
    sqs, s3 = moto.client("sqs"), moto.client("s3")
    s3.create_bucket(Bucket="bills")
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    for _ in range(_MESSAGES):
        sqs.send_message(QueueUrl=url, MessageBody="order")

    def loop(world: World) -> None:
        sqs: Any
        s3: Any
        sqs, s3 = moto.client("sqs"), moto.client("s3")  # instrumented by now
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                s3.put_object(Bucket="bills", Key=message["MessageId"], Body=message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        world.engine.leave()

    yield loop
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def priced() -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:

        def start(*instrumentors: Any, **settings: Any) -> World:
            world = stack.enter_context(priced_provider(region=REGION, **settings))
            stack.enter_context(instrumented(world, *instrumentors))
            return world

        yield start


def test_each_message_is_a_request_with_what_its_processing_cost(
    consume: Callable[[World], None], priced: Callable[..., World]
) -> None:
    world = priced(BotocoreInstrumentor(), Boto3SQSInstrumentor())
    consume(world)
    assert requests_of(world) == {
        Requests("receive orders", "ok", 2),  # the second finds the queue empty
        Requests("process orders", "ok", _MESSAGES),
        Requests("SQS.DeleteMessage", "ok", _MESSAGES, served=False),  # ends the message's span, then calls
    }
    assert usd_by_entrypoint(world, names.AWS) == {
        "receive orders": pytest.approx(2 * _SQS_USD),
        "process orders": pytest.approx(_MESSAGES * _PUT_USD),
        "SQS.DeleteMessage": pytest.approx(_MESSAGES * _SQS_USD),
    }
    assert not world.recorded.late_usd()
    assert world.root_totals_usd() == pytest.approx(world.recorded.usd(), rel=1e-9)


def test_loop_without_any_span_around_its_calls_has_an_entrypoint_for_each_operation(
    consume: Callable[[World], None], priced: Callable[..., World]
) -> None:
    world = priced(BotocoreInstrumentor())
    consume(world)
    assert requests_of(world) == {
        Requests("SQS.ReceiveMessage", "ok", 2, served=False),
        Requests("S3.PutObject", "ok", _MESSAGES, served=False),
        Requests("SQS.DeleteMessage", "ok", _MESSAGES, served=False),
    }


def test_loop_of_a_named_process_is_one_run_under_its_name(
    consume: Callable[[World], None], priced: Callable[..., World]
) -> None:
    world = priced(BotocoreInstrumentor(), entrypoint="orders-worker")
    consume(world)
    assert requests_of(world) == {Requests("orders-worker", "ok", 1, served=False)}
    spent = (2 + _MESSAGES) * _SQS_USD + _MESSAGES * _PUT_USD
    assert usd_by_entrypoint(world, names.AWS) == {"orders-worker": pytest.approx(spent)}


def test_named_process_with_instrumented_messages_keeps_only_loose_calls_for_itself(
    consume: Callable[[World], None], priced: Callable[..., World]
) -> None:
    world = priced(BotocoreInstrumentor(), Boto3SQSInstrumentor(), entrypoint="orders-worker")
    consume(world)
    assert usd_by_entrypoint(world, names.AWS) == {
        "receive orders": pytest.approx(2 * _SQS_USD),
        "process orders": pytest.approx(_MESSAGES * _PUT_USD),
        "orders-worker": pytest.approx(_MESSAGES * _SQS_USD),
    }
