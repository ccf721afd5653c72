"""What differs between two price books."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from spancost.prices.book import PriceBook, PriceOverride
from spancost.prices.changes import changes
from spancost.prices.discounts import Discount

_BOOK = PriceBook.shipped()
_NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9


def test_a_book_does_not_differ_from_itself() -> None:
    assert changes(_BOOK, _BOOK, _NOW_NS, _NOW_NS) == []


def test_a_discount_of_ten_percent_is_a_change_of_minus_ten_percent() -> None:
    new = _BOOK.with_discounts([Discount("d", Decimal(10), price="aws.sqs.standard")])
    found = changes(_BOOK, new, _NOW_NS, _NOW_NS)
    assert {change.price_id for change in found} == {"aws.sqs.standard"}
    assert {change.ratio for change in found} == {Decimal("-0.1")}
    assert found[0].new_source.endswith("+discount:d")
    assert changes(_BOOK, new, _NOW_NS, _NOW_NS, kind="list") == []


def test_a_price_where_there_was_none_has_no_ratio() -> None:
    new = _BOOK.with_overrides([PriceOverride("aws.sns.sms", Decimal("0.007"), "message")])
    (change,) = changes(_BOOK, new, _NOW_NS, _NOW_NS)
    assert (change.old_usd, change.new_usd, change.ratio) == (None, Decimal("0.007"), None)


def test_regions_of_overrides_are_compared_too() -> None:
    new = _BOOK.with_overrides([PriceOverride("aws.sqs.fifo", Decimal("0.0000001"), "request", region="eu-north-1")])
    assert [change.region for change in changes(_BOOK, new, _NOW_NS, _NOW_NS)] == ["eu-north-1"]
