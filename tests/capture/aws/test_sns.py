"""SNS: real calls against moto."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tests.capture.aws.pricing import KB, Prices, status_of
from tests.support.moto_server import MotoServer

_SNS_USD = 5e-7
_TRACE_HEADER_BYTES = len("traceparent" + "String" + "00-" + 32 * "0" + "-" + 16 * "0" + "-01")
"""The instrumentation adds a message attribute, which is payload like any other."""


def test_publish_costs_its_64_kb_and_carries_the_trace_header(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sns")
    arn = client.create_topic(Name="news")["TopicArn"]
    assert prices.one().usd == pytest.approx(_SNS_USD)
    client.publish(TopicArn=arn, Message="x" * (60 * KB))
    charge = prices.one()
    assert (charge.usd, status_of(charge), charge.line.resource) == (pytest.approx(_SNS_USD), ("priced", ""), "news")
    client.publish(TopicArn=arn, Message="x" * (64 * KB + 1))
    assert prices.one().usd == pytest.approx(2 * _SNS_USD)
    entries = [{"Id": str(index), "Message": "x" * (30 * KB)} for index in range(3)]
    client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
    assert prices.one().usd == pytest.approx(2 * _SNS_USD)


def test_sms_is_unpriced_and_its_number_is_not_kept(moto: MotoServer, prices: Prices) -> None:
    moto.client("sns").publish(PhoneNumber="+15550100", Message="hello")
    assert "15550100" not in repr(prices.spans[-1][1])
    charge = prices.one()
    assert (charge.line.status, charge.line.reason) == ("unpriced", "no_price")


@pytest.mark.parametrize(
    ("size_bytes", "requests"),
    [(64 * KB, 1), (64 * KB + 1, 2), (128 * KB, 2), (128 * KB + 1, 3), (256 * KB, 4)],
)
def test_publish_costs_each_started_64_kb(moto: MotoServer, prices: Prices, size_bytes: int, requests: int) -> None:
    client = moto.client("sns")
    arn = client.create_topic(Name="edges")["TopicArn"]
    prices.take()
    client.publish(TopicArn=arn, Message="x" * (size_bytes - _TRACE_HEADER_BYTES))
    assert prices.one().usd == pytest.approx(requests * _SNS_USD)


@pytest.mark.parametrize(("more_bytes", "requests"), [(0, 1), (1, 2)])
def test_batch_is_one_request_per_64_kb_of_its_messages_together(
    moto: MotoServer, prices: Prices, more_bytes: int, requests: int
) -> None:
    client = moto.client("sns")
    arn = client.create_topic(Name="batches")["TopicArn"]
    prices.take()
    entries = [
        {"Id": "1", "Message": "x" * (32 * KB - _TRACE_HEADER_BYTES)},
        {"Id": "2", "Message": "x" * (32 * KB - _TRACE_HEADER_BYTES + more_bytes)},
    ]
    client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
    assert prices.one().usd == pytest.approx(requests * _SNS_USD)


def test_batch_to_a_fifo_topic_costs_a_request_and_at_least_1_kb_a_message(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sns")
    arn = client.create_topic(Name="news.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    prices.take()
    entries = [
        {
            "Id": str(number),
            "Message": "x" * (size - _TRACE_HEADER_BYTES),
            "MessageGroupId": "g",
            "MessageDeduplicationId": str(number),
        }
        for number, size in enumerate((100, KB, KB + 1))
    ]
    client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
    request, payload = prices.take()
    assert request.usd == pytest.approx(0.3e-6)
    assert payload.usd == pytest.approx(0.017 * (KB + KB + KB + 1) / 2**30)


def test_topic_that_does_not_exist_is_a_counted_request(moto: MotoServer, prices: Prices) -> None:
    with pytest.raises(ClientError):
        moto.client("sns").publish(TopicArn="arn:aws:sns:us-east-1:123456789012:nobody", Message="x")
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_SNS_USD), ("estimated", "failed_request"))


def test_mobile_push_is_a_publish_and_a_delivery_and_the_device_is_not_kept(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sns")
    with Stubber(client) as stub:
        stub.add_response("publish", {"MessageId": "m"})
        client.publish(TargetArn="arn:aws:sns:us-east-1:123456789012:endpoint/GCM/shop/0f9c", Message="hello")
    assert "0f9c" not in repr(prices.spans[-1][1])
    publish, delivery = prices.take()
    assert (publish.usd, delivery.usd) == (pytest.approx(_SNS_USD), pytest.approx(_SNS_USD))
    assert publish.line.resource == "GCM/shop"


def test_each_page_of_topics_is_a_request(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sns")
    for number in range(101):
        client.create_topic(Name=f"page-{number}")
    prices.take()
    pages = list(client.get_paginator("list_topics").paginate())
    assert len(pages) >= 2
    assert [charge.usd for charge in prices.take()] == [pytest.approx(_SNS_USD)] * len(pages)
