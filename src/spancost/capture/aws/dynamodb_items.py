"""Size of DynamoDB items in bytes, by the published rules.

docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html: names and text as
UTF-8; a number is one byte per two significant digits plus one (one more if negative); binary as its
bytes; null and boolean one byte; list and map three bytes plus one per element; a set is the sum of its
elements. Reads both shapes that botocore hooks see: typed (`{"S": "x"}`, the client) and plain Python
values (boto3's resource). Looks at values and keeps none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from spancost.capture.aws.sizes import KB, text_bytes

PAGE_BYTES: Final = 1024 * KB
"""A page of Query, Scan or SELECT that more follow, and that no limit cut, has read this much."""
_MAX_DEPTH: Final = 40
"""DynamoDB itself nests 32 levels at most."""
_CONTAINER_BYTES: Final = 3
_ELEMENT_BYTES: Final = 1
_TYPES: Final = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return the size of an item, or of a part of one (a key, a set of values)."""
    typed = all(_is_typed(value) for value in item.values())
    return sum(text_bytes(name) + (_typed(value, 0) if typed else _plain(value, 0)) for name, value in item.items())


def value_bytes(value: Any) -> int:
    """Return the size of one attribute value."""
    return _typed(value, 0) if _is_typed(value) else _plain(value, 0)


def _is_typed(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    fields = cast("dict[Any, Any]", value)
    return len(fields) == 1 and next(iter(fields)) in _TYPES


def _typed(value: Any, depth: int) -> int:
    if depth > _MAX_DEPTH:
        return 0
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return text_bytes(content)
        case "N":
            return _number_bytes(content)
        case "B":
            return _binary_bytes(content)
        case "SS":
            return sum(map(text_bytes, content))
        case "NS":
            return sum(map(_number_bytes, content))
        case "BS":
            return sum(map(_binary_bytes, content))
        case "L":
            return _CONTAINER_BYTES + sum(_ELEMENT_BYTES + _typed(element, depth + 1) for element in content)
        case "M":
            return _CONTAINER_BYTES + sum(
                _ELEMENT_BYTES + text_bytes(name) + _typed(element, depth + 1) for name, element in content.items()
            )
        case _:  # NULL, BOOL
            return 1


def _plain(value: Any, depth: int) -> int:
    if depth > _MAX_DEPTH:
        return 0
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return _CONTAINER_BYTES + sum(
            _ELEMENT_BYTES + text_bytes(name) + _plain(element, depth + 1) for name, element in fields.items()
        )
    if isinstance(value, (list, tuple)):
        elements = cast("list[Any]", value)
        return _CONTAINER_BYTES + sum(_ELEMENT_BYTES + _plain(element, depth + 1) for element in elements)
    if isinstance(value, (set, frozenset)):
        return sum(_plain(element, depth + 1) for element in cast("set[Any]", value))
    if hasattr(value, "value"):  # boto3.dynamodb.types.Binary
        return _binary_bytes(value.value)
    return _number_bytes(value)  # int, Decimal


def _binary_bytes(value: Any) -> int:
    return len(value.value) if hasattr(value, "value") else len(value)


def _number_bytes(number: Any) -> int:
    text = str(number).strip()
    negative = text.startswith("-")
    mantissa = text.lstrip("+-").lower().partition("e")[0]
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).strip("0")
    return (len(digits) + 1) // 2 + 1 + (1 if negative else 0)
