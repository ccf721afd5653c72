"""What platforms without machines cost: vCPUs and memory of a size, GB-seconds of a function, an App Service plan.

    fargate:1vcpu-2gb             Fargate Linux x86, per second (`fargate-arm:` for Graviton)
    lambda:512mb                  AWS Lambda x86: memory x billed duration in steps of 1 ms, and a fee a request
                                  (`lambda-arm:` for Graviton)
    apprunner:1vcpu-2gb           AWS App Runner: memory always, vCPUs while requests are open
    cloudrun:1vcpu-512mb          Cloud Run, billed by request: in steps of 100 ms while a request is open, and a fee
    cloudrun-instance:1vcpu-1gb   Cloud Run, billed by instance (CPU always allocated)
    containerapps:0.5vcpu-1gb     Azure Container Apps, consumption plan: a lower price while no request is open
    appservice:P1v3               Azure App Service plan on Linux (`appservice:P1v3.windows`)

Left out: free tiers, ephemeral storage above what is included, provisioned concurrency, request fees of Container
Apps (no checked price), Azure Functions (likewise), the minimum of one minute that Fargate and App Runner bill.
Sources: the price book's `aws.fargate`, `aws.lambda`, `aws.apprunner`, `gcp.cloudrun`, `azure.containerapps` and
`azure.appservice`; rounding: aws.amazon.com/lambda/pricing, cloud.google.com/run/pricing (checked 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from spancost.errors import suggest
from spancost.prices.book import PriceBook
from spancost.prices.machine_rate import ComputeRate, ComputeSpecError, Part, RequestBilling, combined, known

_SIZE: Final = re.compile(
    r"(?P<vcpu>\d{1,4}(\.\d{1,4})?)vcpu-(?P<memory>\d{1,6}(\.\d{1,4})?)(?P<unit>[mg])i?b", re.IGNORECASE
)
_MEMORY: Final = re.compile(r"(?P<memory>\d{1,6}(\.\d{1,4})?)(?P<unit>[mg])i?b", re.IGNORECASE)
_SECONDS_PER_HOUR: Final = Decimal(3600)
_LAMBDA_STEP_S: Final = 0.001
_CLOUD_RUN_STEP_S: Final = 0.1
_NONE: Final = Decimal(0)


def platform_rate(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    """Return what a platform of one of `PLATFORMS` costs in a size.

    Raises:
        ComputeSpecError: The size is wrong, or there is no price.
    """
    return PLATFORMS[kind](spec, kind, name, region, book, at_ns)


def _fargate(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    vcpu, memory = _size(spec, kind, name)
    prefix = "aws.fargate.arm" if kind.endswith("-arm") else "aws.fargate.x86"
    cpu_rate = known(spec, book.price(f"{prefix}.vcpu_hour", region, at_ns))
    memory_rate = known(spec, book.price(f"{prefix}.gb_hour", region, at_ns))
    parts = (Part(cpu_rate, vcpu, vcpu), Part(memory_rate, memory, memory))
    return combined(parts, provider="aws", sku=f"{kind}:{name.lower()}", vcpu=vcpu, memory_gib=memory)


def _app_runner(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    vcpu, memory = _size(spec, kind, name)
    cpu_rate = known(spec, book.price("aws.apprunner.vcpu_hour.active", region, at_ns))
    memory_rate = known(spec, book.price("aws.apprunner.gb_hour.provisioned", region, at_ns))
    parts = (Part(cpu_rate, vcpu, _NONE), Part(memory_rate, memory, memory))
    return combined(parts, provider="aws", sku=f"{kind}:{name.lower()}", vcpu=vcpu, memory_gib=memory)


def _lambda(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    match = _MEMORY.fullmatch(name)
    memory = _NONE if match is None else _gib(match)
    if not memory:
        raise ComputeSpecError(f"compute {spec!r}: write the function's memory as {kind}:512mb")
    chip = "arm" if kind.endswith("-arm") else "x86"
    rate = known(spec, book.price(f"aws.lambda.duration.{chip}", region, at_ns))
    billing = _billing(spec, "aws.lambda.invoke.request", region, book, at_ns, _LAMBDA_STEP_S, bills_init=True)
    part = Part(rate, memory * _SECONDS_PER_HOUR, _NONE)
    sku = f"{kind}:{name.lower()}"
    return combined((part,), provider="aws", sku=sku, vcpu=None, memory_gib=memory, billing=billing)


def _cloud_run(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    vcpu, memory = _size(spec, kind, name)
    tier = "tier2." if region in book.regions_of("gcp.cloudrun.tier2.request_billing.vcpu_hour") else ""
    prefix = f"gcp.cloudrun.{tier}request_billing"
    cpu_rate = known(spec, book.price(f"{prefix}.vcpu_hour", region, at_ns))
    memory_rate = known(spec, book.price(f"{prefix}.gib_hour", region, at_ns))
    billing = _billing(spec, "gcp.cloudrun.request", region, book, at_ns, _CLOUD_RUN_STEP_S)
    parts = (Part(cpu_rate, vcpu, _NONE), Part(memory_rate, memory, _NONE))
    sku = f"{kind}:{name.lower()}"
    return combined(parts, provider="gcp", sku=sku, vcpu=vcpu, memory_gib=memory, billing=billing)


def _cloud_run_instance(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    vcpu, memory = _size(spec, kind, name)
    cpu_rate = known(spec, book.price("gcp.cloudrun.instance_billing.vcpu_hour", region, at_ns))
    memory_rate = known(spec, book.price("gcp.cloudrun.instance_billing.gib_hour", region, at_ns))
    parts = (Part(cpu_rate, vcpu, vcpu), Part(memory_rate, memory, memory))
    return combined(parts, provider="gcp", sku=f"{kind}:{name.lower()}", vcpu=vcpu, memory_gib=memory)


def _container_apps(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    vcpu, memory = _size(spec, kind, name)
    parts: list[Part] = []
    for what, size in (("vcpu_hour", vcpu), ("gib_hour", memory)):
        prefix = f"azure.containerapps.consumption.{what}"
        parts.append(Part(known(spec, book.price(f"{prefix}.active", region, at_ns)), size, _NONE))
        parts.append(Part(known(spec, book.price(f"{prefix}.idle", region, at_ns)), _NONE, size))
    return combined(parts, provider="azure", sku=f"{kind}:{name.lower()}", vcpu=vcpu, memory_gib=memory)


def _app_service(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    prefix = "azure.appservice."
    plans = {price_id.removeprefix(prefix) for price_id in book.price_ids() if price_id.startswith(prefix)}
    wanted = name if "." in name else f"{name}.linux"
    plan = next((one for one in plans if one.lower() == wanted.lower()), None)
    if plan is None:
        shown = sorted(one.removesuffix(".linux") for one in plans)
        raise ComputeSpecError(f"compute {spec!r}: no price for plan {name!r}: {suggest(name, shown)}")
    rate = known(spec, book.price(prefix + plan, region, at_ns))
    record = book.records(prefix + plan)[0]
    one = Part(rate, Decimal(1), Decimal(1))
    sku = f"{kind}:{plan.removesuffix('.linux')}"
    return combined((one,), provider="azure", sku=sku, vcpu=record.vcpu, memory_gib=record.memory_gib)


_Pricing = Callable[[str, str, str, str, PriceBook, int], ComputeRate]
PLATFORMS: Final[dict[str, _Pricing]] = {
    "fargate": _fargate,
    "fargate-arm": _fargate,
    "lambda": _lambda,
    "lambda-arm": _lambda,
    "apprunner": _app_runner,
    "cloudrun": _cloud_run,
    "cloudrun-instance": _cloud_run_instance,
    "containerapps": _container_apps,
    "appservice": _app_service,
}
"""First word of a specification -> what works out its rate."""
REQUEST_BILLED: Final = frozenset({"lambda", "lambda-arm", "apprunner", "cloudrun", "containerapps"})
"""Those whose price depends on whether a request is open: what it uses of the CPU meanwhile makes no difference."""


def _billing(
    spec: str, fee_id: str, region: str, book: PriceBook, at_ns: int, step_s: float, *, bills_init: bool = False
) -> RequestBilling:
    fee = known(spec, book.price(fee_id, region, at_ns))
    return RequestBilling(step_s, fee.usd, fee.list_usd, fee.sku, fee.source, fee.region, bills_init)


def _size(spec: str, kind: str, name: str) -> tuple[Decimal, Decimal]:
    match = _SIZE.fullmatch(name)
    if match is None or not Decimal(match["vcpu"]):
        raise ComputeSpecError(f"compute {spec!r}: write vCPUs and memory as {kind}:1vcpu-2gb or {kind}:0.25vcpu-512mb")
    return Decimal(match["vcpu"]), _gib(match)


def _gib(match: re.Match[str]) -> Decimal:
    memory = Decimal(match["memory"])
    return memory / 1024 if match["unit"].lower() == "m" else memory
