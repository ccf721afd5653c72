"""SQS: real calls against moto."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from spancost.charge import Charge
from tests.capture.aws.pricing import KB, Prices, status_of
from tests.support.moto_server import MotoServer

_SQS_USD = 4e-7


@pytest.mark.parametrize(
    ("size_bytes", "requests"),
    [(1, 1), (64 * KB, 1), (64 * KB + 1, 2), (128 * KB, 2), (128 * KB + 1, 3), (256 * KB, 4)],
)
def test_send_and_receive_cost_their_64_kb(moto: MotoServer, prices: Prices, size_bytes: int, requests: int) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName=f"jobs-{size_bytes}")["QueueUrl"]
    assert prices.one().usd == pytest.approx(_SQS_USD)
    client.send_message(QueueUrl=url, MessageBody="x" * size_bytes)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(requests * _SQS_USD), ("priced", ""))
    assert charge.line.resource == f"jobs-{size_bytes}"
    (message,) = client.receive_message(QueueUrl=url)["Messages"]
    assert prices.one().usd == pytest.approx(requests * _SQS_USD)
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert prices.one().usd == pytest.approx(_SQS_USD)
    client.receive_message(QueueUrl=url)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_SQS_USD), ("priced", ""))  # empty, and billed


def test_batch_is_one_request_per_64_kb_of_all_messages(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName="batches")["QueueUrl"]
    prices.take()

    def send(size_bytes: int) -> Charge:
        client.send_message_batch(
            QueueUrl=url, Entries=[{"Id": str(index), "MessageBody": "x" * size_bytes} for index in range(10)]
        )
        return prices.one()

    assert send(6 * KB).quantity == 1
    assert send(7 * KB).quantity == 2


def test_message_attributes_count_as_payload(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName="attributes")["QueueUrl"]
    prices.take()
    attributes = {"k": {"DataType": "String", "StringValue": "v"}}  # 1 + 6 + 1 bytes
    client.send_message(QueueUrl=url, MessageBody="x" * (64 * KB - 8), MessageAttributes=attributes)
    assert prices.one().quantity == 1
    client.send_message(QueueUrl=url, MessageBody="x" * (64 * KB - 7), MessageAttributes=attributes)
    assert prices.one().quantity == 2


def test_fifo_queue_and_message_group_have_their_rates(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    fifo = client.create_queue(QueueName="jobs.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    plain = client.create_queue(QueueName="fair")["QueueUrl"]
    prices.take()
    client.send_message(QueueUrl=fifo, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
    assert prices.one().usd == pytest.approx(5e-7)
    with Stubber(client) as stub:  # moto refuses groups on standard queues
        stub.add_response("send_message", {})
        client.send_message(QueueUrl=plain, MessageBody="x", MessageGroupId="g")
    base, surcharge = prices.take()
    assert (base.usd, surcharge.usd) == (pytest.approx(_SQS_USD), pytest.approx(1e-7))


@pytest.mark.parametrize(("more_bytes", "requests"), [(0, 1), (1, 2)])
def test_batch_over_64_kb_by_one_byte_is_two_requests(
    moto: MotoServer, prices: Prices, more_bytes: int, requests: int
) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName=f"edge-{more_bytes}")["QueueUrl"]
    prices.take()
    entries = [
        {"Id": "1", "MessageBody": "x" * (63 * KB)},
        {"Id": "2", "MessageBody": "x" * (KB + more_bytes)},
    ]
    client.send_message_batch(QueueUrl=url, Entries=entries)
    assert prices.one().usd == pytest.approx(requests * _SQS_USD)
    received = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert prices.one().usd == pytest.approx(requests * _SQS_USD)
    done = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(received)]
    client.delete_message_batch(QueueUrl=url, Entries=done)
    assert prices.one().usd == pytest.approx(_SQS_USD)


def test_text_is_counted_in_utf_8(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName="letters")["QueueUrl"]
    prices.take()
    client.send_message(QueueUrl=url, MessageBody="é" * (32 * KB))
    assert prices.one().quantity == 1
    client.send_message(QueueUrl=url, MessageBody="é" * (32 * KB) + "x")
    assert prices.one().quantity == 2


def test_empty_long_polls_of_a_fifo_queue_cost_the_fifo_rate(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName="quiet.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    prices.take()
    for _ in range(3):
        client.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    assert [charge.usd for charge in prices.take()] == [pytest.approx(5e-7)] * 3


def test_queue_that_does_not_exist_is_a_counted_request(moto: MotoServer, prices: Prices) -> None:
    url = moto.url + "/123456789012/nobody"
    with pytest.raises(ClientError):
        moto.client("sqs").send_message(QueueUrl=url, MessageBody="x" * (200 * KB))
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_SQS_USD), ("estimated", "failed_request"))


def test_each_page_of_queues_is_a_request(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    with Stubber(client) as stub:
        stub.add_response("list_queues", {"QueueUrls": ["a"], "NextToken": "1"})
        stub.add_response("list_queues", {"QueueUrls": ["b"]})
        pages = list(client.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1}))
    assert [charge.usd for charge in prices.take()] == [pytest.approx(_SQS_USD)] * len(pages)
