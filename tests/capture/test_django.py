# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from spancost.capture.django import response_hook
from spancost.capture.instrumentors import hook_instrumentors
from tests.capture.harness import Recorder, fetch, read_some_and_leave, recording, wait_until, wsgi_server

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="only-for-tests", ROOT_URLCONF=__name__)
    django.setup()

closed: list[str] = []


def chunks() -> Iterator[bytes]:
    try:
        for _ in range(3):
            yield b"x" * 1000
    finally:
        closed.append("closed")


def endless_chunks() -> Iterator[bytes]:
    try:
        while True:
            yield b"x" * 100_000
    finally:
        closed.append("closed")


async def async_chunks() -> AsyncIterator[str]:
    for _ in range(4):
        yield "é" * 100


def sized(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * 500)


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(chunks())


def endless(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(endless_chunks())


def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(async_chunks())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(io.BytesIO(b"b" * 1234))


def boom(request: HttpRequest) -> HttpResponse:
    raise ValueError("boom")


urlpatterns = [
    path("sized", sized),
    path("empty", empty),
    path("stream", stream),
    path("endless", endless),
    path("async-stream", async_stream),
    path("file", file),
    path("boom", boom),
]


def instrument(provider: TracerProvider, **hooks: Any) -> Any:
    from django.core.handlers.wsgi import WSGIHandler

    DjangoInstrumentor().instrument(tracer_provider=provider, **hooks)
    return WSGIHandler()


@pytest.fixture(autouse=True)
def urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from django.urls import clear_url_caches

    monkeypatch.setattr(settings, "ROOT_URLCONF", __name__)
    monkeypatch.setattr(settings, "MIDDLEWARE", [])
    clear_url_caches()
    closed.clear()
    yield
    clear_url_caches()


@pytest.fixture
def traced() -> Iterator[tuple[Recorder, TracerProvider]]:
    with recording() as (recorder, provider):
        undo = hook_instrumentors()
        try:
            yield recorder, provider
        finally:
            DjangoInstrumentor().uninstrument()
            undo()


@pytest.mark.parametrize(("path", "size_bytes"), [("/sized", 500), ("/file", 1234), ("/empty", 0)])
def test_sized_answer_leaves_its_bytes_at_the_end_of_the_span(
    traced: tuple[Recorder, TracerProvider], path: str, size_bytes: int
) -> None:
    recorder, provider = traced
    with wsgi_server(instrument(provider)) as port:
        assert len(fetch(port, path).body) == size_bytes
    assert recorder.server().facts == {"response_bytes": size_bytes, "client_private": True}
    assert recorder.late == []


def test_error_page_counts_its_own_bytes(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with wsgi_server(instrument(provider)) as port:
        answer = fetch(port, "/boom")
    assert answer.status == 500
    assert recorder.server().facts["response_bytes"] == len(answer.body) > 0


def test_head_answer_has_no_body_bytes(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with wsgi_server(instrument(provider)) as port:
        fetch(port, "/sized", "HEAD")
    assert recorder.server().facts["response_bytes"] == 0


def test_streamed_bytes_are_reported_once_after_the_span(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with wsgi_server(instrument(provider)) as port:
        assert len(fetch(port, "/stream").body) == 3000
        wait_until(lambda: closed)
        assert recorder.server().facts == {"response_streaming": True, "client_private": True}
        assert recorder.late_bytes() == [3000]
    assert closed == ["closed"]
    assert len(recorder.late) == 1


def test_stream_left_by_the_client_reports_what_was_sent(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    with wsgi_server(instrument(provider)) as port:
        assert len(read_some_and_leave(port, "/endless", 250_000)) == 250_000
        (sent,) = recorder.late_bytes()
    assert sent >= 300_000
    assert closed == ["closed"]


@pytest.mark.parametrize(("path", "sizes"), [("/async-stream", [200] * 4), ("/sized", [500])])
def test_asgi_answers_are_measured_too(traced: tuple[Recorder, TracerProvider], path: str, sizes: list[int]) -> None:
    from django.core.handlers.asgi import ASGIHandler

    recorder, provider = traced
    instrument(provider)
    sent: list[int] = []

    async def ask() -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"shop.example")],
            "client": ("8.8.8.8", 5000),
            "server": ("127.0.0.1", 80),
        }
        requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        requests.put_nowait({"type": "http.request", "body": b""})

        async def send(message: Any) -> None:
            if body := message.get("body"):
                sent.append(len(body))

        await ASGIHandler()(scope, requests.get, send)

    asyncio.run(ask())
    assert sent == sizes
    if path == "/sized":
        assert recorder.server().facts == {"response_bytes": 500, "client_private": False}
    else:
        assert recorder.server().facts == {"response_streaming": True, "client_private": False}
        assert recorder.late_bytes() == [sum(sizes)]


def test_users_response_hook_is_still_called_and_its_error_is_handled_as_before(
    traced: tuple[Recorder, TracerProvider], caplog: pytest.LogCaptureFixture
) -> None:
    recorder, provider = traced

    def failing(span: Any, request: HttpRequest, response: HttpResponse) -> None:
        raise RuntimeError("the user's own defect")

    with wsgi_server(instrument(provider, response_hook=failing)) as port:
        assert fetch(port, "/sized").status == 200
    assert recorder.server().facts["response_bytes"] == 500
    assert "Exception raised by response_hook" in caplog.text


def test_instrumentor_active_before_the_hooks_is_joined() -> None:
    called: list[int] = []

    def response_hook(span: Any, request: HttpRequest, response: HttpResponse) -> None:
        called.append(response.status_code)

    with recording() as (recorder, provider):
        app = instrument(provider, response_hook=response_hook)
        undo = hook_instrumentors()
        try:
            with wsgi_server(app) as port:
                fetch(port, "/sized")
                assert recorder.server().facts["response_bytes"] == 500
                undo()
                recorder.seen.clear()
                fetch(port, "/sized")
                assert recorder.server().facts == {}
        finally:
            undo()
            DjangoInstrumentor().uninstrument()
    assert called == [200, 200]


def test_failing_hook_is_counted_and_changes_nothing(
    traced: tuple[Recorder, TracerProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, provider = traced

    def failing(*args: object) -> bool:
        raise RuntimeError("defect")

    monkeypatch.setattr("spancost.capture.django.has_no_body", failing)
    with wsgi_server(instrument(provider)) as port:
        assert len(fetch(port, "/sized").body) == 500
    assert recorder.failures == ["capture.django"]
    recorder.failures.clear()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.7"}, {"client_private": True, "forwarded": True}),
        ({"HTTP_VIA": "1.1 edge"}, {"client_private": True, "forwarded": True}),
        ({"HTTP_X_REQUEST_ID": "7"}, {"client_private": True}),
    ],
)
def test_forwarding_header_leaves_one_boolean_and_no_address(
    traced: tuple[Recorder, TracerProvider], headers: dict[str, str], expected: dict[str, bool]
) -> None:
    from django.test import RequestFactory

    recorder, provider = traced
    with provider.get_tracer("test").start_as_current_span("GET", kind=SpanKind.SERVER) as span:
        response_hook(span, RequestFactory().get("/", **headers), HttpResponse(b"hello"))  # pyright: ignore[reportArgumentType]
    assert recorder.server().facts == {"response_bytes": 5} | expected
