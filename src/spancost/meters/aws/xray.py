"""Price traces of X-Ray, USD per trace (aws.amazon.com/xray/pricing).

Recording costs each trace once, not each segment: the hooks count the trace ids that this process sends for the
first time, and another process may have recorded the same trace, so the charge is marked. `BatchGetTraces` costs the
traces it returns, `GetTraceSummaries` those it went through. Graphs go through traces without saying how many:
unpriced (`no_usage`). Refused calls are not billed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import NO_USAGE, Call, Measure, Usage, failure, unpriced

_RECORDED: Final = "aws.xray.traces.recorded"
_RETRIEVED: Final = "aws.xray.traces.retrieved"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _MEASURES.get(operation)


def _record(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    count = call.size(aws_facts.COUNT)
    if count is None:
        return (Usage(_RECORDED, 1.0, basis="traces:1"),)
    return (Usage(_RECORDED, count, basis="traces:this_process"),)


def _retrieve(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    count = call.size(aws_facts.COUNT)
    return unpriced(NO_USAGE, unit="trace") if count is None else (Usage(_RETRIEVED, count),)


def _scan(call: Call) -> Sequence[Usage]:
    return failure(call) if call.failed else unpriced(NO_USAGE, unit="trace")


_MEASURES: Final[Mapping[str, Measure]] = {
    "PutTraceSegments": _record,
    "BatchGetTraces": _retrieve,
    "GetTraceSummaries": _retrieve,
    "GetServiceGraph": _scan,
    "GetTraceGraph": _scan,
    "GetTimeSeriesServiceStatistics": _scan,
}
