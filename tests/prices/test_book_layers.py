"""Refreshed prices, overrides and discounts over the shipped book: which one holds, and what never changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.prices.book import PriceBook, PriceOverride, PriceRecord, Rate, component_of
from spancost.prices.discounts import Discount

_BOOK = PriceBook.shipped()
_WRITE = "aws.dynamodb.on_demand.write"
_DAY_NS = 86_400 * 10**9


def _ns(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9


_NOW_NS = _ns(2026, 11, 21)


def _rate(book: PriceBook, price_id: str = _WRITE, region: str = "us-east-1", at_ns: int = _NOW_NS) -> Rate:
    found = book.price(price_id, region, at_ns)
    assert isinstance(found, Rate), found
    return found


def _refreshed(
    usd: str, region: str = "us-east-1", since: date | None = date(2026, 7, 1), price_id: str = _WRITE
) -> dict[str, tuple[PriceRecord, ...]]:
    template = _BOOK.template(price_id)
    assert template is not None
    record = replace(
        template,
        regions=(region,),
        usd=Decimal(usd),
        valid_from=since,
        as_of="2026-11-20",
        origin="aws-price-list",
        sku="SKU1",
    )
    return {price_id: (record,)}


# --- refreshed prices ---------------------------------------------------------------------------


def test_a_refreshed_price_wins_over_the_shipped_one_from_its_effective_day() -> None:
    book = _BOOK.with_cache(_refreshed("0.0000006"))
    after, before = _rate(book, at_ns=_ns(2026, 7, 1)), _rate(book, at_ns=_ns(2026, 7, 1) - 1)
    assert (after.usd, after.list_usd, after.source, after.sku) == (6e-7, 6e-7, "aws-price-list:2026-11-20", "SKU1")
    assert (before.usd, before.source) == (6.25e-7, "spancost:2024-11-15")


def test_a_refreshed_price_of_one_region_leaves_the_shipped_price_of_another() -> None:
    book = _BOOK.with_cache(_refreshed("0.0000006"))
    assert _rate(book, region="us-west-1").source == "spancost:2024-11-15"


def test_a_region_without_a_price_takes_the_refreshed_one_of_the_default_region() -> None:
    rate = _rate(_BOOK.with_cache(_refreshed("0.0000006")), region="ap-south-2")
    assert (rate.usd, rate.region_fallback, rate.rate_region, rate.sku) == (6e-7, True, "us-east-1", _WRITE)


def test_an_override_wins_over_a_refreshed_price_which_stays_the_list_price() -> None:
    override = PriceOverride(_WRITE, Decimal("0.0000001"), "WRU")
    rate = _rate(_BOOK.with_cache(_refreshed("0.0000006")).with_overrides([override]))
    assert (rate.usd, rate.list_usd) == (1e-7, 6e-7)


def test_refreshed_prices_of_unknown_ids_are_ignored() -> None:
    records = {"aws.new.service": _refreshed("1")[_WRITE]}
    assert _BOOK.with_cache(records).price_ids() == _BOOK.price_ids()


def test_the_book_without_a_cache_is_untouched() -> None:
    _BOOK.with_cache(_refreshed("0.0000006"))
    assert _rate(_BOOK).usd == 6.25e-7
    assert all(record.origin == "spancost" for record in _BOOK.records(_WRITE))


# --- discounts ----------------------------------------------------------------------------------


def test_a_discount_changes_what_you_pay_and_not_the_list_price() -> None:
    rate = _rate(_BOOK.with_discounts([Discount("edp", Decimal(12))]))
    assert (rate.paid, rate.listed) == (Decimal("0.00000055"), Decimal("0.000000625"))
    assert (rate.usd, rate.list_usd) == (5.5e-7, 6.25e-7)
    assert (rate.source, rate.discounts) == ("spancost:2024-11-15+discount:edp", "edp")


def test_a_commitment_for_70_percent_of_the_fleet_at_40_percent_off_takes_28_percent_off() -> None:
    plan = Discount("plan", Decimal(40), Decimal("0.7"), component="compute")
    book = _BOOK.with_discounts([plan])
    assert _rate(book, "aws.ec2.m5.large").paid == Decimal("0.096") * Decimal("0.72")
    assert _rate(book).paid == _rate(book).listed


def test_a_discount_is_not_taken_off_an_override() -> None:
    override = PriceOverride(_WRITE, Decimal("0.0000001"), "WRU")
    rate = _rate(_BOOK.with_overrides([override]).with_discounts([Discount("edp", Decimal(50))]))
    assert (rate.usd, rate.source, rate.discounts) == (1e-7, "override:configuration", "")


def test_a_discount_holds_on_its_last_day_and_not_after() -> None:
    book = _BOOK.with_discounts([Discount("y", Decimal(10), valid_from=date(2026, 1, 1), valid_to=date(2026, 12, 31))])
    assert _rate(book, at_ns=_ns(2026, 1, 1) - 1).discounts == ""
    assert _rate(book, at_ns=_ns(2026, 1, 1)).discounts == "y"
    assert _rate(book, at_ns=_ns(2027, 1, 1) - 1).discounts == "y"
    assert _rate(book, at_ns=_ns(2027, 1, 1)).discounts == ""


def test_a_discount_on_a_region_follows_the_region_that_is_charged() -> None:
    book = _BOOK.with_discounts([Discount("eu", Decimal(10), region="eu-*")])
    assert _rate(book, region="eu-central-2").discounts == "eu"
    assert _rate(book, region="us-east-1").discounts == ""


@pytest.mark.parametrize(
    ("price_id", "component"),
    [
        ("aws.egress.internet", "egress"),
        ("cloudflare.egress.r2", "egress"),
        ("aws.ec2.m5.large", "compute"),
        ("aws.fargate.x86.vcpu_hour", "compute"),
        ("gcp.gce.e2-standard-2", "compute"),
        ("gcp.cloudrun.request_billing.vcpu_hour", "compute"),
        ("azure.vm.Standard_D2s_v5", "compute"),
        ("azure.containerapps.consumption.gib_hour.idle", "compute"),
        ("aws.lambda.duration.x86", "aws"),
        ("aws.s3.tier1.standard", "aws"),
    ],
)
def test_each_price_belongs_to_a_component(price_id: str, component: str) -> None:
    assert component_of(price_id) == component


def test_every_price_of_the_book_belongs_to_a_known_component() -> None:
    assert {component_of(price_id) for price_id in _BOOK.price_ids()} == {"aws", "compute", "egress"}


# --- properties ---------------------------------------------------------------------------------

_DAYS = st.none() | st.dates(date(2024, 1, 1), date(2027, 12, 31))
_PERCENTS = st.decimals(0, 100, places=2)
_REGIONS = st.sampled_from(["us-east-1", "eu-west-1", "eu-north-1", "ap-south-1"])
_PRICES = st.sampled_from([_WRITE, "aws.sqs.standard", "aws.ec2.m5.large", "aws.egress.internet", "aws.sns.sms"])
_DISCOUNTS = st.lists(
    st.builds(
        Discount,
        st.sampled_from(["a", "b"]),
        _PERCENTS,
        st.decimals(0, 1, places=3),
        component=st.sampled_from(["*", "aws", "compute"]),
        region=st.sampled_from(["*", "eu-*", "us-east-1"]),
        valid_from=_DAYS,
        valid_to=_DAYS,
    ),
    max_size=4,
)


@st.composite
def _overrides(draw: st.DrawFn) -> list[PriceOverride]:
    made: list[PriceOverride] = []
    for price_id in draw(st.lists(_PRICES, max_size=3)):
        template = _BOOK.template(price_id)
        assert template is not None
        made.append(
            PriceOverride(
                price_id,
                draw(st.decimals(0, 10, places=6)),
                template.unit,
                region=draw(st.none() | st.sampled_from(["eu-*", "us-east-1"])),
                valid_from=draw(_DAYS),
                valid_to=draw(_DAYS),
            )
        )
    return made


@given(_overrides(), _DISCOUNTS, _PRICES, _REGIONS, st.integers(_ns(2024, 1, 1), _ns(2028, 1, 1)))
def test_the_list_price_is_never_changed_by_own_prices(
    overrides: list[PriceOverride], discounts: list[Discount], price_id: str, region: str, at_ns: int
) -> None:
    own = _BOOK.with_overrides(overrides).with_discounts(discounts).price(price_id, region, at_ns)
    shipped = _BOOK.price(price_id, region, at_ns)
    if isinstance(shipped, Rate):
        assert isinstance(own, Rate)
        assert (own.list_usd, own.listed) == (shipped.list_usd, shipped.listed)
    elif isinstance(own, Rate):
        assert own.override is not None
        assert own.list_usd == own.usd


@given(_DISCOUNTS, _PRICES, _REGIONS, st.integers(_ns(2024, 1, 1), _ns(2028, 1, 1)))
def test_a_discount_never_makes_anything_dearer_or_negative(
    discounts: list[Discount], price_id: str, region: str, at_ns: int
) -> None:
    rate = _BOOK.with_discounts(discounts).price(price_id, region, at_ns)
    if isinstance(rate, Rate):
        assert 0 <= rate.usd <= rate.list_usd


@given(_overrides(), _DISCOUNTS, _PRICES, _REGIONS, st.none() | st.dates(date(2024, 1, 1), date(2027, 12, 31)))
def test_intervals_of_rates_follow_each_other_without_gap_or_overlap(
    overrides: list[PriceOverride], discounts: list[Discount], price_id: str, region: str, since: date | None
) -> None:
    book = _BOOK.with_cache(_refreshed("0.0000006", "eu-west-1", since)).with_overrides(overrides)
    book = book.with_discounts(discounts)
    at_ns, steps = 0, 0
    while at_ns < 2**63 - 1:
        here = book.price(price_id, region, at_ns)
        assert here.valid_from_ns == at_ns < here.valid_until_ns
        last = book.price(price_id, region, here.valid_until_ns - 1)
        assert last is here
        at_ns, steps = here.valid_until_ns, steps + 1
    assert steps <= 40


@given(_overrides(), _DISCOUNTS, _PRICES, _REGIONS, st.lists(st.integers(_ns(2024, 1, 1), _ns(2028, 1, 1)), max_size=6))
def test_a_rate_does_not_depend_on_what_was_asked_before(
    overrides: list[PriceOverride], discounts: list[Discount], price_id: str, region: str, times: list[int]
) -> None:
    warm = _BOOK.with_overrides(overrides).with_discounts(discounts)
    for at_ns in times:
        cold = _BOOK.with_overrides(overrides).with_discounts(discounts)
        assert warm.price(price_id, region, at_ns) == cold.price(price_id, region, at_ns)
