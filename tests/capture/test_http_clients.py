# pyright: reportMissingTypeStubs=false
"""Real clients under their real instrumentations against a local server: what the hooks leave with the spans."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider

from spancost.capture import http_clients
from spancost.capture.instrumentors import hook_instrumentors
from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.egress import REQUEST_BYTES
from spancost.meters.http_api import HTTP_QUANTITY, HttpApiMeter
from spancost.prices.http_rules import HttpRules, rules_from
from tests.capture.harness import Recorder, Seen, recording

OWN = [
    {"path": "/units", "quantity": "response.json.units or count(request.json.items[])"},
    {"path": "/form", "quantity": "segments(request.form.Body)"},
    {"path": "/header", "quantity": 'response.header["x-units"]'},
    {"path": "/query", "quantity": 'count(request.query.q, "|") or 1'},
    {"path": "/size", "quantity": "request.bytes / 1000 + response.bytes * 0"},
    {"path": "/plain"},
]
RULES = HttpRules.shipped().with_own(
    rules_from(
        [{"host": "127.0.0.1", "usd": "0.01", "unit": "unit", "operation": "x", **rule} for rule in OWN], "own.yaml"
    )
)
ITEMS = {"items": ["a", "b", "c"]}


class Handler(BaseHTTPRequestHandler):
    """Answers JSON that says how many bytes came, and whatever the path asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            got = 0
            while size := int(self.rfile.readline(), 16):
                got += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            got = len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        path, _, query = self.path.partition("?")
        if "moved" in query:
            self.send_response(307)
            self.send_header("Location", path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        answer: dict[str, Any] = {"got": got}
        if "units" in query:
            answer["units"] = 7
        body = json.dumps(answer).encode()
        self.send_response(429 if "refuse" in query else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Units", "2.5")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)
    server.server_close()


@contextmanager
def instrumented(instrumentor: Any, **options: Any) -> Generator[Recorder]:
    """Calls are measured by `RULES`, and what the hooks left with each span is recorded."""
    http_clients.set_rules(RULES)
    undo = hook_instrumentors()
    with recording() as (recorder, provider):
        instrumentor.instrument(tracer_provider=provider, **options)
        try:
            yield recorder
        finally:
            instrumentor.uninstrument()
            undo()
            http_clients.set_rules(None)


def quantities(recorder: Recorder) -> list[float | None]:
    """The quantity of each span; beside it only the size of the upload may be left."""
    assert all(set(span.facts) <= {HTTP_QUANTITY, REQUEST_BYTES} for span in recorder.seen)
    return [span.facts.get(HTTP_QUANTITY) for span in recorder.seen]


def charge_of(span: Seen) -> Charge:
    (charge,) = HttpApiMeter(RULES).measure(SpanView(span.name, CLIENT, "", span.attributes, 0, 1, span.facts))
    return charge


# --- requests ------------------------------------------------------------------------------------


def test_requests_shows_both_bodies(url: str) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        assert requests.post(f"{url}/units?units", json=ITEMS, timeout=5).json()["units"] == 7
        assert requests.post(f"{url}/units", json=ITEMS, timeout=5).json()["got"] == len(json.dumps(ITEMS))
        requests.post(f"{url}/form", data={"Body": "a" * 161, "To": "+1555"}, timeout=5)
        requests.get(f"{url}/header", timeout=5)
        requests.get(f"{url}/query?q=a|b", timeout=5)
        requests.get(f"{url}/query", timeout=5)
        requests.post(f"{url}/size", data=b"x" * 2000, timeout=5)
    assert quantities(recorder) == [7, 3, 2, 2.5, None, None, 2]
    charges = [charge_of(span) for span in recorder.seen]
    assert [charge.quantity for charge in charges] == [7, 3, 2, 2.5, 2, 1, 2]
    assert [charge.line.status for charge in charges] == ["priced"] * 5 + ["estimated"] + ["priced"]
    assert charges[0].usd == pytest.approx(7 * 0.01, rel=1e-12)
    assert not [span for span in recorder.seen if "1555" in repr(span.facts)]


def test_a_streamed_answer_of_requests_is_left_to_the_application(url: str) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        with requests.post(f"{url}/units?units", json=ITEMS, stream=True, timeout=5) as response:
            assert json.loads(b"".join(response.iter_content(3)))["units"] == 7
        with requests.get(f"{url}/units?units", stream=True, timeout=5) as response:
            assert response.raw.read(5)
    assert quantities(recorder) == [3, None]


def test_a_body_that_requests_reads_from_a_stream_is_sent_whole(url: str) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        chunks = (piece for piece in (b'{"items": ', b"[1]}"))
        assert requests.post(f"{url}/units", data=chunks, timeout=5).json()["got"] == 14
        files = {"file": ("a.txt", b"x" * 1000)}
        assert requests.post(f"{url}/form", data={"Body": "hello"}, files=files, timeout=5).json()["got"] > 1000
    assert quantities(recorder) == [None, None]
    assert charge_of(recorder.seen[0]).line.basis == "quantity:1_unit"


def test_a_refused_call_and_a_host_without_a_quantity_leave_nothing(url: str) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        requests.post(f"{url}/units?refuse", json=ITEMS, timeout=5)
        requests.post(f"{url}/plain", json=ITEMS, timeout=5)
        requests.get(f"{url.replace('127.0.0.1', 'localhost')}/units?units", timeout=5)
        with pytest.raises(requests.ConnectionError):
            requests.get("http://127.0.0.1:1/units", timeout=5)
    assert quantities(recorder) == [None] * 4
    assert charge_of(recorder.seen[0]).line.status == "free"


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 50_000, b"[" + b"1," * 200_000 + b"1]", b""])
def test_a_body_that_cannot_be_read_changes_nothing(url: str, body: bytes) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        assert requests.post(f"{url}/units", data=body, timeout=5).json()["got"] == len(body)
    assert quantities(recorder) == [None]


