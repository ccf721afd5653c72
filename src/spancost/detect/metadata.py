"""What the metadata services of the clouds say about the machine; each is asked once, all at the same time.

    ECS     $ECS_CONTAINER_METADATA_URI_V4 and its /task    launch type, size of the task, share of this container
    EC2     PUT /latest/api/token (IMDSv2), then meta-data  instance-type, placement/region, instance-life-cycle
    GCE     /computeMetadata/v1/instance/...                machine-type, zone or region, scheduling/preemptible
    Azure   /metadata/instance/compute                      vmSize, location, priority

Every answer is untrusted: names are taken only if they can be names, numbers only if they are in range.
Formats: docs.aws.amazon.com (ECS task metadata v4, EC2 IMDSv2), cloud.google.com (Compute Engine metadata),
learn.microsoft.com (Azure IMDS 2021-02-01), checked 2026-11.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from spancost.detect.link_local import NoAnswerError, ask
from spancost.detect.machine import UNKNOWN, Machine, safe_name, size_spec

LINK_LOCAL: Final = "http://169.254.169.254"
LIMIT_S: Final = 1.0
"""Longest time for all services together, seconds."""
SPOT: Final = "spot_at_on_demand"
"""Basis: the machine is a spot one, and its on-demand price is used."""
EVEN_SPLIT: Final = "even_container_split"
"""Basis: the containers of a task share its price evenly, since they have reserved nothing of it."""

_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
_MAX_CONTAINERS: Final = 50
_MIB_PER_GIB: Final = 1024
_CPU_UNITS: Final = 1024


@dataclass(frozen=True, slots=True)
class Services:
    """Where metadata services are asked."""

    ec2: str = LINK_LOCAL
    gce: str = LINK_LOCAL
    azure: str = LINK_LOCAL
    ecs: str = ""
    """Content of `ECS_CONTAINER_METADATA_URI_V4`; empty where it is not set."""
    limit_s: float = LIMIT_S


def ask_services(services: Services, providers: tuple[str, ...], *, is_arm: bool) -> Machine:
    """Return what the services say; nothing in particular if none answers in time.

    Args:
        services: Where they are.

        providers: Which clouds come into question, of `aws`, `gcp` and `azure`.

        is_arm: The process runs on a 64-bit ARM chip.
    """
    asked: dict[str, Callable[[], Machine]] = {}
    if services.ecs:
        asked["ecs"] = lambda: _ecs(services.ecs, services.limit_s, is_arm=is_arm)
    if "aws" in providers:
        asked["ec2"] = lambda: _ec2(services.ec2, services.limit_s)
    if "gcp" in providers:
        asked["gce"] = lambda: _gce(services.gce, services.limit_s)
    if "azure" in providers:
        asked["azure"] = lambda: _azure(services.azure, services.limit_s)
    answers = _in_parallel(asked, services.limit_s)
    task = answers.pop("ecs", UNKNOWN)
    if task.spec:
        return task
    machine = next((answer for answer in answers.values() if answer.platform), UNKNOWN)
    if task.platform:  # on EC2: the task says what it has reserved, the instance what it is
        return Machine(
            task.platform,
            machine.spec,
            task.provider,
            task.region or machine.region,
            machine.found_by or task.found_by,
            machine.basis,
            is_shared=True,
            cpu_request=task.cpu_request,
            memory_request_gib=task.memory_request_gib,
        )
    return machine


def _in_parallel(asked: Mapping[str, Callable[[], Machine]], limit_s: float) -> dict[str, Machine]:
    answers: dict[str, Machine] = {}

    def run(name: str, question: Callable[[], Machine]) -> None:
        try:
            answers[name] = question()
        except (NoAnswerError, ValueError, TypeError, KeyError, RecursionError):
            return  # not there, or not what it says it is

    threads = [threading.Thread(target=run, args=one, name=f"spancost-{one[0]}", daemon=True) for one in asked.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: answers[name] for name in asked if name in answers}


def _ec2(base: str, seconds: float) -> Machine:
    token = ask(
        base, "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, seconds=seconds, method="PUT"
    ).text
    if not token.isascii() or not token.isprintable() or len(token) > 1024:
        raise ValueError("token")
    headers = {"X-aws-ec2-metadata-token": token}
    size = safe_name(ask(base, "/latest/meta-data/instance-type", headers, seconds=seconds).text)
    region = safe_name(ask(base, "/latest/meta-data/placement/region", headers, seconds=seconds).text)
    if "." not in size or not _REGION.fullmatch(region):
        raise ValueError("instance-type")
    try:
        is_spot = ask(base, "/latest/meta-data/instance-life-cycle", headers, seconds=seconds).text.strip() == "spot"
    except NoAnswerError:
        is_spot = False
    return Machine("aws_ec2", f"aws:{size}", "aws", region, "ec2_metadata", SPOT if is_spot else "")


def _gce(base: str, seconds: float) -> Machine:
    headers = {"Metadata-Flavor": "Google"}

    def instance(path: str) -> str:
        answer = ask(base, f"/computeMetadata/v1/instance/{path}", headers, seconds=seconds)
        if answer.headers.get("metadata-flavor") != "Google":
            raise ValueError("Metadata-Flavor")
        return safe_name(answer.text.strip().rpartition("/")[2])

    try:
        region = instance("region")  # Cloud Run has one, Compute Engine has a zone
    except NoAnswerError:
        region = instance("zone").rpartition("-")[0]
    try:
        size = instance("machine-type")
        is_spot = instance("scheduling/preemptible").upper() == "TRUE"
    except NoAnswerError:
        size, is_spot = "", False
    if not region:
        raise ValueError("zone")
    spec = f"gcp:{size}" if size else ""
    return Machine("gcp_compute_engine", spec, "gcp", region, "gce_metadata", SPOT if is_spot else "")


def _azure(base: str, seconds: float) -> Machine:
    answer = ask(base, "/metadata/instance/compute?api-version=2021-02-01", {"Metadata": "true"}, seconds=seconds)
    compute = _mapping(json.loads(answer.text))
    size, region = safe_name(compute.get("vmSize")), safe_name(compute.get("location"))
    if not size or not region:
        raise ValueError("vmSize")
    basis = SPOT if compute.get("priority") == "Spot" else ""
    return Machine("azure_vm", f"azure:{size}", "azure", region.lower(), "azure_metadata", basis)


def _ecs(base: str, seconds: float, *, is_arm: bool) -> Machine:
    own = _mapping(json.loads(ask(base, "", {}, seconds=seconds).text))
    task = _mapping(json.loads(ask(base, "/task", {}, seconds=seconds).text))
    region = _region_of_arn(task.get("TaskARN"))
    cpu, memory_gib = _limits(own, _CPU_UNITS)
    if task.get("LaunchType") == "EC2":
        return Machine(
            "aws_ecs", "", "aws", region, "ecs_metadata", is_shared=True, cpu_request=cpu, memory_request_gib=memory_gib
        )
    task_cpu, task_memory_gib = _limits(task, 1)
    spec = size_spec("fargate-arm" if is_arm else "fargate", task_cpu, task_memory_gib)
    if task.get("LaunchType") not in ("FARGATE", None) or not spec:
        raise ValueError("LaunchType")
    containers = _normal_containers(task.get("Containers"))
    if containers < 2:
        return Machine("aws_ecs", spec, "aws", region, "ecs_metadata")
    if cpu or memory_gib:
        return Machine(
            "aws_ecs", spec, "aws", region, "ecs_metadata", "", True, cpu_request=cpu, memory_request_gib=memory_gib
        )
    return Machine("aws_ecs", spec, "aws", region, "ecs_metadata", EVEN_SPLIT, containers=containers)


def _normal_containers(listed: object) -> int:
    """Count the containers of a task, without those that ECS adds itself."""
    found = 0
    for one in cast("list[object]", listed if isinstance(listed, list) else [])[:_MAX_CONTAINERS]:
        if isinstance(one, dict) and cast("dict[str, Any]", one).get("Type", "NORMAL") == "NORMAL":
            found += 1
    return found


def _limits(said: Mapping[str, Any], units_per_cpu: int) -> tuple[float | None, float | None]:
    """Return vCPUs and GiB of `Limits`: a task counts in vCPUs, a container in 1024ths; memory is in MiB."""
    limits = _mapping(said.get("Limits") or {})
    cpu, memory = _positive(limits.get("CPU")), _positive(limits.get("Memory"))
    return (None if cpu is None else cpu / units_per_cpu), (None if memory is None else memory / _MIB_PER_GIB)


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 < value < 1e9 and math.isfinite(value) else None


def _region_of_arn(arn: object) -> str:
    parts = arn.split(":") if isinstance(arn, str) else []
    return parts[3] if len(parts) > 4 and _REGION.fullmatch(parts[3]) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no JSON object")
    return cast("dict[str, Any]", value)
