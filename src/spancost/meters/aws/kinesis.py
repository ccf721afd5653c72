"""Price Kinesis Data Streams, USD per PUT unit and GB (aws.amazon.com/kinesis/data-streams/pricing).

A record put into a provisioned stream is one PUT unit per started 25 KB; into an on-demand stream its bytes
rounded up to 1 KB, per GB. Bytes read from an on-demand stream are billed per GB; reading a provisioned one is
free. The mode is learned from calls that show it; until then provisioned is assumed. Sizes are those of the
data, without partition keys. Refused calls and records are not billed. Left out: hours of streams and shards,
retention, and the bytes of `SubscribeToShard`, which come after its span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.capture.aws.kinesis import MODE
from spancost.charge import joined_basis
from spancost.meters.aws.call import (
    GB,
    KB,
    NO_USAGE,
    ONE_UNIT,
    Call,
    Measure,
    Usage,
    failure,
    free,
    record_chunks,
    resource_of,
    unpriced,
)

PUT_UNIT_BYTES: Final = 25 * KB
ON_DEMAND_BYTES: Final = KB

_PUT_UNIT: Final = "aws.kinesis.provisioned.put_unit"
_INGEST: Final = "aws.kinesis.on_demand.ingest"
_RETRIEVAL: Final = "aws.kinesis.on_demand.retrieval"
_ON_DEMAND: Final = "ON_DEMAND"
_ASSUMED_MODE: Final = "mode:provisioned"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _MEASURES.get(operation)


def _put(call: Call) -> Sequence[Usage]:
    stream = resource_of(call)
    if call.failed:
        return failure(call, stream)
    mode = call.facts.get(MODE)
    on_demand = mode == _ON_DEMAND
    count = record_chunks(call, ON_DEMAND_BYTES if on_demand else PUT_UNIT_BYTES)
    size_basis = ONE_UNIT if count is None else ""
    count = 1.0 if count is None else count
    if on_demand:
        return (Usage(_INGEST, count * ON_DEMAND_BYTES / GB, stream, size_basis),)
    basis = joined_basis(size_basis, "" if mode else _ASSUMED_MODE)
    return (Usage(_PUT_UNIT, count, stream, basis),)


def _get(call: Call) -> Sequence[Usage]:
    stream = resource_of(call)
    if call.failed:
        return failure(call, stream)
    mode = call.facts.get(MODE)
    if mode != _ON_DEMAND:
        return free(stream, "" if mode else _ASSUMED_MODE)
    size = call.size(aws_facts.RESPONSE_BYTES)
    if size is None:
        return unpriced(NO_USAGE, stream, unit="GB")
    return (Usage(_RETRIEVAL, size / GB, stream),)


def _subscribe(call: Call) -> Sequence[Usage]:
    stream = resource_of(call)
    return failure(call, stream) if call.failed else unpriced(NO_USAGE, stream, unit="GB")


_MEASURES: Final[Mapping[str, Measure]] = {
    "PutRecord": _put,
    "PutRecords": _put,
    "GetRecords": _get,
    "SubscribeToShard": _subscribe,
}
