"""Price requests to the RDS Data API, USD per request (aws.amazon.com/rds/aurora/pricing).

A call is one request per started 32 KB of what is sent (statement and parameters) and received (the answer's body)
together. Statements that the database refuses are counted, marked; throttled calls and answers of 5xx are free.
Left out: the database itself, and its input and output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import KB, Call, Measure, Usage, failure, sized

CHUNK_BYTES: Final = 32 * KB

_REQUEST: Final = "aws.rds-data.data_api"
_OPERATIONS: Final = frozenset(
    {
        "ExecuteStatement",
        "BatchExecuteStatement",
        "ExecuteSql",
        "BeginTransaction",
        "CommitTransaction",
        "RollbackTransaction",
    }
)


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _request if operation in _OPERATIONS else None


def _request(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call, price_id=_REQUEST)
    sent, received = call.size(aws_facts.REQUEST_BYTES), call.size(aws_facts.RESPONSE_BYTES)
    size = None if sent is None or received is None else sent + received
    count, basis = sized(size, CHUNK_BYTES)
    return (Usage(_REQUEST, count, basis=basis),)
