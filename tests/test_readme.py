"""The README's blocks run as they stand, against the built wheel."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.blocks import ROOT, commands, environment, read_blocks, run

_README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCKS = read_blocks(_README)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it where nothing else is."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    unpacked = out / "unpacked"
    with zipfile.ZipFile(built) as archive:
        archive.extractall(unpacked)
    return unpacked


def test_blocks_run_against_the_wheel_and_not_the_checkout(wheel: Path, tmp_path: Path) -> None:
    found = run([sys.executable, "-c", "import spancost; print(spancost.__file__)"], tmp_path, environment(wheel))
    assert found.startswith(str(wheel))


def _python_blocks() -> list[tuple[str, str]]:
    """Return each Python block with the text block that follows it: its output."""
    blocks: list[tuple[str, str]] = []
    for block, after in itertools.pairwise(_BLOCKS):
        if block.language == "python":
            assert after.language == "text", "every Python block of the README shows its output"
            blocks.append((block.text, after.text))
    return blocks


@pytest.mark.parametrize(("code", "output"), _python_blocks())
def test_python_block_prints_what_the_readme_shows(code: str, output: str, wheel: Path, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(code, encoding="utf-8")
    assert run([sys.executable, str(script)], tmp_path, environment(wheel)) == output


@pytest.mark.parametrize(
    "command", [command for block in _BLOCKS if block.language == "console" for command, _ in commands(block)]
)
def test_command_of_the_readme_succeeds(command: str, wheel: Path, tmp_path: Path) -> None:
    run(command, tmp_path, environment(wheel))


def test_configuration_of_the_readme_is_accepted(tmp_path: Path) -> None:
    from spancost.config import load_config

    (text,) = [block.text for block in _BLOCKS if block.language == "yaml"]
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
