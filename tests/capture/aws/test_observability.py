"""CloudWatch metrics and logs, X-Ray, CloudFront invalidations: billed by what is in a call."""

from __future__ import annotations

import json
import math
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubbed import answered, refused
from tests.meters.aws.calls import charge, known

GB = 2**30
_METRIC_USD, _IMAGE_USD = 0.01 / 1000, 0.02 / 1000
_LOGS_USD_PER_GB, _RARE_LOGS_USD_PER_GB, _QUERY_USD_PER_GB = 0.50, 0.25, 0.005
_TRACE_USD, _RETRIEVED_TRACE_USD, _PATH_USD = 5.00 / 1e6, 0.50 / 1e6, 0.005


# --- CloudWatch ---------------------------------------------------------------------------------


def _stat(query_id: str) -> dict[str, Any]:
    metric = {"Metric": {"Namespace": "Shop", "MetricName": "Orders"}, "Period": 60, "Stat": "Sum"}
    return {"Id": query_id, "MetricStat": metric}


@pytest.mark.parametrize(
    ("queries", "metrics", "basis"),
    [
        ([_stat("a")], 1, ""),
        ([_stat(f"m{number}") for number in range(500)], 500, ""),
        ([_stat("a"), _stat("b"), {"Id": "sum", "Expression": "a + b"}], 2, ""),
        ([{"Id": "s", "Expression": "SEARCH('{Shop,Id} Orders', 'Sum')"}], 1, "search:1_metric"),
        ([_stat("a"), {"Id": "s", "Expression": 'SELECT AVG(Orders) FROM "Shop"', "Period": 60}], 2, "search:1_metric"),
    ],
)
def test_metric_data_costs_each_metric_asked_for(
    prices: Prices, queries: list[dict[str, Any]], metrics: int, basis: str
) -> None:
    (found,) = answered(prices, "cloudwatch", "get_metric_data", {}, MetricDataQueries=queries, StartTime=0, EndTime=60)
    assert (found.quantity, found.usd) == (metrics, pytest.approx(metrics * _METRIC_USD, rel=1e-12))
    assert status_of(found) == ("estimated" if basis else "priced", basis)


def test_put_metric_data_is_a_request_and_a_widget_an_image(prices: Prices) -> None:
    (found,) = answered(
        prices, "cloudwatch", "put_metric_data", {}, Namespace="Shop", MetricData=[{"MetricName": "Orders"}] * 20
    )
    assert (found.quantity, found.usd) == (1, pytest.approx(0.01 / 1000))
    (found,) = answered(prices, "cloudwatch", "get_metric_widget_image", {}, MetricWidget="{}")
    assert (found.usd, found.line.unit) == (pytest.approx(_IMAGE_USD), "image")


def test_metric_data_without_hooks_is_one_estimated_metric() -> None:
    assert known(charge("CloudWatch", "GetMetricData")) == ("estimated", "", "metrics:1")


# --- Logs ---------------------------------------------------------------------------------------


def _put_logs(prices: Prices, group: str, messages: list[str], answer: dict[str, Any] | None = None) -> Any:
    events = [{"timestamp": 0, "message": message} for message in messages]
    return answered(
        prices, "logs", "put_log_events", answer or {}, logGroupName=group, logStreamName="s", logEvents=events
    )


@pytest.mark.parametrize(
    ("log_class", "usd_per_gb"),
    [("STANDARD", _LOGS_USD_PER_GB), ("INFREQUENT_ACCESS", _RARE_LOGS_USD_PER_GB)],
)
def test_log_events_cost_their_bytes_and_26_each_by_the_class_of_their_group(
    prices: Prices, log_class: str, usd_per_gb: float
) -> None:
    group = f"/shop/{uuid4().hex}"
    (free,) = answered(prices, "logs", "create_log_group", {}, logGroupName=group, logGroupClass=log_class)
    assert status_of(free) == ("free", "")
    (found,) = _put_logs(prices, group, ["x" * 974, "é" * 487])
    assert found.usd == pytest.approx(2000 / GB * usd_per_gb, rel=1e-12)
    assert (status_of(found), found.line.resource) == (("priced", ""), group)


def test_class_of_a_group_is_learned_from_descriptions_and_standard_until_then(prices: Prices) -> None:
    group = f"/shop/{uuid4().hex}"
    (found,) = _put_logs(prices, group, ["x" * 74])
    assert (found.usd, status_of(found)) == (pytest.approx(100 / GB * 0.5), ("estimated", "class:STANDARD"))
    shown = {"logGroups": [{"logGroupName": group, "logGroupClass": "INFREQUENT_ACCESS"}]}
    answered(prices, "logs", "describe_log_groups", shown)
    (found,) = _put_logs(prices, group, ["x" * 74])
    assert (found.usd, status_of(found)) == (pytest.approx(100 / GB * 0.25), ("priced", ""))


@pytest.mark.parametrize(
    ("rejected", "billed"),
    [
        ({}, 4),
        ({"tooOldLogEventEndIndex": 1}, 3),
        ({"expiredLogEventEndIndex": 2}, 2),
        ({"tooNewLogEventStartIndex": 3}, 3),
        ({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}, 1),
        ({"tooOldLogEventEndIndex": 4}, 0),
    ],
)
def test_rejected_log_events_are_not_billed(prices: Prices, rejected: dict[str, int], billed: int) -> None:
    (found,) = _put_logs(prices, "g", ["x" * 74] * 4, {"rejectedLogEventsInfo": rejected})
    assert found.quantity * GB == pytest.approx(billed * 100)


