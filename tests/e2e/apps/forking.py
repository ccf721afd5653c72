"""A program that forks while its threads serve: arguments are the file of truth, and how often it forks.

Every process appends lines to the file of truth when it has finished: its id, the LLM calls it has made, and the
requests that it has served. Children end without any exit handler, after `spancost.flush()` alone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import prometheus_client  # pyright: ignore[reportUnusedImport] # noqa: F401 - so that its files are written
from opentelemetry import trace
from opentelemetry.trace import SpanKind

import spancost
from spancost import attribute
from tests.e2e.apps.llm_call import call_llm
from tests.e2e.apps.worker import tenant_of_this_process

THREADS = 3
CALLS_OF_CHILD = 5
GRANDCHILD_EVERY = 4
_HANGS_AFTER_S = 30
"""Then a process is ended by its alarm, and has said nothing."""
_ROUTE = {"http.request.method": "GET", "http.route": "/busy", "http.response.status_code": 200}

_tracer = trace.get_tracer("e2e.app")


def _serve_one() -> None:
    with (
        _tracer.start_as_current_span("GET /busy", kind=SpanKind.SERVER, attributes=_ROUTE),
        attribute(tenant=tenant_of_this_process()),
    ):
        call_llm()


class _Server(threading.Thread):
    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._done = stop
        self.served = 0

    def run(self) -> None:
        while not self._done.is_set():
            _serve_one()
            self.served += 1
            time.sleep(0.0005)


def _say(truth: str, calls: int, requests: int) -> None:
    file = os.open(truth, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{os.getpid()} {calls} {requests}\n".encode())
    os.close(file)


def _child(truth: str, *, forks: bool) -> None:
    """Go on below the open span of the parent, and serve a request of its own."""
    signal.alarm(_HANGS_AFTER_S)
    for _ in range(CALLS_OF_CHILD - 1):
        with attribute(tenant=tenant_of_this_process()):
            call_llm()
    grandchild = os.fork() if forks else -1
    if grandchild == 0:
        _child(truth, forks=False)
    _serve_one()
    if spancost.flush(20):
        _say(truth, CALLS_OF_CHILD, 1)
    if grandchild > 0:
        os.waitpid(grandchild, 0)
    os._exit(0)


def main(truth: str, forks: int) -> None:
    """Serve, and fork now and then with a span open."""
    signal.alarm(2 * _HANGS_AFTER_S)
    stop = threading.Event()
    servers = [_Server(stop) for _ in range(THREADS)]
    for server in servers:
        server.start()
    children: list[int] = []
    opened = 0
    for number in range(forks):
        with (
            _tracer.start_as_current_span("GET /busy", kind=SpanKind.SERVER, attributes=_ROUTE),
            attribute(tenant=tenant_of_this_process()),
        ):
            pid = os.fork()
            if pid == 0:
                _child(truth, forks=number % GRANDCHILD_EVERY == 0)
            children.append(pid)
            call_llm()
        opened += 1
        time.sleep(0.02)
    for pid in children:
        os.waitpid(pid, 0)
    stop.set()
    for server in servers:
        server.join()
    served = sum(server.served for server in servers) + opened
    _say(truth, served, served)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
