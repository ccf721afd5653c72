"""`compose.yaml` runs what the tests run: the same versions, the same files, open to this machine alone."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from examples.stack.recipes import recipe_of

_COMPOSE: Final = Path(__file__).resolve().parents[2] / "examples" / "stack" / "compose.yaml"
_SERVICES: Final[dict[str, Any]] = yaml.safe_load(_COMPOSE.read_text(encoding="utf-8"))["services"]
_SAME_VERSION: Final = {
    "agent": ("otel/opentelemetry-collector-contrib", "", "otelcol"),
    "router": ("otel/opentelemetry-collector-contrib", "", "otelcol-router"),
    "gateway": ("otel/opentelemetry-collector-contrib", "", "otelcol"),
    "prometheus": ("prom/prometheus", "v", "prometheus"),
    "alertmanager": ("prom/alertmanager", "v", "alertmanager"),
    "traces": ("arizephoenix/phoenix", "version-", "phoenix"),
}
"""Service -> image, what its tag begins with, the program that tests run in its place."""
_ONLY_HERE: Final = {"net", "grafana", "tempo"}
"""Services without a program in the tests."""


def _mounts(service: str) -> list[tuple[Path, str]]:
    """Files and folders of the project in a container, and where."""
    mounts = [str(mount).split(":") for mount in _SERVICES[service].get("volumes", ())]
    return [((_COMPOSE.parent / mount[0]).resolve(), mount[1]) for mount in mounts if mount[0].startswith(".")]


@pytest.mark.parametrize("service", _SAME_VERSION)
def test_an_image_has_the_version_that_the_tests_run(service: str) -> None:
    image, prefix, program = _SAME_VERSION[service]
    assert _SERVICES[service]["image"] == f"{image}:{prefix}{recipe_of(program).version}"


def test_every_image_is_pinned_to_a_version() -> None:
    assert set(_SERVICES) == _SAME_VERSION.keys() | _ONLY_HERE
    for service in _SERVICES.values():
        assert re.search(r":(v|version-)?\d+\.\d+\.\d+$", service["image"])


@pytest.mark.parametrize("service", [name for name in _SERVICES if _mounts(name)])
def test_what_a_container_mounts_is_there_and_cannot_be_written(service: str) -> None:
    for path, _ in _mounts(service):
        assert path.exists(), path
    ours = [str(mount) for mount in _SERVICES[service]["volumes"] if str(mount).startswith(".")]
    assert [mount for mount in ours if not mount.endswith(":ro")] == []


@pytest.mark.parametrize("service", ["agent", "router", "gateway", "prometheus", "alertmanager"])
def test_the_file_that_a_program_is_started_with_is_mounted(service: str) -> None:
    found = re.search(r"--config(?:\.file)?=(?:file:)?(\S+)", " ".join(_SERVICES[service]["command"]))
    assert found is not None
    inside = Path(found[1])
    held = [path / inside.relative_to(where) for path, where in _mounts(service) if inside.is_relative_to(where)]
    assert [path.exists() for path in held] == [True]


def test_rules_are_where_the_configuration_of_prometheus_looks_for_them() -> None:
    folders = {where: path for path, where in _mounts("prometheus")}
    config = next(where for where, path in folders.items() if (path / "prometheus.yaml").exists())
    loaded = yaml.safe_load((folders[config] / "prometheus.yaml").read_text(encoding="utf-8"))
    assert loaded["rule_files"]
    for pattern in loaded["rule_files"]:
        folder, name = posixpath.split(posixpath.normpath(posixpath.join(config, pattern)))
        assert list(folders[folder].glob(name)), pattern


def test_only_this_machine_reaches_what_is_published() -> None:
    ports = [str(port) for service in _SERVICES.values() for port in service.get("ports", ())]
    assert ports
    for port in ports:
        assert ipaddress.ip_address(port.split(":")[0]).is_loopback, port


def test_every_other_service_shares_the_network_whose_ports_are_published() -> None:
    for name, service in _SERVICES.items():
        assert service.get("network_mode") == (None if name == "net" else "service:net")
        assert name == "net" or "ports" not in service
