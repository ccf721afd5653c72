"""A function whose process is frozen right after its last answer; its argument is how often it is called.

`handle` is for the instrumentation of AWS Lambda, `handle_alone` and `handle_async` look after themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from spancost import flush_before_return
from tests.e2e.apps.llm_call import call_llm

_tracer = trace.get_tracer("e2e.app")


class Context:
    """What Lambda hands to a handler beside the event."""

    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:frozen"
    function_name = "frozen"
    memory_limit_in_mb = 512
    aws_request_id = "5f0c1a52-33f5-4a0e-9d0e-4f9f4b8f7a11"


def handle(event: dict[str, Any], context: object) -> dict[str, int]:
    """Answer an event."""
    call_llm()
    return {"statusCode": 200}


@flush_before_return
def handle_alone(event: dict[str, Any], context: object) -> dict[str, int]:
    """Answer an event in a span of its own."""
    with _tracer.start_as_current_span("frozen", kind=SpanKind.SERVER):
        return handle(event, context)


@flush_before_return(timeout=5.0)
async def handle_async(event: dict[str, Any], context: object) -> dict[str, int]:
    """Answer an event in a span of its own."""
    with _tracer.start_as_current_span("frozen", kind=SpanKind.SERVER):
        await asyncio.sleep(0)
        return handle(event, context)


def main(name: str, times: int) -> None:
    """Call a handler so often, and stop in the very moment after its last answer."""
    this = import_module("tests.entrypoints.apps.frozen_function")  # the one that was instrumented
    for _ in range(times):
        answer = getattr(this, name)({}, Context())
        if asyncio.iscoroutine(answer):
            answer = asyncio.run(answer)
        assert answer == {"statusCode": 200}
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
