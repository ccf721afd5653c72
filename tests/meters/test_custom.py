"""Reported usage is priced by an amount, by a rate, or not at all; no value raises."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost import names
from spancost._guard import ErrorLog
from spancost.charge import Charge, price_line
from spancost.meters.custom import MAX_NAMES, CustomMeter, beside
from spancost.prices.custom_rates import CustomRate, CustomRates
from spancost.prices.discounts import Discount, Discounts

_RATE = CustomRate("pdf.render", "page", Decimal("0.002"), "acme", place="spancost.yaml")


def _ns(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9


_NOW = _ns(2026, 11, 21)


def _meter(*discounts: Discount) -> CustomMeter:
    return CustomMeter(CustomRates([_RATE]), Discounts(discounts))


def _charge(meter: CustomMeter, quantity: Any = 3, unit: str = "page", usd: Any = None, at_ns: int = _NOW) -> Charge:
    return meter.charge("pdf.render", quantity, unit, usd, at_ns)


def test_a_rate_prices_each_unit() -> None:
    charge = _charge(_meter())
    assert (charge.quantity, charge.usd, charge.list_usd) == (3.0, 3 * 0.002, 3 * 0.002)
    line = charge.line
    assert (line.component, line.provider, line.operation, line.unit) == ("custom", "acme", "pdf.render", "page")
    assert (line.status, line.source) == ("priced", "configured:spancost.yaml")


def test_an_amount_stands_as_it_is_whatever_rates_and_discounts_say() -> None:
    charge = _charge(_meter(Discount("half", Decimal(50))), usd=1.25)
    assert (charge.usd, charge.list_usd, charge.line.source) == (1.25, 1.25, "application")


def test_an_amount_of_nothing_is_a_price() -> None:
    assert _charge(CustomMeter(), usd=0).line.status == names.PRICED


def test_without_a_rate_it_is_unpriced_and_not_free() -> None:
    charge = _charge(CustomMeter())
    assert (charge.line.status, charge.line.reason, charge.quantity, charge.usd) == ("unpriced", "no_rate", 3.0, 0.0)


def test_a_rate_for_another_unit_prices_nothing() -> None:
    charge = _charge(_meter(), unit="pages")
    assert (charge.line.status, charge.line.reason, charge.usd) == ("unpriced", "unit_mismatch", 0.0)


def test_discounts_of_the_component_are_taken_off_and_end_on_their_day() -> None:
    half = Discount("half", Decimal(50), component="custom", provider="acme", valid_to=date(2026, 11, 30))
    meter = _meter(half, Discount("other", Decimal(90), component="llm"))
    charge = _charge(meter)
    assert (charge.usd, charge.list_usd) == (pytest.approx(3 * 0.001), 3 * 0.002)
    assert charge.line.source == "configured:spancost.yaml+discount:half"
    after = _charge(meter, at_ns=_ns(2026, 12, 1))
    assert (after.usd, after.line.source) == (3 * 0.002, "configured:spancost.yaml")


@pytest.mark.parametrize("quantity", [3, 3.0, Decimal(3), Fraction(3, 1)])
def test_any_number_is_a_quantity(quantity: Any) -> None:
    assert _charge(_meter(), quantity).usd == 3 * 0.002


class _Broken:
    def __float__(self) -> float:
        raise RuntimeError("no number today")


_IMPOSSIBLE = [-1, -0.5, float("nan"), float("inf"), 10**400, 1e13, True, None, "3", b"3", [3], _Broken(), 3j]


@pytest.mark.parametrize("value", _IMPOSSIBLE)
def test_an_impossible_quantity_or_amount_is_unpriced_with_a_reason(value: Any) -> None:
    by_quantity = _charge(_meter(), value, usd=5.0)
    assert (by_quantity.line.reason, by_quantity.quantity, by_quantity.usd) == ("bad_usage", 0.0, 0.0)
    if value is not None:
        by_amount = _charge(_meter(), 3, usd=value)
        assert (by_amount.line.reason, by_amount.quantity, by_amount.usd) == ("bad_usage", 3.0, 0.0)


def test_an_impossible_value_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorLog()
    with caplog.at_level(logging.WARNING, "spancost"):
        for _ in range(3):
            _meter().charge("pdf.render", -1, "page", None, _NOW, errors)
    assert [record.getMessage() for record in caplog.records] == [
        "usage of pdf.render is not priced: its quantity is no possible number"
    ]


def test_names_are_cut_and_an_empty_one_is_named() -> None:
    meter = CustomMeter()
    assert meter.charge("n" * 500, 1, "u" * 500, None, _NOW).line.operation == "n" * 100
    assert meter.charge("", 1, "page", None, _NOW).line.operation == "(no name)"


def test_beyond_a_thousand_names_they_are_other_and_still_priced() -> None:
    meter = CustomMeter(CustomRates([CustomRate("job.*", "s", Decimal(2))]))
    charges = [meter.charge(f"job.{number}", 1, "s", None, _NOW) for number in range(MAX_NAMES + 50)]
    assert {charge.usd for charge in charges} == {2.0}
    assert len({charge.line for charge in charges}) == MAX_NAMES + 1
    assert (charges[-1].line.operation, charges[-1].line.unit) == ("other", "other")
    assert meter.charge("job.7", 1, "s", None, _NOW).line.operation == "job.7"
    unpriced = [meter.charge(f"{number}", -1, "s", None, _NOW).line.operation for number in range(10)]
    assert set(unpriced) == {"other"}


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none()), st.one_of(st.none(), st.floats(), st.text()))
def test_no_value_raises_or_makes_an_amount_that_is_none(quantity: Any, usd: Any) -> None:
    charge = _charge(_meter(), quantity, usd=usd)
    assert 0 <= charge.quantity <= 1e12
    assert 0 <= charge.usd <= 1e12
    assert (charge.usd > 0) <= (charge.line.status == names.PRICED)


def _some(component: str, status: str = names.PRICED) -> Charge:
    return Charge(price_line(component, "", "x", status=status), 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("charges", "used", "first"),
    [
        ([], [_some("custom")], "custom"),
        ([_some("egress")], [], "egress"),
        ([_some("egress")], [_some("custom")], "custom"),
        ([_some("egress", "estimated")], [_some("custom")], "egress"),
        ([_some("aws")], [_some("custom")], "aws"),
        ([_some("aws")], [_some("custom", "unpriced")], "custom"),
        ([_some("aws", "unpriced")], [_some("custom", "unpriced")], "aws"),
    ],
)
def test_the_worse_known_part_of_a_span_is_told_first(charges: list[Charge], used: list[Charge], first: str) -> None:
    joined = beside(charges, used)
    assert joined[0].line.component == first
    assert sorted(map(id, joined)) == sorted(map(id, [*charges, *used]))
