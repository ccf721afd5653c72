"""Clients of services that moto does not bill: the stub checks what is sent and gives the answer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
from botocore.stub import Stubber

from tests.support.moto_server import REGION


class Stubbed(NamedTuple):
    """A real client and its stub."""

    client: Any
    stub: Any

    def call(self, method: str, answer: dict[str, Any], **params: Any) -> None:
        """Call a method of the client and have it answered."""
        self.stub.add_response(method, answer)
        getattr(self.client, method)(**params)

    def refuse(self, method: str, code: str, status: int) -> None:
        """Have the next call refused."""
        self.stub.add_client_error(method, code, http_status_code=status)


@contextmanager
def stubbed(service: str) -> Generator[Stubbed]:
    """A client in us-east-1 that reaches nobody."""
    session: Any = boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)
    client = session.client(service)
    with Stubber(client) as stub:
        yield Stubbed(client, stub)
        stub.assert_no_pending_responses()
