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
from typing import Any, Final, NamedTuple, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params
from spancost.capture.facts import facts_for, hook_failed

_SERVICES: Final[Mapping[str, str]] = {
    "dynamodb": "spancost.capture.aws.dynamodb",
    "lambda": "spancost.capture.aws.lambda_",
    "s3": "spancost.capture.aws.s3",
    "sns": "spancost.capture.aws.sns",
    "sqs": "spancost.capture.aws.sqs",
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
                facts[keys.NOT_SENT] = True
            return
        if not isinstance(result, Mapping):
            return
        answer = cast("Params", result)
        error = answer.get("Error")
        if isinstance(error, Mapping):
            code = cast("Params", error).get("Code")
            if isinstance(code, str):
                facts[keys.ERROR_CODE] = code[:128]
                note = _notes_of(service).refused
                if note is not None:
                    note(facts, operation, answer)
            return
        note = _notes_of(service).response
        if note is not None:
            note(facts, operation, answer)
    except Exception:  # as above
        hook_failed("botocore")


def _notes_of(service: str) -> _Notes:
    notes = _notes.get(service)
    if notes is None:
        name = _SERVICES.get(service)
        if name is None:
            return _NOTHING
        module = import_module(name)
        notes = _notes[service] = _Notes(*(getattr(module, hook, None) for hook in _Notes._fields))
    return notes
