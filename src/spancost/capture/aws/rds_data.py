"""What the RDS Data API bills of a call: bytes sent in statements and parameters, bytes received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params, text_bytes


def request(facts: Facts, operation: str, params: Params) -> None:
    sets = cast("Iterable[Any]", params.get("parameterSets") or (params.get("parameters") or (),))
    size = text_bytes(params.get("sql") or params.get("sqlStatements") or "")
    size += sum(_parameter_bytes(parameter) for parameters in sets for parameter in parameters)
    facts[keys.REQUEST_BYTES] = size


def response(facts: Facts, operation: str, result: Params) -> None:
    length = result.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-length")
    if length is not None:
        facts[keys.RESPONSE_BYTES] = int(length)


def _parameter_bytes(parameter: Mapping[str, Any]) -> int:
    """Return the size of `{"name": "id", "value": {"longValue": 7}}`, roughly as it is sent."""
    values = cast("Mapping[str, Any]", parameter.get("value") or {}).values()
    return text_bytes(parameter.get("name") or "") + sum(
        len(value) if isinstance(value, (bytes, bytearray)) else text_bytes(value) for value in values
    )