def test_requests_makes_one_span_of_a_redirected_call(url: str) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        assert requests.post(f"{url}/units?moved", json=ITEMS, timeout=5).status_code == 200
    assert quantities(recorder) == [3]


def test_the_users_hook_runs_after_ours(url: str) -> None:
    seen: list[Any] = []

    def hook(span: Any, request: Any, response: Any) -> None:
        seen.append(response.status_code)

    with instrumented(RequestsInstrumentor(), response_hook=hook) as recorder:
        requests.post(f"{url}/units", json=ITEMS, timeout=5)
    assert seen == [200]
    assert quantities(recorder) == [3]


def test_a_hook_that_fails_is_counted_and_the_application_sees_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, *args: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(HttpRules, "measures", fail)
    with instrumented(RequestsInstrumentor()) as recorder:
        assert requests.post(f"{url}/units?units", json=ITEMS, timeout=5).json()["units"] == 7
        assert recorder.failures == ["capture.http_clients"]
        recorder.failures.clear()


def test_nothing_is_measured_without_rules_and_for_spans_that_are_not_priced(url: str) -> None:
    with instrumented(RequestsInstrumentor()) as recorder:
        http_clients.set_rules(None)
        requests.post(f"{url}/units", json=ITEMS, timeout=5)
    assert quantities(recorder) == [None]
    http_clients.set_rules(RULES)
    undo = hook_instrumentors()
    RequestsInstrumentor().instrument(tracer_provider=TracerProvider(shutdown_on_exit=False))
    try:
        assert requests.post(f"{url}/units", json=ITEMS, timeout=5).status_code == 200
    finally:
        RequestsInstrumentor().uninstrument()
        undo()
        http_clients.set_rules(None)


def test_the_size_of_an_upload_is_kept_whatever_the_answer_and_the_host_are(url: str) -> None:
    """httpx: a stream of unknown length has none. aiohttp shows no length that it computes itself."""

    def uploads(recorder: Recorder) -> list[int | None]:
        return [span.facts.get(REQUEST_BYTES) for span in recorder.seen]

    body = b"x" * 2000
    with instrumented(RequestsInstrumentor()) as recorder:
        requests.post(f"{url}/plain?refuse", data=body, timeout=5)
        requests.post(f"{url}/elsewhere", data={"a": "b"}, timeout=5)
        requests.get(f"{url}/plain", timeout=5)
    assert uploads(recorder) == [2000, 3, None]
    with instrumented(HTTPXClientInstrumentor()) as recorder, httpx.Client() as client:
        client.post(f"{url}/plain", content=body)
        client.post(f"{url}/plain", content=iter([body]))
        client.get(f"{url}/plain")
    assert uploads(recorder) == [2000, None, None]
    with instrumented(URLLib3Instrumentor()) as recorder, urllib3.PoolManager() as pool:
        pool.request("POST", f"{url}/plain", body=body)
        pool.request("GET", f"{url}/plain")
    assert uploads(recorder) == [2000, None]


# --- httpx ---------------------------------------------------------------------------------------


def test_httpx_shows_requests_that_lie_in_memory_and_headers(url: str) -> None:
    with instrumented(HTTPXClientInstrumentor()) as recorder, httpx.Client() as client:
        assert client.post(f"{url}/units?units", json=ITEMS).json()["units"] == 7
        client.post(f"{url}/form", data={"Body": "a" * 161})
        client.get(f"{url}/header")
        client.get(f"{url}/query?q=a|b")
        assert client.post(f"{url}/units", content=iter([b'{"items":', b"[1]}"])).json()["got"] == 13
        with client.stream("POST", f"{url}/units", json=ITEMS) as response:
            assert json.loads(response.read())["got"] > 0
    assert quantities(recorder) == [3, 2, 2.5, None, None, 3]
    assert charge_of(recorder.seen[3]).quantity == 2


