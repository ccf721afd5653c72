"""What each program of the stack is made from; versions are read from `builder.yaml`, `go.mod`, `requirements.txt`."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

from examples.shop.processes import StackError

_ROOT: Final = Path(__file__).resolve().parents[2]
_MODULES: Final = Path(__file__).resolve().parent / "modules"
_COLLECTORS: Final = _ROOT / "collector-config" / "build"
_KEY_DIGITS: Final = 16


class Kind(StrEnum):
    """How a recipe is carried out."""

    COLLECTOR = "collector"
    """Sources written by the Collector's builder from `builder.yaml`, then compiled."""
    GO = "go"
    """Main packages of modules, compiled."""
    PYTHON = "python"
    """A package in a virtual environment of its own."""


@dataclass(frozen=True, slots=True)
class Program:
    """One executable of a recipe."""

    name: str
    package: str
    """What is compiled; a module that is run, for `Kind.PYTHON`."""
    module: str
    """Module or distribution that holds it: its version is pinned by the recipe's files."""
    version_arguments: tuple[str, ...] = ("--version",)
    """What makes it say its version; empty if it cannot."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Programs that are built together."""

    name: str
    kind: Kind
    folder: Path
    files: tuple[str, ...]
    programs: tuple[Program, ...]
    flags: tuple[str, ...] = ()
    """For `go build`; `{version}` stands for the version."""

    @property
    def version(self) -> str:
        """Version that its programs must say.

        Raises:
            StackError: A file of the recipe is missing or does not say it.
        """
        if self.kind is Kind.COLLECTOR:
            return str(_mapping(read_manifest(self.folder / "builder.yaml"), "dist")["version"])
        module = self.programs[0].module
        if self.kind is Kind.PYTHON:
            return _pinned_distribution(self.folder / "requirements.txt", module)
        return spoken_version(module, required_modules(self.folder / "go.mod").get(module, ""))

    @property
    def pinned(self) -> dict[str, str]:
        """Go modules that must be in the programs, with their versions as Go writes them."""
        if self.kind is Kind.PYTHON:
            return {}
        required = required_modules(self.folder / "go.mod")
        if self.kind is Kind.GO:
            return {program.module: required[program.module] for program in self.programs}
        return dict(components(read_manifest(self.folder / "builder.yaml")))

    def key(self) -> str:
        """Return what stands for everything it is made from but the compiler: files, flags, programs, platform.

        Raises:
            StackError: A file of the recipe is missing.
        """
        said = hashlib.sha256()
        parts: list[bytes] = [
            json.dumps([self.name, self.kind, self.flags, [program.package for program in self.programs]]).encode(),
            f"{platform.system()}-{platform.machine()}".encode(),
            *(_read(self.folder / name) for name in self.files),
        ]
        for part in parts:
            said.update(len(part).to_bytes(8, "big") + part)
        return said.hexdigest()[:_KEY_DIGITS]


_PROMETHEUS_MODULE: Final = "github.com/prometheus/prometheus"
_ALERTMANAGER_MODULE: Final = "github.com/prometheus/alertmanager"
_BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder"
_VERSION_FLAG: Final = "-ldflags=-s -w -X github.com/prometheus/common/version.Version={version}"


def _collector(name: str, folder: str) -> Recipe:
    return Recipe(
        name=folder,
        kind=Kind.COLLECTOR,
        folder=_COLLECTORS / folder,
        files=("builder.yaml", "go.mod", "go.sum"),
        programs=(Program(name, _BUILDER, _BUILDER),),
        flags=("-ldflags=-s -w",),
    )


