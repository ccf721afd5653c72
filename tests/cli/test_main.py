from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.cli.conftest import Cli

COMMANDS = ("run", "report", "tree", "doctor", "explain")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.returncode == 0, done.stderr
    if command != "explain":
        assert re.search(rf"Examples?:\s+spancost {command}", done.stdout)


@pytest.mark.parametrize("kind", ["llm", "aws", "egress", "compute", "http"])
def test_every_explanation_has_help_with_an_example(cli: Cli, kind: str) -> None:
    done = cli("explain", kind, "--help")
    assert done.returncode == 0, done.stderr
    assert f"Example: spancost explain {kind}" in done.stdout


def test_without_the_cli_extra_the_command_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['typer'] = None; from spancost.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'spancost[cli]'" in done.stderr


def test_importing_the_package_imports_neither_typer_nor_rich() -> None:
    code = "import sys, spancost.cli; print(sorted({'typer', 'rich', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_shown(cli: Cli) -> None:
    done = cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("spancost ")


def test_an_unknown_command_is_wrong_usage(cli: Cli) -> None:
    assert cli("reprot").returncode == 2


@pytest.mark.parametrize("arguments", [(), ("explain",)])
def test_no_summary_of_a_command_is_cut(cli: Cli, arguments: tuple[str, ...]) -> None:
    shown = cli(*arguments, "--help", COLUMNS="80").stdout
    assert "..." not in shown.partition("Commands:")[2]
    assert "Commands:" in shown
    assert "int range" not in cli("explain", "llm", "--help").stdout
