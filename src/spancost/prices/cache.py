"""Refreshed prices: one JSON file per vendor, written by `spancost prices refresh` and read at a process's start.

A file that is broken, or that something else wrote, is ignored as a whole, and said so once: prices of half a file
would be worse than those of the shipped book. A refreshed price holds from the vendor's effective date; a span before
that takes the shipped price. What an older refresh said stays until the newer price's first day.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

from spancost._files import replace_file
from spancost.errors import PriceBookError
from spancost.prices.book import PriceBook, PriceRecord, Tier
from spancost.prices.usd import exact_number, usd_per

ORIGINS: Final = {"aws": "aws-price-list", "azure": "azure-retail-prices", "gcp": "gcp-catalog"}
"""What is refreshed, and the word for it in a price's source."""
LLM_FILE: Final = "llm.json"
"""Prices of models as genai-prices publishes them; read by `spancost.prices.tokens`."""
OFF: Final = "off"
CONFIDENCE: Final = "vendor"
"""Read from the vendor's own price list."""

_VERSION: Final = 1
_MAX_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class CacheFile:
    """One file of refreshed prices."""

    kind: str
    """`aws`, `azure` or `gcp`."""
    refreshed: str
    """When it was written: a time such as `2026-11-20T06:00:00Z`."""
    records: Mapping[str, tuple[PriceRecord, ...]]
    """Prices by id, of ids that the book has."""


@dataclass(frozen=True, slots=True)
class Cache:
    """All refreshed prices of a folder."""

    files: tuple[CacheFile, ...] = ()
    problems: tuple[str, ...] = ()
    """One sentence for each file that was ignored."""
    records: Mapping[str, Sequence[PriceRecord]] = field(default_factory=dict[str, "Sequence[PriceRecord]"])

    def onto(self, book: PriceBook) -> PriceBook:
        """Return a book with these refreshed prices."""
        return book.with_cache(self.records) if self.records else book


