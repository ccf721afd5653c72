"""What Step Functions bills of a call: type of the state machine, billed memory and duration of an execution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.jobs import Learned
from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params

TYPE: Final = "aws.stepfunctions.type"
"""str: `STANDARD` or `EXPRESS`; absent where it was not seen."""
BILLED_MS: Final = "aws.stepfunctions.billed_ms"
"""int: billed duration of an execution, milliseconds."""
BILLED_MB: Final = "aws.stepfunctions.billed_mb"
"""int: billed memory of an execution, MiB."""

_types: Learned[str] = Learned()
"""Type by name of the state machine."""


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "CreateStateMachine":
        _learn(params.get("name"), params.get("type", "STANDARD"))
    elif operation in ("StartExecution", "StartSyncExecution"):
        name = _name(params.get("stateMachineArn"))
        facts[keys.RESOURCE] = name[:256]
        kind = _types.get(name)
        if kind is not None:
            facts[TYPE] = kind


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "StartExecution":
        # arn:aws:states:us-east-1:123456789012:express:machine:name:id; `execution` for standard ones.
        parts = str(result.get("executionArn")).split(":")
        if len(parts) > 6:
            facts[TYPE] = "EXPRESS" if parts[5] == "express" else "STANDARD"
            _learn(parts[6], facts[TYPE])
    elif operation == "StartSyncExecution":
        if billing := part(result, "billingDetails"):
            facts[BILLED_MS] = billing.get("billedDurationInMilliseconds")
            facts[BILLED_MB] = billing.get("billedMemoryUsedInMB")
    else:
        machines = cast("Iterable[Params]", result.get("stateMachines") or (result,))
        for machine in machines:
            _learn(_name(machine.get("stateMachineArn")), machine.get("type"))


def _learn(name: Any, kind: Any) -> None:
    if isinstance(name, str) and name and isinstance(kind, str):
        _types.note(name, kind)


def _name(arn: Any) -> str:
    """Return the name in `arn:aws:states:us-east-1:123456789012:stateMachine:name`, without version or alias."""
    parts = arn.split(":") if isinstance(arn, str) else ()
    return parts[6] if len(parts) > 6 else ""
