"""Own prices are read strictly: a mistake names file, key, value and what is accepted."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.errors import ConfigError
from spancost.prices.book import PriceBook, Rate
from spancost.prices.currency import Currency
from spancost.prices.discounts import Discount
from spancost.prices.own import OwnPrices, read_own_prices

_BOOK = PriceBook.shipped()
_WRITE = "aws.dynamodb.on_demand.write"
_FULL: dict[str, object] = {
    "prices": [
        {"price": _WRITE, "usd": "0.0000005", "unit": "WRU", "region": "eu-*", "valid_from": "2026-01-01"},
        {"price": "aws.sqs.*", "usd": 3e-7, "unit": "request", "valid_to": date(2026, 12, 31)},
    ],
    "discounts": [
        {"name": "edp", "percent": 12},
        {"name": "savings-plan", "percent": "30%", "coverage": "70%", "component": "compute", "region": "us-east-1"},
    ],
    "currency": {"code": "EUR", "per_usd": 0.92, "date": "2026-11-20"},
}


def _ns(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9


_NOW_NS = _ns(2026, 11, 21)


def _read(raw: dict[str, object]) -> OwnPrices:
    return read_own_prices(raw, "prices.yaml", _BOOK)


def _rate(own: OwnPrices, price_id: str, region: str = "us-east-1", at_ns: int = _NOW_NS) -> Rate:
    found = own.onto(_BOOK).price(price_id, region, at_ns)
    assert isinstance(found, Rate), found
    return found


def test_every_key_is_read() -> None:
    own = _read(_FULL)
    assert [override.price_id for override in own.overrides] == [
        _WRITE,
        "aws.sqs.standard",
        "aws.sqs.fifo",
        "aws.sqs.fair_queue_surcharge",
    ]
    assert own.discounts == (
        Discount("edp", Decimal(12)),
        Discount("savings-plan", Decimal(30), Decimal("0.7"), component="compute", region="us-east-1"),
    )
    assert own.currency == Currency("EUR", Decimal("0.92"), date(2026, 11, 20))
    assert own.place == "prices.yaml"


def test_a_region_glob_holds_in_its_regions_only() -> None:
    own = _read(_FULL)
    assert _rate(own, _WRITE, "eu-central-1").usd == 5e-7
    assert _rate(own, _WRITE, "us-east-1").usd == 6.25e-7 * 0.88
    assert _rate(own, _WRITE, "eu-central-1", _ns(2025, 12, 31)).source != "override:prices.yaml"


def test_a_price_glob_ends_after_its_last_day() -> None:
    own = _read(_FULL)
    assert _rate(own, "aws.sqs.fifo", at_ns=_ns(2026, 12, 31)).usd == 3e-7
    assert _rate(own, "aws.sqs.fifo", at_ns=_ns(2027, 1, 1)).override is None


def test_a_price_by_its_name_wins_over_a_glob_whichever_stands_first() -> None:
    named = {"price": "aws.sqs.fifo", "usd": 1e-7, "unit": "request"}
    glob = {"price": "aws.sqs.*", "usd": 2e-7, "unit": "request", "region": "us-east-1"}
    for entries in ([named, glob], [glob, named]):
        own = _read({"prices": entries})
        assert _rate(own, "aws.sqs.fifo").usd == 1e-7
        assert _rate(own, "aws.sqs.standard").usd == 2e-7


def test_a_region_by_its_name_wins_over_a_region_glob() -> None:
    own = _read(
        {
            "prices": [
                {"price": _WRITE, "usd": 1e-7, "unit": "WRU", "region": "eu-west-1"},
                {"price": _WRITE, "usd": 2e-7, "unit": "WRU", "region": "eu-*"},
                {"price": _WRITE, "usd": 3e-7, "unit": "WRU"},
            ]
        }
    )
    assert [_rate(own, _WRITE, region).usd for region in ("eu-west-1", "eu-north-1", "us-east-1")] == [1e-7, 2e-7, 3e-7]


def test_a_glob_takes_the_prices_of_its_unit() -> None:
    own = _read({"prices": [{"price": "aws.dynamodb.*", "usd": 1e-7, "unit": "RRU"}]})
    assert [override.price_id for override in own.overrides] == ["aws.dynamodb.on_demand.read"]


def test_of_two_files_the_second_wins_and_discounts_multiply() -> None:
    first = _read(
        {"prices": [{"price": _WRITE, "usd": 1e-7, "unit": "WRU"}], "discounts": [{"name": "a", "percent": 10}]}
    )
    second = read_own_prices(
        {"prices": [{"price": _WRITE, "usd": 2e-7, "unit": "WRU"}], "discounts": [{"name": "b", "percent": 20}]},
        "other.yaml",
        _BOOK,
    )
    joined = first.followed_by(second)
    assert _rate(joined, _WRITE).source == "override:other.yaml"
    assert _rate(joined, "aws.sqs.fifo").usd == pytest.approx(5e-7 * 0.9 * 0.8)
    assert joined.place == "prices.yaml, other.yaml"


def test_models_and_http_rules_of_the_second_file_come_first() -> None:
    def own(model: str, host: str) -> OwnPrices:
        return _read(
            {
                "models": [{"model": model, "same_as": "openai/gpt-4o"}],
                "http_rules": [
                    {
                        "host": host,
                        "method": "GET",
                        "path": "/*",
                        "provider": "x",
                        "operation": "y",
                        "usd": 1,
                        "unit": "request",
                    }
                ],
            }
        )

    joined = own("one", "one.example").followed_by(own("two", "two.example"))
    assert [model.model for model in joined.models] == ["two", "one"]
    assert [rule.host for rule in joined.http_rules] == ["two.example", "one.example"]


def test_nothing_is_an_empty_configuration() -> None:
    assert _read({}) == OwnPrices(place="prices.yaml")
    assert _read({}).onto(_BOOK) is _BOOK


def _override(**changed: object) -> dict[str, object]:
    return {"prices": [{"price": _WRITE, "usd": 1e-7, "unit": "WRU"} | changed]}


def _discount(**changed: object) -> dict[str, object]:
    return {"discounts": [{"name": "edp", "percent": 10} | changed]}


def _currency(**changed: object) -> dict[str, object]:
    return {"currency": {"code": "EUR", "per_usd": 0.92, "date": "2026-11-20"} | changed}


_WRONG: dict[str, tuple[dict[str, object], str]] = {
    "unknown key": ({"discount": []}, r"discount: \[\] .*unknown key: did you mean 'discounts'"),
    "no list": ({"prices": 5}, r"prices: 5 is not accepted: a list of prices, each with price, usd and unit"),
    "no mapping": ({"discounts": [5]}, r"discounts\[0\]: 5 is not accepted: a mapping with name and percent"),
    "unknown price": (_override(price="aws.dynamo.x"), r"prices\[0\]\.price: 'aws\.dynamo\.x' .*unknown price"),
    "glob that matches nothing": (_override(price="aws.sqz.*"), r"prices\[0\]\.price: 'aws\.sqz\.\*' .*unknown price"),
    "unit that no matching price has": (
        _override(price="aws.sqs.*"),
        r"unit: 'WRU' .*aws\.sqs\.\* is priced per request",
    ),
    "infinite price": (_override(usd=float("inf")), r"usd: inf is not accepted: USD per WRU, zero or more"),
    "price that is no number": (_override(usd=float("nan")), r"usd: nan is not accepted"),
    "price too large for a float": (_override(usd="1e400"), r"usd: '1e400' is not accepted"),
    "price that is a switch": (_override(usd=True), r"usd: True is not accepted"),
    "region of another vendor": (_override(region="us-central1"), r"region: 'us-central1' .*unknown region"),
    "region glob that matches nothing": (_override(region="mars-*"), r"region: 'mars-\*' .*unknown region"),
    "last day before the first": (
        _override(valid_from="2026-02-01", valid_to="2026-01-31"),
        r"valid_to: '2026-01-31' .*not before valid_from \(2026-02-01\)",
    ),
    "day that a clock cannot hold": (_override(valid_to="9999-12-31"), r"valid_to: '9999-12-31' .*a date such as"),
    "moment for a day": (_override(valid_from=datetime(2026, 1, 1)), r"valid_from: .*a date such as"),
    "missing percentage": ({"discounts": [{"name": "edp"}]}, r"discounts\[0\]\.percent: it is required$"),
    "percentage above 100": (_discount(percent=101), r"percent: 101 is not accepted: a percentage from 0 to 100"),
    "negative percentage": (_discount(percent=-5), r"percent: -5 is not accepted"),
    "coverage above one": (_discount(coverage=70), r"coverage: 70 is not accepted: .*such as 0\.7 or 70%"),
    "unknown component": (_discount(component="awz"), r"component: 'awz' .*did you mean 'aws'"),
    "discount on no price": (_discount(price="aws.zzz.*"), r"discounts\[0\]\.price: 'aws\.zzz\.\*' .*matches no price"),
    "discount in no region": (_discount(region="mars"), r"discounts\[0\]\.region: 'mars' .*unknown region"),
    "discount on a provider in capitals": (_discount(provider="AWS"), r"provider: 'AWS' .*small letters"),
    "discount on a price in capitals": (_discount(price="AWS.s3.*"), r"price: 'AWS\.s3\.\*' .*small letters"),
    "name with a comma": (_discount(name="a,b"), r"name: 'a,b' is not accepted: a short name"),
    "list for a glob": (_discount(provider=["aws"]), r"provider: \['aws'\] is not accepted: a name or a glob"),
    "currency in small letters": (_currency(code="eur"), r"currency\.code: 'eur' .*three capital letters"),
    "free currency": (_currency(per_usd=0), r"currency\.per_usd: 0 is not accepted"),
    "currency without a day": (_currency(date=None), r"currency\.date: it is required$"),
}


@pytest.mark.parametrize("name", _WRONG)
def test_wrong_entry_is_told_with_place_key_value_and_choices(name: str) -> None:
    raw, message = _WRONG[name]
    with pytest.raises(ConfigError, match=message) as caught:
        _read(raw)
    assert str(caught.value).startswith("prices.yaml: ")


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"component": "llm", "provider": "openai", "price": "gpt-5*"},
        {"component": "http", "provider": "twilio", "price": "sms.*"},
        {"provider": "aws", "region": "eu-*"},
        {"component": "[ac]*", "provider": "*", "price": "aws.lambda.*"},
        {"price": "anthropic.*"},
    ],
)
def test_discount_that_something_can_be_charged_by_is_accepted(scope: dict[str, object]) -> None:
    assert len(_read(_discount(**scope)).discounts) == 1


_WORDS = [
    "price",
    "usd",
    "unit",
    "region",
    "valid_from",
    "valid_to",
    "name",
    "percent",
    "coverage",
    "component",
    "provider",
    "date",
    "per_usd",
    "code",
    "model",
    "same_as",
    "usd_per_million",
    "host",
    "path",
    "operation",
    "quantity",
]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_WORDS) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["prices", "discounts", "models", "http_rules", "currency"]), _JSON, max_size=3))
def test_whatever_stands_in_the_file_is_read_or_refused_as_a_configuration_error(raw: dict[str, Any]) -> None:
    try:
        own = _read(raw)
    except ConfigError as error:
        message = str(error)
    else:
        own.onto(_BOOK)
        message = "prices.yaml: "
    assert message.startswith("prices.yaml: ")


@pytest.mark.parametrize("junk", [None, 0, "x", [], {}, [[]], [{}], [None], {"a": object()}, b"\xff"])
def test_junk_is_a_configuration_error_or_nothing(junk: Any) -> None:
    for key in ("prices", "discounts", "models", "http_rules", "currency"):
        try:
            own = _read({key: junk})
        except ConfigError:
            continue
        assert own == OwnPrices(place="prices.yaml")
