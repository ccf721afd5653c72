"""Kinesis and DynamoDB streams: units on both sides of each edge, modes, refused records."""

from __future__ import annotations

import math
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from spancost.capture.aws.kinesis import MODE
from tests.capture.aws.pricing import KB, Prices, status_of
from tests.capture.aws.stubbed import ARN, answered, refused
from tests.meters.aws.calls import charge, known

GB = 2**30
_PUT_UNIT_USD, _INGEST_USD_PER_GB, _RETRIEVAL_USD_PER_GB = 0.014 / 1e6, 0.08, 0.04
_PUT_ANSWER = {"ShardId": "shardId-0", "SequenceNumber": "1"}


def _stream(prices: Prices, mode: str) -> str:
    """The name of a new stream whose mode this process has seen."""
    name = f"clicks-{uuid4().hex}"
    answered(prices, "kinesis", "create_stream", {}, StreamName=name, StreamModeDetails={"StreamMode": mode})
    return name


@pytest.mark.parametrize(
    ("size_bytes", "units"), [(0, 1), (1, 1), (25 * KB, 1), (25 * KB + 1, 2), (50 * KB, 2), (50 * KB + 1, 3)]
)
def test_record_into_a_provisioned_stream_costs_a_unit_per_started_25_kb(
    prices: Prices, size_bytes: int, units: int
) -> None:
    stream = _stream(prices, "PROVISIONED")
    (found,) = answered(
        prices, "kinesis", "put_record", _PUT_ANSWER, StreamName=stream, Data=b"x" * size_bytes, PartitionKey="k"
    )
    assert (found.quantity, found.usd) == (units, pytest.approx(units * _PUT_UNIT_USD, rel=1e-12))
    assert (status_of(found), found.line.resource, found.line.unit) == (("priced", ""), stream, "PUT unit")


@pytest.mark.parametrize(("size_bytes", "kb"), [(1, 1), (KB, 1), (KB + 1, 2), (10 * KB, 10), (10 * KB + 1, 11)])
def test_record_into_an_on_demand_stream_costs_its_bytes_rounded_up_to_1_kb(
    prices: Prices, size_bytes: int, kb: int
) -> None:
    stream = _stream(prices, "ON_DEMAND")
    (found,) = answered(
        prices, "kinesis", "put_record", _PUT_ANSWER, StreamName=stream, Data=b"x" * size_bytes, PartitionKey="k"
    )
    assert found.usd == pytest.approx(kb * KB / GB * _INGEST_USD_PER_GB, rel=1e-12)
    assert status_of(found) == ("priced", "")


def test_stream_of_unknown_mode_is_taken_for_a_provisioned_one_and_marked(prices: Prices) -> None:
    (found,) = answered(
        prices, "kinesis", "put_record", _PUT_ANSWER, StreamName="never-described", Data=b"x", PartitionKey="k"
    )
    assert (found.usd, status_of(found)) == (pytest.approx(_PUT_UNIT_USD), ("estimated", "mode:provisioned"))


def test_each_record_of_a_batch_is_rounded_by_itself_and_refused_ones_are_not_billed(prices: Prices) -> None:
    stream = _stream(prices, "PROVISIONED")
    sizes = [1, 25 * KB, 25 * KB + 1, 30 * KB]
    answer = {
        "FailedRecordCount": 1,
        "Records": [
            {"SequenceNumber": "1", "ShardId": "a"},
            {"SequenceNumber": "2", "ShardId": "a"},
            {"SequenceNumber": "3", "ShardId": "a"},
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"},
        ],
    }
    records = [{"Data": b"x" * size, "PartitionKey": "k"} for size in sizes]
    (found,) = answered(prices, "kinesis", "put_records", answer, StreamName=stream, Records=records)
    assert found.quantity == 1 + 1 + 2


