"""The dated price book: what one unit of something costs, where, and since when.

Rates are USD list prices, first paid tier, before free tiers. They are `Decimal` in the records and
compiled once into floats per price id, region and validity interval; nothing is rounded. The shipped
book is `data/book.json`, generated from the YAML files beside it by `python -m spancost.prices.build`:
parsing YAML costs more start-up time than spancost may take.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from spancost import names
from spancost.errors import ConfigError, PriceBookError, suggest
from spancost.prices.days import midnight_ns
from spancost.prices.discounts import NO_DISCOUNTS, Applied, Discount, Discounts

UnpricedReason = Literal["unknown_sku", "no_price", "not_yet_priced"]

_BOOK: Final = Path(__file__).parent / "data" / "book.json"
_MAX_COMPILED: Final = 4096
_FOREVER_NS: Final = 2**63 - 1

_GLOB: Final = frozenset("*?[")
SHIPPED: Final = "spancost"
_COMPUTE_SERVICES: Final = frozenset(
    {"apprunner", "appservice", "cloudfunctions_gen1", "cloudrun", "containerapps", "ec2", "fargate", "functions"}
    | {"gce", "vm"}
)

Data: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a volume price; bounds are units per month and account."""

    from_quantity: Decimal
    to_quantity: Decimal | None
    """None for the last tier."""
    usd: Decimal
    """USD per unit."""


@dataclass(frozen=True, slots=True)
class PriceRecord:
    """One price as it stands in the book: an id, a place, a time."""

    id: str
    unit: str
    """What one costs: `request`, `WRU`, `GB`, `hour`."""
    billing: str
    """How quantities are counted and rounded, for people."""
    operations: tuple[str, ...]
    """API operations billed with this price; empty where it is none."""
    regions: tuple[str, ...]
    """Region names or globs."""
    usd: Decimal | None
    """USD per unit, first paid tier; None where no price is public."""
    tiers: tuple[Tier, ...]
    valid_from: date | None
    """First day, UTC."""
    valid_until: date | None
    """First day on which the price is no longer valid, UTC."""
    sku: str
    """The vendor's SKU id, where known."""
    source: str
    """Where the price was read."""
    as_of: str
    """Day, month or year in which it was checked; `undated` if it never was."""
    confidence: str
    """`verified-3`, `verified-2`, `single` or `memory`."""
    vcpu: Decimal | None = None
    memory_gib: Decimal | None = None
    origin: str = SHIPPED
    """Who read it: `spancost` for the shipped book, `aws-price-list`, `azure-retail-prices`, `gcp-catalog`."""


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """A price of your own, from configuration. It changes `Rate.usd`, never `Rate.list_usd`."""

    price_id: str
    usd: Decimal
    """USD per `unit`, zero or more."""
    unit: str
    """Must be the unit of the price it replaces."""
    region: str | None = None
    """Region or glob of regions; None: everywhere."""
    valid_from: date | None = None
    """First day, UTC; None: always."""
    valid_to: date | None = None
    """Last day, UTC; None: always."""
    place: str = "configuration"
    """File or variable it was read from."""
    pattern: str = ""
    """The glob of price ids it was written with; empty where it names one price."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A compiled price for one region and time."""

    price_id: str
    usd: float
    """What it costs you, USD per unit."""
    list_usd: float
    """List price, USD per unit. Equal to `usd` where an override prices something without a list price."""
    unit: str
    source: str
    """`spancost:2026-07-28` (day the list price was checked), `aws-price-list:2026-11-20` where it was refreshed, with
    `+discount:<names>` where you pay less; or `override:<place>`."""
    region: str
    """Region that is charged: the one asked for, or the vendor's default where none was given."""
    rate_region: str
    """Region whose price is used."""
    region_fallback: bool
    """True where the price is that of the vendor's default region for want of a better one."""
    sku: str
    """The vendor's SKU id where known, else the price id."""
    valid_from_ns: int
    """Unix nanoseconds, inclusive; 0 for always."""
    valid_until_ns: int
    """Unix nanoseconds, exclusive."""
    price: PriceRecord
    """The list price behind it, for people."""
    paid: Decimal
    """`usd`, exact, for people."""
    listed: Decimal
    """`list_usd`, exact, for people."""
    override: PriceOverride | None = None
    discounts: str = ""
    """Names of the discounts in `usd`, with commas."""


