"""What differs between two price books, or between two days of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from spancost.prices.book import PriceBook, Rate, is_glob

Kind = Literal["usd", "list"]


@dataclass(frozen=True, slots=True)
class Change:
    """A price that is not the same."""

    price_id: str
    region: str
    unit: str
    old_usd: Decimal | None
    """What one unit cost; None: it had no price."""
    new_usd: Decimal | None
    """What it costs now; None: it has none any more."""
    old_source: str
    new_source: str

    @property
    def ratio(self) -> Decimal | None:
        """Change as a part of the old price: 0.1 is 10 % more. None where there is no old price, or it was zero."""
        if not self.old_usd or self.new_usd is None:
            return None
        return self.new_usd / self.old_usd - 1


def changes(
    old: PriceBook,
    new: PriceBook,
    old_at_ns: int,
    new_at_ns: int,
    *,
    kind: Kind = "usd",
    price_ids: Iterable[str] | None = None,
) -> list[Change]:
    """Return what is not the same, in the order of the books' files, regions sorted.

    Compared are regions for which one of the two has a price or an override of its own, and the vendor's default one.

    Args:
        old: One book.

        new: The other one; may be the same.

        old_at_ns: Time for which `old` is asked, Unix nanoseconds.

        new_at_ns: Time for which `new` is asked.

        kind: Compare what you pay (`usd`) or list prices (`list`).

        price_ids: Only these; all of both by default.
    """
    ids = dict.fromkeys((*old.price_ids(), *new.price_ids())) if price_ids is None else price_ids
    found: list[Change] = []
    for price_id in ids:
        unit = next(record.unit for book in (new, old) for record in book.records(price_id))
        for region in sorted({*_regions(old, price_id), *_regions(new, price_id)}):
            old_usd, old_source = _amount(old, price_id, region, old_at_ns, kind)
            new_usd, new_source = _amount(new, price_id, region, new_at_ns, kind)
            if old_usd != new_usd:
                found.append(Change(price_id, region, unit, old_usd, new_usd, old_source, new_source))
    return found


def _regions(book: PriceBook, price_id: str) -> Iterator[str]:
    default = book.default_region(price_id.partition(".")[0])
    if default:
        yield default
    for region in (*book.regions_of(price_id), *(override.region or "" for override in book.overrides(price_id))):
        if region == "*" or (region and not is_glob(region)):
            yield region


def _amount(book: PriceBook, price_id: str, region: str, at_ns: int, kind: Kind) -> tuple[Decimal | None, str]:
    rate = book.price(price_id, region, at_ns)
    if not isinstance(rate, Rate):
        return None, ""
    return (rate.paid if kind == "usd" else rate.listed), rate.source
