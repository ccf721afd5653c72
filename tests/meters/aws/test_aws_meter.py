"""What is common to all services: recognition, regions, overrides, unknown things, bounds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spancost.capture.aws import facts as aws_facts
from spancost.charge import SpanView
from spancost.meters.aws import AwsMeter
from spancost.prices.book import PriceBook, PriceOverride
from tests.meters.aws.calls import METER, charge, charges, known, view


def test_other_spans_are_none_of_its_business() -> None:
    assert METER.measure(SpanView("GET /", 2, "requests", {"http.method": "GET"}, 0, 1)) == ()
    assert METER.measure(SpanView("x", 2, "grpc", {"rpc.system": "grpc", "rpc.service": "S3"}, 0, 1)) == ()


@pytest.mark.parametrize(
    "attributes", [{"rpc.service": None}, {"rpc.method": 7}, {"rpc.service": ["S3"], "rpc.method": "PutObject"}]
)
def test_span_without_service_or_method_is_left_alone(attributes: dict[str, Any]) -> None:
    assert METER.measure(SpanView("x", 2, "", {"rpc.system": "aws-api", **attributes}, 0, 1)) == ()


def test_new_rpc_conventions_are_read() -> None:
    attributes = {"rpc.system.name": "aws-api", "rpc.method": "S3/ListBuckets", "http.response.status_code": 200}
    (found,) = METER.measure(SpanView("S3/ListBuckets", 2, "", attributes, 0, 1))
    assert (found.line.operation, found.usd) == ("s3.ListBuckets", pytest.approx(0.000005))


def test_bedrock_tokens_belong_to_the_llm_meter() -> None:
    assert charges("Bedrock Runtime", "Converse") == ()
    assert charges("Bedrock Runtime", "Converse", status=0) == ()


def test_charge_line_names_component_provider_operation_and_source() -> None:
    line = charge("SQS", "CreateQueue").line
    assert (line.component, line.provider, line.operation) == ("aws", "aws", "sqs.CreateQueue")
    assert (line.region, line.sku, line.source) == ("us-east-1", "8RN6B8U4MERHRXP3", "spancost:2026-10-08")


def test_lines_are_shared() -> None:
    assert charge("SQS", "CreateQueue").line is charge("SQS", "CreateQueue").line


def test_region_without_a_price_is_estimated() -> None:
    found = charge("SQS", "CreateQueue", region="eu-south-1")
    assert known(found) == ("estimated", "", "region_fallback")
    assert found.line.region == "eu-south-1"


def test_span_without_region_takes_the_default_of_the_meter() -> None:
    meter = AwsMeter(PriceBook.shipped(), default_region="us-west-2")
    assert charge("SQS", "CreateQueue", meter, region="").line.region == "us-west-2"
    assert known(charge("SQS", "CreateQueue", region="")) == ("estimated", "", "region_fallback")


def test_override_changes_usd_and_not_list_usd() -> None:
    override = PriceOverride("aws.sqs.standard", Decimal("0.0000003"), "request", place="spancost.yaml")
    found = charge("SQS", "CreateQueue", AwsMeter(PriceBook.shipped().with_overrides([override])))
    assert (found.usd, found.list_usd) == (pytest.approx(3e-7), pytest.approx(4e-7))
    assert found.line.source == "override:spancost.yaml"


def test_service_that_the_book_does_not_have_is_unpriced() -> None:
    assert known(charge("Ground Station", "ListSatellites")) == ("unpriced", "unknown_service", "")


def test_unknown_operation_of_a_known_service_is_unpriced() -> None:
    assert known(charge("STS", "Teleport")) == ("unpriced", "unknown_operation", "")
    assert known(charge("Kinesis", "Teleport")) == ("unpriced", "unknown_operation", "")


@pytest.mark.parametrize(("service", "operation"), [("STS", "GetCallerIdentity"), ("EC2", "DescribeInstances")])
def test_call_that_the_book_knows_to_be_free_is_free(service: str, operation: str) -> None:
    assert known(charge(service, operation)) == ("free", "", "")


def test_service_names_lose_their_spaces() -> None:
    assert charge("Secrets Manager", "GetSecretValue").line.operation == "secretsmanager.GetSecretValue"


def test_call_without_answer_is_unpriced() -> None:
    found = charge("S3", "PutObject", status=0)
    assert (found.usd, known(found)) == (0, ("unpriced", "no_answer", ""))


def test_call_that_was_never_sent_is_free() -> None:
    assert known(charge("S3", "PutObject", status=0, facts={aws_facts.NOT_SENT: True})) == ("free", "", "not_sent")


def test_retried_call_is_one_marked_charge() -> None:
    found = charge("SQS", "CreateQueue", attributes={"retry_attempts": 3})
    assert (found.usd, known(found)) == (pytest.approx(4e-7), ("estimated", "", "retried"))
    found = charge("SQS", "SendMessage", attributes={"retry_attempts": 1})
    assert (found.usd, known(found)) == (pytest.approx(4e-7), ("estimated", "", "size:1_chunk,retried"))


@pytest.mark.parametrize(("service", "operation"), [("STS", "GetCallerIdentity"), ("EC2", "DescribeInstances")])
def test_retried_free_call_stays_free(service: str, operation: str) -> None:
    assert known(charge(service, operation, attributes={"retry_attempts": 1})) == ("free", "", "")


def test_call_known_to_be_free_is_free_without_an_answer_too() -> None:
    assert known(charge("STS", "GetCallerIdentity", status=0)) == ("free", "", "")


def test_free_call_can_be_given_a_price() -> None:
    override = PriceOverride("aws.sts.control_plane", Decimal("0.25"), "request", place="spancost.yaml")
    found = charge("STS", "AssumeRole", AwsMeter(PriceBook.shipped().with_overrides([override])))
    assert (found.usd, found.list_usd, found.line.status) == (0.25, 0.0, "priced")


def test_ten_thousand_resources_do_not_grow_the_cache_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spancost.charge._lines", {})  # or all later tests would see resources folded into `other`
    meter = AwsMeter(PriceBook.shipped())
    for number in range(10_000):
        facts = {aws_facts.RESOURCE: f"bucket-{number}"}
        assert meter.measure(view("S3", "ListObjectsV2", facts=facts))[0].usd == pytest.approx(5e-6)
    assert len(meter._compiled) <= 4096  # pyright: ignore[reportPrivateUsage]


_BY_SIZE = [
    ("Kinesis", "PutRecords"),
    ("Kinesis", "GetRecords"),
    ("Firehose", "PutRecordBatch"),
    ("EventBridge", "PutEvents"),
    ("SFN", "StartExecution"),
    ("SFN", "StartSyncExecution"),
    ("ApiGatewayManagementApi", "PostToConnection"),
    ("IoT Data Plane", "Publish"),
    ("RDS Data", "ExecuteStatement"),
    ("KMS", "Decrypt"),
    ("KMS", "GenerateDataKeyPair"),
    ("SSM", "GetParameters"),
    ("CloudWatch", "GetMetricData"),
    ("CloudWatch Logs", "PutLogEvents"),
    ("CloudWatch Logs", "GetQueryResults"),
    ("XRay", "PutTraceSegments"),
    ("DynamoDB Streams", "GetRecords"),
    ("CloudFront", "CreateInvalidation"),
]


@pytest.mark.parametrize(
    "value", [-1, True, "x", float("nan"), float("inf"), [None], [-1], ["x"], {"a": 1}, 2**63, 10**400]
)
@pytest.mark.parametrize(("service", "operation"), _BY_SIZE)
def test_odd_sizes_and_counts_are_never_a_price_and_never_raise(service: str, operation: str, value: Any) -> None:
    keys = [
        aws_facts.RECORD_BYTES,
        aws_facts.REQUEST_BYTES,
        aws_facts.RESPONSE_BYTES,
        aws_facts.COUNT,
        aws_facts.RESOURCE,
        "aws.logs.scanned_bytes",
        "aws.ssm.advanced",
        "aws.stepfunctions.billed_ms",
        "aws.stepfunctions.billed_mb",
    ]
    for found in charges(service, operation, facts=dict.fromkeys(keys, value)):
        assert 0 <= found.usd < 0.01
        assert found.usd == found.list_usd
        if found.line.status == "unpriced":
            assert (found.usd, found.line.reason != "") == (0, True)


@pytest.mark.parametrize("value", [None, 7, "x" * 10_000_000, ["a"], {"a": 1}, float("nan")])
@pytest.mark.parametrize("service", ["S3", "DynamoDB", "SQS", "SNS", "Lambda"])
def test_odd_attribute_values_never_raise(service: str, value: Any) -> None:
    operation = {"S3": "GetObject", "DynamoDB": "Query", "SQS": "SendMessage", "SNS": "Publish", "Lambda": "Invoke"}
    keys = [
        "cloud.region",
        "messaging.destination",
        "aws.dynamodb.table_names",
        "faas.invoked_name",
        "http.status_code",
    ]
    for key in keys:
        for found in charges(service, operation[service], attributes={key: value}):
            assert len(found.line.resource) <= 256
