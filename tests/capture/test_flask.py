# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask.typing import ResponseReturnValue
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from werkzeug.wsgi import wrap_file

from spancost.capture.instrumentors import hook_instrumentors
from tests.capture.harness import Recorder, fetch, read_some_and_leave, recording, wait_until, wsgi_server

FILE_BYTES = 70_000


@pytest.fixture
def traced() -> Iterator[tuple[Recorder, TracerProvider]]:
    with recording() as (recorder, provider):
        undo = hook_instrumentors()
        try:
            yield recorder, provider
        finally:
            undo()


@pytest.fixture
def recorder(traced: tuple[Recorder, TracerProvider]) -> Recorder:
    return traced[0]


@pytest.fixture
def closed() -> list[str]:
    return []


def make_app(provider: TracerProvider, folder: Path, closed: list[str]) -> flask.Flask:
    app = flask.Flask("shop")
    FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
    file = folder / "file.bin"
    file.write_bytes(b"f" * FILE_BYTES)

    def sized() -> str:
        return "x" * 500

    def chunks() -> Iterator[bytes]:
        try:
            for _ in range(3):
                yield b"x" * 1000
        finally:
            closed.append("closed")

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.append("closed")

    def broken() -> Iterator[bytes]:
        yield b"x" * 700
        raise ConnectionResetError("the shop burnt down")

    def send_pathless() -> ResponseReturnValue:
        return flask.send_file(io.BytesIO(b"b" * 1234), mimetype="text/plain")

    def send_unknown() -> ResponseReturnValue:
        response = flask.send_file(file)
        del response.headers["Content-Length"]
        return response

    def boom() -> str:
        raise ValueError("boom")

    app.add_url_rule("/sized", view_func=sized)
    app.add_url_rule("/stream", "stream", lambda: flask.Response(chunks()))
    app.add_url_rule("/context", "context", lambda: flask.Response(flask.stream_with_context(chunks())))
    app.add_url_rule("/endless", "endless", lambda: flask.Response(endless()))
    app.add_url_rule("/broken", "broken", lambda: flask.Response(broken()))
    app.add_url_rule("/file", "file", lambda: flask.send_file(file))
    app.add_url_rule("/bytes-file", view_func=send_pathless)
    app.add_url_rule("/unknown-file", view_func=send_unknown)
    app.add_url_rule("/boom", view_func=boom)
    app.add_url_rule("/none", "none", lambda: ("", 204))
    return app


@pytest.fixture
def app(traced: tuple[Recorder, TracerProvider], tmp_path: Path, closed: list[str]) -> flask.Flask:
    return make_app(traced[1], tmp_path, closed)


@pytest.mark.parametrize(
    ("path", "size_bytes"),
    [("/sized", 500), ("/file", FILE_BYTES), ("/bytes-file", 1234), ("/none", 0)],
)
def test_sized_answer_leaves_its_bytes_at_the_end_of_the_span(
    app: flask.Flask, recorder: Recorder, path: str, size_bytes: int
) -> None:
    with wsgi_server(app) as port:
        assert len(fetch(port, path).body) == size_bytes
    assert recorder.server().facts == {"response_bytes": size_bytes, "client_private": True}
    assert recorder.late == []


def test_error_page_counts_its_own_bytes(app: flask.Flask, recorder: Recorder) -> None:
    with wsgi_server(app) as port:
        answer = fetch(port, "/boom")
    assert answer.status == 500
    assert recorder.server().facts["response_bytes"] == len(answer.body) > 0


def test_head_answer_has_no_body_bytes(app: flask.Flask, recorder: Recorder) -> None:
    with wsgi_server(app) as port:
        answer = fetch(port, "/sized", "HEAD")
    assert answer.headers["content-length"] == "500"
    assert recorder.server().facts["response_bytes"] == 0


@pytest.mark.parametrize("path", ["/stream", "/context"])
def test_streamed_bytes_are_reported_once_after_the_span(
    app: flask.Flask, recorder: Recorder, closed: list[str], path: str
) -> None:
    with wsgi_server(app) as port:
        assert len(fetch(port, path).body) == 3000
        wait_until(lambda: closed)
        assert recorder.server().facts == {"response_streaming": True, "client_private": True}
        assert recorder.late_bytes() == [3000]
    assert closed == ["closed"]
    assert len(recorder.late) == 1


def test_stream_left_by_the_client_reports_what_was_sent(
    app: flask.Flask, recorder: Recorder, closed: list[str]
) -> None:
    with wsgi_server(app) as port:
        assert len(read_some_and_leave(port, "/endless", 250_000)) == 250_000
        (sent,) = recorder.late_bytes()
    assert sent >= 300_000
    assert sent % 100_000 == 0
    assert closed == ["closed"]


def test_stream_that_raises_reports_what_it_gave(app: flask.Flask, recorder: Recorder) -> None:
    environ_errors = io.StringIO()
    response = app.test_client().get("/broken", errors_stream=environ_errors)
    with pytest.raises(ConnectionResetError):
        response.get_data()
    assert recorder.late_bytes() == [700]


