"""What is known of the machine a process runs on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of the machine a process runs on; empty where unknown."""

    platform: str = ""
    """As the semantic conventions call it, with underscores: `aws_ec2`, `aws_lambda`, `gcp_cloud_run`, ..."""
    spec: str = ""
    """What `compute_rate` takes: `aws:m6i.large`, `lambda:512mb`."""
    provider: str = ""
    """`aws`, `gcp` or `azure`."""
    region: str = ""
    found_by: str = ""
    """Who says so: `resource`, `environment`, `ecs_metadata`, `ec2_metadata`, `gce_metadata`, `azure_metadata`."""
    basis: str = ""
    """What was assumed: `spot_at_on_demand`, `seen_size`, ..., or nothing."""
    is_shared: bool = False
    """Other containers run on the machine, too: the process bears a part of its price."""
    cpu_request: float | None = None
    """vCPUs that the container asked for."""
    memory_request_gib: float | None = None
    containers: int = 1
    """Containers that share it evenly, where none of them asked for a part."""


UNKNOWN: Final = Machine()


def safe_name(text: object) -> str:
    """Return the name of a machine size or a region as it was said, or empty if it cannot be one."""
    name = str(text).strip() if isinstance(text, str) else ""
    return name if _NAME.fullmatch(name) else ""


def size_spec(kind: str, cpu: float | None, memory_gib: float | None) -> str:
    """Return the specification of a size: `fargate:0.25vcpu-0.5gb`; empty if one part is unknown or impossible."""
    if not cpu or not memory_gib or not 0 < cpu < 10_000 or not 0 < memory_gib < 1_000_000:
        return ""
    return f"{kind}:{_short(cpu)}vcpu-{_short(memory_gib)}gb"


def _short(number: float) -> str:
    text = f"{number:.4f}".rstrip("0").rstrip(".")
    return text or "0"
