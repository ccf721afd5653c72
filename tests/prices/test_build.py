"""The generated book is that of the YAML files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spancost.errors import PriceBookError
from spancost.prices.build import BOOK, build, main, read_sources


def test_shipped_book_is_that_of_the_yaml_files() -> None:
    assert main(["--check"]) == 0


def test_book_says_that_it_is_generated() -> None:
    first_key = next(iter(json.loads(BOOK.read_text(encoding="utf-8"))))
    assert first_key == "_generated"


def test_shipped_files_have_no_problems() -> None:
    build(read_sources())


def test_build_refuses_a_negative_price() -> None:
    document: dict[str, Any] = {
        "vendor": "aws",
        "default_region": "us-east-1",
        "regions": ["us-east-1"],
        "prices": [
            {
                "id": "aws.x.y",
                "unit": "request",
                "rates": [{"region": "us-east-1", "usd": "-1", "source": "s", "as_of": "2026", "confidence": "single"}],
            }
        ],
    }
    with pytest.raises(PriceBookError, match=r"x\.yaml: aws\.x\.y: usd '-1' is not a decimal string"):
        build({"x.yaml": document})


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "aws.yaml").write_text("- a list", encoding="utf-8")
    with pytest.raises(PriceBookError, match=r"aws\.yaml: a mapping is expected"):
        read_sources(tmp_path)
    (tmp_path / "aws.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(PriceBookError, match=r"aws\.yaml: "):
        read_sources(tmp_path)


def test_loading_the_book_does_not_import_yaml() -> None:
    code = (
        "import sys; from spancost.prices.book import PriceBook; from spancost.prices.http_rules import HttpRules;"
        "PriceBook.shipped(); HttpRules.shipped(); print('yaml' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "False"


def test_book_holds_every_rate_of_the_sources() -> None:
    book = json.loads(BOOK.read_text(encoding="utf-8"))
    sources = read_sources().values()
    rates = [rate for document in sources for price in document.get("prices", ()) for rate in price["rates"]]
    rules = [rule for document in sources for rule in document.get("http", ())]
    assert sum(len(price["rates"]) for price in book["prices"].values()) == len(rates) >= 510
    assert len(book["http"]) == len(rules) >= 104


@pytest.mark.parametrize("content", [b"\x80", b"a: 2026-02-30", b"a: " + b"[" * 5000], ids=["bytes", "date", "levels"])
def test_a_file_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "aws.yaml").write_bytes(content)
    with pytest.raises(PriceBookError, match=r"^aws\.yaml: "):
        build(read_sources(tmp_path))
