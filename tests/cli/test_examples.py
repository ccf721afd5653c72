"""Every command's `--help` has examples, and each of them runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.test_top import write
from tests.support.command_line import (
    NOT_RUN,
    Example,
    command_on_path,
    commands,
    examples,
    examples_of,
    fill,
    is_success,
    run_example,
)

_EXAMPLES = examples()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small ledger of the last minutes and of yesterday."""
    path = tmp_path_factory.mktemp("ledger") / "spancost.sqlite"
    for back in (24 * 60, 2, 1, 0):
        write(path, time.time() - 60 * back)
    return path


@pytest.mark.parametrize("command", commands())
def test_every_command_has_an_example(command: str) -> None:
    found = examples_of(command, commands()[command])
    assert found
    for example in found:
        assert example.line.startswith(f"spancost {command}")


@pytest.mark.parametrize("example", [one for one in _EXAMPLES if one.command not in NOT_RUN], ids=lambda one: one.line)
def test_an_example_runs(example: Example, ledger: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    fill(folder, ledger)
    done = run_example(example, folder, command_on_path(tmp_path / "bin"))
    assert is_success(example, done.returncode), done.stderr or done.stdout
    assert "Traceback" not in done.stderr


def test_what_does_not_run_is_there_and_says_why() -> None:
    assert set(NOT_RUN) <= set(commands())
    assert all(NOT_RUN.values())


def test_an_example_that_fails_is_seen(ledger: Path, tmp_path: Path) -> None:
    fill(tmp_path, ledger)
    example = Example("report", "spancost report --by tennant")
    assert not is_success(example, run_example(example, tmp_path, command_on_path(tmp_path / "bin")).returncode)


def test_examples_are_found_in_both_shapes() -> None:
    text = (
        "Do it.\n\nExample: spancost do it\n\nExamples:\n\n\b\n  $ spancost do more\n  spancost do all\n\nspancost no"
    )
    lines = [example.line for example in examples_of("do", text)]
    assert lines == ["spancost do it", "spancost do more", "spancost do all"]
