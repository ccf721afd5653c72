"""Hooks for `BotocoreInstrumentor`: what AWS bills of a call and its span does not say.

One module per service, each with some of three functions: `request(facts, operation, params)` before the call,
`response(facts, operation, result)` after it, and `refused(facts, operation, result)` where the service answered
with an error. They keep sizes, counts, flags and names of resources in the facts of the span (keys in
`facts.py`), never values. Bodies are not read: their size comes from bytes, `ContentLength`, `len()` or the file
system. What they raise is caught and counted here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeGuard

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params
from spancost.capture.facts import facts_for, hook_failed

_SERVICES: Final[Mapping[str, str]] = {
    "apigatewaymanagementapi": "spancost.capture.aws.apigatewaymanagementapi",
    "athena": "spancost.capture.aws.athena",
    "bedrock-agent-runtime": "spancost.capture.aws.bedrock_agent_runtime",
    "bedrock-runtime": "spancost.capture.aws.bedrock_runtime",
    "cloudfront": "spancost.capture.aws.cloudfront",
    "cloudwatch": "spancost.capture.aws.cloudwatch",
    "comprehend": "spancost.capture.aws.comprehend",
    "dynamodb": "spancost.capture.aws.dynamodb",
    "dynamodbstreams": "spancost.capture.aws.dynamodbstreams",
    "events": "spancost.capture.aws.events",
    "firehose": "spancost.capture.aws.firehose",
    "iot-data": "spancost.capture.aws.iot_data",
    "kinesis": "spancost.capture.aws.kinesis",
    "kms": "spancost.capture.aws.kms",
    "lambda": "spancost.capture.aws.lambda_",
    "logs": "spancost.capture.aws.logs",
    "polly": "spancost.capture.aws.polly",
    "rds-data": "spancost.capture.aws.rds_data",
    "rekognition": "spancost.capture.aws.rekognition",
    "s3": "spancost.capture.aws.s3",
    "ses": "spancost.capture.aws.mail",
    "sesv2": "spancost.capture.aws.mail",
    "sns": "spancost.capture.aws.sns",
    "sqs": "spancost.capture.aws.sqs",
    "ssm": "spancost.capture.aws.ssm",
    "stepfunctions": "spancost.capture.aws.stepfunctions",
    "textract": "spancost.capture.aws.textract",
    "translate": "spancost.capture.aws.translate",
    "xray": "spancost.capture.aws.xray",
}
"""Name of the boto3 client -> module."""

Note = Callable[[Facts, str, Params], None]


class _Notes(NamedTuple):
    request: Note | None = None
    response: Note | None = None
    refused: Note | None = None


_NOTHING: Final = _Notes()
_notes: dict[str, _Notes] = {}

_UNSENT_ERRORS: Final = frozenset(
    {
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "EndpointProviderError",
        "InvalidRegionError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "NoRegionError",
        "ParamValidationError",
        "PartialCredentialsError",
        "ProxyConnectionError",
        "SSLError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnknownEndpointError",
    }
)
"""Exceptions of botocore after which the service has not seen the request."""


def request_hook(span: object, service: str, operation: str, params: Any) -> None:
    """Note what is about to be sent."""
    facts = facts_for(span)
    if facts is None:
        return
    try:
        facts[keys.SEEN] = True
        note = _notes_of(service).request
        if note is not None and _is_mapping(params):
            note(facts, operation, params)
    except Exception:  # the application's call comes first, whatever it passes
        hook_failed("botocore")


def response_hook(span: object, service: str, operation: str, result: Any) -> None:
    """Note what came back. `result` is None if the call failed without an answer."""
    facts = facts_for(span)
    if facts is None:
        return
    try:
        if result is None:
            # The hook runs in a `finally`: the call's exception is being handled.
            error = sys.exc_info()[1]
            if error is not None and any(kind.__name__ in _UNSENT_ERRORS for kind in type(error).__mro__):
                facts[keys.NOT_SENT] = True
            return
        if not _is_mapping(result):
            return
        error = result.get("Error")
        if error is not None and _is_mapping(error):
            code = error.get("Code")
            if isinstance(code, str):
                facts[keys.ERROR_CODE] = code[:128]
                note = _notes_of(service).refused
                if note is not None:
                    note(facts, operation, result)
            return
        note = _notes_of(service).response
        if note is not None:
            note(facts, operation, result)
    except Exception:  # as above
        hook_failed("botocore")


def _is_mapping(value: Any) -> TypeGuard[Params]:
    return type(value) is dict or isinstance(value, Mapping)  # the first is much faster


def _notes_of(service: str) -> _Notes:
    notes = _notes.get(service)
    if notes is None:
        name = _SERVICES.get(service)
        if name is None:
            return _NOTHING
        module = import_module(name)
        notes = _notes[service] = _Notes(*(getattr(module, hook, None) for hook in _Notes._fields))
    return notes
