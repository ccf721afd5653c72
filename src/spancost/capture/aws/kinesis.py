"""What Kinesis bills of a call: size of each record, bytes read, capacity mode of the stream.

The billed calls do not show the mode. It is learned from calls that do, made in this process before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.jobs import Learned
from spancost.capture.aws.parts import part
from spancost.capture.aws.records import drop_refused, note_records
from spancost.capture.aws.sizes import Facts, Params, body_bytes, note_name

MODE: Final = "aws.kinesis.mode"
"""str: `ON_DEMAND` or `PROVISIONED`; absent where it was not seen."""

_modes: Learned[str] = Learned()
"""Mode by name of the stream."""
_iterators: Learned[str] = Learned()
"""Name of the stream by shard iterator: `GetRecords` names no stream."""


def request(facts: Facts, operation: str, params: Params) -> None:
    note_name(facts, params.get("StreamName") or params.get("StreamARN"))
    if operation == "PutRecord":
        note_records(facts, (params.get("Data"),))
    elif operation == "PutRecords":
        note_records(facts, (record.get("Data") for record in params["Records"]))
    elif operation == "GetRecords" and keys.RESOURCE not in facts:
        stream = _iterators.get(str(params.get("ShardIterator")))
        if stream is not None:
            facts[keys.RESOURCE] = stream
    elif operation in ("CreateStream", "UpdateStreamMode"):
        _learn(facts.get(keys.RESOURCE), params)
    _note_mode(facts)


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "PutRecords":
        drop_refused(facts, result.get("Records"))
    elif operation == "GetRecords":
        records = cast("Iterable[Params]", result.get("Records") or ())
        facts[keys.RESPONSE_BYTES] = sum(body_bytes(record.get("Data", b"")) or 0 for record in records)
        _follow(facts, result.get("NextShardIterator"))
    elif operation == "GetShardIterator":
        _follow(facts, result.get("ShardIterator"))
    else:
        described = result.get("StreamDescription") or result.get("StreamDescriptionSummary")
        found = (described,) if described else result.get("StreamSummaries") or ()
        for stream in cast("Iterable[Params]", found):
            _learn(stream.get("StreamName"), stream)


def _note_mode(facts: Facts) -> None:
    mode = _modes.get(facts.get(keys.RESOURCE, ""))
    if mode is not None:
        facts[MODE] = mode


def _learn(stream: Any, described: Params) -> None:
    mode = part(described, "StreamModeDetails").get("StreamMode")
    if mode is None and described.get("ShardCount") is not None:
        mode = "PROVISIONED"
    if isinstance(stream, str) and isinstance(mode, str):
        _modes.note(stream, mode)


def _follow(facts: Facts, iterator: Any) -> None:
    stream = facts.get(keys.RESOURCE)
    if isinstance(iterator, str) and stream:
        _iterators.note(iterator, stream)
