"""WebSocket messages, IoT messages, Data API requests: each is billed by chunks of its size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from tests.capture.aws.pricing import KB, Prices, status_of
from tests.capture.aws.stubbed import answered, refused
from tests.meters.aws.calls import charge, known

_WEBSOCKET_USD, _IOT_USD, _DATA_API_USD = 1.00 / 1e6, 1.00 / 1e6, 0.35 / 1e6
_CLUSTER = {"resourceArn": "arn:aws:rds:us-east-1:1:cluster:shop", "secretArn": "arn:aws:secretsmanager:us-east-1:1:s"}


@pytest.mark.parametrize(
    ("size_bytes", "messages"), [(0, 1), (1, 1), (32 * KB, 1), (32 * KB + 1, 2), (64 * KB, 2), (128 * KB, 4)]
)
def test_websocket_message_costs_each_started_32_kb(prices: Prices, size_bytes: int, messages: int) -> None:
    (found,) = answered(
        prices,
        "apigatewaymanagementapi",
        "post_to_connection",
        {},
        Data=b"x" * size_bytes,
        ConnectionId="someone",
    )
    assert (found.quantity, found.usd) == (messages, pytest.approx(messages * _WEBSOCKET_USD, rel=1e-12))
    assert (status_of(found), found.line.resource) == (("priced", ""), "")


def test_message_to_a_closed_connection_costs_nothing(prices: Prices) -> None:
    (found,) = refused(
        prices, "apigatewaymanagementapi", "post_to_connection", "GoneException", 410, Data=b"x", ConnectionId="gone"
    )
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


@pytest.mark.parametrize(("size_bytes", "messages"), [(0, 1), (5 * KB, 1), (5 * KB + 1, 2), (128 * KB, 26)])
def test_iot_message_costs_each_started_5_kb(prices: Prices, size_bytes: int, messages: int) -> None:
    (found,) = answered(prices, "iot-data", "publish", {}, topic="meters/7", payload=b"x" * size_bytes)
    assert (found.quantity, found.usd) == (messages, pytest.approx(messages * _IOT_USD, rel=1e-12))
    assert (status_of(found), found.line.resource) == (("priced", ""), "")


@pytest.mark.parametrize(
    ("sent", "received", "requests"),
    [(1, 20, 1), (32 * KB, 0, 1), (32 * KB, 1, 2), (1, 32 * KB - 1, 1), (1, 32 * KB, 2), (40 * KB, 40 * KB, 3)],
)
def test_statement_costs_each_started_32_kb_both_ways(prices: Prices, sent: int, received: int, requests: int) -> None:
    (found,) = answered(
        prices,
        "rds-data",
        "execute_statement",
        {"_headers": {"content-length": str(received)}},
        sql="s" * sent,
        **_CLUSTER,
    )
    assert (found.quantity, found.usd) == (requests, pytest.approx(requests * _DATA_API_USD, rel=1e-12))
    assert status_of(found) == ("priced", "")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("execute_statement", {"parameters": [{"name": "body", "value": {"blobValue": b"x" * 33 * KB}}]}),
        (
            "batch_execute_statement",
            {"parameterSets": [[{"name": "b", "value": {"stringValue": "x" * 11 * KB}}], []] * 3},
        ),
    ],
)
def test_parameters_count_as_payload(prices: Prices, method: str, parameters: dict[str, Any]) -> None:
    (found,) = answered(
        prices, "rds-data", method, {"_headers": {"content-length": "2"}}, sql="insert", **_CLUSTER, **parameters
    )
    assert found.quantity == 2


def test_transaction_is_a_request_at_its_begin_and_its_end(prices: Prices) -> None:
    headers = {"_headers": {"content-length": "30"}}
    answered_begin = answered(prices, "rds-data", "begin_transaction", dict(headers), **_CLUSTER)
    answered_end = answered(prices, "rds-data", "commit_transaction", dict(headers), transactionId="t", **_CLUSTER)
    assert [found.quantity for found in (*answered_begin, *answered_end)] == [1, 1]


def test_refused_statement_is_counted_and_marked(prices: Prices) -> None:
    (found,) = refused(prices, "rds-data", "execute_statement", "BadRequestException", 400, sql="selec", **_CLUSTER)
    assert (found.usd, status_of(found)) == (pytest.approx(_DATA_API_USD), ("estimated", "failed_request"))
    (found,) = refused(prices, "rds-data", "execute_statement", "ServiceUnavailableError", 503, sql="s", **_CLUSTER)
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


@pytest.mark.parametrize(
    ("service", "operation"),
    [("ApiGatewayManagementApi", "PostToConnection"), ("IoT Data Plane", "Publish"), ("RDS Data", "ExecuteStatement")],
)
def test_message_of_unknown_size_is_one_estimated_unit(service: str, operation: str) -> None:
    found = charge(service, operation)
    assert (found.quantity, known(found)) == (1, ("estimated", "", "size:1_chunk"))


@given(st.integers(0, 10**9))
def test_chunks_cover_the_message_and_no_more(size: int) -> None:
    for service, operation, chunk in (
        ("ApiGatewayManagementApi", "PostToConnection", 32 * KB),
        ("IoT Data Plane", "Publish", 5 * KB),
    ):
        found = charge(service, operation, facts={aws_facts.REQUEST_BYTES: size})
        assert (found.quantity - 1) * chunk <= max(size, 0) <= found.quantity * chunk