RECIPES: Final = (
    _collector("otelcol", "collector"),
    Recipe(
        name="prometheus",
        kind=Kind.GO,
        folder=_MODULES / "prometheus",
        files=("go.mod", "go.sum"),
        programs=tuple(
            Program(name, f"{_PROMETHEUS_MODULE}/cmd/{name}", _PROMETHEUS_MODULE) for name in ("prometheus", "promtool")
        ),
        # Service discovery of two dozen clouds is 240 packages that nothing here uses; files and static targets stay.
        flags=("-tags=remove_all_sd,enable_kubernetes_sd", _VERSION_FLAG),
    ),
    Recipe(
        name="alertmanager",
        kind=Kind.GO,
        folder=_MODULES / "alertmanager",
        files=("go.mod", "go.sum"),
        programs=tuple(
            Program(name, f"{_ALERTMANAGER_MODULE}/cmd/{name}", _ALERTMANAGER_MODULE)
            for name in ("alertmanager", "amtool")
        ),
        flags=(_VERSION_FLAG,),
    ),
    _collector("otelcol-router", "router"),
    Recipe(
        name="compose",
        kind=Kind.GO,
        folder=_MODULES / "compose",
        files=("go.mod", "go.sum"),
        programs=(
            Program(
                "compose-spec",
                "github.com/compose-spec/compose-go/v2/cmd",
                "github.com/compose-spec/compose-go/v2",
                version_arguments=(),
            ),
        ),
        flags=("-ldflags=-s -w",),
    ),
    Recipe(
        name="phoenix",
        kind=Kind.PYTHON,
        folder=_MODULES / "phoenix",
        files=("requirements.txt", "constraints.txt"),
        programs=(Program("phoenix", "phoenix.server.main", "arize-phoenix"),),
    ),
)
"""In the order in which they are built: what most tests wait for comes first."""


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a program, or the recipe of this name.

    Raises:
        StackError: There is none.
    """
    for recipe in RECIPES:
        if name == recipe.name or any(program.name == name for program in recipe.programs):
            return recipe
    known = [program.name for recipe in RECIPES for program in recipe.programs]
    raise StackError(f"no program {name!r} in the stack; there are {', '.join(known)}")


def required_modules(go_mod: Path) -> dict[str, str]:
    """Return each module that a `go.mod` requires, with its version.

    Raises:
        StackError: The file is missing.
    """
    text = _read(go_mod).decode()
    return dict(re.findall(r"^(?:require)?\s+([\w./~-]+\.[\w./~-]+) (v\S+)", text, re.MULTILINE))


def required_go(go_mod: Path) -> str:
    """Return the Go version that a `go.mod` asks for.

    Raises:
        StackError: The file is missing, or does not say.
    """
    found = re.search(r"^go (\d\S*)", _read(go_mod).decode(), re.MULTILINE)
    if found is None:
        raise StackError(f"{go_mod}: no line `go VERSION`")
    return found[1]


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a `builder.yaml`.

    Raises:
        StackError: It is missing or not a mapping.
    """
    import yaml

    content = yaml.safe_load(_read(path))
    if not isinstance(content, dict):
        raise StackError(f"{path}: not a mapping")
    return cast("dict[str, Any]", content)


def components(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Return module and version of each part that a `builder.yaml` names."""
    found: list[tuple[str, str]] = []
    for parts in manifest.values():
        if isinstance(parts, list):
            for part in cast("list[dict[str, str]]", parts):
                module, version = part["gomod"].split()
                found.append((module, version))
    return found


def spoken_version(module: str, version: str) -> str:
    """Return what a program calls itself: Prometheus 3.15.0 is the module v0.315.0, other names are the same.

    Args:
        module: Path of the module.

        version: As Go writes it, with `v`.

    Raises:
        StackError: It is empty.
    """
    if not version:
        raise StackError(f"{module} is not required by the go.mod of its recipe")
    prometheus = re.fullmatch(r"v0\.(\d+?)(\d\d)\.(\d+)", version) if module == _PROMETHEUS_MODULE else None
    if prometheus is not None:
        return f"{prometheus[1]}.{int(prometheus[2])}.{prometheus[3]}"
    return version.removeprefix("v")


def _pinned_distribution(path: Path, distribution: str) -> str:
    found = re.search(rf"^{re.escape(distribution)}==(\S+)", _read(path).decode(), re.MULTILINE)
    if found is None:
        raise StackError(f"{path}: no line {distribution}==VERSION")
    return found[1]


def _mapping(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise StackError(f"builder.yaml: {key} is not a mapping")
    return cast("dict[str, Any]", value)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StackError(f"{path}: {error.strerror or error}") from error
