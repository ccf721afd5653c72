"""One reader of money figures: every file that may hold a price accepts and refuses the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.errors import ConfigError, PriceBookError
from spancost.prices.book import PriceBook
from spancost.prices.cache import read_file
from spancost.prices.http_rules import rules_from
from spancost.prices.models import model_prices_from
from spancost.prices.own import read_own_prices
from spancost.prices.usd import exact_number, usd_per

_BOOK = PriceBook.shipped()


def _own(usd: object) -> None:
    read_own_prices({"prices": [{"price": "aws.sqs.fifo", "usd": usd, "unit": "request"}]}, "prices.yaml", _BOOK)


def _custom(usd: object) -> None:
    read_own_prices({"custom": [{"name": "pdf.render", "usd": usd, "unit": "page"}]}, "prices.yaml", _BOOK)


def _model(usd: object) -> None:
    model_prices_from([{"model": "a", "usd_per_hour": usd}], "prices.yaml")


def _http(usd: object) -> None:
    rules_from([{"host": "api.example.com", "usd": usd}], "prices.yaml")


_READERS: dict[str, Callable[[object], None]] = {"prices": _own, "custom": _custom, "models": _model, "http": _http}


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize("usd", [0, 1, 0.002, "0.002", " 2e-3 ", "1e-30", "999999999.99"])
def test_every_file_accepts_the_same_figures(reader: str, usd: object) -> None:
    _READERS[reader](usd)


@pytest.mark.parametrize("reader", _READERS)
@pytest.mark.parametrize(
    "usd", [True, -1, "-0.1", "cheap", "", "NaN", "sNaN", float("nan"), float("inf"), "1e400", 10**9, [], {}]
)
def test_every_file_refuses_the_same_figures(reader: str, usd: object) -> None:
    with pytest.raises(ConfigError) as caught:
        _READERS[reader](usd)
    assert caught.value.accepted.startswith("USD per ")


@pytest.mark.parametrize("usd", ["-1", "cheap", "NaN", "1e9", 0.5, None, True])
def test_refreshed_prices_have_the_same_bounds(usd: object, tmp_path: Path) -> None:
    path = tmp_path / "aws.json"
    rate = {"regions": ["us-east-1"], "usd": usd, "sku": "", "as_of": "2026-11-01", "source": "list"}
    prices = {"aws.sqs.fifo": {"unit": _BOOK.records("aws.sqs.fifo")[0].unit, "rates": [rate]}}
    document = {"spancost_prices": 1, "kind": "aws", "refreshed": "2026-11-01T00:00:00Z", "prices": prices}
    path.write_text(json.dumps(document))
    with pytest.raises(PriceBookError, match="broken"):
        read_file(path, _BOOK)
    rate["usd"] = "0.0000005"
    path.write_text(json.dumps(document))
    assert read_file(path, _BOOK).records["aws.sqs.fifo"][0].usd == Decimal("0.0000005")


def test_the_message_names_the_unit_and_the_bound_that_was_passed() -> None:
    with pytest.raises(ValueError, match=r"^USD per page, zero or more$"):
        usd_per("page", -1)
    with pytest.raises(ValueError, match=r"^USD per page, below 1000000000$"):
        usd_per("page", 10**9)


@given(st.decimals(min_value=0, max_value=10**8, allow_nan=False, allow_infinity=False))
def test_figures_are_kept_to_the_last_digit(usd: Decimal) -> None:
    assert usd_per("page", str(usd)) == usd
    assert usd_per("page", usd) == usd


@given(st.one_of(st.none(), st.booleans(), st.binary(), st.lists(st.integers()), st.text(alphabet="abc xyz")))
def test_what_is_no_number_is_not_a_number(value: object) -> None:
    assert not exact_number(value).is_finite()
