"""Price calls to Parameter Store, USD per parameter (aws.amazon.com/systems-manager/pricing).

Standard parameters at standard throughput are free; each advanced parameter read or written is one interaction.
The tier is learned from calls that show it, or from a value's size; until then standard is assumed and named in the
basis. Refused calls are not billed. Left out: higher throughput, which is a setting of the account, and parameters
by the month.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws.ssm import ADVANCED, TIER_UNKNOWN
from spancost.meters.aws.call import Call, Measure, Usage, failure, free

_ADVANCED: Final = "aws.ssm.parameter.advanced_or_higher_throughput"
_OPERATIONS: Final = frozenset(
    {"GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory", "PutParameter"}
)
_ASSUMED_TIER: Final = "tier:standard"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _parameters if operation in _OPERATIONS else None


def _parameters(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    advanced = call.size(ADVANCED)
    basis = _ASSUMED_TIER if advanced is None or call.facts.get(TIER_UNKNOWN) else ""
    return (Usage(_ADVANCED, advanced, basis=basis),) if advanced else free(basis=basis)