def test_httpx_async_shows_the_same_and_runs_the_users_hook(url: str) -> None:
    seen: list[int] = []

    async def hook(span: Any, request: Any, response: Any) -> None:
        await asyncio.sleep(0)
        seen.append(response.status_code)

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"items":'
        yield b"[1]}"

    async def calls() -> None:
        async with httpx.AsyncClient() as client:
            assert (await client.post(f"{url}/units?units", json=ITEMS)).json()["units"] == 7
            await client.get(f"{url}/header")
            assert (await client.post(f"{url}/units", content=chunks())).json()["got"] == 13

    with instrumented(HTTPXClientInstrumentor(), async_response_hook=hook) as recorder:
        asyncio.run(calls())
    assert quantities(recorder) == [3, 2.5, None]
    assert seen == [200, 200, 200]


def test_a_hook_that_httpx_would_not_run_does_not_push_ours_out(url: str) -> None:
    seen: list[Any] = []

    def hook(*args: Any) -> None:
        seen.append(args)

    async def call() -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{url}/units", json=ITEMS)

    with instrumented(HTTPXClientInstrumentor(), async_response_hook=hook) as recorder:
        asyncio.run(call())
    assert quantities(recorder) == [3]
    assert seen == []


def test_httpx2_shows_what_httpx_does(url: str) -> None:
    httpx2 = pytest.importorskip("httpx2")
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.httpx")
    if not hasattr(instrumentation, "HTTPX2ClientInstrumentor"):
        pytest.skip("this instrumentation does not know httpx2")
    with instrumented(instrumentation.HTTPX2ClientInstrumentor()) as recorder, httpx2.Client() as client:
        assert client.post(f"{url}/units?units", json=ITEMS).json()["units"] == 7
        client.get(f"{url}/header")
    assert quantities(recorder) == [3, 2.5]


def test_httpx_makes_a_span_of_each_hop(url: str) -> None:
    with instrumented(HTTPXClientInstrumentor()) as recorder, httpx.Client(follow_redirects=True) as client:
        assert client.post(f"{url}/units?moved", json=ITEMS).status_code == 200
    assert quantities(recorder) == [3, 3]


# --- urllib3 -------------------------------------------------------------------------------------


def test_urllib3_shows_the_request_and_then_the_answer(url: str) -> None:
    with instrumented(URLLib3Instrumentor()) as recorder, urllib3.PoolManager() as pool:
        assert pool.request("POST", f"{url}/units?units", json=ITEMS).json()["units"] == 7
        assert pool.request("POST", f"{url}/units", json=ITEMS).json()["got"] > 0
        body = "Body=" + "a" * 161
        pool.request("POST", f"{url}/form", body=body, headers={"content-type": "application/x-www-form-urlencoded"})
        pool.request("GET", f"{url}/header")
        response = pool.request("POST", f"{url}/units?units", json=ITEMS, preload_content=False)
        assert json.loads(response.read())["units"] == 7
        pool.request("POST", f"{url}/units?refuse", json=ITEMS)
    assert quantities(recorder) == [7, 3, 2, 2.5, 3, 3]
    assert [charge_of(span).line.status for span in recorder.seen[-2:]] == ["priced", "free"]


# --- aiohttp -------------------------------------------------------------------------------------


def test_aiohttp_shows_headers_and_the_url(url: str) -> None:
    async def calls() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/units?units", json=ITEMS) as response:
                assert (await response.json())["units"] == 7
            for path in ("/header", "/query?q=a|b", "/header?refuse"):
                async with session.get(f"{url}{path}") as response:
                    assert (await response.json())["got"] == 0
            with pytest.raises(aiohttp.ClientError):
                await session.get("http://127.0.0.1:1/header")

    with instrumented(AioHttpClientInstrumentor()) as recorder:
        asyncio.run(calls())
    assert quantities(recorder) == [None, 2.5, None, None, None]
    assert charge_of(recorder.seen[0]).line.basis == "quantity:1_unit"
    assert charge_of(recorder.seen[2]).quantity == 2


@pytest.mark.parametrize(
    "instrumentor", [RequestsInstrumentor, HTTPXClientInstrumentor, URLLib3Instrumentor, AioHttpClientInstrumentor]
)
def test_clients_instrumented_before_us_are_left_as_they_are(instrumentor: Callable[[], Any]) -> None:
    client: Any = instrumentor()
    client.instrument()
    try:
        before: dict[str, Any] = {**vars(client)}
        undo = hook_instrumentors()
        assert vars(client) == before
        undo()
    finally:
        client.uninstrument()
