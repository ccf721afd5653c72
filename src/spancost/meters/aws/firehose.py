"""Price records put into Firehose, USD per GB (aws.amazon.com/firehose/pricing).

Each record is rounded up to 5 KB by itself, so a batch of two records of 1 KB is 10 KB. Refused calls and records
are not billed. Left out: format conversion, dynamic partitioning and delivery into a VPC, which a call does not
show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.meters.aws.call import GB, KB, ONE_UNIT, Call, Measure, Usage, failure, record_chunks, resource_of

RECORD_BYTES: Final = 5 * KB

_INGEST: Final = "aws.firehose.direct_put.ingest"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _put if operation in ("PutRecord", "PutRecordBatch") else None


def _put(call: Call) -> Sequence[Usage]:
    stream = resource_of(call)
    if call.failed:
        return failure(call, stream)
    count = record_chunks(call, RECORD_BYTES)
    if count is None:
        return (Usage(_INGEST, RECORD_BYTES / GB, stream, ONE_UNIT),)
    return (Usage(_INGEST, count * RECORD_BYTES / GB, stream),)
