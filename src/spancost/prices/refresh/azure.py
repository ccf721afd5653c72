"""Prices of Azure virtual machines from the Azure Retail Prices API: no key, pages of up to 1,000 items.

Taken are pay-as-you-go Linux prices; rows for Windows, spot, low priority, reservations and dev/test are others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

from spancost.prices.book import PriceBook, PriceRecord
from spancost.prices.cache import CONFIDENCE, ORIGINS
from spancost.prices.refresh import Progress, Refreshed, RefreshError, get_json, no_progress, take

URL: Final = "https://prices.azure.com/api/retail/prices"

_VERSION: Final = "2023-01-01-preview"
_VM: Final = "azure.vm."
_MAX_PAGES: Final = 100
_HOUR: Final = "1 Hour"


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
    """Ask for the prices of the book's virtual machines in all regions, or in some.

    Args:
        book: Which ids there are, and what they cost so far.

        regions: Only these; none for all that the book knows.

        today: Day of the refresh.

        at_ns: The same, Unix nanoseconds.

        url: Another address of the API: a mirror.

        progress: Told about each question.

        pause_s: Pause before asking again, seconds.

    Raises:
        RefreshError: Azure did not answer.
    """
    wanted = frozenset(regions) or frozenset(book.regions("azure"))
    ids = [price_id for price_id in book.price_ids() if price_id.startswith(_VM)]
    found = Refreshed()
    for done, price_id in enumerate(ids):
        machine = price_id.removeprefix(_VM)
        progress(machine, done, len(ids))
        template = book.template(price_id)
        assert template is not None  # an id of this book
        items = _items(url or URL, f"serviceName eq 'Virtual Machines' and armSkuName eq '{machine}'", pause_s)
        records = list(_records(template, items, wanted, today))
        if not records:
            found.missing[price_id] = "no Linux pay-as-you-go price"
        take(found, records, book, at_ns)
    progress("", len(ids), len(ids))
    return found


def _items(base: str, chosen: str, pause_s: float) -> Iterator[Mapping[str, Any]]:
    query = {"api-version": _VERSION, "$filter": f"{chosen} and priceType eq 'Consumption'"}
    url = f"{base}?{urlencode(query)}"
    origin = urlsplit(base)[:2]
    for _ in range(_MAX_PAGES):
        answer = get_json(url, pause_s=pause_s)
        page = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if not isinstance(page.get("Items"), list):
            raise RefreshError("Azure: the answer has no list of items")
        yield from page["Items"]
        url = str(page.get("NextPageLink") or "")
        if not url:
            return
        if urlsplit(url)[:2] != origin:
            raise RefreshError("Azure: the next page is on another host")
    raise RefreshError(f"Azure: more than {_MAX_PAGES} pages")


def _records(
    template: PriceRecord, items: Iterable[Mapping[str, Any]], regions: frozenset[str], today: date
) -> Iterator[PriceRecord]:
    by_region: dict[str, list[PriceRecord]] = {}
    for item in items:
        region = str(item.get("armRegionName", ""))
        if region not in regions or not _is_on_demand_linux(item):
            continue
        try:
            usd = Decimal(str(item["retailPrice"]))
            effective = date.fromisoformat(str(item["effectiveStartDate"])[:10])
        except (KeyError, ValueError, InvalidOperation):
            continue
        if usd.is_finite() and usd > 0:
            record = replace(
                template,
                regions=(region,),
                usd=usd,
                valid_from=effective,
                sku=str(item.get("meterId", "")),
                source="Azure Retail Prices API",
                as_of=today.isoformat(),
                confidence=CONFIDENCE,
                origin=ORIGINS["azure"],
            )
            by_region.setdefault(region, []).append(record)
    for records in by_region.values():
        if len({record.usd for record in records}) == 1:
            yield records[0]


def _is_on_demand_linux(item: Mapping[str, Any]) -> bool:
    name = f"{item.get('skuName', '')} {item.get('meterName', '')}"
    return (
        item.get("type") == "Consumption"
        and item.get("currencyCode") == "USD"
        and item.get("unitOfMeasure") == _HOUR
        and not Decimal(str(item.get("tierMinimumUnits", 0)))
        and "Windows" not in str(item.get("productName", ""))
        and "Spot" not in name
        and "Low Priority" not in name
    )