@dataclass(frozen=True, slots=True)
class Unpriced:
    """No price, as a value: the caller reports it with its reason."""

    reason: UnpricedReason
    """`unknown_sku`: no such id. `no_price`: known, no public price. `not_yet_priced`: not on that day."""
    price_id: str
    unit: str = ""
    valid_from_ns: int = 0
    valid_until_ns: int = _FOREVER_NS


class PriceBook:
    """Looks up rates; safe to call from any thread, and re-entrantly.

    Look-up order: override > refreshed price of that region > shipped price of that region > price of the vendor's
    default region, refreshed before shipped, marked `region_fallback` > unpriced. A discount is taken off a list price,
    not off an override: an override is what you pay.
    """

    __slots__ = (
        "_cached",
        "_compiled",
        "_defaults",
        "_discounts",
        "_overrides",
        "_prices",
        "_records",
        "_regions",
        "_sources",
    )

    def __init__(self, data: Data, overrides: Iterable[PriceOverride] = ()) -> None:
        """Make a book from the parsed content of a `book.json`."""
        self._prices: Mapping[str, Data] = data["prices"]
        self._sources: list[str] = data["sources"]
        self._defaults: Mapping[str, str] = data["default_regions"]
        self._regions: Mapping[str, list[str]] = data["regions"]
        self._records: dict[str, tuple[PriceRecord, ...]] = {}
        self._compiled: dict[tuple[str, str], tuple[Rate | Unpriced, ...]] = {}
        self._overrides: dict[str, tuple[PriceOverride, ...]] = {}
        self._cached: Mapping[str, tuple[PriceRecord, ...]] = {}
        self._discounts = NO_DISCOUNTS
        for override in overrides:
            self._add_override(override)

    @classmethod
    def shipped(cls) -> PriceBook:
        """Return the book that comes with spancost; made once per process."""
        return _shipped()

    def price(self, price_id: str, region: str, at_ns: int) -> Rate | Unpriced:
        """Return the rate of `price_id` in `region` at a time (Unix nanoseconds), or why there is none."""
        for known in self._compiled.get((price_id, region), ()):
            if known.valid_from_ns <= at_ns < known.valid_until_ns:
                return known
        compiled = self._compile(price_id, region, at_ns)
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled.clear()
        # Two threads may do this at once: the loser's interval is compiled again at its next use.
        self._compiled[(price_id, region)] = (*self._compiled.get((price_id, region), ()), compiled)
        return compiled

    def with_overrides(self, overrides: Iterable[PriceOverride]) -> PriceBook:
        """Return a book with these overrides added to those of this one; later ones win.

        Raises:
            ConfigError: An override names an unknown price or region, a wrong unit or a negative price.
        """
        book = self._copy()
        for override in overrides:
            book._add_override(override)
        return book

    def with_discounts(self, discounts: Iterable[Discount]) -> PriceBook:
        """Return a book in which these discounts, and no others, are taken off list prices."""
        book = self._copy()
        book._discounts = Discounts(discounts)
        return book

    def with_cache(self, cached: Mapping[str, Sequence[PriceRecord]]) -> PriceBook:
        """Return a book with these refreshed prices, by id, and no others; ids that the book lacks are ignored."""
        book = self._copy()
        book._cached = {price_id: tuple(records) for price_id, records in cached.items() if price_id in self._prices}
        book._records = {}
        return book

    def _copy(self) -> PriceBook:
        book = PriceBook.__new__(PriceBook)
        book._prices, book._sources = self._prices, self._sources
        book._defaults, book._regions = self._defaults, self._regions
        book._records, book._cached = self._records, self._cached
        book._discounts = self._discounts
        book._overrides = dict(self._overrides)
        book._compiled = {}
        return book

    def price_ids(self) -> tuple[str, ...]:
        """Return all ids, in the order of the files."""
        return tuple(self._prices)

    def regions(self, vendor: str | None = None) -> tuple[str, ...]:
        """Return the region names of one vendor (`aws`, `gcp`, `azure`), or of all."""
        if vendor is not None:
            return tuple(self._regions.get(vendor, ()))
        return tuple(name for names in self._regions.values() for name in names)

    def regions_of(self, price_id: str) -> tuple[str, ...]:
        """Return regions (or globs) for which this price is known; empty for an unknown id."""
        return tuple(dict.fromkeys(region for record in self.records(price_id) for region in record.regions))

    def default_region(self, vendor: str) -> str:
        """Return the region whose prices stand in for regions without one; empty if there is none."""
        return self._defaults.get(vendor, "")

    def records(self, price_id: str) -> tuple[PriceRecord, ...]:
        """Return every record of an id, all regions and dates, refreshed ones first; empty for an unknown id."""
        records = self._records.get(price_id)
        if records is None:
            data = self._prices.get(price_id)
            if data is None:
                return ()
            shipped = (_record(price_id, data, rate, self._sources) for rate in data["rates"])
            records = self._records[price_id] = (*self._cached.get(price_id, ()), *shipped)
        return records

    def template(self, price_id: str) -> PriceRecord | None:
        """Return what all records of an id have in common, without a price; None for an unknown id."""
        data = self._prices.get(price_id)
        if data is None:
            return None
        blank: dict[str, Any] = {"regions": [], "usd": None, "source": 0, "as_of": "", "confidence": ""}
        return _record(price_id, data, blank, [""])

    def overrides(self, price_id: str) -> tuple[PriceOverride, ...]:
        """Return the overrides of an id, in the order in which they were added."""
        return self._overrides.get(price_id, ())

    def operations(self, price_id: str) -> tuple[str, ...]:
        """Return the API operations billed with this price."""
        return tuple(self._prices.get(price_id, {}).get("operations", ()))

    def _add_override(self, override: PriceOverride) -> None:
        data = self._prices.get(override.price_id)
        if data is None:
            raise ConfigError(override.place, "price", override.price_id, suggest(override.price_id, self._prices))
        if override.unit != data["unit"]:
            raise ConfigError(override.place, f"{override.price_id}: unit", override.unit, f"use {data['unit']!r}")
        if not override.usd.is_finite() or override.usd < 0:
            raise ConfigError(override.place, f"{override.price_id}: usd", str(override.usd), "a number, zero or more")
        vendor = override.price_id.partition(".")[0]
        known = self._regions.get(vendor, ())
        if override.region is not None and known and not matching(override.region, known):
            raise ConfigError(
                override.place, f"{override.price_id}: region", override.region, suggest(override.region, known)
            )
        self._overrides[override.price_id] = (*self._overrides.get(override.price_id, ()), override)

    def _compile(self, price_id: str, region: str, at_ns: int) -> Rate | Unpriced:
        records = self.records(price_id)
        if not records:
            return Unpriced("unknown_sku", price_id)
        default = self._defaults.get(price_id.partition(".")[0], "")
        overrides = self._overrides.get(price_id, ())
        since, until = _interval(records, overrides, at_ns)
        charged = region or default
        found = _best(records, charged, at_ns)
        fallback = not region and bool(default)
        if found is None:
            fallback = True
            found = _best(records, default, at_ns)
        elif region == "" and found[1] == "*":
            fallback = False  # the same everywhere: nothing was assumed
        override = _override(overrides, charged, at_ns)
        if found is None and override is None:
            return Unpriced("not_yet_priced", price_id, records[0].unit, since, until)
        record, matched = found if found is not None else (records[0], "")
        applied: Applied | None = None
        if override is None and self._discounts:
            vendor, component = price_id.partition(".")[0], component_of(price_id)
            applied = self._discounts.applied(component, vendor, price_id, charged, at_ns)
            since, until = max(since, applied.from_ns), min(until, applied.until_ns)
        if override is None and record.usd is None:
            return Unpriced("no_price", price_id, record.unit, since, until)
        paid = record.usd if override is None else override.usd
        listed = paid if record.usd is None or found is None else record.usd
        assert paid is not None  # both None returned above
        assert listed is not None
        source = f"{record.origin}:{record.as_of}" if override is None else f"override:{override.place}"
        if override is not None and override.region is not None:
            fallback = False  # you said what it costs there
        if applied is not None and applied.names:
            paid *= applied.exact_factor
            source = f"{source}+discount:{applied.names}"
        return Rate(
            price_id=price_id,
            usd=float(paid),
            list_usd=float(listed),
            unit=record.unit,
            source=source,
            region=charged,
            rate_region=default if fallback and matched != charged else charged,
            region_fallback=fallback,
            sku=record.sku if record.sku and not fallback else price_id,
            valid_from_ns=since,
            valid_until_ns=until,
            price=record,
            paid=paid,
            listed=listed,
            override=override,
            discounts="" if applied is None else applied.names,
        )


