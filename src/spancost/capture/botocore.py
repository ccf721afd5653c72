"""Hooks for `BotocoreInstrumentor`: what AWS bills of a call and its span does not say.

Keeps sizes, counts, flags and names of resources in the facts of the span (keys in `aws_facts`), never
values. Bodies are not read: their size comes from bytes, `ContentLength`, `len()` or the file system. A
hook changes neither parameters nor results and never raises.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, Final, cast

from spancost.capture import aws_facts, dynamodb_calls
from spancost.capture.dynamodb_sizes import text_bytes
from spancost.capture.facts import facts_for, hook_failed

Facts = dict[str, Any]
Params = Mapping[str, Any]

_MAX_UPLOADS: Final = 4096
_KB: Final = 1024
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
_BILLED_DURATION: Final = re.compile(rb"Billed Duration: ([0-9.]+) ms")
_MEMORY_SIZE: Final = re.compile(rb"Memory Size: ([0-9]+) MB")

_upload_classes: dict[int, str] = {}
"""Storage class by hash of the upload id, for parts: their call does not name it."""


def request_hook(span: object, service: str, operation: str, params: Any) -> None:
    """Note what is about to be sent."""
    facts = facts_for(span)
    if facts is None:
        return
    try:
        facts[aws_facts.SEEN] = True
        note = _REQUESTS.get(service)
        if note is not None and isinstance(params, Mapping):
            note(facts, operation, cast("Params", params))
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
                facts[aws_facts.NOT_SENT] = True
            return
        if not isinstance(result, Mapping):
            return
        answer = cast("Params", result)
        error = answer.get("Error")
        if isinstance(error, Mapping):
            code = cast("Params", error).get("Code")
            if isinstance(code, str):
                facts[aws_facts.ERROR_CODE] = code[:128]
                if code == "ConditionalCheckFailedException":
                    dynamodb_calls.refused_condition(facts, answer)
            return
        note = _RESPONSES.get(service)
        if note is not None:
            note(facts, operation, answer)
    except Exception:  # as above
        hook_failed("botocore")


# --- S3 -----------------------------------------------------------------------------------------


def _s3_request(facts: Facts, operation: str, params: Params) -> None:
    _note_name(facts, params.get("Bucket"))
    storage_class = params.get("StorageClass")
    if isinstance(storage_class, str):
        facts[aws_facts.STORAGE_CLASS] = storage_class
    if operation in ("UploadPart", "UploadPartCopy", "CompleteMultipartUpload"):
        known = _upload_classes.get(hash(params.get("UploadId")))
        if known is None:
            facts[aws_facts.CLASS_UNKNOWN] = True
        else:
            facts[aws_facts.STORAGE_CLASS] = known
    if "Body" in params:
        size = params.get("ContentLength")
        size = size if isinstance(size, int) else body_bytes(params["Body"])
        if size is not None:
            facts[aws_facts.REQUEST_BYTES] = size


def _s3_response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "CreateMultipartUpload":
        if len(_upload_classes) >= _MAX_UPLOADS:
            _upload_classes.clear()
        _upload_classes[hash(result.get("UploadId"))] = facts.get(aws_facts.STORAGE_CLASS, "STANDARD")
    elif operation in ("GetObject", "HeadObject"):
        storage_class = result.get("StorageClass")
        if isinstance(storage_class, str):
            facts[aws_facts.STORAGE_CLASS] = storage_class
        length = result.get("ContentLength")
        if operation == "GetObject" and isinstance(length, int):
            facts[aws_facts.RESPONSE_BYTES] = length


def body_bytes(body: Any) -> int | None:
    """Return the size of a request body without reading or moving it; None if that is not possible."""
    if isinstance(body, str):
        return text_bytes(body)
    if isinstance(body, (bytes, bytearray)):
        return len(body)
    if isinstance(body, memoryview):
        return body.nbytes
    if hasattr(body, "__len__"):  # s3transfer's file chunks
        return len(cast("Sized", body))
    getbuffer: Any = getattr(body, "getbuffer", None)
    if getbuffer is not None:  # io.BytesIO
        with getbuffer() as view:
            return max(0, view.nbytes - int(body.tell()))
    fileno: Any = getattr(body, "fileno", None)
    if fileno is None:
        return None
    try:
        return max(0, os.fstat(fileno()).st_size - int(body.tell()))
    except (OSError, ValueError):  # a pipe, a socket, a closed or unreal file
        return None


# --- SQS and SNS --------------------------------------------------------------------------------


def _sqs_request(facts: Facts, operation: str, params: Params) -> None:
    _note_name(facts, params.get("QueueUrl") or params.get("QueueName"))
    entries: Iterable[Params]
    if operation == "SendMessage":
        entries = (params,)
    elif operation == "SendMessageBatch":
        entries = params["Entries"]
    else:
        return
    _messages(facts, aws_facts.REQUEST_BYTES, [_sqs_bytes(entry, "MessageBody") for entry in entries])
    if any(entry.get("MessageGroupId") for entry in entries):
        facts[aws_facts.FAIR_QUEUE] = True


def _sqs_response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "ReceiveMessage":
        messages: Iterable[Params] = result.get("Messages") or ()
        _messages(facts, aws_facts.RESPONSE_BYTES, [_sqs_bytes(message, "Body") for message in messages])


def _sqs_bytes(message: Params, body: str) -> int:
    return text_bytes(message.get(body, "")) + _attribute_bytes(message.get("MessageAttributes"))


def _sns_request(facts: Facts, operation: str, params: Params) -> None:
    arn = params.get("TopicArn") or params.get("TargetArn")
    if isinstance(arn, str):
        if ":endpoint/" in arn:
            facts[aws_facts.MOBILE_PUSH] = True  # the endpoint's own name stands for a person's device
            facts[aws_facts.RESOURCE] = arn.split(":endpoint/", 1)[1].rpartition("/")[0][:256]
        else:
            _note_name(facts, arn)
    if operation == "Publish":
        if params.get("PhoneNumber"):
            facts[aws_facts.SMS] = True
        sizes = [_sns_bytes(params)]
    elif operation == "PublishBatch":
        sizes = [_sns_bytes(entry) for entry in params["PublishBatchRequestEntries"]]
    else:
        return
    if isinstance(arn, str) and arn.endswith(".fifo"):
        sizes = [max(_KB, size) for size in sizes]
    _messages(facts, aws_facts.REQUEST_BYTES, sizes)


def _sns_bytes(message: Params) -> int:
    return text_bytes(message.get("Message", "")) + _attribute_bytes(message.get("MessageAttributes"))


def _messages(facts: Facts, key: str, sizes: list[int]) -> None:
    facts[key] = sum(sizes)
    facts[aws_facts.MESSAGES] = len(sizes)


def _attribute_bytes(attributes: Any) -> int:
    """Names, data types and values of message attributes count as payload."""
    if not attributes:
        return 0
    return sum(
        text_bytes(name)
        + text_bytes(attribute.get("DataType", ""))
        + text_bytes(attribute.get("StringValue") or "")
        + len(attribute.get("BinaryValue") or b"")
        for name, attribute in attributes.items()
    )


# --- Lambda -------------------------------------------------------------------------------------


def _lambda_request(facts: Facts, operation: str, params: Params) -> None:
    function = params.get("FunctionName")
    if isinstance(function, str):
        facts[aws_facts.RESOURCE] = _function_name(function)
    kind = params.get("InvocationType")
    if isinstance(kind, str):
        facts[aws_facts.INVOCATION_TYPE] = kind
    size = body_bytes(params.get("Payload", params.get("InvokeArgs", b"")))
    if size is not None:
        facts[aws_facts.REQUEST_BYTES] = size


def _lambda_response(facts: Facts, operation: str, result: Params) -> None:
    log = result.get("LogResult")
    if not isinstance(log, str):
        return
    tail = base64.b64decode(log)
    billed, memory = _BILLED_DURATION.search(tail), _MEMORY_SIZE.search(tail)
    if billed is not None and memory is not None:
        facts[aws_facts.BILLED_MS] = float(billed[1])
        facts[aws_facts.MEMORY_MB] = float(memory[1])


def _function_name(function: str) -> str:
    """Return the name in `fn`, `fn:version`, `123456789012:function:fn:version` or a whole ARN."""
    parts = function.split(":")
    if "function" in parts[:-1]:
        return parts[parts.index("function") + 1][:256]
    return parts[0][:256]


# --- shared -------------------------------------------------------------------------------------


def _note_name(facts: Facts, name: Any) -> None:
    if isinstance(name, str):
        facts[aws_facts.RESOURCE] = name.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1][:256]


_Note = Callable[[Facts, str, Params], None]
_REQUESTS: Final[Mapping[str, _Note]] = {
    "s3": _s3_request,
    "dynamodb": dynamodb_calls.request,
    "sqs": _sqs_request,
    "sns": _sns_request,
    "lambda": _lambda_request,
}
_RESPONSES: Final[Mapping[str, _Note]] = {
    "s3": _s3_response,
    "dynamodb": dynamodb_calls.response,
    "sqs": _sqs_response,
    "lambda": _lambda_response,
}
