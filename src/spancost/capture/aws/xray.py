"""What X-Ray bills of a call: traces recorded, retrieved or scanned.

A trace is recorded once, however many segments and calls it takes: ids that this process sent before do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.jobs import Jobs
from spancost.capture.aws.sizes import Facts, Params

_IDS: Final = "aws.xray.ids"
"""set of int: hashes of the ids of the traces that are recorded."""

_TRACE_ID: Final = re.compile(r'"trace_id"\s*:\s*"([^"]{1,64})"')

_traces: Final = Jobs()


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "PutTraceSegments":
        documents: list[str] = params["TraceSegmentDocuments"]
        facts[_IDS] = {hash(found[1]) for found in map(_TRACE_ID.search, documents) if found is not None}


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "PutTraceSegments":
        facts[keys.COUNT] = sum(map(_traces.first_time, facts[_IDS]))
    elif operation == "BatchGetTraces":
        facts[keys.COUNT] = len(cast("Sized", result.get("Traces") or ()))
    elif operation == "GetTraceSummaries":
        facts[keys.COUNT] = result.get("TracesProcessedCount")
