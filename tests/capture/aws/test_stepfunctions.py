"""Step Functions: express executions are requests and duration, standard ones transitions that come later."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubbed import ARN, answered, refused
from tests.meters.aws.calls import charge, known

_REQUEST_USD, _GB_SECOND_USD = 1.00 / 1e6, 0.00001667


def _start(prices: Prices, name: str, kind: str) -> Any:
    machine = ARN.format(service="states", name=f"stateMachine:{name}")
    execution = ARN.format(service="states", name=f"{kind}:{name}:1")
    return answered(
        prices,
        "stepfunctions",
        "start_execution",
        {"executionArn": execution, "startDate": 0},
        stateMachineArn=machine,
    )


def test_start_of_a_standard_execution_is_unpriced_because_transitions_come_later(prices: Prices) -> None:
    (found,) = _start(prices, "orders", "execution")
    assert known(found) == ("unpriced", "transitions_not_seen", "")
    assert (found.line.resource, found.line.unit) == ("orders", "state transition")


def test_name_of_an_execution_is_not_kept(prices: Prices) -> None:
    started = {"executionArn": "odd", "startDate": 0}
    (found,) = answered(
        prices, "stepfunctions", "start_execution", started, stateMachineArn="odd", name="order-of-somebody"
    )
    assert found.line.resource == ""


def test_start_of_an_express_execution_is_a_request_and_an_unseen_duration(prices: Prices) -> None:
    request, duration = _start(prices, "clicks", "express")
    assert (request.usd, known(request)) == (pytest.approx(_REQUEST_USD, rel=1e-12), ("priced", "", ""))
    assert known(duration) == ("unpriced", "duration_not_seen", "")
    assert (request.line.resource, duration.line.unit) == ("clicks", "GB-second")


@pytest.mark.parametrize(("billed_mb", "billed_ms"), [(64, 100), (64, 200), (128, 100), (1024, 60_000)])
def test_synchronous_execution_costs_a_request_and_its_billed_duration(
    prices: Prices, billed_mb: int, billed_ms: int
) -> None:
    answer = {
        "executionArn": ARN.format(service="states", name="express:clicks:1"),
        "startDate": 0,
        "stopDate": 1,
        "status": "SUCCEEDED",
        "billingDetails": {"billedMemoryUsedInMB": billed_mb, "billedDurationInMilliseconds": billed_ms},
    }
    machine = ARN.format(service="states", name="stateMachine:clicks:3")
    request, duration = answered(prices, "stepfunctions", "start_sync_execution", answer, stateMachineArn=machine)
    assert request.usd == pytest.approx(_REQUEST_USD, rel=1e-12)
    assert duration.usd == pytest.approx(billed_mb / 1024 * billed_ms / 1000 * _GB_SECOND_USD, rel=1e-12)
    assert (status_of(duration), duration.line.resource) == (("priced", ""), "clicks")


@pytest.mark.parametrize(
    ("method", "answer", "params"),
    [
        ("describe_state_machine", {"definition": "{}", "roleArn": "r"}, {}),
        ("list_state_machines", {}, None),
    ],
)
def test_type_is_learned_from_calls_that_show_it(
    prices: Prices, method: str, answer: dict[str, Any], params: dict[str, Any] | None
) -> None:
    name = f"learned-{uuid4().hex}"
    arn = ARN.format(service="states", name=f"stateMachine:{name}")
    shown = {"stateMachineArn": arn, "name": name, "type": "EXPRESS", "creationDate": 0}
    answer = {"stateMachines": [shown]} if params is None else {**answer, **shown}
    arguments = {} if params is None else {"stateMachineArn": arn}
    (free,) = answered(prices, "stepfunctions", method, answer, **arguments)
    assert free.line.status == "free"
    # The answer's ARN is odd: what was learned decides.
    found = answered(
        prices,
        "stepfunctions",
        "start_execution",
        {"executionArn": "odd", "startDate": 0},
        stateMachineArn=f"{arn}:live",
    )
    assert found[0].usd == pytest.approx(_REQUEST_USD)


def test_type_is_learned_when_a_machine_is_created(prices: Prices) -> None:
    name = f"created-{uuid4().hex}"
    arn = ARN.format(service="states", name=f"stateMachine:{name}")
    answer = {"stateMachineArn": arn, "creationDate": 0}
    answered(
        prices, "stepfunctions", "create_state_machine", answer, name=name, definition="{}", roleArn="r", type="EXPRESS"
    )
    started = {"executionArn": "odd", "startDate": 0}
    found = answered(prices, "stepfunctions", "start_execution", started, stateMachineArn=arn)
    assert found[0].usd == pytest.approx(_REQUEST_USD)


def test_refused_start_costs_nothing(prices: Prices) -> None:
    (found,) = refused(
        prices, "stepfunctions", "start_execution", "ExecutionAlreadyExists", 400, stateMachineArn="arn:x"
    )
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))


def test_tasks_and_histories_are_free_and_a_redrive_is_not_known() -> None:
    assert known(charge("SFN", "SendTaskSuccess")) == ("free", "", "")
    assert known(charge("SFN", "GetExecutionHistory")) == ("free", "", "")
    assert known(charge("SFN", "RedriveExecution")) == ("unpriced", "transitions_not_seen", "")
