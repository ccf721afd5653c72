"""The built site: no warning, no dead link within it, and no request to another host."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.blocks import ROOT

_ASSETS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_LOADED_LINKS = frozenset({"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload"})
_CSS_URL = re.compile(r"@import\s+(?:url\()?[\"']?([^\"');]+)|url\(\s*[\"']?([^\"')]+)")


class _Page(HTMLParser):
    """What a page loads, leads to, and can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and _LOADED_LINKS & set(given.get("rel", "").split()):
            self.assets.append(given.get("href", ""))
        if tag in _ASSETS and given.get(_ASSETS[tag]):
            self.assets.append(given[_ASSETS[tag]])


def _build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", "-d", str(site.parent / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(site)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once, a warning being an error."""
    folder = tmp_path_factory.mktemp("site") / "html"
    done = _build(ROOT / "docs", folder)
    assert done.returncode == 0, done.stderr
    return folder


def _pages(site: Path) -> Iterator[tuple[Path, _Page]]:
    for file in sorted(site.rglob("*.html")):
        yield file, _Page(file.read_text(encoding="utf-8"))


def _elsewhere(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def test_pages_load_nothing_from_another_host(site: Path) -> None:
    loaded = {asset for _, page in _pages(site) for asset in page.assets}
    assert any(asset.endswith(".css") or ".css?" in asset for asset in loaded)
    assert {asset for asset in loaded if _elsewhere(asset)} == set()


def test_style_sheets_load_nothing_from_another_host(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    found = {url for sheet in sheets for match in _CSS_URL.findall(sheet.read_text(encoding="utf-8")) for url in match}
    assert {url for url in found if _elsewhere(url)} == set()


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    pages = dict(_pages(site))
    checked = 0
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert target.is_file(), f"{file.name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{file.name}: {link}"
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("# Title\n\n[gone](#gone)", "gone"),
        ("# Title\n\n[gone](index.md#gone)", "gone"),
    ],
    ids=["page", "anchor", "anchor of a page"],
)
def test_a_broken_link_fails_the_build(text: str, problem: str, tmp_path: Path) -> None:
    source = tmp_path / "docs"
    (source / "_static").mkdir(parents=True)
    (source / "conf.py").write_bytes((ROOT / "docs" / "conf.py").read_bytes())
    (source / "_static" / "site.css").touch()
    (source / "index.md").write_text("# Start\n\n```{toctree}\npage\n```\n", encoding="utf-8")
    (source / "page.md").write_text(f"# Page\n\n{text}\n", encoding="utf-8")
    done = _build(source, tmp_path / "html")
    assert done.returncode != 0
    assert problem in done.stderr
