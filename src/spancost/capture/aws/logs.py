"""What CloudWatch Logs bills of a call: bytes of events, class of the log group, bytes that a query scanned.

The class of a log group is learned from calls that show it, made in this process before. A query's bytes are told
by each answer of `GetQueryResults`; the first one of a finished query is noted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.jobs import Jobs, Learned
from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params, text_bytes

CLASS: Final = "aws.logs.class"
"""str: `STANDARD`, `INFREQUENT_ACCESS` or `DELIVERY`; absent where it was not seen."""
SCANNED_BYTES: Final = "aws.logs.scanned_bytes"
"""float: bytes that a finished query scanned, at the first answer that shows them."""

_EVENT_BYTES: Final = 26
_BILLED: Final = frozenset({"Complete", "Cancelled", "Timeout"})

_classes: Learned[str] = Learned()
"""Class by name of the log group."""
_queries: Final = Jobs()


def request(facts: Facts, operation: str, params: Params) -> None:
    group = params.get("logGroupName")
    if isinstance(group, str):
        facts[keys.RESOURCE] = group[:256]
    if operation == "PutLogEvents":
        facts[keys.RECORD_BYTES] = [text_bytes(event["message"]) + _EVENT_BYTES for event in params["logEvents"]]
        known = _classes.get(str(group))
        if known is not None:
            facts[CLASS] = known
    elif operation == "CreateLogGroup":
        _classes.note(str(group), params.get("logGroupClass") or "STANDARD")
    elif operation == "GetQueryResults":
        facts[keys.JOB] = hash(params.get("queryId"))


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "PutLogEvents":
        if rejected := part(result, "rejectedLogEventsInfo"):
            _drop_rejected(facts, rejected)
    elif operation in ("DescribeLogGroups", "ListLogGroups"):
        for group in cast("Iterable[Params]", result.get("logGroups") or ()):
            known = group.get("logGroupClass")
            if isinstance(known, str):
                _classes.note(str(group.get("logGroupName")), known)
    elif operation == "GetQueryResults" and result.get("status") in _BILLED:
        scanned = cast("Params", result.get("statistics") or {}).get("bytesScanned")
        if scanned is not None and _queries.first_time(facts[keys.JOB]):
            facts[SCANNED_BYTES] = scanned


def _drop_rejected(facts: Facts, rejected: Params) -> None:
    """Forget events that were too old, expired or too new: their places are told by where they end or start."""
    sizes: list[int] = facts[keys.RECORD_BYTES]
    ends = [_place(rejected.get(key), 0) for key in ("tooOldLogEventEndIndex", "expiredLogEventEndIndex")]
    facts[keys.RECORD_BYTES] = sizes[max(ends) : _place(rejected.get("tooNewLogEventStartIndex"), len(sizes))]


def _place(index: Any, default: int) -> int:
    return index if isinstance(index, int) else default