def test_stream_is_not_read_before_the_server_asks(app: flask.Flask, recorder: Recorder, closed: list[str]) -> None:
    response = app.test_client().get("/endless")
    assert recorder.late == []
    body = response.iter_encoded()
    assert len(next(iter(body))) == 100_000
    assert closed == []
    response.close()
    assert closed == ["closed"]
    assert recorder.late_bytes() == [100_000]


def test_file_of_unstated_size_stays_a_file_for_the_server(app: flask.Flask, recorder: Recorder) -> None:
    bodies: list[Any] = []

    class ServerFile:
        """What gunicorn looks for before it uses sendfile."""

        def __init__(self, filelike: Any, block_size: int = 8192) -> None:
            self.filelike = filelike

        def __iter__(self) -> Iterator[bytes]:
            return iter(lambda: self.filelike.read(8192), b"")

        def close(self) -> None:
            self.filelike.close()

    def server(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.file_wrapper"] = ServerFile
        body = app(environ, start_response)
        bodies.append(body)
        return body

    with wsgi_server(server) as port:
        assert len(fetch(port, "/unknown-file").body) == FILE_BYTES
    assert isinstance(bodies[0], ServerFile)
    assert recorder.late_bytes() == [FILE_BYTES]


def test_file_that_is_spooled_in_memory_stays_there(app: flask.Flask, recorder: Recorder) -> None:
    with tempfile.SpooledTemporaryFile(max_size=10_000) as spooled:
        spooled.write(b"x" * 4321)
        spooled.seek(0)

        def send_spooled() -> ResponseReturnValue:
            return flask.Response(wrap_file(flask.request.environ, spooled), direct_passthrough=True)

        app.add_url_rule("/spooled", view_func=send_spooled)
        with wsgi_server(app) as port:
            assert len(fetch(port, "/spooled").body) == 4321
        assert recorder.late_bytes() == [4321]
        assert vars(spooled)["_rolled"] is False


def test_bytes_are_those_behind_the_applications_own_middleware(app: flask.Flask, recorder: Recorder) -> None:
    inner = app.wsgi_app

    def halving(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
            kept = [(name, value) for name, value in headers if name != "Content-Length"]
            return start_response(status, [*kept, ("Content-Length", "250")], *args)

        return [b"".join(inner(environ, start))[:250]]

    app.wsgi_app = halving
    with wsgi_server(app) as port:
        assert len(fetch(port, "/sized").body) == 250
    assert recorder.server().facts["response_bytes"] == 250


def test_application_served_without_its_call_method_is_measured(
    traced: tuple[Recorder, TracerProvider], tmp_path: Path, closed: list[str]
) -> None:
    recorder, provider = traced
    app = make_app(provider, tmp_path, closed)
    with wsgi_server(app.wsgi_app) as port:
        fetch(port, "/stream")
        assert recorder.late_bytes() == [3000]


def test_application_made_before_the_hooks_is_measured(tmp_path: Path, closed: list[str]) -> None:
    with recording() as (recorder, provider):
        app = make_app(provider, tmp_path, closed)
        undo = hook_instrumentors()
        try:
            with wsgi_server(app) as port:
                fetch(port, "/sized")
            assert recorder.server().facts["response_bytes"] == 500
        finally:
            undo()


def test_untraced_application_is_left_alone(recorder: Recorder) -> None:
    app = flask.Flask("plain")
    chunks = (b"x" for _ in range(3))
    app.add_url_rule("/", "stream", lambda: flask.Response(chunks))
    response = app.test_client().get("/")
    assert response.get_data() == b"xxx"
    assert recorder.seen == []
    assert recorder.late == []


def test_environment_is_as_before_after_the_request(app: flask.Flask) -> None:
    response = app.test_client().get("/sized")
    assert [key for key in response.request.environ if "spancost" in key] == []


def test_instrumented_class_is_measured_and_the_users_hook_is_called(traced: tuple[Recorder, TracerProvider]) -> None:
    recorder, provider = traced
    called: list[str] = []

    def response_hook(span: Any, status: str, headers: list[tuple[str, str]]) -> None:
        called.append(status)

    FlaskInstrumentor().instrument(tracer_provider=provider, response_hook=response_hook)
    try:
        app = flask.Flask("shop")
        app.add_url_rule("/", "home", lambda: "12345")
        app.test_client().get("/")
    finally:
        FlaskInstrumentor().uninstrument()
    assert called == ["200 OK"]
    assert recorder.server().facts["response_bytes"] == 5


def test_failing_hook_is_counted_and_changes_nothing(
    app: flask.Flask, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object) -> bool:
        raise RuntimeError("defect")

    monkeypatch.setattr("spancost.capture.flask.has_no_body", failing)
    response = app.test_client().get("/sized")
    assert response.get_data(as_text=True) == "x" * 500
    assert recorder.failures == ["capture.flask"]
    recorder.failures.clear()
