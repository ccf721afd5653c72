"""Which part of a machine's price a container bears.

    part = (C x vCPUs + M x GiB) of the container / (C x vCPUs + M x GiB) of the machine,   C : M = 31 611 : 4 237

The machine's price is split into a vCPU part and a memory part by a fixed ratio, and the container bears of each what
it has reserved. So containers whose reservations fit on a machine never bear more than the machine costs; the larger
of the two shares, taken alone, would exceed it where some containers are large in vCPUs and others in memory.

C and M are the default prices of a vCPU-hour and a GiB-hour of OpenCost (opencost.io, on-prem configuration, checked
2026-11). Left out: measured use above what was reserved, and what the machine's own system takes.
"""

from __future__ import annotations

from typing import Final

from spancost.charge import joined_basis
from spancost.prices.machine_rate import ComputeRate, scaled

_USD_PER_VCPU_HOUR: Final = 0.031611
_USD_PER_GIB_HOUR: Final = 0.004237

LIMIT: Final = "container_limit"
"""Basis: the container's limit stands for a request that is not known."""
NO_CPU: Final = "no_cpu_request"
"""Basis: neither request nor limit of vCPUs is known; the container bears no vCPU part."""
NO_MEMORY: Final = "no_memory_request"
"""Basis: likewise of memory."""


def reserved_share(
    cpu: float | None, memory_gib: float | None, machine_cpu: float, machine_memory_gib: float
) -> float | None:
    """Return the part of a machine's price that a reservation bears, 0..1; None if nothing is reserved.

    Args:
        cpu: vCPUs reserved; None if unknown. More than the machine has counts as all it has.

        memory_gib: Memory reserved, GiB; likewise.

        machine_cpu: vCPUs of the machine.

        machine_memory_gib: Memory of the machine, GiB.
    """
    if (not cpu and not memory_gib) or not (machine_cpu > 0 and machine_memory_gib > 0):
        return None
    of_cpu = min(1.0, (cpu or 0.0) / machine_cpu)
    of_memory = min(1.0, (memory_gib or 0.0) / machine_memory_gib)
    cpu_usd = _USD_PER_VCPU_HOUR * machine_cpu
    memory_usd = _USD_PER_GIB_HOUR * machine_memory_gib
    return min(1.0, (of_cpu * cpu_usd + of_memory * memory_usd) / (cpu_usd + memory_usd))


def container_rate(
    machine: ComputeRate,
    *,
    cpu_request: float | None,
    memory_request_gib: float | None,
    cpu_limit: float | None,
    memory_limit_gib: float | None,
) -> ComputeRate | None:
    """Return the rate of a container on a machine; None where its share is not known.

    A limit stands for a request that is not known, as Kubernetes itself does it.
    """
    if machine.vcpu is None or machine.memory_gib is None:
        return None
    cpu = cpu_request or cpu_limit
    memory_gib = memory_request_gib or memory_limit_gib
    share = reserved_share(cpu, memory_gib, machine.vcpu, machine.memory_gib)
    if share is None:
        return None
    by_limit = (not cpu_request and cpu) or (not memory_request_gib and memory_gib)
    basis = joined_basis(LIMIT if by_limit else "", "" if cpu else NO_CPU, "" if memory_gib else NO_MEMORY)
    return scaled(machine, share, basis, min(cpu, machine.vcpu) if cpu else None)
