"""The worked example of a third-party meter is built, installed and run as the guide says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spancost

_GUIDE = (Path(__file__).parent.parent / "docs" / "how-to" / "meter-plugin.md").read_text(encoding="utf-8")
_FILES = dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```", _GUIDE, re.DOTALL | re.MULTILINE))
_PROGRAM = re.search(r"^```python\n(from opentelemetry.*?)^```\n\n```text\n(.*?)^```", _GUIDE, re.DOTALL | re.MULTILINE)
_CONFIGURATION = re.search(r"^```yaml\n(.*?)^```", _GUIDE, re.DOTALL | re.MULTILINE)
_SOURCE = Path(spancost.__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the guide's package, and install it into a folder of its own."""
    package = tmp_path_factory.mktemp("acme-ocr-meter")
    for name, content in _FILES.items():
        (package / name).write_text(content, encoding="utf-8")
    _run(package, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", ".")
    (wheel,) = (package / "dist").glob("*.whl")
    target = tmp_path_factory.mktemp("site")
    _run(package, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target), str(wheel))
    assert list(target.glob("acme_ocr_meter-1.0.0.dist-info/entry_points.txt"))
    return target


def _run(where: Path, *command: str, path: Path | None = None) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANCOST_", "OTEL_"))}
    found = os.pathsep.join(str(part) for part in (path, _SOURCE) if part is not None)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=where,
        env=kept | {"PYTHONPATH": found, "SPANCOST_LEASE": "off", "SPANCOST_DETECT": "off", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guide_shows_three_files_a_configuration_and_a_program_with_its_output() -> None:
    assert sorted(_FILES) == ["acme_ocr_meter.py", "pyproject.toml", "test_acme_ocr_meter.py"]
    assert _PROGRAM is not None
    assert _CONFIGURATION is not None


def test_its_program_prints_what_the_guide_shows(installed: Path, tmp_path: Path) -> None:
    assert _PROGRAM is not None
    assert _CONFIGURATION is not None
    (tmp_path / "spancost.yaml").write_text(_CONFIGURATION[1], encoding="utf-8")
    assert _run(tmp_path, "-c", _PROGRAM[1], path=installed) == _PROGRAM[2]


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_acme_ocr_meter.py").write_text(_FILES["test_acme_ocr_meter.py"], encoding="utf-8")
    shown = _run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", ".", path=installed)
    assert "2 passed" in shown


def test_it_is_found_by_its_name_and_package(installed: Path, tmp_path: Path) -> None:
    program = "from spancost.meters.plugins import load_plugins; print(load_plugins())"
    shown = _run(tmp_path, "-c", program, path=installed)
    assert "Plugin(name='acme_ocr', distribution='acme-ocr-meter 1.0.0', meter=<acme_ocr_meter" in shown
