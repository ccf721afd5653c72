"""Price CloudWatch Logs, USD per GB (aws.amazon.com/cloudwatch/pricing).

Events put are billed by their bytes as UTF-8 plus 26 each, without those that the answer rejects, by the class of
their log group: it is learned from calls that show it, until then STANDARD is assumed. A query is billed by the
bytes it scanned, which `StartQuery` cannot know (`usage_comes_later`): the first answer of `GetQueryResults` that
shows it finished is charged, later ones are free, and a failed query is. Refused calls are not billed. Left out:
storage, vended logs, live tail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from spancost.capture.aws.logs import CLASS, SCANNED_BYTES
from spancost.meters.aws.call import (
    GB,
    NO_USAGE,
    USAGE_COMES_LATER,
    Call,
    Measure,
    Usage,
    failure,
    free,
    record_chunks,
    resource_of,
    unpriced,
)

_INGEST: Final = {
    "STANDARD": "aws.logs.ingest.standard",
    "INFREQUENT_ACCESS": "aws.logs.ingest.infrequent_access",
}
_SCANNED: Final = "aws.logs.insights.scanned"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _MEASURES.get(operation)


def _put(call: Call) -> Sequence[Usage]:
    group = resource_of(call)
    if call.failed:
        return failure(call, group)
    known = call.facts.get(CLASS)
    price_id = _INGEST.get(known or "STANDARD")
    size = record_chunks(call, 1)
    if price_id is None or size is None:
        reason = NO_USAGE if size is None else "unknown_log_class"
        return unpriced(reason, group, unit="GB")
    return (Usage(price_id, size / GB, group, "" if known else "class:STANDARD"),)


def _start_query(call: Call) -> Sequence[Usage]:
    group = resource_of(call)
    return failure(call, group) if call.failed else unpriced(USAGE_COMES_LATER, group, unit="GB")


def _query_results(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    if not call.seen:
        return unpriced(NO_USAGE, unit="GB")
    scanned = call.size(SCANNED_BYTES)
    return free() if scanned is None else (Usage(_SCANNED, scanned / GB),)


_MEASURES: Final[Mapping[str, Measure]] = {
    "PutLogEvents": _put,
    "StartQuery": _start_query,
    "GetQueryResults": _query_results,
}
