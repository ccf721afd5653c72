"""The files of `examples/deploy/` are what their readers accept: checked by schema, and every variable exists.

What of them can be run without a cluster or an account is run by `tests/stack/test_deploy_*.py`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import botocore.loaders
import botocore.model
import botocore.validate
import kubernetes_validate
import pytest
import yaml

from spancost import names
from tests.blocks import ROOT
from tests.deploy import DEPLOY, agent_environments, documents, environment_of, named

_VARIABLE: Final = re.compile(r"\b(?:OTEL|SPANCOST)_[A-Z0-9_]+\b")
_OF_OTEL: Final = (
    "opentelemetry.environment_variables",
    "opentelemetry.sdk.environment_variables",
    "opentelemetry.instrumentation.environment_variables",
)
_OF_OTHERS: Final = frozenset(
    {
        "OTEL_NODE_IP",  # set by the Operator: pkg/constants/env.go of 0.137.0
        "OTEL_PYTHON_EXCLUDED_URLS",  # opentelemetry.util.http.get_excluded_urls puts it together
    }
)
_FILES: Final = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")
_PAGES: Final = [
    ROOT / "docs" / "how-to" / f"{name}.md" for name in ("ecs", "kubernetes", "lambda", "servers", "systemd")
]


def _known() -> set[str]:
    ours = {str(value) for name, value in vars(names).items() if name.startswith("ENV_")}
    theirs = {
        str(value)
        for module in _OF_OTEL
        for name, value in vars(import_module(module)).items()
        if name.startswith("OTEL_")
    }
    return ours | theirs | _OF_OTHERS


@pytest.mark.parametrize("path", [*_FILES, *_PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_is_one_that_somebody_reads(path: Path) -> None:
    assert set(_VARIABLE.findall(path.read_text(encoding="utf-8"))) - _known() == set()


def _manifests() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "kubernetes").rglob("*.yaml")):
        yield from documents(path)


@pytest.mark.parametrize("manifest", list(_manifests()), ids=lambda found: f"{found['kind']}")
def test_manifests_are_what_kubernetes_accepts(manifest: dict[str, Any]) -> None:
    if manifest["kind"] in {"Instrumentation", "Kustomization"}:
        return  # no kinds of Kubernetes itself: the first is checked with the Operator's own definition
    kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_a_wrong_manifest_is_told_from_a_right_one() -> None:
    (deployment,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    deployment["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="enviroment"):
        kubernetes_validate.validate(deployment, "1.37", strict=True)


def _wrong_parameters(definition: Mapping[str, Any]) -> str:
    described = botocore.loaders.Loader().load_service_model("ecs", "service-2")
    shape = botocore.model.ServiceModel(described).operation_model("RegisterTaskDefinition").input_shape
    assert shape is not None
    return cast(str, botocore.validate.ParamValidator().validate(definition, shape).generate_report())


def test_task_definition_is_what_ecs_accepts() -> None:
    definition = json.loads((DEPLOY / "ecs" / "task-definition.json").read_text(encoding="utf-8"))
    assert _wrong_parameters(definition) == ""
    assert "memoryReservation" in _wrong_parameters(
        definition | {"containerDefinitions": [{"name": "shop", "memoryReservation": "much"}]}
    )
    containers = definition["containerDefinitions"]
    assert sum(container["cpu"] for container in containers) == int(definition["cpu"])
    assert sum(container["memoryReservation"] for container in containers) == int(definition["memory"])


@pytest.mark.parametrize(("where", "variables"), agent_environments().items(), ids=list(agent_environments()))
def test_agents_set_only_what_their_configuration_reads(where: str, variables: Mapping[str, str]) -> None:
    read = set(re.findall(r"\$\{env:(\w+)", (ROOT / "collector-config" / "agent.yaml").read_text(encoding="utf-8")))
    assert set(variables) - read == set(), where


def test_agents_are_the_collector_that_the_tests_run() -> None:
    manifest = yaml.safe_load((ROOT / "collector-config" / "build" / "collector" / "builder.yaml").read_text())
    version = re.search(r"v(0\.\d+\.\d+)", json.dumps(manifest["processors"]))
    assert version is not None
    images = {
        container["image"]
        for path in _FILES
        if path.suffix in {".yaml", ".json"}
        for container in named(list(documents(path)), "image")
        if "collector" in str(container["image"])
    }
    assert images == {f"otel/opentelemetry-collector-contrib:{version[1]}"}


def test_what_kustomize_reads_is_there() -> None:
    folder = DEPLOY / "kubernetes" / "agent"
    (kustomization,) = documents(folder / "kustomization.yaml")
    (generated,) = kustomization["configMapGenerator"]
    for name in [*kustomization["resources"], *generated["files"]]:
        assert (folder / name).is_file(), name
    (daemonset,) = documents(folder / "daemonset.yaml")
    volumes = daemonset["spec"]["template"]["spec"]["volumes"]
    assert {volume["configMap"]["name"] for volume in volumes if "configMap" in volume} == {generated["name"]}


def test_pods_ask_for_the_instrumentation_that_is_there() -> None:
    (instrumentation,) = documents(DEPLOY / "kubernetes" / "instrumentation.yaml")
    (deployment,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    pod = deployment["spec"]["template"]
    asked = pod["metadata"]["annotations"]
    assert asked["instrumentation.opentelemetry.io/inject-python"] == instrumentation["metadata"]["name"]
    assert asked["instrumentation.opentelemetry.io/container-names"] == pod["spec"]["containers"][0]["name"]
    assert deployment["metadata"]["namespace"] == instrumentation["metadata"]["namespace"]
    # Kubernetes replaces $(NAME) by variables that stand before it.
    seen: set[str] = set()
    for variable in instrumentation["spec"]["python"]["env"]:
        assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= seen, variable
        seen.add(variable["name"])


def test_function_has_the_wrapper_of_the_layer() -> None:
    (template,) = documents(DEPLOY / "lambda" / "template.yaml")
    function = template["Resources"]["Thumbnails"]["Properties"]
    (layer,) = function["Layers"]
    assert template["Resources"][layer.removeprefix("!Ref ")]["Type"] == "AWS::Serverless::LayerVersion"
    wrapper = function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"]
    assert wrapper == f"/opt/{DEPLOY.joinpath('lambda', 'spancost-wrapper').name}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_unit_is_what_systemd_accepts(tmp_path: Path) -> None:
    unit = tmp_path / "shop.service"
    unit.write_text((DEPLOY / "systemd" / "shop.service").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    # All there is to say is that this machine has no /opt/shop.
    assert re.sub(r".*is not executable: No such file or directory\n", "", done.stderr) == ""


def test_unit_and_its_variables_name_the_same_places() -> None:
    unit = (DEPLOY / "systemd" / "shop.service").read_text(encoding="utf-8")
    variables = environment_of(DEPLOY / "systemd" / "spancost.env")
    assert "StateDirectory=spancost\n" in unit
    assert variables[names.ENV_LEDGER].startswith("/var/lib/spancost/")
    assert "RuntimeDirectory=spancost\n" in unit
    assert variables[names.ENV_LEASE].startswith("/run/spancost/")
