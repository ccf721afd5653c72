"""Prices of your own: what `spancost.yaml` or a separate, reviewed prices file says about what you pay.

prices:       prices of single meters:  {price: aws.sqs.*, usd: 0.0000003, unit: request, region: eu-*,
                                          valid_from: 2026-01-01, valid_to: 2026-12-31}
discounts:    percentages off list prices: {name: edp, percent: 12, coverage: 70%, component: aws, provider: aws,
                                          price: aws.s3.*, region: eu-*, valid_from: ..., valid_to: ...}
models:       prices of LLM models, see `spancost.prices.models`
http_rules:   prices of HTTP APIs, see `spancost.prices.http_rules`
custom:       rates for own units:  {name: pdf.render, unit: page, usd: 0.002, provider: acme,
                                     valid_from: ..., valid_to: ...}, see `spancost.prices.custom_rates`
currency:     a second figure for people: {code: EUR, per_usd: 0.92, date: 2026-11-20}

All of it changes `usd`, what you pay; list prices stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from spancost import names
from spancost.errors import ConfigError, suggest
from spancost.prices.book import PriceBook, PriceOverride, is_glob, matching
from spancost.prices.currency import Currency
from spancost.prices.custom_rates import CustomRate
from spancost.prices.discounts import Discount
from spancost.prices.usd import TOO_MUCH, exact_number, usd_per

if TYPE_CHECKING:
    from spancost.prices.http_rules import HttpRule
    from spancost.prices.models import ModelPrice

OWN_KEYS: Final = ("prices", "discounts", "models", "http_rules", "custom", "currency")
"""Keys of a prices file; the same keys may stand in `spancost.yaml`."""

_OVERRIDE_KEYS: Final = ("price", "usd", "unit", "region", "valid_from", "valid_to")
_DISCOUNT_KEYS: Final = (
    "name", "percent", "coverage", "component", "provider", "price", "region", "valid_from", "valid_to",
)  # fmt: skip
_CUSTOM_KEYS: Final = ("name", "unit", "usd", "provider", "valid_from", "valid_to")
_CURRENCY_KEYS: Final = ("code", "per_usd", "date")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CODE: Final = re.compile(r"[A-Z]{3}")
_FIRST_DAY: Final = date(1970, 1, 2)
_LAST_DAY: Final = date(2199, 12, 31)
_MAX_TEXT: Final = 100


@dataclass(frozen=True, slots=True)
class OwnPrices:
    """What you pay other than list price, as a configuration says."""

    overrides: tuple[PriceOverride, ...] = ()
    """Of two for the same thing the later one holds."""
    discounts: tuple[Discount, ...] = ()
    """Several that match one price multiply."""
    models: tuple[ModelPrice, ...] = ()
    http_rules: tuple[HttpRule, ...] = ()
    custom: tuple[CustomRate, ...] = ()
    currency: Currency | None = None
    place: str = ""
    """File or files it was read from; empty if there was none."""

    def onto(self, book: PriceBook) -> PriceBook:
        """Return a book with these overrides and discounts."""
        if self.overrides:
            book = book.with_overrides(self.overrides)
        return book.with_discounts(self.discounts) if self.discounts else book

    def followed_by(self, other: OwnPrices) -> OwnPrices:
        """Return the entries of both; where both speak of the same thing, `other` holds."""
        return OwnPrices(
            overrides=(*self.overrides, *other.overrides),
            discounts=(*self.discounts, *other.discounts),
            # Of models and HTTP rules the first that matches is taken.
            models=(*other.models, *self.models),
            http_rules=(*other.http_rules, *self.http_rules),
            custom=(*self.custom, *other.custom),
            currency=other.currency or self.currency,
            place=", ".join(place for place in (self.place, other.place) if place),
        )


NO_OWN_PRICES: Final = OwnPrices()


def read_own_prices(raw: Mapping[str, object], place: str, book: PriceBook) -> OwnPrices:
    """Check and return own prices.

    Args:
        raw: Parsed content; its keys are `OWN_KEYS`.

        place: File, for messages and for the source of a price.

        book: Price book that knows the ids, units and regions.

    Raises:
        ConfigError: Something is wrong; names file, key, value and what is accepted.
    """
    for key, value in raw.items():
        if key not in OWN_KEYS:
            raise ConfigError(place, key, value, "unknown key: " + suggest(key, OWN_KEYS))
    models: tuple[ModelPrice, ...] = ()
    http_rules: tuple[HttpRule, ...] = ()
    if raw.get("models") is not None:
        from spancost.prices.models import model_prices_from

        models = model_prices_from(raw["models"], place)
    if raw.get("http_rules") is not None:
        from spancost.prices.http_rules import rules_from

        http_rules = rules_from(raw["http_rules"], place)
    overrides = _entries(raw, "prices", _OVERRIDE_KEYS, ("price", "usd", "unit"), place)
    discounts = _entries(raw, "discounts", _DISCOUNT_KEYS, ("name", "percent"), place)
    custom = _entries(raw, "custom", _CUSTOM_KEYS, ("name", "unit", "usd"), place)
    return OwnPrices(
        overrides=tuple(made for entry in overrides for made in _overrides(entry, book)),
        discounts=tuple(_discount(entry, book) for entry in discounts),
        models=models,
        http_rules=http_rules,
        custom=tuple(_custom_rate(entry) for entry in custom),
        currency=_currency(raw.get("currency"), place),
        place=place,
    )


def without_value(place: str, key: str) -> ConfigError:
    """Return the error of a key that is not there: it has no value that could be named."""
    error = ConfigError(place, key, None, "it is required")
    error.args = (f"{place}: {key}: it is required",)
    return error


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a list, with what is needed to say where a mistake is."""

    place: str
    key: str
    given: Mapping[str, object]

    def wrong(self, name: str, accepted: str) -> ConfigError:
        value = self.given.get(name)
        return ConfigError(self.place, f"{self.key}.{name}", str(value) if isinstance(value, date) else value, accepted)

    def read(self, name: str, parser: Callable[[object], Any]) -> Any:
        try:
            return parser(self.given[name])
        except ValueError as error:
            raise self.wrong(name, str(error)) from None

    def day(self, name: str) -> date | None:
        return None if self.given.get(name) is None else self.read(name, _day)

    def days(self) -> tuple[date | None, date | None]:
        first, last = self.day("valid_from"), self.day("valid_to")
        if first is not None and last is not None and last < first:
            raise self.wrong("valid_to", f"the last day, not before valid_from ({first})")
        return first, last


