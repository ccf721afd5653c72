"""Every recorded botocore span (tests/data/spans/botocore.json) gets the charge it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spancost.charge import Charge, SpanView
from tests.meters.aws.calls import METER, NOW_NS

_FILE = Path(__file__).parents[2] / "data" / "spans" / "botocore.json"
_SPANS: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))["spans"]
_PUT, _GET, _SQS, _FIFO, _SNS, _INVOKE = 5e-6, 4e-7, 4e-7, 5e-7, 5e-7, 2e-7
_RRU, _WRU = 1.25e-7, 6.25e-7

# scenario without its note -> USD of each of its spans, in the order in which they ended
_EXPECTED: dict[str, list[float]] = {
    "S3 CreateBucket": [_PUT],
    "S3 PutObject 5000 bytes": [_PUT],
    "S3 PutObject 5000 bytes, STANDARD_IA": [_PUT],  # the span does not show the class
    "S3 GetObject 5000 bytes, body read": [_GET],
    "S3 GetObject ranged 100 bytes": [_GET],
    "S3 HeadObject": [_GET],
    "S3 ListObjectsV2": [_PUT],
    "S3 CopyObject": [_PUT],
    "S3 GetObject, no such key": [_GET],
    "S3 upload_fileobj multipart, 12 MiB in 5 MiB parts, threads, inside a parent span": [_PUT] * 5,
    "S3 download_fileobj 12 MiB, threads": [_GET] * 4,
    "S3 DeleteObjects (2)": [0],
    "S3 client pointed at a closed port (no answer)": [0],
    "DynamoDB CreateTable": [0],
    "DynamoDB PutItem 1.5 KB": [_WRU],
    "DynamoDB GetItem": [0.5 * _RRU],
    "DynamoDB GetItem ConsistentRead": [1.0 * _RRU],
    "DynamoDB Query": [0.5 * _RRU],
    "DynamoDB Scan": [0.5 * _RRU],
    "DynamoDB UpdateItem": [0.5 * _WRU],  # moto counts half a unit, unasked
    "DynamoDB BatchWriteItem 2 items": [1.0 * _WRU],  # capacity of moto
    "DynamoDB BatchGetItem 2 keys": [2.0 * _RRU],  # capacity of moto
    "DynamoDB TransactWriteItems 2 puts": [2.0 * _WRU],
    "DynamoDB TransactGetItems": [2.0 * _RRU],
    "DynamoDB DeleteItem": [_WRU],
    "DynamoDB PutItem, failed condition": [_WRU],
    "SQS CreateQueue": [_SQS],
    "SQS CreateQueue FIFO": [_SQS],
    "SQS SendMessage 70 KB": [_SQS],  # the span does not show the size
    "SQS SendMessage FIFO": [_FIFO],
    "SQS SendMessageBatch 3": [_SQS],
    "SQS ReceiveMessage": [_SQS],
    "SQS DeleteMessage": [_SQS],
    "SNS CreateTopic": [_SNS],
    "SNS Publish": [_SNS],
    "SNS Publish SMS": [0],
    "SNS PublishBatch 2": [_SNS],
    "STS GetCallerIdentity": [0],
    "Lambda Invoke (fake), LogType None": [_INVOKE],
    "Lambda Invoke (fake), LogType Tail": [_INVOKE],
    "Lambda Invoke (fake), Event": [_INVOKE],
    "CloudWatch PutMetricData": [1e-5],
    "CloudWatchLogs CreateLogGroup": [0],
    "EventBridge PutEvents 2": [1e-6],  # the span shows no entries
    "KMS CreateKey": [3e-6],
    "KMS Encrypt": [3e-6],
    "KMS Decrypt": [3e-6],
    "KMS GenerateDataKey": [3e-6],
    "Kinesis CreateStream": [0],
    "Kinesis PutRecord": [1.4e-8],
    "Kinesis PutRecords 2": [1.4e-8],  # the span shows no records
    "SES SendEmail": [1e-4],
    "SES VerifyEmail": [0],
    "SSM GetParameter": [0],
    "SSM PutParameter": [0],
    "SecretsManager CreateSecret": [5e-6],
    "SecretsManager GetSecretValue": [5e-6],
    "StepFunctions CreateStateMachine": [0],
    "StepFunctions StartExecution": [0],  # its transitions come later
}
# With ReturnConsumedCapacity the capacity that moto reported is charged.
_CAPACITY: dict[str, float] = {
    "DynamoDB PutItem 1.5 KB": 1.0 * _WRU,
    "DynamoDB GetItem": 0.5 * _RRU,
    "DynamoDB GetItem ConsistentRead": 0.5 * _RRU,
    "DynamoDB Query": 1.0 * _RRU,
    "DynamoDB Scan": 1.0 * _RRU,
    "DynamoDB UpdateItem": 0.5 * _WRU,
    "DynamoDB BatchWriteItem 2 items": 1.0 * _WRU,
    "DynamoDB BatchGetItem 2 keys": 2.0 * _RRU,
    "DynamoDB TransactWriteItems 2 puts": 2.0 * _WRU,  # not on the span: one unit assumed, twice
    "DynamoDB TransactGetItems": 2.0 * _RRU,
}


def _charges(span: dict[str, Any]) -> Sequence[Charge]:
    failed = span["status"]["code"] == "ERROR"
    return METER.measure(
        SpanView(span["name"], 2, span["scope"]["name"], span["attributes"], NOW_NS, NOW_NS + 1, {}, failed)
    )


def _expected(scenario: str) -> list[float]:
    if " ReturnConsumedCapacity=" in scenario:
        return [_CAPACITY[scenario.split(" ReturnConsumedCapacity=", maxsplit=1)[0]]]
    return _EXPECTED[scenario.removesuffix(" without ReturnConsumedCapacity")]


@pytest.mark.parametrize("scenario", sorted({span["scenario"] for span in _SPANS}))
def test_recorded_span_is_charged_as_worked_out_or_has_a_reason(scenario: str) -> None:
    spans = sorted((span for span in _SPANS if span["scenario"] == scenario), key=lambda span: span["end_order"])
    found = [charge for span in spans for charge in _charges(span)]
    assert [charge.usd for charge in found] == [pytest.approx(usd, rel=1e-12) for usd in _expected(scenario)]
    for charge in found:
        assert (charge.line.status == "unpriced") == bool(charge.line.reason)
        assert (charge.line.status == "estimated") == (bool(charge.line.basis) and charge.usd > 0)
        assert charge.usd == 0 or charge.line.source.startswith("spancost:")


def test_spans_of_other_instrumentations_are_not_charged() -> None:
    for span in _SPANS:
        if span["scope"]["name"] == "app.manual":
            assert _charges(span) == ()


def test_no_recorded_call_is_unknown() -> None:
    reasons = {charge.line.reason for span in _SPANS for charge in _charges(span)}
    assert reasons == {"", "no_answer", "no_price", "transitions_not_seen"}
