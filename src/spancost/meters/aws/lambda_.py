"""Price Lambda invocations, USD per request and GB-second (aws.amazon.com/lambda/pricing).

An invocation is one request; an asynchronous one (`Event`) costs one more per started 64 KB over 256 KB.
The duration of the invoked function is charged where the answer's log tail told it (`LogType=Tail`):
billed milliseconds times memory; the architecture is not in the answer, x86 is assumed. Function errors
are billed (HTTP 200); a refused invocation (4xx, 5xx) is not. Left out: duration of functions whose log
tail was not asked for, provisioned concurrency, ephemeral storage over 512 MB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import KB, ONE_CHUNK, Call, Measure, Usage, free, resource_of

ASYNC_FIRST_BYTES: Final = 256 * KB
ASYNC_CHUNK_BYTES: Final = 64 * KB

_REQUEST: Final = "aws.lambda.invoke.request"
_DURATION: Final = "aws.lambda.duration.x86"
_INVOKES: Final = frozenset({"Invoke", "InvokeAsync", "InvokeWithResponseStream"})
_FREE_OPERATIONS: Final = re.compile(r"(Get|List|Create|Update|Delete|Put|Add|Remove|Publish|Tag|Untag)[A-Z][A-Za-z]*")
"""Managing functions costs nothing; what they run does."""


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if Lambda has no such operation that we know."""
    if operation in _INVOKES:
        return _invoke
    return _manage if _FREE_OPERATIONS.fullmatch(operation) is not None else None


def _invoke(call: Call) -> Sequence[Usage]:
    function = resource_of(call, "faas.invoked_name")
    kind = call.facts.get(aws_facts.INVOCATION_TYPE)
    if call.failed:
        return free(function, "not_billed:error")
    if kind == "DryRun":
        return free(function)
    requests, basis = 1.0, ""
    if not call.seen:
        basis = ONE_CHUNK
    elif kind == "Event" or call.operation == "InvokeAsync":
        size = call.size(aws_facts.REQUEST_BYTES)
        if size is None:
            basis = ONE_CHUNK
        elif size == size:  # not NaN
            requests += max(0, math.ceil((size - ASYNC_FIRST_BYTES) / ASYNC_CHUNK_BYTES))
        else:
            requests = size
    request = Usage(_REQUEST, requests, function, basis)
    billed_ms, memory_mb = call.size(aws_facts.BILLED_MS), call.size(aws_facts.MEMORY_MB)
    if billed_ms is None or memory_mb is None:
        return (request,)
    gb_seconds = memory_mb / 1024 * billed_ms / 1000
    return (request, Usage(_DURATION, gb_seconds, function, "architecture:x86"))


def _manage(call: Call) -> Sequence[Usage]:
    return free(resource_of(call))
