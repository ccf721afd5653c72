"""Which AWS services are known: how spans name them, how boto3 does, and which module measures them.

Spans carry the service id of botocore's models (`DynamoDB`, `CloudWatch Logs`, `SFN`); prices, operations and
reports carry the name of the boto3 client (`dynamodb`, `logs`, `stepfunctions`), which people type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CLIENTS: Final[Mapping[str, str]] = {
    "cloudwatchlogs": "logs",
    "costexplorer": "ce",
    "dynamodbstreams": "dynamodbstreams",
    "eventbridge": "events",
    "sfn": "stepfunctions",
    "iotdataplane": "iot-data",
    "rdsdata": "rds-data",
    "bedrockruntime": "bedrock-runtime",
    "bedrockagent": "bedrock-agent",
    "bedrockagentruntime": "bedrock-agent-runtime",
    "bedrockagentcore": "bedrock-agentcore",
    "s3control": "s3control",
}
"""Service id, lower case without spaces -> name of the boto3 client, where the two differ or are easily confused."""

MODULES: Final[Mapping[str, str]] = {
    "dynamodb": "spancost.meters.aws.dynamodb",
    "lambda": "spancost.meters.aws.lambda_",
    "s3": "spancost.meters.aws.s3",
    "sns": "spancost.meters.aws.sns",
    "sqs": "spancost.meters.aws.sqs",
}
"""Name of the boto3 client -> module with a function `measure_of(operation)`. All others are billed by the request,
which the price book alone decides (`by_request`)."""


def client_of(service_id: str) -> str:
    """Return the name of the boto3 client for a service id as spans have it (`CloudWatch Logs` -> `logs`)."""
    name = service_id.lower().replace(" ", "")
    return CLIENTS.get(name, name)
