"""EventBridge events and Firehose records: each is rounded up by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from tests.capture.aws.pricing import KB, Prices, status_of
from tests.capture.aws.stubbed import answered, refused
from tests.meters.aws.calls import charge, known

GB = 2**30
_EVENT_USD = 1.00 / 1e6
_FIREHOSE_USD_PER_GB = 0.029


def _event(size_bytes: int, **more: Any) -> dict[str, Any]:
    """An event of exactly this size, without what `more` adds."""
    return {"Source": "shop", "DetailType": "order", "Detail": "x" * (size_bytes - 9), **more}


@pytest.mark.parametrize(
    ("entry", "chunks"),
    [
        (_event(9), 1),
        (_event(64 * KB), 1),
        (_event(64 * KB + 1), 2),
        (_event(128 * KB), 2),
        (_event(64 * KB - 14, Time=0), 1),
        (_event(64 * KB - 13, Time=0), 2),
        (_event(64 * KB - 4, Resources=["r1", "r2"]), 1),
        (_event(64 * KB - 3, Resources=["r1", "r2"]), 2),
        (_event(9, Detail="é" * (32 * KB - 5)), 1),
        (_event(9, Detail="é" * (32 * KB - 4)), 2),
    ],
)
def test_event_costs_each_started_64_kb_of_all_its_parts(prices: Prices, entry: dict[str, Any], chunks: int) -> None:
    (found,) = answered(prices, "events", "put_events", {"Entries": [{"EventId": "1"}]}, Entries=[entry])
    assert (found.quantity, found.usd) == (chunks, pytest.approx(chunks * _EVENT_USD, rel=1e-12))
    assert (status_of(found), found.line.resource) == (("priced", ""), "default")


def test_events_of_one_call_are_billed_one_by_one_without_the_failed_ones(prices: Prices) -> None:
    answer = {
        "FailedEntryCount": 1,
        "Entries": [{"EventId": "1"}, {"ErrorCode": "InternalFailure", "ErrorMessage": "no"}, {"EventId": "3"}],
    }
    entries = [_event(size, EventBusName="orders") for size in (100, 200 * KB, 65 * KB)]
    (found,) = answered(prices, "events", "put_events", answer, Entries=entries)
    assert (found.quantity, found.line.resource) == (1 + 2, "orders")


def test_refused_call_costs_nothing(prices: Prices) -> None:
    (found,) = refused(prices, "events", "put_events", "ValidationException", 400, Entries=[_event(9)])
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


def test_events_without_hooks_are_one_estimated_chunk() -> None:
    assert known(charge("EventBridge", "PutEvents")) == ("estimated", "", "size:1_chunk")


def test_replay_and_partner_events_have_a_reason() -> None:
    assert known(charge("EventBridge", "StartReplay")) == ("unpriced", "events_not_seen", "")
    assert known(charge("EventBridge", "PutPartnerEvents")) == ("unpriced", "no_price", "")


@pytest.mark.parametrize(
    ("size_bytes", "kb"), [(0, 5), (1, 5), (KB, 5), (5 * KB, 5), (5 * KB + 1, 10), (10 * KB, 10), (10 * KB + 1, 15)]
)
def test_firehose_record_is_rounded_up_to_5_kb(prices: Prices, size_bytes: int, kb: int) -> None:
    (found,) = answered(
        prices,
        "firehose",
        "put_record",
        {"RecordId": "1"},
        DeliveryStreamName="logs",
        Record={"Data": b"x" * size_bytes},
    )
    assert found.usd == pytest.approx(kb * KB / GB * _FIREHOSE_USD_PER_GB, rel=1e-12)
    assert (status_of(found), found.line.resource, found.line.unit) == (("priced", ""), "logs", "GB")


def test_a_batch_of_two_1_kb_records_is_billed_as_10_kb(prices: Prices) -> None:
    answer = {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"}, {"RecordId": "2"}]}
    (found,) = answered(
        prices,
        "firehose",
        "put_record_batch",
        answer,
        DeliveryStreamName="logs",
        Records=[{"Data": b"x" * KB}, {"Data": b"x" * KB}],
    )
    assert found.usd == pytest.approx(10 * KB / GB * _FIREHOSE_USD_PER_GB, rel=1e-12)


def test_refused_firehose_records_are_not_billed(prices: Prices) -> None:
    answer = {
        "FailedPutCount": 1,
        "RequestResponses": [{"RecordId": "1"}, {"ErrorCode": "ServiceUnavailableException"}],
    }
    (found,) = answered(
        prices,
        "firehose",
        "put_record_batch",
        answer,
        DeliveryStreamName="logs",
        Records=[{"Data": b"x"}, {"Data": b"x"}],
    )
    assert found.usd == pytest.approx(5 * KB / GB * _FIREHOSE_USD_PER_GB, rel=1e-12)


@given(st.lists(st.integers(0, 1000 * KB), min_size=1, max_size=60))
def test_each_record_is_billed_between_its_size_and_5_kb_more(sizes: list[int]) -> None:
    found = charge("Firehose", "PutRecordBatch", facts={aws_facts.RECORD_BYTES: sizes})
    billed = found.quantity * GB
    assert sum(sizes) - 1e-3 <= billed <= sum(sizes) + 5 * KB * len(sizes) + 1e-3
    assert billed == pytest.approx(sum(max(1, -(-size // (5 * KB))) for size in sizes) * 5 * KB)
