"""`compose.yaml` under the programs themselves: Compose's own loader takes it, and they take their command lines."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from examples.shop.processes import ReservedPort, ServerProcess
from examples.shop.stack import ROOT
from examples.stack.binaries import program

pytestmark = pytest.mark.stack

_COMPOSE: Final = ROOT / "examples" / "stack" / "compose.yaml"


def _load(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [program("compose-spec"), "-format", "json", "compose.yaml"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture(scope="module")
def services() -> Mapping[str, Any]:
    loaded = _load(_COMPOSE.parent)
    assert loaded.returncode == 0, loaded.stderr
    return json.loads(loaded.stdout)["services"]


def _outside(service: Mapping[str, Any], text: str, folder: Path) -> str:
    """A text of a container with its paths as they are on this machine; a volume is a folder of its own."""
    for volume in sorted(service["volumes"], key=lambda volume: -len(volume["target"])):
        if volume["target"] in text:
            return text.replace(volume["target"], volume["source"] if volume["type"] == "bind" else str(folder))
    return text


def test_the_loader_of_docker_compose_takes_our_file(services: Mapping[str, Any]) -> None:
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    mounted = [Path(volume["source"]) for volume in volumes if volume["type"] == "bind"]
    assert mounted
    assert [path for path in mounted if not path.exists()] == []
    published = {port["host_ip"] for service in services.values() for port in service.get("ports", ())}
    assert published == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("network_mode:", "network_moed:"), ("restart: unless-stopped", "restart: 5"), ("4317:4317", "4317:x")],
    ids=["a key it does not know", "a value of the wrong type", "a port that is no number"],
)
def test_the_loader_of_docker_compose_refuses_a_file_with_an_error(tmp_path: Path, right: str, wrong: str) -> None:
    text = _COMPOSE.read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong), encoding="utf-8")
    assert _load(tmp_path).returncode != 0


@pytest.mark.parametrize(
    ("name", "binary"), [("agent", "otelcol"), ("router", "otelcol-router"), ("gateway", "otelcol")]
)
def test_a_collector_takes_the_command_line_and_environment_of_its_container(
    services: Mapping[str, Any], name: str, binary: str, tmp_path: Path
) -> None:
    service = services[name]
    arguments = [_outside(service, argument, tmp_path) for argument in service["command"]]
    environment: Mapping[str, str] = service.get("environment") or {}
    variables = {key: _outside(service, text, tmp_path) for key, text in environment.items()}
    checked = subprocess.run(
        [program(binary), "validate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
        cwd=tmp_path,
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_a_server_starts_with_the_command_line_of_its_container(
    services: Mapping[str, Any], name: str, tmp_path: Path
) -> None:
    service = services[name]
    port = ReservedPort()
    command = [
        program(name),
        *(_outside(service, argument, tmp_path) for argument in service["command"]),
        f"--web.listen-address={port.url.removeprefix('http://')}",
    ]
    port.release()
    with ServerProcess(name, command, log=tmp_path / "log", cwd=tmp_path) as process:
        process.wait_ready(f"{port.url}/-/ready")