def _best(records: Iterable[PriceRecord], region: str, at_ns: int) -> tuple[PriceRecord, str] | None:
    """Return the record valid then for a region and the region or glob that matched, names before globs."""
    glob: tuple[PriceRecord, str] | None = None
    for record in records:
        if not _ns(record.valid_from, 0) <= at_ns < _ns(record.valid_until, _FOREVER_NS):
            continue
        for name in record.regions:
            if name == region:
                return record, name
            if glob is None and "*" in name and fnmatchcase(region, name):
                glob = (record, name)
    return glob


def _override(overrides: Iterable[PriceOverride], region: str, at_ns: int) -> PriceOverride | None:
    best: PriceOverride | None = None
    for override in overrides:
        if override.region is not None and not fnmatchcase(region, override.region):
            continue
        if not _ns(override.valid_from, 0) <= at_ns < _end_ns(override.valid_to):
            continue
        if best is None or _rank(override) >= _rank(best):
            best = override
    return best


def _rank(override: PriceOverride) -> tuple[bool, int, int]:
    """A price by its name before a glob, a region before a glob before everywhere, then the youngest."""
    of_region = 0 if override.region is None else 1 if is_glob(override.region) else 2
    return (not override.pattern, of_region, _ns(override.valid_from, 0))


def _interval(records: Iterable[PriceRecord], overrides: Iterable[PriceOverride], at_ns: int) -> tuple[int, int]:
    """Return the longest interval around a time in which no record and no override changes."""
    edges = {0, _FOREVER_NS}
    for record in records:
        edges.add(_ns(record.valid_from, 0))
        edges.add(_ns(record.valid_until, _FOREVER_NS))
    for override in overrides:
        edges.add(_ns(override.valid_from, 0))
        edges.add(_end_ns(override.valid_to))
    steps = sorted(edges)
    index = min(max(bisect_right(steps, at_ns), 1), len(steps) - 1)
    return steps[index - 1], steps[index]


