"""Lambda: requests, asynchronous chunks, billed duration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from tests.meters.aws.calls import KB, charge, charges, known
from tests.meters.aws.operations import undecided

_REQUEST_USD = 0.20 / 1e6
_GB_SECOND_USD = 0.0000166667


def test_invocation_costs_one_request() -> None:
    found = charge("Lambda", "Invoke", facts={aws_facts.RESOURCE: "resize", aws_facts.REQUEST_BYTES: 5_000_000})
    assert (found.usd, known(found)) == (pytest.approx(_REQUEST_USD), ("priced", "", ""))
    assert found.line.resource == "resize"


@pytest.mark.parametrize(
    ("size_bytes", "requests"),
    [(0, 1), (256 * KB, 1), (256 * KB + 1, 2), (320 * KB, 2), (320 * KB + 1, 3), (1024 * KB, 13)],
)
def test_asynchronous_event_costs_one_more_per_started_64_kb_over_256(size_bytes: int, requests: int) -> None:
    facts = {aws_facts.INVOCATION_TYPE: "Event", aws_facts.REQUEST_BYTES: size_bytes}
    assert charge("Lambda", "Invoke", facts=facts).usd == pytest.approx(requests * _REQUEST_USD)


def test_dry_run_is_free() -> None:
    assert charge("Lambda", "Invoke", facts={aws_facts.INVOCATION_TYPE: "DryRun"}).line.status == "free"


def test_billed_duration_costs_gb_seconds() -> None:
    facts = {aws_facts.BILLED_MS: 103.0, aws_facts.MEMORY_MB: 512.0}
    request, duration = charges("Lambda", "Invoke", facts=facts)
    assert request.usd == pytest.approx(_REQUEST_USD)
    assert duration.usd == pytest.approx(0.5 * 0.103 * _GB_SECOND_USD)
    assert known(duration) == ("estimated", "", "architecture:x86")
    assert duration.line.unit == "GB-second"


def test_invocation_of_a_stored_span_is_one_estimated_request() -> None:
    found = charge("Lambda", "Invoke", attributes={"faas.invoked_name": "resize"})
    assert known(found) == ("estimated", "", "size:1_chunk")
    assert found.line.resource == "resize"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 502])
def test_refused_invocation_is_free(status: int) -> None:
    assert known(charge("Lambda", "Invoke", status=status, facts={})) == ("free", "", "not_billed:error")


@pytest.mark.parametrize("operation", ["GetFunction", "CreateFunction", "ListFunctions", "UpdateFunctionCode"])
def test_managing_functions_is_free(operation: str) -> None:
    assert charge("Lambda", operation).line.status == "free"


def test_unknown_operation_is_unpriced() -> None:
    assert known(charge("Lambda", "Teleport")) == ("unpriced", "unknown_operation", "")


@pytest.mark.parametrize("milliseconds", [-1.0, float("nan"), "103"])
def test_impossible_duration_is_unpriced(milliseconds: object) -> None:
    facts = {aws_facts.BILLED_MS: milliseconds, aws_facts.MEMORY_MB: 128.0}
    _, duration = charges("Lambda", "Invoke", facts=facts)
    assert known(duration) == ("unpriced", "bad_usage", "")


def test_every_operation_is_decided() -> None:
    assert undecided("lambda") == []


@pytest.mark.parametrize("operation", ["CheckpointDurableExecution", "SendDurableExecutionCallbackSuccess"])
def test_steps_of_durable_executions_have_no_price_in_the_book(operation: str) -> None:
    assert known(charge("Lambda", operation)) == ("unpriced", "no_price", "")


@pytest.mark.parametrize("operation", ["GetDurableExecution", "ListDurableExecutionsByFunction", "AddPermission"])
def test_looking_at_executions_is_free(operation: str) -> None:
    assert charge("Lambda", operation).line.status == "free"


def test_impossible_payload_of_an_asynchronous_invocation_is_unpriced() -> None:
    facts = {aws_facts.INVOCATION_TYPE: "Event", aws_facts.REQUEST_BYTES: "big"}
    assert known(charge("Lambda", "Invoke", facts=facts)) == ("unpriced", "bad_usage", "")


@given(st.integers(0, 1024 * KB))
def test_asynchronous_event_is_one_request_and_its_started_64_kb_over_256(size_bytes: int) -> None:
    facts = {aws_facts.INVOCATION_TYPE: "Event", aws_facts.REQUEST_BYTES: size_bytes}
    more = charge("Lambda", "Invoke", facts=facts).quantity - 1
    over = max(0, size_bytes - 256 * KB)
    assert more * 64 * KB >= over > (more - 1) * 64 * KB
