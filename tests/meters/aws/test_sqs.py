"""SQS: 64 KB chunks, batches, FIFO, fair queues, failures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from tests.meters.aws.calls import KB, charge, charges, known
from tests.meters.aws.operations import undecided

_STANDARD_USD = 0.40 / 1e6
_FIFO_USD = 0.50 / 1e6
_FAIR_USD = 0.10 / 1e6


@pytest.mark.parametrize(
    ("size_bytes", "requests"),
    [(0, 1), (1, 1), (64 * KB, 1), (64 * KB + 1, 2), (128 * KB, 2), (128 * KB + 1, 3), (256 * KB, 4), (1024 * KB, 16)],
)
@pytest.mark.parametrize("operation", ["SendMessage", "SendMessageBatch"])
def test_send_costs_one_request_per_started_64_kb(operation: str, size_bytes: int, requests: int) -> None:
    found = charge("SQS", operation, facts={aws_facts.RESOURCE: "jobs", aws_facts.REQUEST_BYTES: size_bytes})
    assert (found.quantity, found.usd) == (requests, pytest.approx(requests * _STANDARD_USD, rel=1e-12))
    assert known(found) == ("priced", "", "")
    assert found.line.resource == "jobs"


@pytest.mark.parametrize(("size_bytes", "requests"), [(0, 1), (64 * KB, 1), (64 * KB + 1, 2)])
def test_receive_costs_what_it_brings_and_one_request_if_empty(size_bytes: int, requests: int) -> None:
    found = charge("SQS", "ReceiveMessage", facts={aws_facts.RESPONSE_BYTES: size_bytes})
    assert found.usd == pytest.approx(requests * _STANDARD_USD)


def test_queue_name_ending_in_fifo_costs_the_fifo_rate() -> None:
    found = charge("SQS", "SendMessage", facts={aws_facts.RESOURCE: "jobs.fifo", aws_facts.REQUEST_BYTES: 65 * KB})
    assert found.usd == pytest.approx(2 * _FIFO_USD)


def test_managing_a_fifo_queue_costs_the_standard_rate() -> None:
    found = charge("SQS", "GetQueueAttributes", facts={aws_facts.RESOURCE: "jobs.fifo"})
    assert found.usd == pytest.approx(_STANDARD_USD)


def test_group_id_on_a_standard_queue_adds_the_fair_queue_surcharge() -> None:
    facts = {aws_facts.RESOURCE: "jobs", aws_facts.REQUEST_BYTES: 65 * KB, aws_facts.FAIR_QUEUE: True}
    base, surcharge = charges("SQS", "SendMessage", facts=facts)
    assert base.usd == pytest.approx(2 * _STANDARD_USD)
    assert surcharge.usd == pytest.approx(2 * _FAIR_USD)


def test_group_id_on_a_fifo_queue_adds_nothing() -> None:
    facts = {aws_facts.RESOURCE: "jobs.fifo", aws_facts.REQUEST_BYTES: 1, aws_facts.FAIR_QUEUE: True}
    assert charge("SQS", "SendMessage", facts=facts).usd == pytest.approx(_FIFO_USD)


def test_send_without_size_is_one_estimated_request() -> None:
    found = charge("SQS", "SendMessage", attributes={"messaging.destination": "q.fifo"})
    assert known(found) == ("estimated", "", "size:1_chunk")
    assert (found.usd, found.line.resource) == (pytest.approx(_FIFO_USD), "q.fifo")


@pytest.mark.parametrize("operation", ["DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "CreateQueue"])
def test_calls_without_payload_are_one_request(operation: str) -> None:
    found = charge("SQS", operation)
    assert known(found) == ("priced", "", "")
    assert found.usd == pytest.approx(_STANDARD_USD)


def test_queue_name_comes_from_its_url() -> None:
    found = charge(
        "SQS", "DeleteMessage", attributes={"aws.queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs"}
    )
    assert found.line.resource == "jobs"


def test_unknown_operation_is_unpriced() -> None:
    assert known(charge("SQS", "TeleportMessage")) == ("unpriced", "unknown_operation", "")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, "InternalError", ("free", "", "not_billed:error")),
        (403, "RequestThrottled", ("free", "", "not_billed:error")),
        (400, "QueueDoesNotExist", ("estimated", "", "failed_request")),
    ],
)
def test_failed_calls_follow_the_rule(status: int, code: str, expected: tuple[str, str, str]) -> None:
    assert known(charge("SQS", "SendMessage", status=status, facts={aws_facts.ERROR_CODE: code})) == expected


@pytest.mark.parametrize("size", [-1, math.nan, math.inf, "big", True])
def test_impossible_size_is_unpriced(size: object) -> None:
    found = charge("SQS", "SendMessage", facts={aws_facts.REQUEST_BYTES: size})
    assert known(found) == ("unpriced", "bad_usage", "")
    assert found.usd == 0


def test_every_operation_is_decided() -> None:
    assert undecided("sqs") == []


def test_refused_send_to_a_fifo_queue_is_counted_at_its_rate() -> None:
    found = charge("SQS", "SendMessage", status=400, facts={aws_facts.RESOURCE: "jobs.fifo"})
    assert (found.usd, known(found)) == (pytest.approx(_FIFO_USD), ("estimated", "", "failed_request"))


@given(st.integers(0, 1024 * KB), st.integers(0, 1024 * KB))
def test_one_batch_never_costs_more_than_its_messages_apart(first: int, second: int) -> None:
    def requests(size_bytes: int) -> float:
        return charge("SQS", "SendMessageBatch", facts={aws_facts.REQUEST_BYTES: size_bytes}).quantity

    assert requests(first + second) <= requests(first) + requests(second) <= requests(first + second) + 1
    assert requests(first) * 64 * KB >= first > (requests(first) - 1) * 64 * KB or first == 0