def _ns(day: date | None, default: int) -> int:
    return default if day is None else midnight_ns(day)


def _end_ns(last_day: date | None) -> int:
    return _FOREVER_NS if last_day is None else _ns(last_day + timedelta(days=1), 0)


def is_glob(text: str) -> bool:
    """Say whether a text is a glob rather than a name."""
    return not _GLOB.isdisjoint(text)


def matching(pattern: str, among: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are `pattern`, or that match it where it is a glob."""
    return tuple(name for name in among if fnmatchcase(name, pattern))


def component_of(price_id: str) -> str:
    """Return the component (`names.COMPONENTS`) whose usage a price is for; `custom` for none of the known ones.

    AWS Lambda is `aws`: the same prices serve functions that are called and functions that are run.
    """
    vendor, _, rest = price_id.partition(".")
    service = rest.partition(".")[0]
    if service == "egress":
        return names.EGRESS
    if service in _COMPUTE_SERVICES:
        return names.COMPUTE
    return names.AWS if vendor == "aws" else names.CUSTOM


def _record(price_id: str, data: Data, rate: Data, sources: list[str]) -> PriceRecord:
    tiers = tuple(
        Tier(Decimal(tier["from"]), Decimal(tier["to"]) if "to" in tier else None, Decimal(tier["usd"]))
        for tier in rate.get("tiers", ())
    )
    usd: Decimal | None = None if rate.get("usd") is None else Decimal(rate["usd"])
    if tiers:
        usd = next((tier.usd for tier in tiers if tier.usd), tiers[0].usd)
    regions: list[str] = [rate["region"]] if "region" in rate else rate["regions"]
    source_index: int = rate["source"]
    return PriceRecord(
        id=price_id,
        unit=data["unit"],
        billing="; ".join(filter(None, (data.get("billing", ""), rate.get("note", "")))),
        operations=tuple(data.get("operations", ())),
        regions=tuple(regions),
        usd=usd,
        tiers=tiers,
        valid_from=date.fromisoformat(rate["valid_from"]) if "valid_from" in rate else None,
        valid_until=date.fromisoformat(rate["valid_until"]) if "valid_until" in rate else None,
        sku=rate.get("sku", ""),
        source=sources[source_index],
        as_of=rate["as_of"],
        confidence=rate["confidence"],
        vcpu=Decimal(data["vcpu"]) if "vcpu" in data else None,
        memory_gib=Decimal(data["memory_gib"]) if "memory_gib" in data else None,
    )


@cache
def shipped_data() -> Data:
    """Return the parsed shipped book, read once per process.

    Raises:
        PriceBookError: The file is missing or broken: the installation is damaged.
    """
    try:
        return json.loads(_BOOK.read_bytes())
    except (OSError, ValueError) as error:
        raise PriceBookError(f"data/book.json of the installed spancost cannot be read: {error}") from error


@cache
def _shipped() -> PriceBook:
    return PriceBook(shipped_data())
