"""Reads the files of `examples/deploy/`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import yaml

from tests.blocks import ROOT

DEPLOY: Final = ROOT / "examples" / "deploy"
_AGENT: Final = ("otel-agent", "collector")


def documents(path: Path) -> Iterator[dict[str, Any]]:
    """Return the documents of a YAML or JSON file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        yield json.loads(text)
        return
    for document in yaml.load_all(text, _Loader):
        yield cast(dict[str, Any], document)


class _Loader(yaml.SafeLoader):
    """Leaves the short functions of CloudFormation as they are."""


def _as_written(_: yaml.SafeLoader, suffix: str, node: yaml.Node) -> str:
    return f"!{suffix} {node.value}"


cast(Any, _Loader).add_multi_constructor("!", _as_written)


def named(where: object, key: str) -> Iterator[dict[str, Any]]:
    """Return all mappings that have a key, at any depth."""
    if isinstance(where, dict):
        mapping = cast(dict[str, Any], where)
        if key in mapping:
            yield mapping
        for value in mapping.values():
            yield from named(value, key)
    elif isinstance(where, list):
        for value in cast(list[object], where):
            yield from named(value, key)


def environment_of(path: Path) -> dict[str, str]:
    """Return the variables of a file for `EnvironmentFile=`."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}


def agent_environments() -> dict[str, dict[str, str]]:
    """Return the variables that each Collector beside an application gets, by file; those without a value are empty."""
    found: dict[str, dict[str, str]] = {}
    for path in (DEPLOY / "kubernetes" / "agent" / "daemonset.yaml", DEPLOY / "ecs" / "task-definition.json"):
        for container in named(list(documents(path)), "image"):
            if container["name"] in _AGENT:
                found[path.name] = {
                    variable["name"]: str(variable.get("value", ""))
                    for variable in container.get("env", container.get("environment", []))
                }
    return found
