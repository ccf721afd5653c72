"""Stand-ins for the engine: nodes on spans, facts read when a span ends, late reports collected."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

from spancost.capture import facts as capture_facts


class Seen(NamedTuple):
    """A span as it ended."""

    name: str
    kind: SpanKind
    facts: dict[str, Any]
    attributes: dict[str, Any]


class Recorder(SpanProcessor):
    """Gives every span a node and keeps the facts it has when it ends."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.late: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[str] = []
        self._changed = threading.Condition()

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        setattr(span, capture_facts.NODE_ATTRIBUTE, SimpleNamespace(facts=None))

    def _on_ending(self, span: Span) -> None:
        facts = getattr(span, capture_facts.NODE_ATTRIBUTE).facts
        with self._changed:
            self.seen.append(Seen(span.name, span.kind, dict(facts or {}), dict(span.attributes or {})))
            self._changed.notify_all()

    def on_end(self, span: ReadableSpan) -> None:
        pass

    def report_late(self, span: Any, facts: dict[str, Any]) -> None:
        with self._changed:
            self.late.append((span.name, facts))
            self._changed.notify_all()

    @property
    def servers(self) -> list[Seen]:
        return [span for span in self.seen if span.kind is SpanKind.SERVER]

    def server(self) -> Seen:
        """Wait for the only server span and return it."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.servers, timeout=5)
        (span,) = self.servers
        return span

    def late_bytes(self, count: int = 1) -> list[int]:
        """Wait for late reports and return their sizes."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.late) >= count, timeout=5)
        assert all(set(facts) == {"response_bytes"} for _, facts in self.late)
        return [facts["response_bytes"] for _, facts in self.late]


@contextmanager
def recording() -> Generator[tuple[Recorder, TracerProvider]]:
    """A provider whose spans have nodes, and what became of them."""
    recorder = Recorder()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recorder)
    capture_facts.connect(recorder.report_late, recorder.failures.append)
    try:
        yield recorder, provider
        assert recorder.failures == []
    finally:
        capture_facts.connect(None, None)
        provider.shutdown()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def fetch(port: int, path: str, method: str = "GET") -> Answer:
    """Ask a server on the loopback interface."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
    finally:
        connection.close()


def read_some_and_leave(port: int, path: str, size_bytes: int) -> bytes:
    """Read the start of an answer, then close the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(size_bytes)
    finally:
        connection.close()


def wait_until(condition: Any, timeout_seconds: float = 5.0) -> None:
    """Poll for something that gives no signal."""
    end = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


@contextmanager
def wsgi_server(app: Any) -> Generator[int]:
    """Serve a WSGI application by werkzeug, a thread per request; the value is the port."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
