"""Our rates against a real bill: quantity x our rate of that day = list cost, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

import pytest

from spancost.prices.book import PriceBook, Unpriced
from tests.accuracy.focus import Line, lines
from tests.conftest import SHOWN_AT_THE_END

ROUNDING = Decimal("1e-9")
"""USD: the bill's amounts have ten or eleven decimals."""


class Priced(NamedTuple):
    """A line of the bill beside our price of it."""

    line: Line
    price_id: str
    rate: Decimal | None
    """USD per unit; None where the book has no such price."""
    fallback: bool = False
    """The rate is that of us-east-1, and says so."""


def _ours() -> Iterator[Priced]:
    book = PriceBook.shipped()
    for line in lines():
        if line.is_free_tier or not (line.price_id or line.is_request_type):
            continue
        price_id, _, tier_from = line.price_id.partition("@")
        rate = book.price(price_id, "" if line.region == "global" else line.region, line.at_ns)
        if isinstance(rate, Unpriced):
            yield Priced(line, price_id, None)
            continue
        usd = rate.price.usd
        if tier_from:
            usd = {tier.from_quantity: tier.usd for tier in rate.price.tiers}.get(Decimal(tier_from))
        yield Priced(line, price_id, usd, rate.region_fallback and line.region != "global")


@pytest.fixture(scope="module")
def priced() -> list[Priced]:
    return list(_ours())


def test_each_line_that_the_book_knows_costs_quantity_times_our_rate(
    priced: list[Priced], record_property: Callable[[str, object], None]
) -> None:
    known = [entry for entry in priced if entry.rate is not None and not entry.fallback]
    wrong = [_said(entry) for entry in known if not _agrees(entry)]
    assert wrong == []
    assert len(known) >= 250

    elsewhere = [entry for entry in priced if entry.rate is not None and entry.fallback]
    by_request = sum(entry.line.is_request_type for entry in known)
    record_property(
        SHOWN_AT_THE_END,
        "\n".join(
            [
                f"bill: {len(known)} lines checked, {by_request} by the request",
                f"  {sum(map(_agrees, elsewhere))} of {len(elsewhere)} more agree by region_fallback; the others:",
                *_counted(entry for entry in elsewhere if not _agrees(entry)),
                "  by the request, and unknown to the book:",
                *_counted(entry for entry in priced if entry.rate is None),
            ]
        ),
    )


def _agrees(entry: Priced) -> bool:
    return entry.rate is not None and abs(entry.line.quantity * entry.rate - entry.line.list_cost) <= ROUNDING


def _said(entry: Priced) -> str:
    line = entry.line
    return f"{line.description}: {line.quantity} x {entry.rate} is not {line.list_cost} ({line.list_unit_price})"


def _counted(entries: Iterable[Priced]) -> list[str]:
    found = Counter(f"{entry.line.service}: {entry.line.description}" for entry in entries)
    return [f"    {count} x {what}" for what, count in sorted(found.items())]


def test_the_bill_of_september_2024_has_the_dynamodb_prices_of_before_november(priced: list[Priced]) -> None:
    ours = [entry for entry in priced if entry.price_id.startswith("aws.dynamodb.on_demand")]
    units = {entry.line.unit: entry.rate for entry in ours}
    assert units == {"ReadRequestUnits": Decimal("0.00000025"), "WriteRequestUnits": Decimal("0.00000125")}


def test_a_rate_that_is_one_percent_off_would_be_found(priced: list[Priced]) -> None:
    off = [entry._replace(rate=entry.rate * Decimal("1.01")) for entry in priced if entry.rate is not None]
    dear = [entry for entry in off if entry.line.list_cost > 1000 * ROUNDING]
    assert len(dear) > 50
    assert not any(map(_agrees, dear))
