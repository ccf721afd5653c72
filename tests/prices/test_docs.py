"""The page with all prices is generated, complete and the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spancost.prices import docs
from spancost.prices.book import PriceBook, shipped_data


def _page() -> str:
    data = shipped_data()
    return docs.page(PriceBook(data), data)


def test_page_has_every_price_and_every_http_rule() -> None:
    page = _page()
    for price_id in PriceBook.shipped().price_ids():
        vendor, service, rest = price_id.split(".", maxsplit=2)
        assert f"### {vendor}.{service}\n" in page
        assert f"| `{rest}` |" in page
    rules: list[dict[str, Any]] = shipped_data()["http"]
    for rule in rules:
        assert f"`{rule['operation']}`" in page
        assert f"`{rule['method']} {rule['host']}{rule['path']}`" in page
        assert rule["as_of"] in page


def test_page_names_the_source_of_every_http_rule() -> None:
    lines = _page().partition("## HTTP APIs")[2].partition("## Sources")[0].splitlines()
    rows = [line for line in lines if line.startswith("| ") and "| Operation |" not in line]
    assert len(rows) == len(shipped_data()["http"])
    assert all('href="#source-' in row for row in rows)


def test_page_is_the_same_every_time() -> None:
    assert _page() == _page()


def test_page_has_no_giant_lines() -> None:
    assert max(map(len, _page().splitlines())) <= 250


def test_check_says_whether_the_page_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "PAGE", tmp_path / "prices.md")
    assert docs.main(["--check"]) == 1
    assert "run python -m spancost.prices.docs" in capsys.readouterr().err
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
