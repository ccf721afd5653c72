"""Price events put on EventBridge buses, USD per 64 KB chunk (aws.amazon.com/eventbridge/pricing).

Each event is one chunk per started 64 KB; entries that the answer refuses are not billed, nor are refused calls.
Left out: events of AWS services and partners, targets in other accounts, and the events that a replay sends again
(`StartReplay`), whose number no call shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.meters.aws.call import KB, ONE_CHUNK, Call, Measure, Usage, failure, record_chunks, resource_of, unpriced

CHUNK_BYTES: Final = 64 * KB

_PUT: Final = "aws.events.put_events.custom"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return {"PutEvents": _put, "StartReplay": _replay}.get(operation)


def _put(call: Call) -> Sequence[Usage]:
    bus = resource_of(call)
    if call.failed:
        return failure(call, bus)
    count = record_chunks(call, CHUNK_BYTES)
    return (Usage(_PUT, 1.0, bus, ONE_CHUNK),) if count is None else (Usage(_PUT, count, bus),)


def _replay(call: Call) -> Sequence[Usage]:
    return failure(call) if call.failed else unpriced("events_not_seen")
