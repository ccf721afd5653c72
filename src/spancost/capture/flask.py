"""Body sizes of Flask answers.

`Flask.__call__` sees what leaves the application, after its own WSGI middleware. Sizes come from Content-Length,
which Flask sets on every answer that is not streamed. OpenTelemetry ends the server span before a streamed body
is read, so those bytes are counted while the server reads them, and reported late.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import trace

from spancost.capture.facts import FORWARDING_VARIABLES, hook_failed, note_client
from spancost.capture.http_body import (
    RESPONSE_BYTES,
    RESPONSE_STREAMING,
    CountedBody,
    has_no_body,
    parse_length,
    server_facts,
    settle,
)

_PLACE = "flask"
_SPAN_KEY = "opentelemetry-flask.span_key"  # where the Flask instrumentation keeps its span in the WSGI environment
_MEASURED_KEY = "spancost.measured"


def patch() -> Callable[[], None]:
    """Measure all Flask applications of this process from now on; return a function that undoes it."""
    from flask.app import Flask

    original_call = Flask.__call__
    original_wsgi_app = Flask.wsgi_app

    def __call__(self: Flask, environ: dict[str, Any], start_response: Any) -> Any:
        return _measured(original_call, self, environ, start_response)

    # Only for servers that are given `app.wsgi_app` itself, or a middleware around it.
    def wsgi_app(self: Flask, environ: dict[str, Any], start_response: Any) -> Any:
        return _measured(original_wsgi_app, self, environ, start_response)

    __call__.__doc__ = original_call.__doc__
    wsgi_app.__doc__ = original_wsgi_app.__doc__
    Flask.__call__ = __call__
    Flask.wsgi_app = wsgi_app

    def undo() -> None:
        if Flask.__call__ is __call__:
            Flask.__call__ = original_call
        if Flask.wsgi_app is wsgi_app:
            Flask.wsgi_app = original_wsgi_app

    return undo


def _measured(call: Callable[..., Any], app: Any, environ: dict[str, Any], start_response: Any) -> Any:
    if _MEASURED_KEY in environ:
        return call(app, environ, start_response)
    environ[_MEASURED_KEY] = True
    answer = _Answer(environ, start_response)
    try:
        body = call(app, environ, answer.start_response)
    finally:
        environ.pop(_MEASURED_KEY, None)
    try:
        return answer.measure(body)
    except Exception:
        hook_failed(_PLACE)
        return body


class _Answer:
    """One answer on its way out."""

    __slots__ = ("_environ", "_start_response", "_started", "_streaming_span")

    def __init__(self, environ: dict[str, Any], start_response: Any) -> None:
        self._environ = environ
        self._start_response = start_response
        self._started = False
        self._streaming_span: Any = None

    def start_response(self, status: str, headers: list[tuple[str, str]], *args: Any, **kwargs: Any) -> Any:
        try:
            self._see_head(status, headers)
        except Exception:
            hook_failed(_PLACE)
        return self._start_response(status, headers, *args, **kwargs)

    def _see_head(self, status: str, headers: list[tuple[str, str]]) -> None:
        self._started = True
        self._streaming_span = None
        environ = self._environ
        span = environ.get(_SPAN_KEY) or trace.get_current_span()
        facts = server_facts(span)
        if facts is None:
            return
        is_forwarded = not FORWARDING_VARIABLES.isdisjoint(environ)
        note_client(facts, environ.get("REMOTE_ADDR"), is_forwarded=is_forwarded)
        if has_no_body(environ.get("REQUEST_METHOD"), int(status[:3])):
            settle(span, 0)
            return
        for name, value in headers:
            if name.lower() == "content-length":
                length = parse_length(value)
                if length is not None:
                    settle(span, length)
                    return
        facts.pop(RESPONSE_BYTES, None)  # an answer that was replaced by an error page
        facts[RESPONSE_STREAMING] = True
        self._streaming_span = span

    def measure(self, body: Any) -> Any:
        """Return the body, counted where its size is not known yet."""
        span = self._streaming_span
        if span is None and self._started:
            return body
        if span is not None:
            length = _sequence_length(body)
            if length is None:
                length = _file_length(body, self._environ.get("wsgi.file_wrapper"))
            if length is not None:
                settle(span, length)
                return body
        return CountedBody(body, self._finish, _PLACE)

    def _finish(self, size_bytes: int) -> None:
        # Read now: a middleware that is a generator starts the answer with its first chunk.
        if self._streaming_span is not None:
            settle(self._streaming_span, size_bytes)


def _sequence_length(body: Iterable[bytes]) -> int | None:
    return sum(map(len, body)) if isinstance(body, (list, tuple)) else None


def _file_length(body: Any, file_wrapper: Any) -> int | None:
    """Return what is left in a real file that the server may send by itself; counting would disable sendfile."""
    if not isinstance(file_wrapper, type) or not isinstance(body, file_wrapper):
        return None
    file: Any = getattr(body, "filelike", None)
    if getattr(file, "_rolled", None) is False:
        return None  # a spooled file in memory: `fileno` would write it to disk
    try:
        return max(os.fstat(file.fileno()).st_size - file.tell(), 0)
    except (AttributeError, OSError, ValueError):
        return None
