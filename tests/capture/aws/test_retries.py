"""Attempts that botocore repeats: one call is one charge, on a real server that fails first."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.capture.aws.pricing import Prices, status_of

_SECRET_USD = 0.05 / 10_000


class _Server(ThreadingHTTPServer):
    """Does what `script` says, a step a request, and then answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[str] = []
        self.requests = 0
        self.over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        self.rfile.read(int(self.headers["Content-Length"]))
        server.requests += 1
        step = server.script.pop(0) if server.script else "answer"
        match step:
            case "hang":
                server.over.wait(30)
                self.close_connection = True
            case "close":
                self.close_connection = True
            case "500":
                self._answer(500, {"__type": "InternalServiceError"})
            case "throttle":
                self._answer(400, {"__type": "ThrottlingException"})
            case "denied":
                self._answer(400, {"__type": "AccessDeniedException"})
            case _:
                self._answer(200, {"Name": "db", "SecretString": "s"})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[_Server]:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))  # pyright: ignore
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join(5)
        server.server_close()


def _client(server: _Server, mode: str) -> Any:
    session: Any = boto3.session.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    retries: Any = {"mode": mode, "total_max_attempts": 3}
    return session.client(
        "secretsmanager",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        config=Config(retries=retries, read_timeout=0.2, proxies={}),
    )


@pytest.mark.parametrize("mode", ["standard", "legacy"])
@pytest.mark.parametrize(
    ("script", "requests", "expected"),
    [
        ([], 1, (_SECRET_USD, "priced", "")),
        (["500"], 2, (_SECRET_USD, "estimated", "retried")),
        (["throttle", "throttle"], 3, (_SECRET_USD, "estimated", "retried")),
        (["close"], 2, (_SECRET_USD, "estimated", "retried")),
        (["hang"], 2, (_SECRET_USD, "estimated", "retried")),
        (["denied"], 1, (_SECRET_USD, "estimated", "failed_request")),
        (["500", "500", "500"], 3, (0, "free", "not_billed:error")),
        (["throttle", "throttle", "throttle"], 3, (0, "free", "not_billed:error")),
        (["close", "close", "close"], 3, (0, "unpriced", "")),
        (["hang", "hang", "hang"], 3, (0, "unpriced", "")),
    ],
)
def test_a_call_is_one_charge_however_often_it_is_tried(
    prices: Prices, server: _Server, mode: str, script: list[str], requests: int, expected: tuple[float, str, str]
) -> None:
    server.script = list(script)
    with suppress(ClientError, BotoCoreError):
        _client(server, mode).get_secret_value(SecretId="db")
    found = prices.one()
    assert server.requests == requests
    assert (found.usd, *status_of(found)) == (pytest.approx(expected[0], rel=1e-12), *expected[1:])
    assert found.line.reason == ("no_answer" if expected[1] == "unpriced" else "")


def test_call_to_nobody_was_never_sent(prices: Prices, server: _Server) -> None:
    client = _client(server, "standard")
    server.shutdown()
    server.server_close()
    with suppress(BotoCoreError):
        client.get_secret_value(SecretId="db")
    assert status_of(prices.one()) == ("free", "not_sent")
