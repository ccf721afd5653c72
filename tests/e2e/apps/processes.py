"""A program whose work is done by other processes, or by greenlets; how, is its argument.

Each piece of work is one LLM call for a tenant, and says on standard output which process has made it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and "greenlets" in sys.argv[-1]:
    from gevent import monkey

    monkey.patch_all()

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from spancost import attribute
from tests.e2e.apps.llm_call import call_llm

PIECES = 6
_ROUTE = {"http.request.method": "POST", "http.route": "/orders", "http.response.status_code": 200}

_tracer = trace.get_tracer("e2e.app")


def work(number: int) -> None:
    """Do one piece of work."""
    with attribute(tenant=f"tenant-{number}"):
        call_llm()
    print(f"{os.getpid()}\n", end="", flush=True)


def inherit(_: int) -> None:
    """Do one piece of work for whom the context says."""
    call_llm()
    print(f"{os.getpid()}\n", end="", flush=True)


def _in_processes(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    processes: list[Any] = [context.Process(target=work, args=(number,)) for number in range(PIECES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _in_pool(method: str) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        list(pool.map(work, range(PIECES)))


def _in_greenlets(mode: str) -> None:
    import gevent

    def serve(number: int) -> None:
        with (
            _tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER, attributes=_ROUTE),
            attribute(tenant=f"tenant-{number}"),
        ):
            gevent.sleep(0.001)
            if mode == "bare greenlets":  # begins with an empty context
                gevent.spawn(inherit, number).join()
            else:
                thread = threading.Thread(target=inherit, args=(number,))
                thread.start()
                thread.join()

    greenlets: list[Any] = [gevent.spawn(serve, number) for number in range(PIECES)]
    gevent.joinall(greenlets, raise_error=True)


def main(mode: str) -> None:
    """Do all of the work in one way."""
    if "greenlets" in mode:
        _in_greenlets(mode)
        return
    with _tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER, attributes=_ROUTE):
        if mode.startswith("pool"):
            _in_pool("spawn" if mode == "pool-spawn" else "fork")
        else:
            _in_processes(mode)


if __name__ == "__main__":
    main(sys.argv[1])
