"""A Kafka consumer against the broker that librdkafka brings along for tests: the real protocol, on loopback."""

from __future__ import annotations

from typing import Any

import confluent_kafka
import pytest
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import priced_provider
from tests.entrypoints.booked import Requests, instrumented, requests_of, usd_by_entrypoint
from tests.spans import PUT_USD, REGION, put_item

_MESSAGES = 3
_TIMEOUT_S = 20.0


def test_each_record_is_a_request_named_by_its_topic() -> None:
    with priced_provider(region=REGION) as world, instrumented(world, ConfluentKafkaInstrumentor()):
        # Through the module: its classes are replaced by instrumented ones.
        module: Any = confluent_kafka
        producer = module.Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1})
        brokers = producer.list_topics(timeout=_TIMEOUT_S).brokers.values()
        for number in range(_MESSAGES):
            producer.produce("orders", value=str(number).encode())
        assert producer.flush(_TIMEOUT_S) == 0
        consumer = module.Consumer(
            {
                "bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers),
                "group.id": "shop",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe(["orders"])
        try:
            for _ in range(_MESSAGES):
                record = consumer.poll(_TIMEOUT_S)
                assert record is not None
                assert record.error() is None
                call = world.tracer.start_span("DynamoDB.PutItem", kind=SpanKind.CLIENT, attributes=put_item())
                call.end()
        finally:
            consumer.close()
        world.publish()
        assert requests_of(world) == {
            Requests("publish orders", "ok", _MESSAGES, served=False),
            Requests("recv", "ok", _MESSAGES),  # each poll; the instrumentation says no more of it
            Requests("process orders", "ok", _MESSAGES),
        }
        assert usd_by_entrypoint(world, names.AWS) == {"process orders": pytest.approx(_MESSAGES * PUT_USD)}
        assert not world.recorded.late_usd()
