"""The meters of one process, made from its configuration and resource. Knows nothing of the OpenTelemetry SDK."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from spancost import names
from spancost._guard import logger
from spancost.config import ASSUMED_COMPUTE, ASSUMED_REGION, Config
from spancost.meters import Meter
from spancost.meters.aws import AwsMeter
from spancost.meters.compute import ComputePricing
from spancost.meters.egress import EgressMeter
from spancost.meters.http_api import HttpApiMeter
from spancost.meters.llm import LlmMeter
from spancost.prices.book import PriceBook
from spancost.prices.compute import ComputeSpecError, compute_rate

_VENDORS: Final = ("aws", "gcp", "azure")
_AWS_LIBRARIES: Final = frozenset({"aiobotocore", "botocore"})


class MeterSet(NamedTuple):
    """The meters of one engine; None where a component is not metered."""

    compute: ComputePricing
    llm: LlmMeter | None = None
    aws: Meter | None = None
    egress: Meter | None = None
    http: Meter | None = None


def make_meters(
    config: Config, book: PriceBook, resource: Mapping[str, Any], llm: LlmMeter, http: HttpApiMeter
) -> MeterSet:
    """Make the meters of a process.

    Args:
        config: Settings.

        book: Prices, with the overrides of the configuration.

        resource: Attributes of the process's resource: provider, region and machine are read from it.

        llm: Meter of LLM calls, made before the resource is known.

        http: Meter of third-party HTTP calls, likewise.
    """
    region = config.region or _text(resource, "cloud.region")
    region_assumed = not region and "region" in config.assume
    if region_assumed:
        region = ASSUMED_REGION
    pricing = _compute(config, book, resource, region)
    provider = _text(resource, "cloud.provider")
    if provider not in _VENDORS:
        provider = pricing.rate.provider if pricing.rate is not None else ""
    if provider not in _VENDORS:
        provider = next((vendor for vendor in _VENDORS if region in book.regions(vendor)), "")
    aws = AwsMeter(book, region)
    if not _AWS_LIBRARIES.isdisjoint(sys.modules):
        aws.load()
    clients = "private" if config.egress_clients == "private" else "internet"
    return MeterSet(
        pricing,
        llm,
        aws,
        EgressMeter(book, provider, region, clients, assumed_region=region_assumed),
        http,
    )


def _compute(config: Config, book: PriceBook, resource: Mapping[str, Any], region: str) -> ComputePricing:
    provider, host_type = _text(resource, "cloud.provider"), _text(resource, "host.type")
    spec, assumed = config.compute, False
    if not spec and provider in _VENDORS and host_type:
        spec = f"{provider}:{host_type}"
    if not spec and "compute" in config.assume:
        spec, assumed = ASSUMED_COMPUTE, True
    if not spec:
        logger.warning(
            "compute is not priced, the machine is not known: set %s, for example aws:m6i.large or 0.096usd/h",
            names.ENV_COMPUTE,
        )
        return ComputePricing()
    try:
        return ComputePricing(compute_rate(spec, region or None, book), assumed=assumed)
    except ComputeSpecError as error:
        logger.warning("compute is not priced: %s", error)
        return ComputePricing()


def _text(resource: Mapping[str, Any], key: str) -> str:
    value = resource.get(key)
    return "" if value is None else str(value)
