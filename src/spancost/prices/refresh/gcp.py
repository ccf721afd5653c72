"""Prices of Compute Engine machines from the GCP Billing Catalog.

The catalog has no machines: it has a price for one core and one for one GiB of each machine family, and a machine is
the sum of its own. Needs an API key in `GOOGLE_API_KEY`, which is sent as a header, so that it is in no address and
no log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlencode

from spancost.prices.book import PriceBook, PriceRecord
from spancost.prices.cache import CONFIDENCE, ORIGINS
from spancost.prices.refresh import Progress, Refreshed, RefreshError, get_json, no_progress, take

ENV_KEY: Final = "GOOGLE_API_KEY"
URL: Final = "https://cloudbilling.googleapis.com/v1"

_COMPUTE_ENGINE: Final = "services/6F81-5844-456A"
_MAX_PAGES: Final = 100
_PAGE_SIZE: Final = 5000
_GCE: Final = "gcp.gce."

_FAMILIES: Final = {"E2": "e2", "N1 Predefined": "n1", "N2": "n2", "N2D AMD": "n2d", "C3": "c3"}
"""What the catalog calls a family, and what its machines are called."""
_DESCRIPTION: Final = re.compile(
    f"({'|'.join(sorted(_FAMILIES, key=len, reverse=True))}) Instance (Core|Ram) running in .*"
)
_MACHINE: Final = re.compile(r"(\w+)-(?:standard|highmem|highcpu)-\d+")
_USAGE_UNITS: Final = {"Core": "h", "Ram": "GiBy.h"}


class _Part(NamedTuple):
    """What one core or one GiB of a family costs in a region."""

    usd: Decimal
    since: date
    sku: str


_Key = tuple[str, str, str]
"""Family, `Core` or `Ram`, region."""


def refresh(
    book: PriceBook,
    regions: Iterable[str],
    today: date,
    at_ns: int,
    *,
    url: str = "",
    progress: Progress = no_progress,
    pause_s: float = 1.0,
) -> Refreshed:
    """Ask for the prices of the book's machines in all regions, or in some.

    Args:
        book: Which ids there are, and what they cost so far.

        regions: Only these; none for all that the book knows.

        today: Day of the refresh.

        at_ns: The same, Unix nanoseconds.

        url: Another address of the API: a mirror.

        progress: Told about each page.

        pause_s: Pause before asking again, seconds.

    Raises:
        RefreshError: There is no API key, or GCP did not answer.
    """
    key = os.environ.get(ENV_KEY, "").strip()
    if not key:
        raise RefreshError(f"prices of GCP need an API key for the Cloud Billing API: set {ENV_KEY}")
    wanted = frozenset(regions) or frozenset(book.regions("gcp"))
    parts = _parts(_skus(url or URL, key, progress, pause_s), wanted)
    found = Refreshed()
    for price_id in book.price_ids():
        if not price_id.startswith(_GCE):
            continue
        machine = _MACHINE.fullmatch(price_id.removeprefix(_GCE))
        template = book.template(price_id)
        assert template is not None  # an id of this book
        records = [] if machine is None else list(_records(template, machine[1], parts, wanted, today))
        if not records:
            found.missing[price_id] = "no core and memory price of its family"
        take(found, records, book, at_ns)
    return found


def _skus(base: str, key: str, progress: Progress, pause_s: float) -> Iterator[Mapping[str, Any]]:
    query: dict[str, Any] = {"pageSize": _PAGE_SIZE, "currencyCode": "USD"}
    for page_number in range(_MAX_PAGES):
        progress("Compute Engine", page_number, page_number + 1)
        url = f"{base.rstrip('/')}/{_COMPUTE_ENGINE}/skus?{urlencode(query)}"
        page = get_json(url, headers={"X-Goog-Api-Key": key}, pause_s=pause_s)
        if not isinstance(page, dict):
            raise RefreshError("GCP: the answer is no object")
        answer = cast("dict[str, Any]", page)
        yield from answer.get("skus", ())
        token = answer.get("nextPageToken")
        if not token:
            return
        query["pageToken"] = token
    raise RefreshError(f"GCP: more than {_MAX_PAGES} pages")


def _parts(skus: Iterable[Mapping[str, Any]], regions: frozenset[str]) -> dict[_Key, _Part]:
    parts: dict[_Key, _Part] = {}
    ambiguous: set[_Key] = set()
    for sku in skus:
        described = _DESCRIPTION.fullmatch(str(sku.get("description", "")))
        if described is None or sku.get("category", {}).get("usageType") != "OnDemand":
            continue
        part = _part(sku, _USAGE_UNITS[described[2]])
        if part is None:
            continue
        for region in regions.intersection(sku.get("serviceRegions", ())):
            key = (_FAMILIES[described[1]], described[2], region)
            if key in parts and parts[key].usd != part.usd:
                ambiguous.add(key)
            parts[key] = part
    return {key: part for key, part in parts.items() if key not in ambiguous}


def _part(sku: Mapping[str, Any], unit: str) -> _Part | None:
    """Return the price of a SKU; None where it is not of our unit or cannot be read."""
    try:
        pricing = sku["pricingInfo"][-1]
        expression = pricing["pricingExpression"]
        prices = [_money(rate["unitPrice"]) for rate in expression["tieredRates"]]
        since = date.fromisoformat(str(pricing["effectiveTime"])[:10])
    except (KeyError, IndexError, TypeError, ValueError, InvalidOperation):
        return None
    usd = next((price for price in prices if price), None)
    if usd is None or usd < 0 or expression.get("usageUnit") != unit:
        return None
    return _Part(usd, since, str(sku.get("skuId", "")))


def _money(price: Mapping[str, Any]) -> Decimal:
    if price.get("currencyCode") != "USD":
        raise ValueError("not in USD")
    return Decimal(str(price.get("units", "0") or "0")) + Decimal(int(price.get("nanos", 0))) / 1_000_000_000


def _records(
    template: PriceRecord, family: str, parts: Mapping[_Key, _Part], regions: Iterable[str], today: date
) -> Iterator[PriceRecord]:
    if template.vcpu is None or template.memory_gib is None:
        return
    for region in sorted(regions):
        core, memory = parts.get((family, "Core", region)), parts.get((family, "Ram", region))
        if core is None or memory is None:
            continue
        yield replace(
            template,
            regions=(region,),
            usd=(template.vcpu * core.usd + template.memory_gib * memory.usd).normalize(),
            valid_from=max(core.since, memory.since),
            sku=f"{core.sku}+{memory.sku}",
            source="GCP Billing Catalog, core and memory of the family",
            as_of=today.isoformat(),
            confidence=CONFIDENCE,
            origin=ORIGINS["gcp"],
        )