def test_query_is_charged_once_when_it_is_seen_to_be_complete(prices: Prices) -> None:
    query = uuid4().hex
    (found,) = answered(
        prices,
        "logs",
        "start_query",
        {"queryId": query},
        logGroupName="g",
        startTime=0,
        endTime=1,
        queryString="fields",
    )
    assert known(found) == ("unpriced", "usage_comes_later", "")
    charged: list[float] = []
    for status in ("Running", "Complete", "Complete"):
        answer = {"status": status, "statistics": {"bytesScanned": float(3 * GB)}}
        (found,) = answered(prices, "logs", "get_query_results", answer, queryId=query)
        charged.append(found.usd)
    assert charged == [0, pytest.approx(3 * _QUERY_USD_PER_GB), 0]


@pytest.mark.parametrize(
    ("status", "usd"), [("Cancelled", 0.005), ("Timeout", 0.005), ("Failed", 0.0), ("Scheduled", 0.0)]
)
def test_cancelled_query_is_charged_and_a_failed_one_is_not(prices: Prices, status: str, usd: float) -> None:
    answer = {"status": status, "statistics": {"bytesScanned": float(GB)}}
    (found,) = answered(prices, "logs", "get_query_results", answer, queryId=uuid4().hex)
    assert found.usd == pytest.approx(usd)


def test_logs_without_hooks_have_no_usage() -> None:
    for operation in ("PutLogEvents", "GetQueryResults"):
        assert known(charge("CloudWatch Logs", operation)) == ("unpriced", "no_usage", "")


@pytest.mark.parametrize("size", [-1, math.nan, "big"])
def test_impossible_size_of_an_event_is_unpriced(size: object) -> None:
    found = charge("CloudWatch Logs", "PutLogEvents", facts={aws_facts.RECORD_BYTES: [size]})
    assert known(found) == ("unpriced", "bad_usage", "")


def test_refused_log_events_cost_nothing(prices: Prices) -> None:
    (found,) = refused(
        prices,
        "logs",
        "put_log_events",
        "ResourceNotFoundException",
        400,
        logGroupName="g",
        logStreamName="s",
        logEvents=[{"timestamp": 0, "message": "m"}],
    )
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


# --- X-Ray --------------------------------------------------------------------------------------


def _segment(trace_id: str) -> str:
    return json.dumps({"name": "shop", "id": "70de5b6f19ff9a0a", "trace_id": trace_id})


def test_trace_is_recorded_once_however_many_segments_and_calls_it_takes(prices: Prices) -> None:
    first, second = f"1-{uuid4().hex}", f"1-{uuid4().hex}"
    counts: list[float] = []
    for traces in ([first, first, second], [second], [f"1-{uuid4().hex}"]):
        (found,) = answered(
            prices, "xray", "put_trace_segments", {}, TraceSegmentDocuments=[_segment(trace) for trace in traces]
        )
        counts.append(found.quantity)
        assert found.usd == pytest.approx(found.quantity * _TRACE_USD, rel=1e-12)
        assert status_of(found) == ("estimated", "traces:this_process")
    assert counts == [2, 0, 1]


def test_trace_that_was_refused_counts_when_it_is_sent_again(prices: Prices) -> None:
    documents = [_segment(f"1-{uuid4().hex}")]
    (found,) = refused(prices, "xray", "put_trace_segments", "ThrottledException", 429, TraceSegmentDocuments=documents)
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))
    (found,) = answered(prices, "xray", "put_trace_segments", {}, TraceSegmentDocuments=documents)
    assert found.quantity == 1


def test_reading_costs_the_traces_returned_or_gone_through(prices: Prices) -> None:
    (found,) = answered(prices, "xray", "batch_get_traces", {"Traces": [{}, {}, {}]}, TraceIds=["a", "b", "c"])
    assert (found.quantity, found.usd) == (3, pytest.approx(3 * _RETRIEVED_TRACE_USD))
    (found,) = answered(prices, "xray", "get_trace_summaries", {"TracesProcessedCount": 1234}, StartTime=0, EndTime=60)
    assert (found.quantity, status_of(found)) == (1234, ("priced", ""))


def test_graphs_do_not_say_how_many_traces_they_go_through() -> None:
    assert known(charge("XRay", "GetServiceGraph", facts={})) == ("unpriced", "no_usage", "")


# --- CloudFront ---------------------------------------------------------------------------------


@pytest.mark.parametrize("paths", [1, 2, 15])
def test_invalidation_costs_each_path(prices: Prices, paths: int) -> None:
    batch = {"Paths": {"Quantity": paths, "Items": [f"/{n}*" for n in range(paths)]}, "CallerReference": "r"}
    (found,) = answered(prices, "cloudfront", "create_invalidation", {}, DistributionId="E123", InvalidationBatch=batch)
    assert (found.quantity, found.usd) == (paths, pytest.approx(paths * _PATH_USD, rel=1e-12))
    assert (status_of(found), found.line.resource) == (("priced", ""), "E123")


@given(st.lists(st.text(max_size=300), max_size=30))
def test_billed_log_bytes_are_utf_8_and_26_an_event(messages: list[str]) -> None:
    sizes = [len(message.encode()) + 26 for message in messages]
    found = charge("CloudWatch Logs", "PutLogEvents", facts={aws_facts.RECORD_BYTES: sizes})
    assert found.quantity * GB == pytest.approx(sum(sizes))
