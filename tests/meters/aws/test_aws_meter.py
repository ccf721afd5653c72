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


@pytest.mark.parametrize(
    ("service", "operation"), [("KMS", "Encrypt"), ("Kinesis", "PutRecord"), ("SSM", "GetParameter")]
)
def test_service_that_comes_later_is_unpriced(service: str, operation: str) -> None:
    assert known(charge(service, operation)) == ("unpriced", "unknown_service", "")


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


def test_retries_are_not_billed_again() -> None:
    assert charge("SQS", "CreateQueue", attributes={"retry_attempts": 3}).usd == pytest.approx(4e-7)


def test_ten_thousand_resources_do_not_grow_the_cache_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spancost.charge._lines", {})  # or all later tests would see resources folded into `other`
    meter = AwsMeter(PriceBook.shipped())
    for number in range(10_000):
        facts = {aws_facts.RESOURCE: f"bucket-{number}"}
        assert meter.measure(view("S3", "ListObjectsV2", facts=facts))[0].usd == pytest.approx(5e-6)
    assert len(meter._compiled) <= 4096  # pyright: ignore[reportPrivateUsage]


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
