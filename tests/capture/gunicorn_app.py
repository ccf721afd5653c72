# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""A Flask application for gunicorn that writes what capture saw, one JSON line each, to `$SEEN_FILE`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider

from spancost.capture import facts as capture_facts
from spancost.capture.instrumentors import hook_instrumentors

_SEEN = Path(os.environ["SEEN_FILE"])


def _write(what: str, value: Any) -> None:
    with _SEEN.open("a") as file:
        file.write(json.dumps([what, value]) + "\n")


class Writer(SpanProcessor):
    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        setattr(span, capture_facts.NODE_ATTRIBUTE, SimpleNamespace(facts=None))

    def _on_ending(self, span: Span) -> None:
        _write("end", getattr(span, capture_facts.NODE_ATTRIBUTE).facts)


hook_instrumentors()
capture_facts.connect(lambda span, facts: _write("late", facts), lambda place: _write("failure", place))
_provider = TracerProvider()
_provider.add_span_processor(Writer())
app = flask.Flask(__name__)
FlaskInstrumentor().instrument_app(app, tracer_provider=_provider)


def _chunks() -> Iterator[bytes]:
    for _ in range(3):
        yield b"x" * 1000


def _unsized_file() -> flask.Response:
    response = flask.send_file(os.environ["SEND_FILE"])
    del response.headers["Content-Length"]
    return response


app.add_url_rule("/sized", "sized", lambda: "x" * 500)
app.add_url_rule("/stream", "stream", lambda: flask.Response(_chunks()))
app.add_url_rule("/file", "file", lambda: flask.send_file(os.environ["SEND_FILE"]))
app.add_url_rule("/unsized-file", view_func=_unsized_file)
