from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from moto import mock_aws
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.capture import aws as botocore_hooks
from spancost.testing import World, priced_provider
from tests.accuracy.__main__ import rows
from tests.accuracy.published_cases import ANTHROPIC, AWS_CASES, LLM_CASES, AwsCase, LlmCase

KB = 1024
REGION = "us-east-1"


def _run(world: World, case: LlmCase) -> None:
    tracer = world.provider.get_tracer(case.scope)
    if case.agent_repeats_usage:
        agent = {**case.attributes, "gen_ai.operation.name": "invoke_agent"}
        with tracer.start_as_current_span("invoke_agent", attributes=agent, start_time=case.at_ns):
            _call(world, case)
    else:
        _call(world, case)


def _call(world: World, case: LlmCase) -> None:
    tracer = world.provider.get_tracer(case.scope)
    span = tracer.start_span("chat", kind=SpanKind.CLIENT, attributes=case.attributes, start_time=case.at_ns)
    span.end(case.at_ns + 1_000_000_000)


@pytest.mark.parametrize("case", LLM_CASES, ids=lambda case: f"{case.report}: {case.title}")
def test_an_llm_call_that_others_got_wrong_costs_what_the_provider_charges(case: LlmCase) -> None:
    with priced_provider() as world:
        _run(world, case)
        world.publish()
        cost = sum(sums.usd for key, sums in world.recorded.charges.items() if key.line.component == names.LLM)
        statuses = {key.line.status for key in world.recorded.charges if key.line.component == names.LLM}

    assert cost == pytest.approx(float(case.true_usd), rel=1e-12)
    assert abs(cost - float(case.shown_usd)) > 0.05 * float(case.true_usd), "the report is about a wrong figure"
    assert statuses <= {names.PRICED, names.ESTIMATED}


def test_a_streamed_call_costs_what_it_costs_unstreamed_and_without_usage_it_is_unpriced() -> None:
    """BerriAI/litellm#40100: a week of streamed calls was shown as $0.00 and cost $45.38."""
    case = LLM_CASES[4]
    with priced_provider() as world:
        tracer = world.provider.get_tracer(ANTHROPIC)
        for attributes in (
            case.attributes,
            {**case.attributes, "gen_ai.request.stream": True},
            {key: value for key, value in case.attributes.items() if not key.startswith("gen_ai.usage.")},
        ):
            tracer.start_span("chat", attributes=attributes, start_time=case.at_ns).end()
        world.publish()
        costs = [(span.attributes or {}).get(names.DIRECT_USD) for span in world.spans]
        unpriced = [key.line.reason for key in world.recorded.charges if key.line.status == names.UNPRICED]

    assert costs[0] == costs[1] == pytest.approx(float(case.true_usd))
    assert "no_usage" in unpriced


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws(), priced_provider(region=REGION) as world:
        _client("dynamodb").create_table(
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        _client("s3").create_bucket(Bucket="bucket")
        _client("sqs").create_queue(QueueName="jobs")
        _client("dynamodb").put_item(TableName="orders", Item=_item("big", 300 * KB))
        _client("dynamodb").put_item(TableName="orders", Item=_item("small", 100))
        instrumentor = BotocoreInstrumentor()
        instrumentor.instrument(
            tracer_provider=world.provider,
            request_hook=botocore_hooks.request_hook,
            response_hook=botocore_hooks.response_hook,
        )
        try:
            yield world
        finally:
            instrumentor.uninstrument()


def _client(service: str) -> Any:
    aws: Any = boto3  # its stubs name every service there is
    return aws.client(service)


def _item(key: str, size: int) -> dict[str, Any]:
    return {"id": {"S": key}, "body": {"S": "x" * size}}


def _drop_capacity(parsed: dict[str, Any], **_: object) -> None:
    parsed.pop("ConsumedCapacity", None)


def _batch_of_25() -> None:
    client = _client("dynamodb")
    # moto reports one unit of capacity that nobody asked for; the service reports none.
    client.meta.events.register("after-call.dynamodb", _drop_capacity)
    items = [{"PutRequest": {"Item": _item(str(number), 100)}} for number in range(25)]
    client.batch_write_item(RequestItems={"orders": items})


CALLS: dict[str, Callable[[], object]] = {
    "put_300_kb": lambda: _client("dynamodb").put_item(TableName="orders", Item=_item("new", 300 * KB)),
    "get_300_kb": lambda: _client("dynamodb").get_item(
        TableName="orders", Key={"id": {"S": "big"}}, ConsistentRead=True
    ),
    "batch_of_25": _batch_of_25,
    "transaction_of_2": lambda: _client("dynamodb").transact_write_items(
        TransactItems=[{"Put": {"TableName": "orders", "Item": _item(key, 100)}} for key in ("a", "b")]
    ),
    "put_small": lambda: _client("dynamodb").put_item(TableName="orders", Item=_item("new", 100)),
    "get_small": lambda: _client("dynamodb").get_item(TableName="orders", Key={"id": {"S": "small"}}),
    "delete_object": lambda: _client("s3").delete_object(Bucket="bucket", Key="key"),
    "upload_4_parts": lambda: _client("s3").upload_fileobj(
        io.BytesIO(b"x" * (20 * KB * KB)),
        "bucket",
        "key",
        Config=TransferConfig(multipart_threshold=5 * KB * KB, multipart_chunksize=5 * KB * KB),
    ),
    "send_200_kb": lambda: _client("sqs").send_message(
        QueueUrl=f"https://sqs.{REGION}.amazonaws.com/123456789012/jobs", MessageBody="x" * (200 * KB)
    ),
}


@pytest.mark.parametrize("case", AWS_CASES, ids=lambda case: case.title)
def test_an_aws_call_that_a_price_per_call_gets_wrong_costs_its_billed_units(aws: World, case: AwsCase) -> None:
    with aws.tracer.start_as_current_span("request"):
        CALLS[case.call]()
    aws.publish()

    cost = aws.recorded.usd(names.AWS)
    assert cost == pytest.approx(float(case.true_usd), rel=1e-12, abs=1e-15)
    assert cost != pytest.approx(float(case.shown_usd), rel=0.05), "the other figure is wrong"


def test_the_readme_shows_this_table() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert "\n".join(rows()) in readme, "put the output of `python -m tests.accuracy` into the README"
