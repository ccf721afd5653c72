"""Collectors as `examples/deploy/` starts them, and the Operator's resource checked with its own definition."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml

from examples.stack.binaries import program
from tests.blocks import ROOT
from tests.deploy import DEPLOY, agent_environments, documents

pytestmark = pytest.mark.stack

_OPERATOR = "github.com/open-telemetry/opentelemetry-operator"
_OPERATOR_VERSION = "v0.137.0"
_AGENT = ROOT / "collector-config" / "agent.yaml"


@pytest.mark.parametrize(("where", "variables"), agent_environments().items(), ids=list(agent_environments()))
def test_collector_accepts_the_agents_configuration_with_the_variables_of_its_deployment(
    where: str, variables: Mapping[str, str], tmp_path: Path
) -> None:
    is_task = where.endswith(".json")
    config = "env:AGENT_CONFIG" if is_task else str(_AGENT)
    secret = {"AGENT_CONFIG": _AGENT.read_text(encoding="utf-8")} if is_task else {}
    done = subprocess.run(
        [program("otelcol"), "validate", f"--config={config}"],
        env={"PATH": os.environ["PATH"], **variables, **secret},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_agents_configuration_fits_into_a_parameter() -> None:
    assert _AGENT.stat().st_size <= 4096, "docs/how-to/ecs.md says that a standard parameter is enough"


def _definition(tmp_path: Path) -> dict[str, Any]:
    """Return the schema of `Instrumentation` as the Operator's release has it."""
    told = subprocess.run(
        ["go", "mod", "download", "-json", f"{_OPERATOR}@{_OPERATOR_VERSION}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    with zipfile.ZipFile(json.loads(told.stdout)["Zip"]) as module:
        name = f"{_OPERATOR}@{_OPERATOR_VERSION}/config/crd/bases/opentelemetry.io_instrumentations.yaml"
        definition = yaml.safe_load(module.read(name))
    (version,) = definition["spec"]["versions"]
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """Refuse keys that nobody reads, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [_strict(part) for part in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    parts = {key: _strict(value) for key, value in cast(dict[str, Any], schema).items()}
    if "properties" in parts and "additionalProperties" not in parts and parts["properties"].get("kind") is None:
        parts["additionalProperties"] = False
    if parts.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    return parts


def test_operator_accepts_the_instrumentation(tmp_path: Path) -> None:
    schema = _definition(tmp_path)
    (instrumentation,) = documents(DEPLOY / "kubernetes" / "instrumentation.yaml")
    jsonschema.validate(instrumentation, schema)
    instrumentation["spec"]["python"]["images"] = "typo"
    with pytest.raises(jsonschema.ValidationError, match="images"):
        jsonschema.validate(instrumentation, schema)
