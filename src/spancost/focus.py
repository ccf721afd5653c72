"""Names of FOCUS, the FinOps Open Cost and Usage Specification, for what spancost charges.

A charge is to join with a bill: `ServiceName`, `ServiceCategory` and `ProviderName` are those of AWS's own FOCUS export
(https://focus.finops.org, FOCUS 1.0 sample data of the specification's authors, CC BY 4.0) where a service is in it,
and the service's official name elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from spancost import names


class CloudService(NamedTuple):
    """How a bill names what was used."""

    name: str
    """`ServiceName`"""
    category: str
    """`ServiceCategory`, one of the specification's list."""


_DATABASES: Final = "Databases"
_INTEGRATION: Final = "Integration"
_AI: Final = "AI and Machine Learning"
_MANAGEMENT: Final = "Management and Governance"
_NETWORKING: Final = "Networking"
_ANALYTICS: Final = "Analytics"
_COMPUTE: Final = "Compute"
_STORAGE: Final = "Storage"
_IDENTITY: Final = "Identity"
_OTHER: Final = "Other"

_AWS: Final[Mapping[str, CloudService]] = {
    "apigateway": CloudService("Amazon API Gateway", _NETWORKING),
    "apigatewaymanagementapi": CloudService("Amazon API Gateway", _NETWORKING),
    "appsync": CloudService("AWS AppSync", _INTEGRATION),
    "athena": CloudService("Amazon Athena", _ANALYTICS),
    "bedrock": CloudService("Amazon Bedrock", _AI),
    "bedrock-agent": CloudService("Amazon Bedrock", _AI),
    "bedrock-agent-runtime": CloudService("Amazon Bedrock", _AI),
    "bedrock-agentcore": CloudService("Amazon Bedrock AgentCore", _AI),
    "bedrock-runtime": CloudService("Amazon Bedrock", _AI),
    "ce": CloudService("AWS Cost Explorer", _MANAGEMENT),
    "cloudfront": CloudService("Amazon CloudFront", _NETWORKING),
    "cloudwatch": CloudService("AmazonCloudWatch", _MANAGEMENT),
    "comprehend": CloudService("Amazon Comprehend", _AI),
    "dynamodb": CloudService("Amazon DynamoDB", _DATABASES),
    "dynamodbstreams": CloudService("Amazon DynamoDB", _DATABASES),
    "ecr": CloudService("Amazon EC2 Container Registry (ECR)", _OTHER),
    "events": CloudService("AWS Events", _INTEGRATION),
    "firehose": CloudService("Amazon Kinesis Firehose", _ANALYTICS),
    "iot-data": CloudService("AWS IoT", "Internet of Things"),
    "kinesis": CloudService("Amazon Kinesis", _ANALYTICS),
    "kms": CloudService("AWS Key Management Service", _IDENTITY),
    "lambda": CloudService("AWS Lambda", _COMPUTE),
    "logs": CloudService("AmazonCloudWatch", _MANAGEMENT),
    "polly": CloudService("Amazon Polly", _AI),
    "rds-data": CloudService("Amazon Relational Database Service", _DATABASES),
    "rekognition": CloudService("Amazon Rekognition", _AI),
    "route53": CloudService("Amazon Route 53", _NETWORKING),
    "s3": CloudService("Amazon Simple Storage Service", _STORAGE),
    "secretsmanager": CloudService("AWS Secrets Manager", _IDENTITY),
    "ses": CloudService("Amazon Simple Email Service", _INTEGRATION),
    "sesv2": CloudService("Amazon Simple Email Service", _INTEGRATION),
    "sns": CloudService("Amazon Simple Notification Service", _INTEGRATION),
    "sqs": CloudService("Amazon Simple Queue Service", _INTEGRATION),
    "ssm": CloudService("AWS Systems Manager", _MANAGEMENT),
    "stepfunctions": CloudService("AWS Step Functions", _COMPUTE),
    "textract": CloudService("Amazon Textract", _AI),
    "transcribe": CloudService("Amazon Transcribe", _AI),
    "translate": CloudService("Amazon Translate", _AI),
    "xray": CloudService("AWS X-Ray", _MANAGEMENT),
}
"""Name of the boto3 client -> how AWS bills it."""

_MACHINES: Final[Mapping[str, CloudService]] = {
    "aws": CloudService("Amazon Elastic Compute Cloud", _COMPUTE),
    "azure": CloudService("Virtual Machines", _COMPUTE),
    "gcp": CloudService("Compute Engine", _COMPUTE),
}
_PLATFORMS: Final[Mapping[str, CloudService]] = {
    "fargate": CloudService("Amazon Elastic Container Service", _COMPUTE),
    "lambda": CloudService("AWS Lambda", _COMPUTE),
    "apprunner": CloudService("AWS App Runner", _COMPUTE),
    "cloudrun": CloudService("Cloud Run", _COMPUTE),
    "appservice": CloudService("Azure App Service", _COMPUTE),
    "containerapps": CloudService("Azure Container Apps", _COMPUTE),
}
"""Beginning of the sku of compute -> what the platform is billed as."""
_TRAFFIC: Final[Mapping[str, CloudService]] = {
    "aws": CloudService("AWS Data Transfer", _NETWORKING),
    "azure": CloudService("Bandwidth", _NETWORKING),
    "gcp": CloudService("Networking", _NETWORKING),
}
_BEDROCK: Final = "aws.bedrock"
_PROVIDERS: Final[Mapping[str, str]] = {
    "aws": "AWS",
    "aws.bedrock": "AWS",
    "azure": "Microsoft",
    "gcp": "Google Cloud",
}


def cloud_service(component: str, provider: str, operation: str, sku: str) -> CloudService:
    """Return how a bill names what a price line charges.

    Args:
        component: One of `names.COMPONENTS`.

        provider: Who bills it.

        operation: What was called: `dynamodb.PutItem`, `chat`.

        sku: Price id or machine.
    """
    if component == names.AWS:
        client = operation.partition(".")[0]
        return _AWS.get(client) or CloudService(client, _OTHER)
    if component == names.COMPUTE:
        platform = next((known for prefix, known in _PLATFORMS.items() if sku.startswith(prefix)), None)
        return platform or _MACHINES.get(provider) or CloudService(provider, _COMPUTE)
    if component == names.EGRESS:
        return _TRAFFIC.get(provider) or CloudService(provider, _NETWORKING)
    if component == names.LLM:
        return _AWS["bedrock-runtime"] if provider == _BEDROCK else CloudService(provider, _AI)
    if component == names.CUSTOM:
        return CloudService(provider or operation, _OTHER)
    return CloudService(provider, _OTHER)


def provider_name(provider: str) -> str:
    """Return `ProviderName`: who makes the service available."""
    return _PROVIDERS.get(provider, provider)
