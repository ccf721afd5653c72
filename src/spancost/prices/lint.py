"""Check the YAML price files: `python -m spancost.prices.lint`.

Finds what would make a wrong price: doubled ids, unknown units and regions, prices that are no decimal
or negative, broken dates, overlapping validity, missing sources.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from spancost.prices.lint_shapes import shape_problems
from spancost.prices.quantity import Quantity, QuantityError
from spancost.prices.usd import TOO_MUCH

UNITS: Final = frozenset(
    {
        "request", "message", "notification", "recipient", "operation", "query", "invocation", "state transition",
        "RRU", "WRU", "sRRU", "RCU-hour", "WCU-hour", "IO",
        "GB", "TB", "GB-month", "GB-second", "GB-hour", "GiB-hour", "GHz-hour", "vCPU-hour", "hour", "minute", "second",
        "shard-hour", "PUT unit", "64KB chunk", "5KB message", "10k tag-months",
        "metric requested", "trace", "path", "page", "image", "image feature",
        "character", "100-character unit", "1,000-character text unit", "1000 characters", "token",
        "segment", "verification", "element", "search", "prompt", "read unit", "write unit", "command", "5 URLs",
        "credit",
    }
)  # fmt: skip
CONFIDENCES: Final = frozenset({"verified-3", "verified-2", "single", "memory"})
UNDATED: Final = "undated"
HTTP_KINDS: Final = frozenset({"llm"})

_PRICE_KEYS: Final = frozenset({"id", "unit", "billing", "operations", "vcpu", "memory_gib", "rates"})
_RATE_KEYS: Final = frozenset(
    {"region", "regions", "usd", "tiers", "valid_from", "valid_until", "sku", "source", "as_of", "confidence", "note"}
)
_HTTP_KEYS: Final = frozenset(
    {"host", "method", "path", "variant", "provider", "operation", "kind", "usd", "unit", "note", "source", "as_of"}
    | {"confidence", "quantity", "quantity_basis", "valid_from", "valid_until"}
)
_ID: Final = re.compile(r"[a-z]+(\.[A-Za-z0-9_-]+)+")
_OPERATION: Final = re.compile(r"[A-Za-z*][A-Za-z0-9*]*")
_AS_OF: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_FIRST_DAY: Final = date.min
_LAST_DAY: Final = date.max

Document = Mapping[str, Any]


def problems(documents: Mapping[str, Document]) -> list[str]:
    """Return what is wrong with parsed price files, by file name; empty if nothing is."""
    found: list[str] = []
    seen: dict[str, str] = {}
    globs: dict[tuple[str, str], str] = {}
    for name, document in documents.items():
        shapes = shape_problems(document)
        if shapes:
            found.extend(f"{name}: {text}" for text in shapes)
            continue
        if "http" in document:
            found.extend(f"{name}: {text}" for text in _http_problems(document["http"]))
            continue
        regions = frozenset(document.get("regions", ()))
        for price in document.get("prices", ()):
            price_id = str(price.get("id", ""))
            if price_id in seen:
                found.append(f"{name}: {price_id}: id is used before, in {seen[price_id]}")
            seen[price_id] = name
            vendor = str(document.get("vendor", ""))
            found.extend(f"{name}: {price_id}: {text}" for text in _price_problems(price, vendor, regions))
            found.extend(f"{name}: {price_id}: {text}" for text in _operation_problems(price_id, price, globs))
    return found


def _operation_problems(price_id: str, price: Document, globs: dict[tuple[str, str], str]) -> Iterator[str]:
    """A name may stand in several prices, of which a module chooses; a glob decides, so it stands in one only."""
    operations = [str(operation) for operation in price.get("operations", ())]
    service = ".".join(price_id.split(".")[:2])
    for operation in dict.fromkeys(operations):
        if _OPERATION.fullmatch(operation) is None:
            yield f"operation {operation!r} is no name and no glob such as 'Describe*'"
        if operations.count(operation) > 1:
            yield f"operation {operation!r} is there twice"
        if "*" in operation:
            other = globs.setdefault((service, operation), price_id)
            if other != price_id:
                yield f"operations {operation!r} are also those of {other}"


def _price_problems(price: Document, vendor: str, regions: frozenset[str]) -> Iterator[str]:
    price_id = str(price.get("id", ""))
    if _ID.fullmatch(price_id) is None or not price_id.startswith(f"{vendor}."):
        yield f"id must be {vendor}.<words separated by dots>"
    yield from (f"unknown key {key!r}" for key in price.keys() - _PRICE_KEYS)
    yield from _unit_problems(price.get("unit"))
    for key in ("vcpu", "memory_gib"):
        if key in price:
            yield from _decimal_problems(key, price[key])
    rates = price.get("rates")
    if not rates:
        yield "has no rates"
        return
    for rate in rates:
        yield from _rate_problems(rate, regions)
    yield from _overlaps(rates)


def _rate_problems(rate: Document, regions: frozenset[str]) -> Iterator[str]:
    yield from (f"unknown key {key!r}" for key in rate.keys() - _RATE_KEYS)
    yield from _region_problems(rate, regions)
    yield from _origin_problems(rate)
    if ("usd" in rate) == ("tiers" in rate):
        yield "needs either usd or tiers"
    if rate.get("usd") is not None:
        yield from _decimal_problems("usd", rate["usd"])
    yield from _tier_problems(rate.get("tiers", ()))
    yield from _validity_problems(rate)


def _validity_problems(entry: Document) -> Iterator[str]:
    days = [_day(entry.get(key), default) for key, default in (("valid_from", _FIRST_DAY), ("valid_until", _LAST_DAY))]
    if None in days:
        yield "valid_from and valid_until must be days such as '2024-11-01'"
    elif days[0] >= days[1]:  # type: ignore[operator] # neither is None here
        yield "valid_from must be before valid_until"


def _region_problems(rate: Document, regions: frozenset[str]) -> Iterator[str]:
    if ("region" in rate) == ("regions" in rate):
        yield "needs either region or regions"
        return
    for region in [rate["region"]] if "region" in rate else rate["regions"]:
        if "*" not in region and region not in regions and "*" not in str(rate.get("regions", "")):
            yield f"unknown region {region!r}"


def _tier_problems(tiers: Iterable[Document]) -> Iterator[str]:
    expected: Any = 0
    for tier in tiers:
        if tier.get("from") != expected:
            yield f"tier starts at {tier.get('from')!r}, the one before ends at {expected!r}"
        yield from _decimal_problems("tier usd", tier.get("usd"))
        expected = tier.get("to")


def _origin_problems(entry: Document) -> Iterator[str]:
    if not entry.get("source"):
        yield "source is missing"
    as_of, confidence = entry.get("as_of"), entry.get("confidence")
    if confidence not in CONFIDENCES:
        yield f"confidence {confidence!r} is not one of {', '.join(sorted(CONFIDENCES))}"
    if as_of == UNDATED:
        if confidence != "memory":
            yield "as_of 'undated' needs confidence memory"
    elif not isinstance(as_of, str) or _AS_OF.fullmatch(as_of) is None:
        yield f"as_of {as_of!r} is not a day, month or year such as '2026-07-28'"


def _unit_problems(unit: Any) -> Iterator[str]:
    if unit not in UNITS:
        yield f"unknown unit {unit!r}"


def _decimal_problems(key: str, value: Any) -> Iterator[str]:
    """Prices are strings: a YAML float has lost digits before anyone can look at it."""
    try:
        fine = isinstance(value, str) and 0 <= Decimal(value) < TOO_MUCH
    except InvalidOperation:
        fine = False
    if not fine:
        yield f"{key} {value!r} is not a decimal string, zero or more"


def _overlaps(rates: Iterable[Document]) -> Iterator[str]:
    spans: dict[str, list[tuple[date, date]]] = {}
    for rate in rates:
        since, until = _day(rate.get("valid_from"), _FIRST_DAY), _day(rate.get("valid_until"), _LAST_DAY)
        if since is None or until is None:
            continue
        for region in [rate.get("region")] if "region" in rate else rate.get("regions", ()):
            if any(since < other[1] and other[0] < until for other in spans.get(str(region), ())):
                yield f"two rates of {region} are valid at the same time"
            spans.setdefault(str(region), []).append((since, until))


def _day(value: Any, default: date) -> date | None:
    if value is None:
        return default
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _http_problems(rules: Iterable[Document]) -> Iterator[str]:
    seen: dict[tuple[Any, ...], list[tuple[date, date]]] = {}
    for rule in rules:
        key = tuple(rule.get(part) for part in ("host", "method", "path", "variant"))
        where = " ".join(str(part) for part in key if part)
        yield from (f"{where}: {text}" for text in _http_rule_problems(rule))
        since, until = _day(rule.get("valid_from"), _FIRST_DAY), _day(rule.get("valid_until"), _LAST_DAY)
        if since is None or until is None:
            continue
        if any(since < other[1] and other[0] < until for other in seen.get(key, ())):
            yield f"{where}: rule is there twice"
        seen.setdefault(key, []).append((since, until))


def _http_rule_problems(rule: Document) -> Iterator[str]:
    yield from (f"unknown key {name!r}" for name in rule.keys() - _HTTP_KEYS)
    missing = {"host", "method", "path", "provider", "operation", "usd", "unit"} - rule.keys()
    yield from (f"{name} is missing" for name in sorted(missing))
    yield from _unit_problems(rule.get("unit"))
    yield from _origin_problems(rule)
    yield from _validity_problems(rule)
    if rule.get("usd") is not None:
        yield from _decimal_problems("usd", rule["usd"])
    if "kind" in rule and (rule["kind"] not in HTTP_KINDS or rule.get("usd") is not None):
        yield f"kind {rule['kind']!r} must be 'llm', without a price"
    if "quantity" in rule:
        try:
            Quantity(str(rule["quantity"]))
        except QuantityError as error:
            yield f"quantity {rule['quantity']!r}: {error}"
    elif "quantity_basis" in rule:
        yield "quantity_basis without quantity"


def main() -> int:
    """Print what is wrong with the shipped YAML files; 1 if anything is."""
    from spancost.prices.build import read_sources

    found = problems(read_sources())
    for text in found:
        print(text, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
