"""The demo's load is the same at every run and reports what was not answered."""

from __future__ import annotations

import json
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from examples.shop.load import ROUTES, request_count, run_load
from examples.shop.stack import APPS


class _Recorder(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        server = self.server
        assert isinstance(server, _Recorder)
        server.seen.append((self.command, self.path, body.decode()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def recorder() -> Generator[_Recorder]:
    server = _Recorder()
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_two_loads_of_one_seed_send_the_same_requests_in_the_same_order(recorder: _Recorder) -> None:
    urls = dict.fromkeys(APPS, f"http://127.0.0.1:{recorder.server_port}")
    run_load(urls, per_route=3, concurrency=1)
    first = list(recorder.seen)
    recorder.seen.clear()
    run_load(urls, per_route=3, concurrency=1)
    assert recorder.seen == first
    assert len(first) == request_count(3) == 3 * (len(ROUTES) + 1)
    assert all(json.loads(body) for _, _, body in first if body)


def test_another_status_than_expected_is_a_failure_with_its_route(recorder: _Recorder) -> None:
    urls = dict.fromkeys(APPS, f"http://127.0.0.1:{recorder.server_port}")
    result = run_load(urls, per_route=1)
    # The recorder says 200 to everything: wrong for the 404, the 202 and the 201.
    assert sorted(result.failures) == [
        "assistant POST /feedback: status 200",
        "office POST /invoices/: status 200",
        "storefront GET /nowhere/0: status 200",
    ]
    assert result.sent - result.answered == 3
