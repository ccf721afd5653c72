"""Completion in a real bash, with the script that the command itself hands out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import TRACE_ID, Cli
from tests.support.command_line import command_on_path

_BASH = shutil.which("bash")


def script(cli: Cli, shell: str) -> str:
    done = cli(_TYPER_TEST="1", _SPANCOST_COMPLETE=f"source_{shell}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def spancost_on_path(tmp_path: Path) -> str:
    return command_on_path(tmp_path / "bin")


def completed(cli: Cli, path: str, folder: Path, *words: str) -> list[str]:
    """Return what bash offers when Tab is pressed behind the last of these words."""
    assert _BASH is not None
    quoted = " ".join(f"'{word}'" for word in words)
    program = (
        f"{script(cli, 'bash')}\n"
        "function=$(complete -p spancost | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n"
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE='{' '.join(words)}'; COMP_POINT=${{#COMP_LINE}}\n"
        '"$function" spancost\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPANCOST_")}
    done = subprocess.run(
        [_BASH, "--norc", "--noprofile", "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment | {"PATH": path},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.long
@pytest.mark.skipif(_BASH is None, reason="no bash here")
def test_bash_completes_commands_keys_and_traces(
    cli: Cli, spancost_on_path: str, ledger_file: Path, tmp_path: Path
) -> None:
    def offered(*words: str) -> list[str]:
        return completed(cli, spancost_on_path, tmp_path, "spancost", *words)

    assert offered("t") == ["top", "tree"]
    assert offered("ledger", "") == ["export", "info", "vacuum"]
    assert offered("top", "--by", "cloud_") == ["cloud_account", "cloud_service"]
    assert offered("top", "--by", "service,ten") == ["service,tenant"]
    assert "--costliest" in offered("tree", "--c")
    assert offered("tree", "--ledger", str(ledger_file), "5b8e") == [f"{TRACE_ID:032x}"]
    assert offered("tree", "--ledger", str(tmp_path / "none.sqlite"), "5b8e") == []


@pytest.mark.skipif(_BASH is None, reason="no bash here")
def test_bash_completes_files_where_nothing_else_fits(cli: Cli) -> None:
    assert "complete -o default" in script(cli, "bash")


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "#compdef spancost"), ("fish", "complete")])
def test_each_shell_has_its_script(cli: Cli, shell: str, word: str) -> None:
    assert word in script(cli, shell)
    assert "spancost" in script(cli, shell)


def test_help_says_how_completion_is_installed(cli: Cli) -> None:
    assert "--install-completion" in cli("--help").stdout
