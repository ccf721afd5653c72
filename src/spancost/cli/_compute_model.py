"""Says how the time of a machine is given to spans, for people."""

from __future__ import annotations

from typing import Final

from spancost import names
from spancost.cli._format import number
from spancost.config import Config
from spancost.meters.compute import ComputePricing
from spancost.prices.compute import ComputeRate

OCCUPANCY: Final = "occupancy: the time of the machine is split evenly among open requests"


def model_in_force(config: Config, rate: ComputeRate | None) -> tuple[str, bool]:
    """Return what is in force for a rate, and whether it is what was set.

    Args:
        config: Settings.

        rate: What the machine costs; None if unknown.
    """
    if config.compute_model != names.CPU_MODEL:
        return OCCUPANCY, True
    if ComputePricing(rate).bills_requests:
        return "occupancy; cpu is ignored where the price depends on whether a request is open", False
    vcpus = (None if rate is None else rate.vcpu) or config.cpu_request
    if vcpus is None:
        return "cpu: requests bear the CPU time they use; the machine has as many vCPUs as a process sees", True
    return f"cpu: requests bear the CPU time they use; {number(vcpus)} CPU-seconds are a second of the machine", True
