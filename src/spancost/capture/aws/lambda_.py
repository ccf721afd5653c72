"""What Lambda bills of a call: kind of invocation, payload, billed duration where the log tail shows it."""

from __future__ import annotations

import base64
import re
from typing import Final

from spancost.capture.aws import facts as keys
from spancost.capture.aws.lambda_functions import note_functions
from spancost.capture.aws.sizes import Facts, Params, body_bytes

_BILLED_DURATION: Final = re.compile(rb"Billed Duration: ([0-9.]+) ms")
_MEMORY_SIZE: Final = re.compile(rb"Memory Size: ([0-9]+) MB")
_SHOW_FUNCTIONS: Final = frozenset(
    {
        "CreateFunction",
        "GetFunction",
        "GetFunctionConfiguration",
        "ListFunctions",
        "ListVersionsByFunction",
        "PublishVersion",
        "UpdateFunctionCode",
        "UpdateFunctionConfiguration",
    }
)


def request(facts: Facts, operation: str, params: Params) -> None:
    """Note the function, the kind of invocation and the size of the payload."""
    function = params.get("FunctionName")
    if isinstance(function, str):
        facts[keys.RESOURCE] = _function_name(function)
    kind = params.get("InvocationType")
    if isinstance(kind, str):
        facts[keys.INVOCATION_TYPE] = kind
    size = body_bytes(params.get("Payload", params.get("InvokeArgs", b"")))
    if size is not None:
        facts[keys.REQUEST_BYTES] = size


def response(facts: Facts, operation: str, result: Params) -> None:
    """Note the billed duration, and what the answer shows of functions that may be invoked later."""
    if operation in _SHOW_FUNCTIONS:
        note_functions(result)
        return
    log = result.get("LogResult")
    if not isinstance(log, str):
        return
    tail = base64.b64decode(log)
    billed, memory = _BILLED_DURATION.search(tail), _MEMORY_SIZE.search(tail)
    if billed is not None and memory is not None:
        facts[keys.BILLED_MS] = float(billed[1])
        facts[keys.MEMORY_MB] = float(memory[1])


def _function_name(function: str) -> str:
    """Return the name in `fn`, `fn:version`, `123456789012:function:fn:version` or a whole ARN."""
    parts = function.split(":")
    if "function" in parts[:-1]:
        return parts[parts.index("function") + 1][:256]
    return parts[0][:256]
