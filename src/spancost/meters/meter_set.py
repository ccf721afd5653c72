"""The meters of one process, made from its configuration and resource. Knows nothing of the OpenTelemetry SDK."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from spancost import names
from spancost._guard import logger
from spancost.config import ASSUMED_COMPUTE, ASSUMED_REGION, Config
from spancost.detect import (
    CONFIGURED,
    SHARE_UNKNOWN,
    VENDORS,
    Found,
    Limits,
    Machine,
    Surroundings,
    bills_requests,
    is_enough,
    look,
    look_closer,
    priced,
    process_age_s,
)
from spancost.meters import Meter
from spancost.meters.aws import AwsMeter
from spancost.meters.compute import RATE_UNKNOWN, ComputePricing
from spancost.meters.custom import CustomMeter
from spancost.meters.egress import EgressMeter
from spancost.meters.http_api import HttpApiMeter
from spancost.meters.llm import LlmMeter
from spancost.meters.plugins import PluginMeters
from spancost.prices.book import PriceBook
from spancost.prices.compute import SYNTAX, ComputeRate, ComputeSpecError

_AWS_LIBRARIES: Final = frozenset({"aiobotocore", "botocore"})


class MeterSet(NamedTuple):
    """The meters of one engine; None where a component is not metered."""

    compute: ComputePricing
    llm: LlmMeter | None = None
    aws: Meter | None = None
    egress: EgressMeter | None = None
    http: Meter | None = None
    custom: CustomMeter = CustomMeter()
    """Prices what `add_usage` reports."""
    plugins: PluginMeters | None = None
    """Meters of third parties; None where there are none."""


class MachineFound(NamedTuple):
    """What came of looking for the machine."""

    rate: ComputeRate | None
    """None: it stays unknown."""
    reason: str = RATE_UNKNOWN
    """Why, where it does."""
    init_s: float = 0.0
    """Age of the process at its first request, seconds, where that is billed."""
    meters: MeterSet | None = None
    """Meters that know the region, where it was found with the machine; their `compute` is the engine's."""


class Prepared(NamedTuple):
    """The meters of a process, and how to find the machine where resource and environment do not say it."""

    meters: MeterSet
    find_machine: Callable[[], MachineFound] | None = None
    """Takes up to two seconds; to be called once on the background thread."""


def make_meters(
    config: Config,
    book: PriceBook,
    resource: Mapping[str, Any],
    llm: LlmMeter,
    http: HttpApiMeter,
    around: Surroundings | None = None,
    custom: CustomMeter | None = None,
    plugins: PluginMeters | None = None,
    *,
    tell: bool = True,
) -> Prepared:
    """Make the meters of a process; asks nobody and reads no file.

    Args:
        config: Settings.

        book: Prices, with the overrides of the configuration.

        resource: Attributes of the process's resource: provider, region and machine are read from it.

        llm: Meter of LLM calls, made before the resource is known.

        http: Meter of third-party HTTP calls, likewise.

        around: Where the machine is looked for; this process's own surroundings by default.

        custom: Prices reported usage.

        plugins: Meters of third parties.

        tell: Log what the process runs on, or what to set.
    """
    around = Surroundings.real() if around is None else around
    machine = look(config, resource, around)
    custom = CustomMeter() if custom is None else custom
    meters = MeterSet(ComputePricing(), llm, http=http, custom=custom, plugins=plugins)
    assumed = not machine.spec and "compute" in config.assume
    if assumed or is_enough(config, machine):
        found = _priced(config, book, _assumed(machine) if assumed else machine, Limits())
        if tell:
            _tell(found)
        meters.compute.reprice = lambda: _priced(config, book, found.machine, Limits()).rate
        meters.compute.settle(
            found.rate, assumed=assumed, reason=found.reason, init_s=process_age_s() if _bills_init(found) else 0.0
        )
        return Prepared(_placed(config, book, resource, meters, machine))
    pending = ComputePricing(pending=True, bills_requests=bills_requests(machine))
    meters = _placed(config, book, resource, meters._replace(compute=pending), machine)

    def find_machine() -> MachineFound:
        init_s = process_age_s()
        closer, limits = look_closer(config, machine, around, resource)
        found = _priced(config, book, closer, limits)
        meters.compute.reprice = lambda: _priced(config, book, closer, limits).rate
        if tell:
            _tell(found)
        placed = _placed(config, book, resource, meters, closer) if closer.region != machine.region else None
        return MachineFound(found.rate, found.reason or RATE_UNKNOWN, init_s if _bills_init(found) else 0.0, placed)

    return Prepared(meters, find_machine)


def _assumed(machine: Machine) -> Machine:
    return Machine(machine.platform, ASSUMED_COMPUTE, region=machine.region)


def _priced(config: Config, book: PriceBook, machine: Machine, limits: Limits) -> Found:
    try:
        return priced(config, book, machine, limits)
    except ComputeSpecError as error:
        logger.warning("compute is not priced: %s", error)
        return Found(machine, None, RATE_UNKNOWN)


def _tell(found: Found) -> None:
    """Say in the log what the process runs on, or what to set."""
    machine = found.machine
    if not machine.spec:
        logger.warning(
            "compute is not priced, the machine is not known: set %s, for example to %s", names.ENV_COMPUTE, SYNTAX
        )
    elif found.reason == SHARE_UNKNOWN:
        logger.warning(
            "compute is not priced: %s runs other containers, too, and the part of this one is not known: set %s and "
            "%s by the Downward API, or %s",
            machine.spec,
            names.ENV_CPU_REQUEST,
            names.ENV_MEMORY_REQUEST,
            names.ENV_COMPUTE_SHARE,
        )
    elif machine.found_by != CONFIGURED:
        logger.info("compute: %s in %s, found by %s", machine.spec, machine.region or "?", machine.found_by)


def _bills_init(found: Found) -> bool:
    return found.rate is not None and found.rate.billing is not None and found.rate.billing.bills_init


def _placed(
    config: Config, book: PriceBook, resource: Mapping[str, Any], meters: MeterSet, machine: Machine
) -> MeterSet:
    """Return the meters with those whose prices depend on the region made for it."""
    region = machine.region
    region_assumed = not region and "region" in config.assume
    if region_assumed:
        region = ASSUMED_REGION
    provider = machine.provider
    if provider not in VENDORS and meters.compute.rate is not None:
        provider = meters.compute.rate.provider
    if provider not in VENDORS:
        provider = machine.spec.partition(":")[0]
    if provider not in VENDORS:
        provider = next((vendor for vendor in VENDORS if region in book.regions(vendor)), "")
    aws = AwsMeter(book, region)
    if not _AWS_LIBRARIES.isdisjoint(sys.modules):
        aws.load()
    egress = EgressMeter(
        book,
        provider,
        region,
        config.egress_clients,
        assumed_region=region_assumed,
        proxy=config.egress_proxy,
        rules=config.egress_rules,
        service=str(resource.get("service.name") or ""),
    )
    return meters._replace(aws=aws, egress=egress)
