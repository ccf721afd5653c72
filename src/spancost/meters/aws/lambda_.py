"""Price Lambda invocations, USD per request and GB-second (aws.amazon.com/lambda/pricing).

An invocation is one request; an asynchronous one (`Event`) costs one more per started 64 KB over 256 KB. A dry run is
free. The duration of the invoked function is charged where the answer's log tail told it (`LogType=Tail`): billed
milliseconds times memory, and storage over 512 MB. Its architecture is known if an answer in this process has shown
the function's configuration; else x86 is assumed. A streamed response is taken to stay under the 6 MB that are
included: its bytes come after the span.

Failed calls: function errors are billed (HTTP 200); a refused invocation (4xx, 5xx) is not. Managing functions is
free (the price book lists it); steps of durable executions are operations whose price the book does not have. Left
out: duration of functions whose log tail was not asked for, provisioned concurrency, event source mappings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.capture.aws.lambda_functions import ARM, X86, Function, function_of
from spancost.meters.aws.call import KB, NOT_BILLED, ONE_CHUNK, Call, Measure, Usage, free, resource_of

ASYNC_FIRST_BYTES: Final = 256 * KB
ASYNC_CHUNK_BYTES: Final = 64 * KB

_REQUEST: Final = "aws.lambda.invoke.request"
_DURATION: Final = {X86: "aws.lambda.duration.x86", ARM: "aws.lambda.duration.arm"}
_STORAGE: Final = "aws.lambda.ephemeral_storage"
_INCLUDED_STORAGE_MB: Final = 512.0
_STREAMED: Final = "response:6_MB"
_INVOKES: Final = frozenset({"Invoke", "InvokeAsync", "InvokeWithResponseStream"})


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says what it costs."""
    return _invoke if operation in _INVOKES else None


def _invoke(call: Call) -> Sequence[Usage]:
    function = resource_of(call, "faas.invoked_name")
    if call.failed:
        return free(function, NOT_BILLED)
    kind = call.facts.get(aws_facts.INVOCATION_TYPE)
    if kind == "DryRun":
        return free(function)
    requests, basis = _requests(call, kind)
    request = Usage(_REQUEST, requests, function, basis)
    billed_ms, memory_mb = call.size(aws_facts.BILLED_MS), call.size(aws_facts.MEMORY_MB)
    if billed_ms is None or memory_mb is None:
        return (request,)
    known = function_of(call.attributes.get("cloud.region"), function)
    return [request, *_duration(known, billed_ms / 1000, memory_mb, function)]


def _requests(call: Call, kind: object) -> tuple[float, str]:
    """Return billed requests, and what was assumed."""
    if not call.seen:
        return 1.0, ONE_CHUNK
    if kind != "Event" and call.operation != "InvokeAsync":
        return 1.0, _STREAMED if call.operation == "InvokeWithResponseStream" else ""
    size = call.size(aws_facts.REQUEST_BYTES)
    if size is None:
        return 1.0, ONE_CHUNK
    if size != size:  # NaN stays NaN: bad usage
        return size, ""
    return 1.0 + max(0, math.ceil((size - ASYNC_FIRST_BYTES) / ASYNC_CHUNK_BYTES)), ""


def _duration(known: Function | None, seconds: float, memory_mb: float, function: str) -> Sequence[Usage]:
    price_id = None if known is None else _DURATION.get(known.architecture)
    basis = "architecture:x86" if price_id is None else ""
    duration = Usage(price_id or _DURATION[X86], memory_mb / 1024 * seconds, function, basis)
    more_mb = 0.0 if known is None else known.storage_mb - _INCLUDED_STORAGE_MB
    if more_mb <= 0:
        return (duration,)
    return (duration, Usage(_STORAGE, more_mb / 1024 * seconds, function))
