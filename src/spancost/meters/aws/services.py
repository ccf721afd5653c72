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
    "apigatewaymanagementapi": "spancost.meters.aws.apigatewaymanagementapi",
    "athena": "spancost.meters.aws.athena",
    "bedrock-agent-runtime": "spancost.meters.aws.bedrock_agent_runtime",
    "bedrock-runtime": "spancost.meters.aws.bedrock_runtime",
    "cloudfront": "spancost.meters.aws.cloudfront",
    "cloudwatch": "spancost.meters.aws.cloudwatch",
    "comprehend": "spancost.meters.aws.comprehend",
    "dynamodb": "spancost.meters.aws.dynamodb",
    "dynamodbstreams": "spancost.meters.aws.dynamodbstreams",
    "events": "spancost.meters.aws.events",
    "firehose": "spancost.meters.aws.firehose",
    "iot-data": "spancost.meters.aws.iot_data",
    "kinesis": "spancost.meters.aws.kinesis",
    "kms": "spancost.meters.aws.kms",
    "lambda": "spancost.meters.aws.lambda_",
    "logs": "spancost.meters.aws.logs",
    "polly": "spancost.meters.aws.polly",
    "rds-data": "spancost.meters.aws.rds_data",
    "rekognition": "spancost.meters.aws.rekognition",
    "s3": "spancost.meters.aws.s3",
    "ses": "spancost.meters.aws.ses",
    "sesv2": "spancost.meters.aws.sesv2",
    "sns": "spancost.meters.aws.sns",
    "sqs": "spancost.meters.aws.sqs",
    "ssm": "spancost.meters.aws.ssm",
    "stepfunctions": "spancost.meters.aws.stepfunctions",
    "textract": "spancost.meters.aws.textract",
    "transcribe": "spancost.meters.aws.transcribe",
    "translate": "spancost.meters.aws.translate",
    "xray": "spancost.meters.aws.xray",
}
"""Name of the boto3 client -> module with a function `measure_of(operation)`. All others are billed by the request,
which the price book alone decides (`by_request`)."""


def client_of(service_id: str) -> str:
    """Return the name of the boto3 client for a service id as spans have it (`CloudWatch Logs` -> `logs`)."""
    name = service_id.lower().replace(" ", "")
    return CLIENTS.get(name, name)