@pytest.mark.parametrize("shown_by", ["describe_stream_summary", "list_streams"])
def test_mode_is_learned_from_calls_that_show_it(prices: Prices, shown_by: str) -> None:
    stream = f"learned-{uuid4().hex}"
    arn = ARN.format(service="kinesis", name=f"stream/{stream}")
    shown = {
        "StreamName": stream,
        "StreamARN": arn,
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
    }
    summary: dict[str, Any] = {**shown, "RetentionPeriodHours": 24, "StreamCreationTimestamp": 0, "OpenShardCount": 4}
    answers: dict[str, dict[str, Any]] = {
        "describe_stream_summary": {"StreamDescriptionSummary": {**summary, "EnhancedMonitoring": []}},
        "list_streams": {"StreamNames": [stream], "HasMoreStreams": False, "StreamSummaries": [shown]},
    }
    params = {} if shown_by == "list_streams" else {"StreamName": stream}
    (free,) = answered(prices, "kinesis", shown_by, answers[shown_by], **params)
    assert free.line.status == "free"
    (found,) = answered(prices, "kinesis", "put_record", _PUT_ANSWER, StreamARN=arn, Data=b"x", PartitionKey="k")
    assert (found.line.unit, status_of(found)) == ("GB", ("priced", ""))


@pytest.mark.parametrize(("mode", "usd_per_gb"), [("ON_DEMAND", _RETRIEVAL_USD_PER_GB), ("PROVISIONED", 0.0)])
def test_reading_costs_the_bytes_of_on_demand_streams_only(prices: Prices, mode: str, usd_per_gb: float) -> None:
    stream = _stream(prices, mode)
    answered(
        prices,
        "kinesis",
        "get_shard_iterator",
        {"ShardIterator": f"first-{stream}"},
        StreamName=stream,
        ShardId="0",
        ShardIteratorType="LATEST",
    )
    for iterator, following in ((f"first-{stream}", f"second-{stream}"), (f"second-{stream}", None)):
        answer: dict[str, Any] = {
            "Records": [{"SequenceNumber": "1", "Data": b"x" * 3000, "PartitionKey": "k"}] * 2,
            **({"NextShardIterator": following} if following else {}),
        }
        (found,) = answered(prices, "kinesis", "get_records", answer, ShardIterator=iterator)
        assert found.usd == pytest.approx(6000 / GB * usd_per_gb, rel=1e-12)
        assert found.line.resource == stream
        assert found.line.status == ("priced" if usd_per_gb else "free")


def test_reading_a_stream_of_unknown_mode_says_what_was_assumed(prices: Prices) -> None:
    (found,) = answered(prices, "kinesis", "get_records", {"Records": []}, ShardIterator="from elsewhere")
    assert status_of(found) == ("free", "mode:provisioned")


def test_throttled_put_is_not_billed(prices: Prices) -> None:
    (found,) = refused(
        prices,
        "kinesis",
        "put_record",
        "ProvisionedThroughputExceededException",
        400,
        StreamName="s",
        Data=b"x",
        PartitionKey="k",
    )
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


def test_subscription_has_no_price_because_its_bytes_come_later() -> None:
    assert known(charge("Kinesis", "SubscribeToShard", facts={})) == ("unpriced", "no_usage", "")


def test_span_without_hooks_is_one_estimated_unit() -> None:
    assert known(charge("Kinesis", "PutRecord")) == ("estimated", "", "size:1_unit,mode:provisioned")


@pytest.mark.parametrize("size", [-1, math.nan, "big", None])
def test_impossible_size_is_unpriced(size: object) -> None:
    found = charge("Kinesis", "PutRecord", facts={aws_facts.RECORD_BYTES: [10, size]})
    assert known(found) == ("unpriced", "bad_usage", "")


@given(st.lists(st.integers(0, 10 * 1024 * KB), max_size=50))
def test_units_of_a_batch_are_never_fewer_than_its_records_or_its_bytes(sizes: list[int]) -> None:
    for mode, unit_bytes in (("PROVISIONED", 25 * KB), ("ON_DEMAND", KB)):
        found = charge("Kinesis", "PutRecords", facts={aws_facts.RECORD_BYTES: sizes, MODE: mode})
        units = found.quantity if mode == "PROVISIONED" else found.quantity * GB / KB
        assert units == pytest.approx(sum(max(1, -(-size // unit_bytes)) for size in sizes))
        assert len(sizes) <= units + 1e-6
        assert units * unit_bytes >= sum(sizes) - 1e-3


def test_reading_a_table_stream_costs_one_unit_a_call(prices: Prices) -> None:
    iterator = f"{ARN.format(service='dynamodb', name='table/orders/stream/2026')}|1|AAAA"
    (found,) = answered(prices, "dynamodbstreams", "get_records", {"Records": []}, ShardIterator=iterator)
    assert (found.quantity, found.usd) == (1, pytest.approx(0.02 / 1e5, rel=1e-12))
    assert (status_of(found), found.line.resource, found.line.unit) == (("priced", ""), "orders", "sRRU")
