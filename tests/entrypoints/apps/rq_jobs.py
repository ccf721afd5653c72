"""A job for RQ, and its worker: `python -m tests.entrypoints.apps.rq_jobs PORT CLASS` works till the queue is empty."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from tests.e2e.apps.llm_call import call_llm

FAILING = 5
"""Every so many orders one fails."""


@trace.get_tracer("shop").start_as_current_span("shop.bill", kind=SpanKind.CONSUMER)
def bill(order: int) -> None:
    """Bill an order; some fail after their call."""
    call_llm()
    if order % FAILING == 0:
        raise ValueError("no such order")


if __name__ == "__main__":
    import rq
    from redis import Redis

    class Connection(Redis):
        """To a server of the tests, which does not know what RQ asks for to show where it is."""

        def client_info(self, **_: Any) -> Any:
            return {"addr": "127.0.0.1:0"}

    connection: Any = Connection(port=int(sys.argv[1]))
    getattr(rq, sys.argv[2])([rq.Queue("orders", connection=connection)], connection=connection).work(burst=True)
