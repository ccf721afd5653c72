"""dramatiq has no instrumentation that puts its actors' work into their span: one line around the actor does."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import priced_provider
from tests.entrypoints.booked import Requests, requests_of, usd_by_entrypoint
from tests.spans import PUT_USD, REGION, put_item

_TIMEOUT_MS = 20_000


def test_one_line_around_an_actor_makes_each_message_a_request() -> None:
    broker: Any = StubBroker()
    with priced_provider(region=REGION) as world:

        @dramatiq.actor(broker=broker, max_retries=0)
        @world.tracer.start_as_current_span("shop.bill", kind=SpanKind.CONSUMER)
        def bill(order: int) -> None:
            world.tracer.start_span("DynamoDB.PutItem", kind=SpanKind.CLIENT, attributes=put_item()).end()
            if order == 0:
                raise ValueError("no such order")

        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
        worker.start()
        try:
            for order in range(4):
                bill.send(order)
            broker.join(bill.queue_name, timeout=_TIMEOUT_MS, fail_fast=False)
            worker.join()
        finally:
            worker.stop()
        world.publish()
        assert requests_of(world) == {Requests("shop.bill", "ok", 3), Requests("shop.bill", "error", 1)}
        assert usd_by_entrypoint(world, names.AWS) == {"shop.bill": pytest.approx(4 * PUT_USD)}
