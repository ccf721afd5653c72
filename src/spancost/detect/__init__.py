"""What a process runs on, and what a second of it costs.

The order is: `SPANCOST_COMPUTE`, resource attributes, variables that platforms set, limits of the container, metadata
services. The first three are read before the first span; files and services only by the background thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spancost.charge import joined_basis
from spancost.detect.cgroup import CGROUP_ROOT, Limits, is_in_container, read_limits
from spancost.detect.machine import UNKNOWN, Machine, size_spec
from spancost.detect.metadata import LIMIT_S, LINK_LOCAL, Services, ask_services
from spancost.detect.process_age import process_age_s
from spancost.detect.said import ECS_URI, SHARED_PLATFORMS, VENDORS, is_arm, machine_said
from spancost.prices.compute import compute_rate
from spancost.prices.container_share import container_rate
from spancost.prices.machine_rate import ComputeRate, scaled
from spancost.prices.platforms import REQUEST_BILLED

if TYPE_CHECKING:
    from spancost.config import Config
    from spancost.prices.book import PriceBook

__all__ = [
    "CONFIGURED",
    "RATE_UNKNOWN",
    "SHARE_UNKNOWN",
    "VENDORS",
    "Found",
    "Limits",
    "Machine",
    "Surroundings",
    "bills_requests",
    "is_enough",
    "look",
    "look_closer",
    "priced",
    "process_age_s",
]

CONFIGURED: Final = "configuration"
"""Found by: a setting."""
RATE_UNKNOWN: Final = "compute_rate_unknown"
SHARE_UNKNOWN: Final = "container_share_unknown"
LINUX_PRICE: Final = "linux_price"
"""Basis: the machine runs Windows, and the book knows what it costs with Linux."""
SEEN_SIZE: Final = "seen_size"
"""Basis: the size of the container is what the process sees of it."""
_SIZED: Final = {
    "aws_app_runner": "apprunner", "gcp_cloud_run": "cloudrun", "azure_container_apps": "containerapps",
}  # fmt: skip
"""Platform -> first word of its specification, which needs vCPUs and memory."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the process's machine is looked for."""

    environ: Mapping[str, str]
    services: Services
    cgroup_root: Path = CGROUP_ROOT
    root: Path = Path("/")

    @classmethod
    def real(cls) -> Surroundings:
        """Return those of this process."""
        environ = os.environ
        return cls(environ, Services(LINK_LOCAL, LINK_LOCAL, LINK_LOCAL, environ.get(ECS_URI, ""), LIMIT_S))


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the machine, and what it costs."""

    machine: Machine
    rate: ComputeRate | None
    reason: str = ""
    """Why there is no rate; empty if there is one."""


def look(config: Config, resource: Mapping[str, Any], around: Surroundings) -> Machine:
    """Return what configuration, resource and environment say of the machine; reads no file and asks nobody."""
    said = machine_said(resource, around.environ, os.cpu_count() or 0)
    if config.compute:
        said = replace(said, spec=config.compute, found_by=CONFIGURED, basis="", is_shared=_is_shared(said))
    elif not said.spec and said.platform in _SIZED:
        spec = size_spec(_SIZED[said.platform], config.cpu_request, config.memory_request_gib)
        said = replace(said, spec=spec)
    elif said.spec and any(key.startswith("container.") for key in resource):
        said = replace(said, is_shared=True)  # one detector saw the machine, another the container on it
    basis = LINUX_PRICE if _is_windows(resource) and said.spec.partition(":")[0] in VENDORS else ""
    return replace(said, region=config.region or said.region, basis=joined_basis(said.basis, basis))


def is_enough(config: Config, machine: Machine) -> bool:
    """Say whether files and services would tell nothing more that matters."""
    if not machine.spec:
        return not config.detect and machine.platform not in _SIZED
    if _takes_a_share(config, machine):
        return config.cpu_request is not None and config.memory_request_gib is not None
    return bool(machine.region) or bool(config.compute) or not config.detect


def bills_requests(machine: Machine) -> bool:
    """Say whether the price of a machine whose size may still be unknown depends on whether a request is open."""
    spec = machine.spec or _SIZED.get(machine.platform, "")
    return spec.partition(":")[0] in REQUEST_BILLED


def look_closer(
    config: Config, said: Machine, around: Surroundings, resource: Mapping[str, Any]
) -> tuple[Machine, Limits]:
    """Add what container limits and metadata services say; takes up to a second, so never on the span path."""
    limits = read_limits(around.cgroup_root)
    machine = said
    is_task = said.platform == "aws_ecs" and bool(around.services.ecs) and config.compute_share is None
    if config.detect and (is_task or not (said.spec and said.region)):
        providers = (said.provider,) if said.provider else VENDORS
        services = around.services
        if said.spec and not services.ecs and not said.provider:
            providers = _vendors_of(said.spec)
        asked = ask_services(services, providers, is_arm=is_arm(resource))
        machine = _merged(said, asked)
        if asked.spec and not said.spec and not said.platform and not machine.is_shared:
            machine = replace(machine, is_shared=is_in_container(around.root))
    kind = _SIZED.get(machine.platform)
    if not machine.spec and kind is not None:
        seen = _seen_size(kind, config, limits)
        machine = replace(machine, spec=seen, basis=joined_basis(machine.basis, SEEN_SIZE))
    return machine, limits


def priced(config: Config, book: PriceBook, machine: Machine, limits: Limits) -> Found:
    """Work out what a second of the machine, or of the process's part of it, costs.

    Raises:
        ComputeSpecError: The book has no price for the machine.
    """
    if not machine.spec:
        return Found(machine, None, RATE_UNKNOWN)
    rate = compute_rate(machine.spec, machine.region or None, book)
    if machine.basis and "@" not in machine.spec:
        rate = replace(rate, basis=joined_basis(rate.basis, machine.basis))
    if machine.containers > 1:
        return Found(machine, scaled(rate, 1 / machine.containers, ""))
    if _takes_a_share(config, machine):
        part = container_rate(
            rate,
            cpu_request=config.cpu_request or machine.cpu_request,
            memory_request_gib=config.memory_request_gib or machine.memory_request_gib,
            cpu_limit=limits.cpu,
            memory_limit_gib=limits.memory_gib,
        )
        return Found(machine, part, "" if part is not None else SHARE_UNKNOWN)
    return Found(machine, rate)


def _is_windows(resource: Mapping[str, Any]) -> bool:
    system = resource.get("os.type")
    return system == "windows" if isinstance(system, str) else sys.platform == "win32"


def _is_shared(said: Machine) -> bool:
    return said.platform in SHARED_PLATFORMS or said.is_shared


def _takes_a_share(config: Config, machine: Machine) -> bool:
    """Say whether the process bears a part of its machine's price.

    A share that is configured says it all, and so do an own price and the size of a platform without machines: only the
    containers of one Fargate task divide that.
    """
    if not machine.is_shared or config.compute_share is not None:
        return False
    return machine.spec.partition(":")[0] in VENDORS or machine.found_by == "ecs_metadata"


def _vendors_of(spec: str) -> tuple[str, ...]:
    vendor = spec.partition(":")[0]
    return (vendor,) if vendor in VENDORS else VENDORS


def _merged(said: Machine, asked: Machine) -> Machine:
    if asked == UNKNOWN:
        return said
    return replace(
        asked,
        platform=said.platform if said.platform not in ("", "kubernetes") else asked.platform,
        spec=said.spec or ("" if said.platform in _SIZED else asked.spec),
        provider=said.provider or asked.provider,
        region=said.region or asked.region,
        found_by=said.found_by if said.spec else asked.found_by,
        basis=said.basis if said.spec else asked.basis,
        is_shared=said.is_shared or asked.is_shared,
    )


def _seen_size(kind: str, config: Config, limits: Limits) -> str:
    # Only on Cloud Run are the vCPUs that a process sees its own.
    cpu = config.cpu_request or limits.cpu or (float(os.cpu_count() or 0) if kind == "cloudrun" else None)
    memory_gib = config.memory_request_gib or limits.memory_gib
    return size_spec(kind, cpu, memory_gib)
