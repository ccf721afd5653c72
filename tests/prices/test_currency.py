"""Display currency: a second figure, never a stored one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from spancost.prices.currency import Currency

_EUR = Currency("EUR", Decimal("0.92"), date(2026, 11, 20))


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "EUR 0.00"),
        (1.337, "EUR 1.23"),
        (1_000_000.0, "EUR 920,000.00"),
        (0.01, "EUR 0.0092"),
        (0.000000625, "EUR 0.000000575"),
        (-2.0, "EUR -1.84"),
    ],
)
def test_amounts_keep_their_significant_digits(usd: float, text: str) -> None:
    assert _EUR.amount(usd) == text


def test_figure_says_rate_and_day() -> None:
    assert _EUR.figure(1.337) == "= EUR 1.23 at 0.92 of 2026-11-20"


def test_currencies_of_small_units_have_two_decimals() -> None:
    assert Currency("JPY", Decimal("155.2"), date(2026, 11, 20)).amount(3.0) == "JPY 465.60"
