"""The pages of the docs site say what is true: their blocks run, and their lists are complete."""

from __future__ import annotations

from pathlib import Path

import pytest

import spancost
from spancost import names
from spancost.config import Config, load_config
from tests.blocks import ROOT, Reader, read_blocks

_DOCS = ROOT / "docs"
_MADE_BY_HAND = sorted(
    page
    for page in _DOCS.rglob("*.md")
    if not page.is_relative_to(_DOCS / "decisions") and not page.read_text(encoding="utf-8").startswith("<!-- Made by")
)


def _name(page: Path) -> str:
    return str(page.relative_to(_DOCS))


_WITH_BLOCKS = [page for page in _MADE_BY_HAND if read_blocks(page.read_text(encoding="utf-8"))]


@pytest.mark.e2e
@pytest.mark.parametrize("page", _WITH_BLOCKS, ids=_name)
def test_blocks_of_the_page_do_what_it_shows(page: Path, tmp_path: Path) -> None:
    with Reader(tmp_path, ROOT / "src") as reader:
        reader.read(page.read_text(encoding="utf-8"))
