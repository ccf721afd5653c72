"""What EventBridge bills of a call: the size of each event.

An event's size is that of its source, type, detail and resources as UTF-8, and 14 bytes for a time
(docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html, "Calculating PutEvents event entry size").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.records import drop_refused
from spancost.capture.aws.sizes import Facts, Params, note_name, text_bytes

_TIME_BYTES: Final = 14


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "PutEvents":
        entries: list[Params] = params["Entries"]
        facts[keys.RECORD_BYTES] = [_event_bytes(entry) for entry in entries]
        buses = {entry.get("EventBusName") or "default" for entry in entries}
        if len(buses) == 1:
            note_name(facts, buses.pop())


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "PutEvents":
        drop_refused(facts, result.get("Entries"))


def _event_bytes(entry: Params) -> int:
    size = sum(text_bytes(entry.get(part) or "") for part in ("Source", "DetailType", "Detail"))
    size += sum(map(text_bytes, cast("Iterable[str]", entry.get("Resources") or ())))
    return size + (_TIME_BYTES if entry.get("Time") is not None else 0)