def _entries(
    raw: Mapping[str, object], key: str, accepted: tuple[str, ...], required: tuple[str, ...], place: str
) -> Iterator[_Entry]:
    value = raw.get(key)
    if value is None:
        return
    needs = f"{', '.join(required[:-1])} and {required[-1]}"
    if not isinstance(value, list):
        raise ConfigError(place, key, value, f"a list of {key}, each with {needs}")
    for index, item in enumerate(cast("list[object]", value)):
        yield _entry(item, f"{key}[{index}]", accepted, required, f"a mapping with {needs}", place)


def _entry(
    item: object, key: str, accepted: tuple[str, ...], required: tuple[str, ...], needs: str, place: str
) -> _Entry:
    if not isinstance(item, dict):
        raise ConfigError(place, key, item, needs)
    given = {str(name): value for name, value in cast("dict[object, object]", item).items()}
    for name, value in given.items():
        if name not in accepted:
            raise ConfigError(place, f"{key}.{name}", value, "unknown key: " + suggest(name, accepted))
    for name in required:
        if given.get(name) is None:
            raise without_value(place, f"{key}.{name}")
    return _Entry(place, key, given)


# --- prices -------------------------------------------------------------------------------------


def _overrides(entry: _Entry, book: PriceBook) -> Iterator[PriceOverride]:
    """Return one override per price id that an entry names or matches."""
    pattern, unit = str(entry.given["price"]), entry.given["unit"]
    ids = matching(pattern, book.price_ids())
    if not ids:
        raise entry.wrong("price", "unknown price: " + suggest(pattern.strip("*"), book.price_ids()))
    units = {price_id: book.records(price_id)[0].unit for price_id in ids}
    chosen = [price_id for price_id in ids if units[price_id] == unit]
    if not chosen:
        known = ", ".join(sorted(set(units.values())))
        raise entry.wrong("unit", f"{pattern} is priced per {known}")
    usd = entry.read("usd", lambda value: usd_per(str(unit), value))
    region = entry.given.get("region")
    if region is not None:
        vendors = {price_id.partition(".")[0] for price_id in chosen}
        regions = [name for vendor in sorted(vendors) for name in book.regions(vendor)]
        if not matching(str(region), regions):
            raise entry.wrong("region", "unknown region: " + suggest(str(region), regions))
    first, last = entry.days()
    for price_id in chosen:
        yield PriceOverride(
            price_id=price_id,
            usd=usd,
            unit=units[price_id],
            region=None if region is None else str(region),
            valid_from=first,
            valid_to=last,
            place=entry.place,
            pattern=pattern if is_glob(pattern) else "",
        )


