"""The programs of the stack as `make stack` has built them: they run, are what is pinned, and have what is used."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.stack.binaries import PROGRAMS, found, program
from examples.stack.build import main, verify
from examples.stack.recipes import RECIPES, components, read_manifest, recipe_of
from examples.stack.servers import Alertmanager, Prometheus, Sample
from examples.stack.toolchain import find_go

pytestmark = pytest.mark.stack


def _run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_built_from_the_files_of_this_tree(name: str) -> None:
    path = Path(program(name))
    assert os.access(path, os.X_OK)
    assert recipe_of(name).key() in path.parent.name


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_programs_say_and_hold_the_pinned_versions(recipe: Any) -> None:
    go = find_go()
    assert go is not None
    made = found(recipe)
    assert made is not None
    verify(recipe, made, go)


def test_a_second_build_builds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = {recipe.name: found(recipe) for recipe in RECIPES}
    assert main([]) == 0
    assert "compiling" not in capsys.readouterr().err
    assert {recipe.name: found(recipe) for recipe in RECIPES} == before


@pytest.mark.parametrize("name", ["otelcol", "otelcol-router"])
def test_a_collector_has_every_component_of_its_manifest(name: str) -> None:
    modules = set(re.findall(r"module: (\S+ \S+)", _run(program(name), "components").stdout))
    wanted = {
        f"{module} {version}" for module, version in components(read_manifest(recipe_of(name).folder / "builder.yaml"))
    }
    assert {module for module in wanted if "/confmap/provider/" not in module} <= modules


def _both_are_up(samples: list[Sample]) -> bool:
    return {sample.labels["job"]: sample.value for sample in samples} == {"static": 1, "file": 1}


def test_prometheus_finds_static_targets_and_those_in_files(tmp_path: Path) -> None:
    targets = tmp_path / "targets.json"
    config = tmp_path / "prometheus.yaml"
    config.write_text("{}", encoding="utf-8")
    prometheus = Prometheus(tmp_path / "data", config)
    here = prometheus.url.removeprefix("http://")
    targets.write_text(json.dumps([{"targets": [here]}]), encoding="utf-8")
    jobs = [
        {"job_name": "static", "static_configs": [{"targets": [here]}]},
        {"job_name": "file", "file_sd_configs": [{"files": [str(targets)]}]},
    ]
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}), encoding="utf-8")
    with prometheus:
        prometheus.wait_for("sum by (job) (up)", _both_are_up)
        assert prometheus.get("status/buildinfo")["version"] == recipe_of("prometheus").version


def test_promtool_knows_pods_of_kubernetes(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yaml"
    config.write_text("scrape_configs: [{job_name: pods, kubernetes_sd_configs: [{role: pod}]}]", encoding="utf-8")
    checked = _run(program("promtool"), "check", "config", str(config))
    assert checked.returncode == 0, checked.stderr


def test_alertmanager_says_its_version_and_amtool_reads_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yaml"
    config.write_text("{route: {receiver: nobody}, receivers: [{name: nobody}]}", encoding="utf-8")
    assert _run(program("amtool"), "check-config", str(config)).returncode == 0
    with Alertmanager(tmp_path / "data", config) as alertmanager:
        shown = _run(program("amtool"), "cluster", "show", f"--alertmanager.url={alertmanager.url}")
        assert shown.returncode == 0, shown.stderr
        assert alertmanager.alerts() == []


def test_phoenix_says_its_version() -> None:
    said = _run(program("phoenix"), "--version").stdout
    assert re.fullmatch(rf"phoenix version {re.escape(recipe_of('phoenix').version)}\n", said)
