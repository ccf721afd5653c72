"""Rates for own units: which one holds for a name, a unit and a day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from spancost.errors import ConfigError
from spancost.prices.book import PriceBook
from spancost.prices.custom_rates import CustomRate, CustomRates
from spancost.prices.own import OwnPrices, read_own_prices

_BOOK = PriceBook.shipped()


def _ns(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9


_NOW = _ns(2026, 11, 21)


def _read(*entries: object) -> OwnPrices:
    return read_own_prices({"custom": list(entries)}, "prices.yaml", _BOOK)


def _usd(rates: CustomRates, name: str, unit: str, at_ns: int = _NOW) -> Decimal | None:
    found = rates.find(name, unit, at_ns).rate
    return None if found is None else found.usd


def test_every_key_is_read() -> None:
    own = _read(
        {
            "name": "pdf.render",
            "unit": "page",
            "usd": 0.002,
            "valid_from": "2026-01-01",
            "valid_to": date(2026, 12, 31),
        },
        {"name": "gpu.*", "unit": "s", "usd": "0.0006", "provider": "acme"},
    )
    assert own.custom == (
        CustomRate(
            "pdf.render", "page", Decimal("0.002"), "", date(2026, 1, 1), date(2026, 12, 31), place="prices.yaml"
        ),
        CustomRate("gpu.*", "s", Decimal("0.0006"), "acme", place="prices.yaml"),
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("x", "custom[0]: 'x' is not accepted: a mapping with name, unit and usd"),
        ({"unit": "page", "usd": 1}, "custom[0].name: it is required"),
        ({"name": "a", "usd": 1}, "custom[0].unit: it is required"),
        ({"name": "a", "unit": "page"}, "custom[0].usd: it is required"),
        ({"name": "", "unit": "page", "usd": 1}, "custom[0].name: '' is not accepted: text of at most 100"),
        ({"name": "a", "unit": 3, "usd": 1}, "custom[0].unit: 3 is not accepted: text of at most 100"),
        ({"name": "a", "unit": "page", "usd": -1}, "custom[0].usd: -1 is not accepted: USD per page, zero or more"),
        ({"name": "a", "unit": "page", "usd": 1, "provider": "p" * 101}, "custom[0].provider"),
        ({"name": "a", "unit": "page", "usd": 1, "unti": 1}, "unknown key: did you mean 'unit'?"),
        ({"name": "a", "unit": "page", "usd": 1, "valid_from": "soon"}, "custom[0].valid_from: 'soon'"),
        (
            {"name": "a", "unit": "page", "usd": 1, "valid_from": "2026-02-01", "valid_to": "2026-01-01"},
            "custom[0].valid_to: '2026-01-01' is not accepted: the last day, not before valid_from",
        ),
    ],
)
def test_a_wrong_entry_names_file_key_value_and_what_is_accepted(entry: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(entry)
    assert str(caught.value).startswith("prices.yaml: ")
    assert message in str(caught.value)


def test_a_rate_is_for_its_unit_alone_and_says_so_of_another_one() -> None:
    rates = CustomRates([CustomRate("pdf.render", "page", Decimal(2))])
    assert rates.find("pdf.render", "pages", _NOW)[:2] == (None, "page")
    assert rates.find("pdf.merge", "page", _NOW)[:2] == (None, "")


def test_a_name_comes_before_a_glob_and_a_longer_glob_before_a_shorter_one() -> None:
    name, long, short = (CustomRate(glob, "s", Decimal(usd)) for usd, glob in enumerate(("gpu.a100", "gpu.*", "*"), 1))
    for rates in (CustomRates([name, long, short]), CustomRates([short, long, name])):
        assert [_usd(rates, asked, "s") for asked in ("gpu.a100", "gpu.h100", "cpu")] == [1, 2, 3]


def test_a_glob_of_the_right_unit_is_taken_where_the_name_has_another_one() -> None:
    rates = CustomRates([CustomRate("gpu.a100", "h", Decimal(4)), CustomRate("gpu.*", "s", Decimal(1))])
    assert _usd(rates, "gpu.a100", "s") == 1


def test_dated_rates_follow_each_other_at_midnight_utc() -> None:
    rates = CustomRates(
        [
            CustomRate("a", "u", Decimal(1), valid_to=date(2026, 3, 31)),
            CustomRate("a", "u", Decimal(2), valid_from=date(2026, 4, 1)),
            CustomRate("a", "u", Decimal(3), valid_from=date(2026, 6, 1), valid_to=date(2026, 6, 30)),
        ]
    )
    first_of_april = _ns(2026, 4, 1)
    assert [_usd(rates, "a", "u", at) for at in (first_of_april - 1, first_of_april)] == [1, 2]
    assert [_usd(rates, "a", "u", _ns(2026, month, day)) for month, day in ((6, 1), (6, 30), (7, 1))] == [3, 3, 2]


def test_the_interval_in_which_an_answer_holds_ends_where_any_rate_of_the_name_begins_or_ends() -> None:
    rates = CustomRates([CustomRate("a", "u", Decimal(1), valid_from=date(2026, 4, 1), valid_to=date(2026, 4, 2))])
    begin, end = _ns(2026, 4, 1), _ns(2026, 4, 3)
    assert rates.find("a", "u", begin - 1) == (None, "", 0, begin)
    assert rates.find("a", "u", begin)[2:] == (begin, end)
    assert rates.find("a", "u", end) == (None, "", end, 2**63 - 1)


def test_of_two_files_the_rate_of_the_second_holds() -> None:
    one, other = (_read({"name": "a", "unit": "u", "usd": usd}) for usd in (1, 2))
    assert _usd(CustomRates(one.followed_by(other).custom), "a", "u") == 2