# --- discounts ----------------------------------------------------------------------------------


def _discount(entry: _Entry, book: PriceBook) -> Discount:
    given = entry.given
    name = entry.read("name", _name)
    percent = entry.read("percent", _percent)
    coverage = entry.read("coverage", _coverage) if given.get("coverage") is not None else Decimal(1)
    component, provider, price, region = (_glob(entry, key) for key in ("component", "provider", "price", "region"))
    if not matching(component, names.COMPONENTS):
        raise entry.wrong("component", "no such component: " + suggest(component, names.COMPONENTS))
    vendors = {price_id.partition(".")[0] for price_id in book.price_ids()}
    vendor_of_price = price.partition(".")[0]
    for key, vendor in (("provider", provider), ("price", vendor_of_price)):
        if vendor not in vendors and vendor.lower() in vendors:
            raise entry.wrong(key, "it is written in small letters")
    is_of_the_book = vendor_of_price in vendors  # else it is a glob of models or of HTTP operations
    if is_of_the_book and not matching(price, book.price_ids()):
        raise entry.wrong("price", "it matches no price: " + suggest(price.strip("*"), book.price_ids()))
    if not matching(region, book.regions()):
        raise entry.wrong("region", "unknown region: " + suggest(region, book.regions()))
    first, last = entry.days()
    return Discount(name, percent, coverage, component, provider, price, region, first, last)


def _glob(entry: _Entry, name: str) -> str:
    value = entry.given.get(name)
    if value is None:
        return "*"
    if not isinstance(value, str) or not value.strip():
        raise entry.wrong(name, "a name or a glob")
    return value.strip()


# --- own units ----------------------------------------------------------------------------------


def _custom_rate(entry: _Entry) -> CustomRate:
    name, unit = entry.read("name", _short_text), entry.read("unit", _short_text)
    provider = entry.read("provider", _short_text) if entry.given.get("provider") is not None else ""
    usd = entry.read("usd", lambda value: usd_per(unit, value))
    return CustomRate(name, unit, usd, provider, *entry.days(), place=entry.place)


# --- currency -----------------------------------------------------------------------------------


def _currency(raw: object, place: str) -> Currency | None:
    if raw is None:
        return None
    needs = "a mapping with code, per_usd and date, such as {code: EUR, per_usd: 0.92, date: 2026-11-20}"
    entry = _entry(raw, "currency", _CURRENCY_KEYS, _CURRENCY_KEYS, needs, place)
    return Currency(entry.read("code", _code), entry.read("per_usd", _per_usd), entry.read("date", _day))


# --- values -------------------------------------------------------------------------------------


def _percent(value: object) -> Decimal:
    percent = exact_number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    if not percent.is_finite() or not 0 <= percent <= 100:
        raise ValueError("a percentage from 0 to 100")
    return percent


def _coverage(value: object) -> Decimal:
    is_percent = isinstance(value, str) and value.strip().endswith("%")
    coverage = exact_number(cast("str", value).strip()[:-1]) / 100 if is_percent else exact_number(value)
    if not coverage.is_finite() or not 0 <= coverage <= 1:
        raise ValueError("the part of the usage that is covered, from 0 to 1, such as 0.7 or 70%")
    return coverage


def _name(value: object) -> str:
    if _NAME.fullmatch(str(value)) is None:
        raise ValueError("a short name of letters, digits, '-', '_' and '.'")
    return str(value)


def _short_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
        raise ValueError(f"text of at most {_MAX_TEXT} characters")
    return value.strip()


def _code(value: object) -> str:
    if _CODE.fullmatch(str(value)) is None:
        raise ValueError("three capital letters, such as EUR")
    return str(value)


def _per_usd(value: object) -> Decimal:
    rate = exact_number(value)
    if not rate.is_finite() or not 0 < rate <= TOO_MUCH:
        raise ValueError("units of the currency for one USD, above zero")
    return rate


def _day(value: object) -> date:
    try:
        day = value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError:
        day = _LAST_DAY.replace(year=9999)
    if isinstance(day, datetime) or not _FIRST_DAY <= day <= _LAST_DAY:
        raise ValueError("a date such as 2026-01-31")
    return day
