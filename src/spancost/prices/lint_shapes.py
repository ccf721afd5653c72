"""The shape of a YAML price file: which keys hold texts, lists or mappings. What follows may rely on it.

Numbers in quotes are not looked at here: `spancost.prices.lint` takes any value for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

_TEXT: Final = "text"
_TEXT_OR_NULL: Final = "text or null"
_WHOLE: Final = "a whole number, zero or more"
_TEXTS: Final = "a list of texts"
_MAX_WHOLE: Final = 10**18

Shape = Mapping[str, Any]
"""Key -> what it holds: one of the above, or [the shape of each mapping in a list]."""

_ORIGIN: Final[Shape] = {
    **dict.fromkeys(("source", "as_of", "confidence"), _TEXT_OR_NULL),
    **dict.fromkeys(("valid_from", "valid_until", "note", "sku"), _TEXT),
}
_TIER: Final[Shape] = {"from": _WHOLE, "to": _WHOLE, "source": _TEXT, "confidence": _TEXT}
_RATE: Final[Shape] = {**_ORIGIN, "region": _TEXT, "regions": _TEXTS, "tiers": [_TIER]}
_PRICE: Final[Shape] = {
    **dict.fromkeys(("id", "unit", "billing"), _TEXT),
    "operations": _TEXTS,
    "rates": [_RATE],
}
_RULE_KEYS: Final = ("host", "method", "path", "variant", "provider", "operation", "kind", "unit")
_RULE: Final[Shape] = {**_ORIGIN, **dict.fromkeys((*_RULE_KEYS, "quantity", "quantity_basis"), _TEXT)}
_DOCUMENT: Final[Shape] = {
    "vendor": _TEXT,
    "default_region": _TEXT,
    "regions": _TEXTS,
    "prices": [_PRICE],
    "http": [_RULE],
}
_OF_PRICES: Final = ("vendor", "default_region", "regions")


def shape_problems(document: Mapping[str, Any]) -> list[str]:
    """Return what has another type than it must have; empty if nothing has."""
    found = list(_of_mapping(document, _DOCUMENT, ""))
    if "prices" in document:
        found.extend(f"{key} is missing" for key in _OF_PRICES if key not in document)
    elif "http" not in document:
        found.append("neither prices nor http are there")
    return found


def _of_mapping(mapping: Mapping[str, Any], shape: Shape, where: str) -> Iterator[str]:
    for key, value in mapping.items():
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # YAML has keys of any type
            yield f"{where}{key!r} is no name of a key"
            continue
        wanted = shape.get(key)
        if isinstance(wanted, list):
            yield from _of_list(value, cast("list[Shape]", wanted)[0], f"{where}{key}")
        elif wanted is not None and not _fits(value, str(wanted)):
            yield f"{where}{key}: {_short(value)} is not {wanted}"


def _of_list(value: object, shape: Shape, where: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{where}: {_short(value)} is not a list of mappings"
        return
    for place, item in enumerate(cast("list[object]", value)):
        if isinstance(item, dict):
            yield from _of_mapping(cast("dict[str, Any]", item), shape, f"{where}[{place}].")
        else:
            yield f"{where}[{place}]: {_short(item)} is not a mapping"


def _fits(value: object, wanted: str) -> bool:
    if wanted == _TEXTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))
    if wanted == _WHOLE:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_WHOLE
    return isinstance(value, str) or (value is None and wanted == _TEXT_OR_NULL)


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < _MAX_WHOLE else "a number that is too long"
    return text if len(text) <= 60 else f"{text[:57]}..."
