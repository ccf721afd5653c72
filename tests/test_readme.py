"""The README's blocks run as they stand, against the built wheel."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_BLOCKS = [(match[1], match[2]) for match in _BLOCK.finditer(_README)]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it where nothing else is."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(_ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    unpacked = out / "unpacked"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(unpacked)
    return unpacked


def _environment(wheel: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANCOST_", "OTEL_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    # The unpacked wheel comes before the checkout that is installed here for development.
    return kept | {"PYTHONPATH": str(wheel), "PATH": path, "SPANCOST_LEASE": "off"}


def _run(command: list[str] | str, wheel: Path, where: Path) -> str:
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=where,
        env=_environment(wheel),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_blocks_run_against_the_wheel_and_not_the_checkout(wheel: Path, tmp_path: Path) -> None:
    found = _run([sys.executable, "-c", "import spancost; print(spancost.__file__)"], wheel, tmp_path)
    assert found.startswith(str(wheel))


def _python_blocks() -> list[tuple[str, str]]:
    """Return each Python block with the text block that follows it: its output."""
    blocks: list[tuple[str, str]] = []
    for (language, code), (after, output) in itertools.pairwise(_BLOCKS):
        if language == "python":
            assert after == "text", "every Python block of the README shows its output"
            blocks.append((code, output))
    return blocks


@pytest.mark.parametrize(("code", "output"), _python_blocks())
def test_python_block_prints_what_the_readme_shows(code: str, output: str, wheel: Path, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(code, encoding="utf-8")
    assert _run([sys.executable, str(script)], wheel, tmp_path) == output


@pytest.mark.parametrize(
    "command",
    [
        line[2:]
        for language, text in _BLOCKS
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ ")
    ],
)
def test_command_of_the_readme_succeeds(command: str, wheel: Path, tmp_path: Path) -> None:
    _run(command, wheel, tmp_path)


def test_configuration_of_the_readme_is_accepted(tmp_path: Path) -> None:
    from spancost.config import load_config

    (text,) = [text for language, text in _BLOCKS if language == "yaml"]
    file = tmp_path / "spancost.yaml"
    file.write_text(text, encoding="utf-8")
    config = load_config(file, environ={})
    assert config.region == "eu-west-1"
    assert config.compute_share == 0.25
    assert len(config.own.overrides) == 1
    assert len(config.attribution_rules) == 4


def test_readme_names_every_environment_variable_and_command() -> None:
    from spancost import names

    variables = {str(value) for name, value in vars(names).items() if name.startswith("ENV_")}
    # `spancost run` sets this one; nobody else should.
    missing = {name for name in variables - {names.ENV_ASSUME} if name not in _README}
    assert not missing
    for metric in (value for name, value in vars(names).items() if name.startswith("METRIC_")):
        assert metric in _README or ".internal." in metric
    for command in ("run", "report", "tree", "doctor", "explain", "attribution test"):
        assert f"`spancost {command}" in _README
