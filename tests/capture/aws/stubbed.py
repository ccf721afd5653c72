"""boto3 clients whose answers are given: the parameters are checked by botocore, nothing is sent."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from spancost.charge import Charge
from tests.capture.aws.pricing import Prices

ARN = "arn:aws:{service}:us-east-1:123456789012:{name}"


@cache
def _client(service: str) -> Any:
    session: Any = boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    return session.client(service, endpoint_url="http://127.0.0.1:9")


@contextmanager
def stubbed_client(service: str) -> Generator[tuple[Any, Stubber]]:
    """A client in us-east-1, and what answers for it."""
    client = _client(service)
    with Stubber(client) as stubber:
        yield client, stubber


def answered(prices: Prices, service: str, method: str, answer: dict[str, Any], **params: Any) -> Sequence[Charge]:
    """Make one call that is answered, and return its charges."""
    headers = answer.get("_headers", {})
    metadata = {"HTTPStatusCode": 200, "RetryAttempts": 0, "HTTPHeaders": headers}
    shown = {key: value for key, value in answer.items() if key != "_headers"}
    with stubbed_client(service) as (client, stubber):
        stubber.add_response(method, {**shown, "ResponseMetadata": metadata})
        getattr(client, method)(**params)
    return prices.take()


def refused(prices: Prices, service: str, method: str, code: str, status: int, **params: Any) -> Sequence[Charge]:
    """Make one call that is refused, and return its charges."""
    with stubbed_client(service) as (client, stubber):
        stubber.add_client_error(method, code, http_status_code=status)
        with pytest.raises(ClientError):
            getattr(client, method)(**params)
    return prices.take()
