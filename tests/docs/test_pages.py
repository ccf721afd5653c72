"""The pages of the docs site say what is true: their blocks run, and their lists are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark import ParameterSet

import spancost
from docs._make import __main__ as maker
from docs._make.reasons import BASES
from spancost import names, testing
from spancost.cli._reasons import ADVICE
from spancost.config import Config
from tests.blocks import ROOT, Reader, is_left_out, read_blocks

_DOCS: Final = ROOT / "docs"
_MADE: Final = "<!-- Made by"
_PAGES: Final = {str(page.relative_to(_DOCS)): page.read_text(encoding="utf-8") for page in sorted(_DOCS.rglob("*.md"))}
_TESTED_ELSEWHERE: Final = frozenset({"how-to/meter-plugin.md"})
"""Builds and installs a package: `tests/test_meter_plugin_guide.py`."""
_RUN: Final = [
    name
    for name, page in _PAGES.items()
    if not page.startswith(_MADE) and name not in _TESTED_ELSEWHERE and read_blocks(page)
]
_LANGUAGES: Final = frozenset({"python", "console", "yaml", "text"})


def _marked(name: str) -> ParameterSet:
    serves = any("background" in block.options for block in read_blocks(_PAGES[name]))
    return pytest.param(name, marks=[pytest.mark.e2e] if serves else [])


@pytest.mark.long
@pytest.mark.parametrize("name", [_marked(name) for name in _RUN])
def test_blocks_of_the_page_do_what_it_shows(name: str, tmp_path: Path) -> None:
    with Reader(tmp_path, ROOT / "src") as reader:
        reader.read(_PAGES[name])


@pytest.mark.parametrize("name", _RUN)
def test_blocks_are_of_a_kind_that_is_run_or_left_out_for_a_reason(name: str) -> None:
    for block in read_blocks(_PAGES[name]):
        assert block.language in _LANGUAGES or is_left_out(block), f"{name}:{block.line}"


@pytest.mark.parametrize("name", maker.PAGES)
def test_made_pages_are_up_to_date(name: str) -> None:
    assert f"{maker.HEAD}{maker.PAGES[name]()}" == _PAGES[f"reference/{name}"], "run make docs-pages"


def test_every_name_is_on_the_page_of_names() -> None:
    page = _PAGES["reference/names.md"]
    values = [value for name, value in vars(names).items() if re.match("ENV_|METRIC_", name)]
    values += [*names.COMPONENT_USD.values(), *names.STATUSES, *names.COMPONENTS]
    values += [names.DIRECT_USD, names.TOTAL_USD, names.TOTAL_NANO_USD, names.STATUS, names.REASON, names.SOURCE]
    values += [names.BASIS, names.GEN_AI_USAGE_COST, names.OPERATION_COST, names.FEATURE, names.TENANT, names.TEAM]
    assert [value for value in values if f"`{value}`" not in page] == []
    assert "| |\n" not in page.replace("|  |", "| |"), "a name without a meaning"


def test_every_setting_has_its_default_and_its_variable_on_the_page_of_the_configuration() -> None:
    page = _PAGES["reference/configuration.md"]
    for row in ("`flush_interval` | ", "`compute.machine` | "):
        assert row in page
    (row,) = [line for line in page.splitlines() if line.startswith("| `limits.open_roots`")]
    assert f"`{Config().max_open_roots}`" in row
    (row,) = [line for line in page.splitlines() if line.startswith("| `compute.machine`")]
    assert f"`{names.ENV_COMPUTE}`" in row


def test_every_public_name_is_on_the_page_of_python() -> None:
    page = _PAGES["reference/python.md"]
    assert [name for name in spancost.__all__ if not re.search(rf"spancost\.{name}\b", page)] == []
    public = [
        name
        for name, value in vars(testing).items()
        if getattr(value, "__module__", "") == testing.__name__ and not name.startswith("_")
    ]
    assert [name for name in public if not re.search(rf"\b{name}\b", page)] == []


def test_every_reason_and_every_assumption_stands_in_the_code() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    assert [word for word in (*ADVICE, *BASES) if f'"{word}"' not in code] == []
    page = _PAGES["reference/reasons.md"]
    assert [word for word in (*ADVICE, *BASES) if f"| `{word}` |" not in page] == []
