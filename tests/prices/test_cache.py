"""Refreshed prices on disk: written whole or not at all, read back the same, ignored where they are broken."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spancost.config import Config
from spancost.errors import PriceBookError
from spancost.prices.book import PriceBook, PriceRecord, Rate, Tier
from spancost.prices.cache import cache_folder, llm_file, merge, read_cache, read_file, write_file
from spancost.prices.configured import price_book
from spancost.prices.own import OwnPrices, read_own_prices

_BOOK = PriceBook.shipped()
_SQS = "aws.sqs.standard"
_NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9


def _record(usd: str, region: str = "us-east-1", since: date | None = date(2026, 7, 1), **changed: Any) -> PriceRecord:
    template = _BOOK.template(_SQS)
    assert template is not None
    return replace(
        template,
        regions=(region,),
        usd=Decimal(usd),
        valid_from=since,
        sku="SKU1",
        source="AWS Price List API, AWSQueueService",
        as_of="2026-11-20",
        confidence="vendor",
        origin="aws-price-list",
        **changed,
    )


def _write(folder: Path, *records: PriceRecord) -> Path:
    path = folder / "aws.json"
    write_file(path, "aws", "2026-11-20T06:00:00Z", {_SQS: records})
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    tiers = (Tier(Decimal(0), Decimal(1_000_000), Decimal(0)), Tier(Decimal(1_000_000), None, Decimal("0.0000003")))
    records = (_record("0.0000003", tiers=tiers), _record("0.0000004", "eu-west-1"))
    found = read_file(_write(tmp_path / "new" / "folder", *records), _BOOK)
    assert (found.kind, found.refreshed) == ("aws", "2026-11-20T06:00:00Z")
    assert found.records == {_SQS: records}


def test_a_process_takes_refreshed_prices_at_its_start(tmp_path: Path) -> None:
    _write(tmp_path, _record("0.0000003"))
    rate = price_book(Config(prices_cache=str(tmp_path))).price(_SQS, "us-east-1", _NOW_NS)
    assert isinstance(rate, Rate)
    assert (rate.usd, rate.source) == (3e-7, "aws-price-list:2026-11-20")


def test_own_prices_are_laid_over_refreshed_ones(tmp_path: Path) -> None:
    _write(tmp_path, _record("0.0000003"))
    own = read_own_prices({"discounts": [{"name": "edp", "percent": 50}]}, "prices.yaml", _BOOK)
    rate = price_book(Config(prices_cache=str(tmp_path), own=own)).price(_SQS, "us-east-1", _NOW_NS)
    assert isinstance(rate, Rate)
    assert (rate.usd, rate.list_usd, rate.source) == (1.5e-7, 3e-7, "aws-price-list:2026-11-20+discount:edp")


def test_without_a_cache_the_shipped_book_is_used_as_it_is(tmp_path: Path) -> None:
    assert price_book(Config(prices_cache=str(tmp_path / "none"), own=OwnPrices())) is _BOOK


def _damaged(path: Path, **changed: Any) -> str:
    return json.dumps(json.loads(path.read_text()) | changed)


def _with_rate(path: Path, **changed: Any) -> str:
    document = json.loads(path.read_text())
    document["prices"][_SQS]["rates"][0] |= changed
    return json.dumps(document)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        "{}",
        '{"spancost_prices": 2}',
        '{"spancost_prices": 1}',
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_a_file_of_something_else_is_a_problem_and_no_exception(content: str, tmp_path: Path) -> None:
    (tmp_path / "aws.json").write_text(content, encoding="latin-1")
    cache = read_cache(str(tmp_path), _BOOK)
    assert cache.records == {}
    assert len(cache.problems) == 1
    assert "aws.json" in cache.problems[0]
    assert "run spancost prices refresh aws" in cache.problems[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"usd": "NaN"},
        {"usd": "-1"},
        {"usd": "1e400"},
        {"usd": 0.5},
        {"usd": None},
        {"valid_from": "soon"},
        {"regions": None},
        {"tiers": [{"from": "0", "usd": "free"}]},
        {"tiers": [5]},
    ],
)
def test_one_wrong_price_makes_the_whole_file_ignored(changed: dict[str, Any], tmp_path: Path) -> None:
    path = _write(tmp_path, _record("0.0000003"), _record("0.0000003", "eu-west-1"))
    path.write_text(_with_rate(path, **changed))
    with pytest.raises(PriceBookError, match=r"aws\.json: broken"):
        read_file(path, _BOOK)
    assert read_cache(str(tmp_path), _BOOK).records == {}


def test_a_file_of_an_unknown_vendor_is_broken(tmp_path: Path) -> None:
    path = _write(tmp_path, _record("0.0000003"))
    path.write_text(_damaged(path, kind="oracle"))
    with pytest.raises(PriceBookError, match="broken"):
        read_file(path, _BOOK)


def test_prices_in_another_unit_than_the_books_are_left_out(tmp_path: Path) -> None:
    path = _write(tmp_path, _record("0.0000003"))
    document = json.loads(path.read_text())
    document["prices"][_SQS]["unit"] = "million requests"
    path.write_text(json.dumps(document))
    assert read_file(path, _BOOK).records == {}


def test_a_broken_file_is_warned_about_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "aws.json").write_text("{")
    with caplog.at_level(logging.WARNING, "spancost.prices.configured"):
        for _ in range(3):
            price_book(Config(prices_cache=str(tmp_path)))
    assert len(caplog.records) == 1


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path, _record("0.0000003"))
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space"):
        _write(tmp_path, _record("0.0000009"))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["aws.json"]


# --- history ------------------------------------------------------------------------------------


def test_a_new_price_ends_the_old_one_on_its_first_day() -> None:
    old, new = _record("0.0000004"), _record("0.0000003", since=date(2026, 11, 1))
    assert merge({_SQS: [old]}, {_SQS: [new]}) == {_SQS: (replace(old, valid_until=date(2026, 11, 1)), new)}


def test_the_same_price_published_anew_holds_since_it_first_did() -> None:
    old, new = _record("0.0000004"), _record("0.0000004", since=date(2026, 11, 1))
    assert merge({_SQS: [old]}, {_SQS: [new]}) == {_SQS: (replace(new, valid_from=date(2026, 7, 1)),)}


def test_a_price_corrected_for_the_same_days_replaces_the_old_one() -> None:
    old, new = _record("0.0000004"), _record("0.0000003")
    assert merge({_SQS: [old]}, {_SQS: [new]}) == {_SQS: (new,)}


def test_regions_and_ids_that_are_not_refreshed_now_stay() -> None:
    old = {_SQS: [_record("0.0000004", "eu-west-1")], "aws.sqs.fifo": [_record("0.0000005")]}
    merged = merge(old, {_SQS: [_record("0.0000003")]})
    assert [record.regions for record in merged[_SQS]] == [("eu-west-1",), ("us-east-1",)]
    assert list(merged) == [_SQS, "aws.sqs.fifo"]


def test_two_changes_leave_three_prices_one_after_the_other() -> None:
    prices = [
        _record("0.0000004"),
        _record("0.0000003", since=date(2026, 9, 1)),
        _record("0.0000002", since=date(2026, 11, 1)),
    ]
    merged: dict[str, tuple[PriceRecord, ...]] = {}
    for price in prices:
        merged = merge(merged, {_SQS: [price]})
    assert [(record.valid_from, record.valid_until) for record in merged[_SQS]] == [
        (date(2026, 7, 1), date(2026, 9, 1)),
        (date(2026, 9, 1), date(2026, 11, 1)),
        (date(2026, 11, 1), None),
    ]


# --- where it is --------------------------------------------------------------------------------


def test_the_folder_is_that_of_the_setting_or_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("off") is None
    assert cache_folder("/srv/prices", {}) == Path("/srv/prices")
    assert cache_folder("", {"XDG_CACHE_HOME": "/var/cache"}) == Path("/var/cache/spancost/prices")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("", {}) == tmp_path / ".cache" / "spancost" / "prices"
    assert cache_folder("", {"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / "spancost" / "prices"


def test_refreshed_model_prices_are_a_file_of_that_folder(tmp_path: Path) -> None:
    assert llm_file(str(tmp_path)) is None
    (tmp_path / "llm.json").write_text("[]")
    assert llm_file(str(tmp_path)) == tmp_path / "llm.json"
    assert llm_file("off") is None


@pytest.mark.parametrize("folder", ["a\x00b", "\ud800", "x" * 5000], ids=["NUL", "surrogate", "too long"])
def test_a_folder_that_cannot_be_named_is_a_problem_and_no_exception(folder: str) -> None:
    found = read_cache(folder, _BOOK)
    assert not found.files
    assert all(problem.startswith("refreshed prices are ignored: ") for problem in found.problems)
    assert llm_file(folder) is None
