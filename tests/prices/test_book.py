"""Look-up order, dates, regions and overrides of the price book."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from spancost.errors import ConfigError
from spancost.prices.book import PriceBook, PriceOverride, Rate, Unpriced

_NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
_CUT_NS = int(datetime(2024, 11, 1, tzinfo=UTC).timestamp()) * 10**9
_WRITE = "aws.dynamodb.on_demand.write"


def _rate(price_id: str, region: str, at_ns: int = _NOW_NS, book: PriceBook | None = None) -> Rate:
    found = (book or PriceBook.shipped()).price(price_id, region, at_ns)
    assert isinstance(found, Rate), found
    return found


def _override(usd: str, price_id: str = _WRITE, unit: str = "WRU", **where: object) -> PriceOverride:
    return PriceOverride(price_id, Decimal(usd), unit, place="spancost.yaml", **where)  # type: ignore[arg-type]


def test_shipped_book_is_made_once() -> None:
    assert PriceBook.shipped() is PriceBook.shipped()


def test_write_unit_was_halved_on_the_first_of_november_2024() -> None:
    assert _rate(_WRITE, "us-east-1", _CUT_NS - 1).usd == 1.25e-6
    assert _rate(_WRITE, "us-east-1", _CUT_NS).usd == 0.625e-6


def test_rate_knows_how_long_it_is_valid() -> None:
    before, after = _rate(_WRITE, "us-east-1", _CUT_NS - 1), _rate(_WRITE, "us-east-1", _CUT_NS)
    assert (before.valid_from_ns, before.valid_until_ns) == (0, _CUT_NS)
    assert (after.valid_from_ns, after.valid_until_ns) == (_CUT_NS, 2**63 - 1)


def test_rate_is_compiled_once_per_interval() -> None:
    assert _rate(_WRITE, "us-east-1", _CUT_NS) is _rate(_WRITE, "us-east-1", _NOW_NS)


def test_source_is_the_day_on_which_the_price_was_checked() -> None:
    rate = _rate("aws.s3.tier1.standard", "us-east-1")
    assert rate.source == "spancost:2026-07-28"
    assert rate.price.usd == Decimal("0.000005")
    assert rate.price.confidence == "verified-3"


def test_region_with_its_own_price_is_not_a_fallback() -> None:
    rate = _rate("aws.s3.tier1.standard", "sa-east-1")
    assert (rate.usd, rate.region, rate.region_fallback) == (7e-6, "sa-east-1", False)


def test_region_without_a_price_takes_that_of_us_east_1() -> None:
    rate = _rate("aws.s3.tier1.standard", "eu-south-1")
    assert (rate.usd, rate.region, rate.rate_region, rate.region_fallback) == (5e-6, "eu-south-1", "us-east-1", True)


def test_missing_region_takes_the_default_marked() -> None:
    rate = _rate("aws.s3.tier1.standard", "")
    assert (rate.region, rate.region_fallback) == ("us-east-1", True)


def test_price_that_is_the_same_everywhere_is_no_fallback() -> None:
    assert _rate("gcp.egress.inter_zone", "").region_fallback is False
    assert _rate("cloudflare.egress.r2", "").usd == 0


@pytest.mark.parametrize(
    ("price_id", "default"), [("gcp.gce.e2-standard-2", "us-central1"), ("azure.vm.Standard_D2s_v5", "eastus")]
)
def test_each_vendor_has_its_default_region(price_id: str, default: str) -> None:
    rate = _rate(price_id, "mars-1")
    assert (rate.rate_region, rate.region_fallback) == (default, True)


def test_region_glob_matches() -> None:
    rate = _rate("azure.egress.internet", "westeurope")
    assert (rate.usd, rate.region_fallback) == (0.087, False)
    assert _rate("azure.egress.internet", "japaneast").usd == 0.12


def test_first_paid_tier_is_the_rate() -> None:
    rate = _rate("aws.egress.internet", "us-east-1")
    assert [tier.usd for tier in rate.price.tiers[:2]] == [Decimal(0), Decimal("0.09")]
    assert rate.usd == 0.09


def test_sku_is_the_vendors_where_known_else_the_id() -> None:
    assert _rate("aws.s3.tier2.standard", "us-east-1").sku == "ZWQ6Q48CRJXX4FXE"
    assert _rate("aws.s3.tier1.standard", "us-east-1").sku == "aws.s3.tier1.standard"
    assert _rate("aws.s3.tier2.standard", "eu-south-1").sku == "aws.s3.tier2.standard"


def test_unknown_id_is_a_value_with_a_reason() -> None:
    assert PriceBook.shipped().price("aws.s3.tier9", "us-east-1", _NOW_NS) == Unpriced("unknown_sku", "aws.s3.tier9")


def test_price_that_nobody_publishes_is_a_value_with_a_reason() -> None:
    found = PriceBook.shipped().price("aws.sns.sms", "us-east-1", _NOW_NS)
    assert isinstance(found, Unpriced)
    assert (found.reason, found.unit) == ("no_price", "message")


def test_every_price_of_the_book_can_be_looked_up_in_every_region_it_names() -> None:
    book = PriceBook.shipped()
    for price_id in book.price_ids():
        for region in book.regions_of(price_id):
            found = book.price(price_id, region, _NOW_NS)
            if isinstance(found, Unpriced):
                assert found.reason == "no_price"
            else:
                assert found.usd == found.list_usd >= 0


def test_override_changes_what_it_costs_you_and_not_the_list_price() -> None:
    rate = _rate(_WRITE, "us-east-1", book=PriceBook.shipped().with_overrides([_override("0.0000005")]))
    assert (rate.usd, rate.list_usd, rate.source) == (5e-7, 6.25e-7, "override:spancost.yaml")


def test_override_leaves_the_book_it_came_from_alone() -> None:
    PriceBook.shipped().with_overrides([_override("1")])
    assert _rate(_WRITE, "us-east-1").usd == 6.25e-7


def test_override_of_one_region_leaves_the_others_alone() -> None:
    book = PriceBook.shipped().with_overrides([_override("0.0000005", region="eu-west-1")])
    assert _rate(_WRITE, "eu-west-1", book=book).usd == 5e-7
    assert _rate(_WRITE, "us-east-1", book=book).usd == 6.25e-7


def test_override_of_a_region_wins_over_one_for_everywhere() -> None:
    book = PriceBook.shipped().with_overrides([_override("0.0000005", region="eu-west-1"), _override("0.0000004")])
    assert _rate(_WRITE, "eu-west-1", book=book).usd == 5e-7
    assert _rate(_WRITE, "us-east-1", book=book).usd == 4e-7


def test_override_starts_on_its_day() -> None:
    book = PriceBook.shipped().with_overrides([_override("0.0000005", valid_from=date(2026, 1, 1))])
    start_ns = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    assert _rate(_WRITE, "us-east-1", start_ns - 1, book).usd == 6.25e-7
    assert _rate(_WRITE, "us-east-1", start_ns, book).usd == 5e-7


def test_override_prices_what_has_no_list_price() -> None:
    rate = _rate(
        "aws.sns.sms",
        "us-east-1",
        book=PriceBook.shipped().with_overrides([_override("0.007", "aws.sns.sms", "message")]),
    )
    assert (rate.usd, rate.list_usd) == (0.007, 0.007)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (_override("1", "aws.dynamodb.on_demand.wriet"), "did you mean 'aws.dynamodb.on_demand.write'"),
        (_override("1", unit="request"), "unit: 'request' is not accepted: use 'WRU'"),
        (_override("-1"), "usd: '-1' is not accepted: a number, zero or more"),
        (_override("NaN"), "usd: 'NaN' is not accepted"),
        (_override("1", region="us-est-1"), "'us-east-1'"),
    ],
)
def test_wrong_override_names_place_key_value_and_choices(override: PriceOverride, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^spancost\.yaml: ") as error:
        PriceBook.shipped().with_overrides([override])
    assert message in str(error.value)


def test_lookup_cache_is_bounded() -> None:
    book = PriceBook.shipped().with_overrides([])
    for number in range(10_000):
        book.price(_WRITE, f"region-{number}", _NOW_NS)
    assert len(book._compiled) <= 4096  # pyright: ignore[reportPrivateUsage]


def test_regions_are_known_by_vendor() -> None:
    book = PriceBook.shipped()
    assert "eu-west-1" in book.regions("aws")
    assert "eastus" in book.regions("azure")
    assert book.regions("oracle") == ()
    assert set(book.regions("gcp")) < set(book.regions())
