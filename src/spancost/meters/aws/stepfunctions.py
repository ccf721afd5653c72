"""Price executions of state machines, USD per request and GB-second (aws.amazon.com/step-functions/pricing).

An express execution is one request and its billed duration (rounded up to 100 ms by the service) times its billed
memory (64 MB steps); `StartSyncExecution` answers with both, `StartExecution` does not. A standard execution is
billed by its state transitions, which happen after the call: it is unpriced (`transitions_not_seen`). The answer
of `StartExecution` tells the type; else it is learned from calls that show it. Refused calls are not billed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from spancost.capture.aws.stepfunctions import BILLED_MB, BILLED_MS, TYPE
from spancost.meters.aws.call import Call, Measure, Usage, failure, resource_of, unpriced

_REQUEST: Final = "aws.stepfunctions.express.request"
_DURATION: Final = "aws.stepfunctions.express.duration"
_TRANSITIONS: Final = "state transition"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _MEASURES.get(operation)


def _start(call: Call) -> Sequence[Usage]:
    machine = resource_of(call)
    if call.failed:
        return failure(call, machine)
    if call.facts.get(TYPE) == "EXPRESS":
        return (Usage(_REQUEST, 1.0, machine), *_unseen_duration(machine))
    return unpriced("transitions_not_seen", machine, unit=_TRANSITIONS)


def _start_sync(call: Call) -> Sequence[Usage]:
    machine = resource_of(call)
    if call.failed:
        return failure(call, machine)
    request = Usage(_REQUEST, 1.0, machine)
    billed_ms, billed_mb = call.size(BILLED_MS), call.size(BILLED_MB)
    if billed_ms is None or billed_mb is None:
        return (request, *_unseen_duration(machine))
    return (request, Usage(_DURATION, billed_mb / 1024 * billed_ms / 1000, machine))


def _redrive(call: Call) -> Sequence[Usage]:
    return failure(call) if call.failed else unpriced("transitions_not_seen", unit=_TRANSITIONS)


def _unseen_duration(machine: str) -> Sequence[Usage]:
    return unpriced("duration_not_seen", machine, unit="GB-second")


_MEASURES: Final[Mapping[str, Measure]] = {
    "StartExecution": _start,
    "StartSyncExecution": _start_sync,
    "RedriveExecution": _redrive,
}
