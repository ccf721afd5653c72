"""The hooks of all services: calls without an answer, failures of our own, spans that are not ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, ParamValidationError

from spancost.capture import aws as hooks
from spancost.capture import facts as capture_facts
from tests.capture.aws.pricing import Prices, status_of
from tests.support.moto_server import MotoServer


def test_call_to_a_closed_port_is_free(prices: Prices) -> None:
    session: Any = boto3.session.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    no_retries = Config(retries={"total_max_attempts": 1})
    client = session.client("sqs", endpoint_url="http://127.0.0.1:9", config=no_retries)
    with pytest.raises(EndpointConnectionError):
        client.list_queues()
    assert status_of(prices.one()) == ("free", "not_sent")


def test_call_with_wrong_parameters_is_free(moto: MotoServer, prices: Prices) -> None:
    with pytest.raises(ParamValidationError):
        moto.client("dynamodb").get_item(TableName="t")
    assert status_of(prices.one()) == ("free", "not_sent")


class _Node:
    """A span as far as the hooks see it."""

    def __init__(self) -> None:
        self._spancost_node = SimpleNamespace(facts=None)


@pytest.mark.parametrize("service", ["s3", "dynamodb", "sqs", "sns", "lambda", "kms"])
@pytest.mark.parametrize(
    "operation", ["PutItem", "BatchGetItem", "SendMessageBatch", "Publish", "Invoke", "UploadPart"]
)
@pytest.mark.parametrize("params", [None, {}, {"Item": 1, "RequestItems": [], "Entries": 3, "Body": 5}, [], "x", 1.5])
def test_hooks_never_raise_and_change_nothing(service: str, operation: str, params: Any) -> None:
    failures: list[str] = []
    capture_facts.connect(None, failures.append)
    before = repr(params)
    try:
        span = _Node()
        hooks.request_hook(span, service, operation, params)
        hooks.response_hook(span, service, operation, params)
    finally:
        capture_facts.connect(None, None)
    assert repr(params) == before
    assert set(failures) <= {"capture.botocore"}


def test_spans_without_a_node_are_left_alone() -> None:
    hooks.request_hook(None, "s3", "PutObject", {"Bucket": "b"})
    hooks.response_hook(object(), "s3", "PutObject", {})
