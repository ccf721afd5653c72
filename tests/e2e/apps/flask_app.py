# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""A Flask application that knows nothing of prices but `attribute`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import flask
import prometheus_client
from opentelemetry import trace
from prometheus_client.multiprocess import MultiProcessCollector

from spancost import attribute
from tests.e2e.apps.llm_call import call_llm
from tests.e2e.apps.worker import tenant_of_this_process

BODY_BYTES = 4000
STREAM_BYTES = 3 * 1000
WORK_S = 0.01

_tracer = trace.get_tracer("e2e.app")
app = flask.Flask(__name__)


def _answer(text: str) -> flask.Response:
    """Give a body of known size, and in a header the worker that made it."""
    return flask.Response(text, headers={"X-Worker": str(os.getpid())}, mimetype="text/plain")


@app.get("/health")
def health() -> flask.Response:
    return _answer("ok")


@app.get("/work/<name>")
def work(name: str) -> flask.Response:
    with _tracer.start_as_current_span("compute"):
        time.sleep(WORK_S)
    call_llm()
    return _answer("x" * BODY_BYTES)


@app.get("/stream/<name>")
def stream(name: str) -> flask.Response:
    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            yield b"s" * (STREAM_BYTES // 3)

    return flask.Response(chunks(), headers={"X-Worker": str(os.getpid())})


@app.get("/tenant")
def of_this_worker() -> flask.Response:
    with attribute(tenant=tenant_of_this_process()):
        call_llm()
    return _answer("t" * BODY_BYTES)


@app.get("/metrics")
def metrics() -> flask.Response:
    registry = prometheus_client.REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return flask.Response(
        prometheus_client.generate_latest(registry), content_type=prometheus_client.CONTENT_TYPE_LATEST
    )
