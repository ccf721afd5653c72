"""Price Athena queries, USD per TB scanned (aws.amazon.com/athena/pricing).

A query is charged where its final state is first seen, at `GetQueryExecution` or its batch: bytes scanned, rounded
up to 1 MB, 10 MB at least; a TB is 2^40 bytes. Failed queries, DDL and reused results are free; a cancelled query
costs what it had scanned. `StartQueryExecution` itself is unpriced, `usage_comes_later`. A query that ran on reserved
capacity is unpriced: it is billed by the DPU-hour, like sessions of Spark. Left out: the S3 requests that a query
makes, and queries of which nobody in the process looks at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import athena as seen
from spancost.capture.aws import work
from spancost.meters.aws.call import KB, Call, Measure, Usage, resource_of
from spancost.meters.aws.later import DURATION_NOT_SEEN, finished, never_seen, start

MB: Final = KB * KB
TB: Final = MB * MB
MIN_MB: Final = 10

RESERVED_CAPACITY: Final = "reserved_capacity"

_SCANNED: Final = "aws.athena.query.scanned"
_BY_TIME: Final = frozenset({"StartSession", "StartCalculationExecution", "CreateCapacityReservation"})


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation == "StartQueryExecution":
        return start
    if operation in ("GetQueryExecution", "BatchGetQueryExecution"):
        return _finished
    return never_seen(DURATION_NOT_SEEN) if operation in _BY_TIME else None


def billed_bytes(scanned_bytes: float) -> float:
    """Return the bytes that a query is billed for."""
    return max(MIN_MB, math.ceil(scanned_bytes / MB)) * MB if scanned_bytes == scanned_bytes else scanned_bytes


def _finished(call: Call) -> Sequence[Usage]:
    workgroup = resource_of(call)

    def charge(scanned_bytes: float, basis: str) -> Sequence[Usage]:
        return (Usage(_SCANNED, billed_bytes(scanned_bytes) / TB, workgroup, basis),)

    reserved = call.size(seen.RESERVED)
    if reserved is None:
        return finished(call, charge)
    own = Usage("", reserved, workgroup, reason=RESERVED_CAPACITY, unit="query")
    return (own, *finished(call, charge)) if call.facts.get(work.AMOUNTS) else (own,)
