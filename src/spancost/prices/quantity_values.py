"""Values in quantity expressions: what is missing, paths into JSON, and the functions over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, cast

from spancost.prices.sms import segments

_MAX_NUMBER_CHARACTERS = 32


class Missing(Enum):
    """Why a part is not there."""

    ABSENT = "absent"
    """Its place was seen, and it is not in it."""
    UNSEEN = "unseen"
    """Its place was not seen."""


ABSENT: Final = Missing.ABSENT
UNSEEN: Final = Missing.UNSEEN

EACH: Final = object()
"""The step `[]` of a path."""


def missing(*values: Any) -> Missing:
    """Return what several values, of which some are missing, make together."""
    return UNSEEN if UNSEEN in values else ABSENT


def number(value: Any) -> Any:
    """Return a float or what is missing; NaN for anything that is no number."""
    if isinstance(value, (float, Missing)):
        return value
    if isinstance(value, bool):
        return math.nan
    if isinstance(value, int) or (isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARACTERS):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return math.nan
    return math.nan


def walk(value: Any, steps: Sequence[Any]) -> Any:
    """Follow names, indexes and `EACH` into JSON; a list of what was found where a step is `EACH`."""
    if value is UNSEEN:
        return UNSEEN
    values, many = [value], False
    for step in steps:
        if step is EACH:
            many = True
            values = [item for value in values for item in _items(value)]
        else:
            values = [found for value in values if (found := _member(value, step)) is not None]
    values = [value for value in values if value is not None]
    if many:
        return values
    return values[0] if values else ABSENT


def _items(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _member(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value).get(step)
    if isinstance(value, list) and isinstance(step, int):
        items = cast("list[Any]", value)
        return items[step] if -len(items) <= step < len(items) else None
    return None


def field(fields: Mapping[str, Sequence[str]] | Missing, name: str) -> Any:
    """Return a field of a form or query: a text, or a list of the texts of one that is there more than once."""
    if isinstance(fields, Missing):
        return fields
    values = fields.get(name)
    if not values:
        return ABSENT
    return values[0] if len(values) == 1 else list(values)


def _count(value: Any) -> Any:
    if value is UNSEEN:
        return UNSEEN
    return 0.0 if value is ABSENT else float(len(_items(value)))


def _sum(value: Any) -> Any:
    if isinstance(value, Missing):
        return value
    numbers = [number(item) for item in _items(value)]
    return math.nan if any(math.isnan(one) for one in numbers) else math.fsum(numbers)


def _texts(value: Any) -> list[str] | None:
    items = _items(value)
    return [str(item) for item in items] if all(isinstance(item, (str, int, float)) for item in items) else None


def _over_texts(measure: Callable[[str], int], absent: Any) -> Callable[[Any], Any]:
    def function(value: Any) -> Any:
        if value is UNSEEN:
            return UNSEEN
        if value is ABSENT:
            return absent
        texts = _texts(value)
        return math.nan if texts is None else float(sum(measure(text) for text in texts))

    return function


def pieces(value: Any, separator: str) -> Any:
    """Return the number of pieces that are not blank between separators."""
    return _over_texts(lambda text: sum(1 for piece in text.split(separator) if piece.strip()), 0.0)(value)


FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "addresses": _over_texts(lambda text: text.count("@"), 0.0),
    "bytes": _over_texts(lambda text: len(text.encode("utf-8", "surrogatepass")), ABSENT),
    "count": _count,
    "length": _over_texts(len, ABSENT),
    "segments": _over_texts(segments, ABSENT),
    "sum": _sum,
}
