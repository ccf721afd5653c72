"""Every shipped configuration is one that the Collector takes, listens on loopback, and is described by its page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from examples.stack.binaries import program
from examples.stack.servers import Collector
from tests.stack.collector.tiers import CONFIGS, config

pytestmark = pytest.mark.stack

_NAMES: Final = tuple(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
_ROUTER: Final = "router"
_TOGETHER: Final = (
    ("agent",),
    ("router",),
    ("gateway",),
    ("no-sdk-metrics",),
    ("no-sdk-metrics", "agent"),
    ("no-sdk-metrics", "gateway"),
    ("no-sdk-metrics", "exact"),
    ("no-sdk-metrics", "gateway", "exact"),
)
_PORTS: Final = ("OTLP_GRPC_ENDPOINT", "OTLP_HTTP_ENDPOINT", "HEALTH_ENDPOINT", "SELF_METRICS_PORT")
_VARIABLE: Final = re.compile(r"\$\{env:(\w+):-([^${}]*)\}")
"""A variable with its default; the innermost one of several."""
_ROW: Final = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`|(.*?)) \|")


def _binary(names: Sequence[str]) -> str:
    return "otelcol-router" if _ROUTER in names else "otelcol"


def _defaults(name: str) -> dict[str, str]:
    """Variables of a configuration with what they are without being set."""
    text = config(name).read_text()
    found: dict[str, str] = {}
    while match := _VARIABLE.search(text):
        assert found.setdefault(match[1], match[2]) == match[2], f"{match[1]} has two defaults"
        text = text.replace(match[0], match[2])
    assert "${" not in text, "a variable has no default"
    return found


def _resolved(name: str) -> Any:
    text = config(name).read_text()
    while match := _VARIABLE.search(text):
        text = text.replace(match[0], match[2])
    return yaml.safe_load(text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in cast("dict[str, Any]", value).values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _texts(inner)
    else:
        yield str(value)


def test_all_configurations_are_here() -> None:
    assert set(_NAMES) == {name for names in _TOGETHER for name in names}


@pytest.mark.parametrize("names", _TOGETHER, ids="+".join)
def test_collector_takes_the_configuration_as_it_is(tmp_path: Path, names: tuple[str, ...]) -> None:
    command = [program(_binary(names)), "validate", *(f"--config=file:{config(name)}" for name in names)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("names", _TOGETHER, ids="+".join)
def test_collector_starts_with_it_and_finds_no_old_name_or_setting(tmp_path: Path, names: tuple[str, ...]) -> None:
    variables = {"DERIVED_METRICS_ENDPOINT": "127.0.0.1:0"}
    configs = [config(name) for name in names]
    with Collector(tmp_path, configs, variables, binary=_binary(names)) as collector:
        assert "otelcol_process_uptime" in collector.own_metrics()
    assert re.findall(r"(?i).*(?:deprecat|legacy resource|legacy service).*", collector.log.read_text()) == []


@pytest.mark.parametrize("resolver", ["static", "dns", "k8s"])
def test_router_takes_each_of_its_resolvers(tmp_path: Path, resolver: str) -> None:
    ran = subprocess.run(
        [program("otelcol-router"), "validate", f"--config=file:{config(_ROUTER)}"],
        env={"ROUTER_RESOLVER": resolver, "GATEWAYS": "[10.0.0.1:4317, 10.0.0.2:4317]"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("name", _NAMES)
def test_page_has_each_variable_with_its_default_and_no_other(name: str) -> None:
    rows = (_ROW.match(line) for line in (CONFIGS / f"{name}.md").read_text().splitlines())
    documented = {row[1]: row[2] or "" for row in rows if row}
    defaults = _defaults(name)
    assert documented.keys() == defaults.keys()
    # A default that is made of other variables is written as such.
    plain = {key: text for key, text in documented.items() if "${" not in text}
    assert plain == {key: defaults[key] for key in plain}


@pytest.mark.parametrize("name", _NAMES)
def test_whatever_listens_or_is_asked_is_on_loopback_unless_a_variable_says_otherwise(name: str) -> None:
    hosts = {
        found[1]
        for text in _texts(_resolved(name))
        for found in re.finditer(r"(?:^|//|, ?|\[)((?:\d+\.){3}\d+|localhost|\[::\]|0\.0\.0\.0)(?::\d+|$|/)", text)
    }
    assert hosts <= {"127.0.0.1", "localhost"}
    # No address is written where no variable can change it.
    plain = _VARIABLE.sub("", _VARIABLE.sub("", config(name).read_text()))
    assert re.findall(r"\d+\.\d+\.\d+\.\d+|localhost", plain.replace("host: 127.0.0.1", "")) == []


def test_tiers_find_each_other_on_one_machine_without_any_setting() -> None:
    agent, router, gateway = (_defaults(name) for name in ("agent", "router", "gateway"))
    assert agent["TRACES_ENDPOINT"] == router["OTLP_GRPC_ENDPOINT"]
    assert agent["METRICS_ENDPOINT"] == gateway["OTLP_GRPC_ENDPOINT"]
    assert router["GATEWAYS"] == f"[{gateway['OTLP_GRPC_ENDPOINT']}]"
    ports = [tier[name].rpartition(":")[2] for tier in (agent, router, gateway) for name in _PORTS]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("name", _NAMES)
def test_page_has_the_parts_that_pages_of_components_have(name: str) -> None:
    text = (CONFIGS / f"{name}.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["What it does", "Getting started", "Configuration", "Limits and traps", "How it was tested"]
    assert re.search(r"^\| Tested with +\| .*0\.1[56]\d\.0", text, re.MULTILINE)


def test_index_names_every_file() -> None:
    text = (CONFIGS / "README.md").read_text()
    for name in _NAMES:
        assert f"({name}.yaml)" in text
        assert f"({name}.md)" in text