def cache_folder(setting: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of refreshed prices; None for `off`.

    Args:
        setting: `Config.prices_cache`; empty for the per-user default.

        environ: Where `XDG_CACHE_HOME` is looked up.
    """
    if setting.lower() == OFF:
        return None
    if setting:
        return Path(setting)
    base = environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:  # an account without a home
        return None
    return home / "spancost" / "prices"


def llm_file(setting: str) -> Path | None:
    """Return the file of refreshed model prices, if there is one."""
    folder = cache_folder(setting)
    try:
        path = None if folder is None else folder / LLM_FILE
        return path if path is not None and path.is_file() else None
    except (OSError, ValueError):  # a name that is too long, or with a NUL in it
        return None


def read_cache(setting: str, book: PriceBook) -> Cache:
    """Read all refreshed prices. Never raises: what cannot be read is a problem of the result.

    Args:
        setting: `Config.prices_cache`.

        book: Says which ids there are, and their units.
    """
    folder = cache_folder(setting)
    if folder is None:
        return Cache()
    files: list[CacheFile] = []
    problems: list[str] = []
    for kind in ORIGINS:
        try:
            found = read_file(folder / f"{kind}.json", book)
        except FileNotFoundError:
            continue
        except (PriceBookError, OSError, ValueError) as error:  # ValueError: a name with a NUL in it
            problems.append(f"refreshed prices are ignored: {error}: run spancost prices refresh {kind}")
        else:
            files.append(found)
    records = {price_id: found for file in files for price_id, found in file.records.items()}
    return Cache(tuple(files), tuple(problems), records)


def read_file(path: Path, book: PriceBook) -> CacheFile:
    """Read one file of refreshed prices.

    Raises:
        PriceBookError: It is broken, or something else wrote it.

        OSError: It cannot be read.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise PriceBookError(f"{path}: larger than {_MAX_BYTES // 2**20} MB")
    try:
        document: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise PriceBookError(f"{path}: no JSON") from None
    if not isinstance(document, dict) or cast("dict[str, Any]", document).get("spancost_prices") != _VERSION:
        raise PriceBookError(f"{path}: not a file that this version of spancost wrote")
    try:
        return _cache_file(cast("dict[str, Any]", document), book)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PriceBookError(f"{path}: broken ({type(error).__name__}: {error})") from None


def write_file(
    path: Path, kind: str, refreshed: str, records: Mapping[str, Sequence[PriceRecord]], *, old: CacheFile | None = None
) -> None:
    """Write one file of refreshed prices: all of it or nothing.

    Args:
        path: Where; its folder is made if needed.

        kind: `aws`, `azure` or `gcp`.

        refreshed: Time of the refresh, UTC: `2026-11-20T06:00:00Z`.

        records: New prices by id.

        old: What was refreshed before: it stays for ids and regions that are not refreshed now, and for the days before
            a new price.

    Raises:
        OSError: It cannot be written.
    """
    merged = merge({} if old is None else old.records, records)
    document = {
        "spancost_prices": _VERSION,
        "kind": kind,
        "refreshed": refreshed,
        "prices": {
            price_id: {"unit": found[0].unit, "rates": [_rate(record) for record in found]}
            for price_id, found in sorted(merged.items())
            if found
        },
    }
    replace_file(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def merge(
    old: Mapping[str, Sequence[PriceRecord]], new: Mapping[str, Sequence[PriceRecord]]
) -> dict[str, tuple[PriceRecord, ...]]:
    """Return old and new refreshed prices as one history for each id and region."""
    merged = {price_id: tuple(records) for price_id, records in old.items()}
    for price_id, records in new.items():
        merged[price_id] = _history(merged.get(price_id, ()), records)
    return merged


def _history(old: Iterable[PriceRecord], new: Iterable[PriceRecord]) -> tuple[PriceRecord, ...]:
    fresh = {record.regions: record for record in new}
    kept: list[PriceRecord] = []
    for record in old:
        successor = fresh.get(record.regions)
        if successor is None:
            kept.append(record)
        elif (record.usd, record.tiers) == (successor.usd, successor.tiers) and record.valid_until is None:
            # The same price, published anew: it holds since it first did.
            fresh[record.regions] = replace(successor, valid_from=_earlier(record.valid_from, successor.valid_from))
        elif successor.valid_from is not None and (record.valid_from or date.min) < successor.valid_from:
            until = min(record.valid_until or date.max, successor.valid_from)
            kept.append(replace(record, valid_until=until))
    return (*kept, *fresh.values())


def _earlier(one: date | None, other: date | None) -> date | None:
    return None if one is None or other is None else min(one, other)


def _rate(record: PriceRecord) -> dict[str, Any]:
    rate: dict[str, Any] = {"regions": list(record.regions)}
    if record.tiers:
        rate["tiers"] = [
            {
                "from": f"{tier.from_quantity:f}",
                **({} if tier.to_quantity is None else {"to": f"{tier.to_quantity:f}"}),
                "usd": f"{tier.usd:f}",
            }
            for tier in record.tiers
        ]
    else:
        rate["usd"] = f"{record.usd:f}"
    for key, day in (("valid_from", record.valid_from), ("valid_until", record.valid_until)):
        if day is not None:
            rate[key] = day.isoformat()
    return rate | {"sku": record.sku, "as_of": record.as_of, "source": record.source}


def _cache_file(document: dict[str, Any], book: PriceBook) -> CacheFile:
    kind, refreshed = str(document["kind"]), str(document["refreshed"])
    origin = ORIGINS[kind]
    records: dict[str, tuple[PriceRecord, ...]] = {}
    for price_id, entry in document["prices"].items():
        template = book.template(price_id)
        if template is None or template.unit != entry["unit"]:
            continue  # written for another version's book
        records[price_id] = tuple(_record(template, rate, origin) for rate in entry["rates"])
    return CacheFile(kind, refreshed, records)


def _record(template: PriceRecord, rate: Mapping[str, Any], origin: str) -> PriceRecord:
    tiers = tuple(
        Tier(_amount(tier["from"]), _amount(tier["to"]) if "to" in tier else None, _usd(tier["usd"]))
        for tier in rate.get("tiers", ())
    )
    regions = tuple(str(region) for region in rate["regions"])
    return replace(
        template,
        regions=regions,
        usd=first_paid(tiers) if tiers else _usd(rate["usd"]),
        tiers=tiers,
        valid_from=date.fromisoformat(rate["valid_from"]) if "valid_from" in rate else None,
        valid_until=date.fromisoformat(rate["valid_until"]) if "valid_until" in rate else None,
        sku=str(rate["sku"]),
        source=str(rate["source"]),
        as_of=str(rate["as_of"]),
        confidence=CONFIDENCE,
        origin=origin,
    )


def first_paid(tiers: Sequence[Tier]) -> Decimal:
    """Return the price of the first tier that costs something: what is free each month is no list price."""
    return next((tier.usd for tier in tiers if tier.usd), tiers[0].usd)


def _amount(value: object) -> Decimal:
    amount = exact_number(_text(value))
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{value!r} is no quantity")
    return amount


def _usd(value: object) -> Decimal:
    return usd_per("unit", _text(value))


def _text(value: object) -> str:
    """Return what is written as text: a JSON number has lost digits already."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no number in quotes")
    return value
