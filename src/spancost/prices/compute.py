"""What a machine costs per second: from a specification such as `aws:m6i.large` to a rate.

    aws:m6i.large          EC2 on demand, Linux, shared tenancy
    gcp:e2-standard-2      Compute Engine on demand
    azure:D2s_v5           Azure VM, pay as you go, Linux (also `azure:Standard_D2s_v5`)
    fargate:1vcpu-2gb      Fargate Linux x86 (`fargate-arm:` for Graviton)
    0.096usd/h             any machine, your own price (per s, min, h, day, or month of 730 h)

Prices are USD list prices of the shipped book, with its overrides. A size that the book lacks is taken
from another size of the same family by the ratio of the two: on-demand prices are linear in size.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from spancost.errors import SpancostError, suggest
from spancost.prices.book import PriceBook, Rate, Unpriced

_SECONDS: Final = {
    "s": 1, "sec": 1, "second": 1,
    "min": 60, "minute": 60,
    "h": 3600, "hr": 3600, "hour": 3600,
    "d": 86_400, "day": 86_400,
    "mo": 730 * 3600, "month": 730 * 3600,
}  # fmt: skip
_EC2_UNITS: Final = {
    "nano": Decimal("0.0625"), "micro": Decimal("0.125"), "small": Decimal("0.25"), "medium": Decimal("0.5"),
    "large": Decimal(1), "xlarge": Decimal(2),
}  # fmt: skip
_PLAIN: Final = re.compile(
    r"(?P<usd>[-+]?[0-9.eE_-]*[0-9.])\s*(?P<currency>[A-Za-z$€]+)\s*(/|\s+per\s+)\s*(?P<per>\w+)"
)
_FARGATE: Final = re.compile(r"(?P<vcpu>\d+(\.\d+)?)vcpu-(?P<memory>\d+(\.\d+)?)gi?b", re.IGNORECASE)
_SYNTAX: Final = "use aws:m6i.large, gcp:e2-standard-2, azure:D2s_v5, fargate:1vcpu-2gb or 0.096usd/h"
_FARGATE_PRICES: Final = {"fargate": "aws.fargate.x86", "fargate-arm": "aws.fargate.arm"}

SIZE_RATIO: Final = "size_ratio"
REGION_FALLBACK: Final = "region_fallback"


class ComputeSpecError(SpancostError, ValueError):
    """A compute specification is wrong. The message says what is accepted."""


@dataclass(frozen=True, slots=True)
class ComputeRate:
    """What a machine costs."""

    usd_per_second: float
    """What it costs you."""
    usd_per_hour: Decimal
    list_usd_per_second: float
    list_usd_per_hour: Decimal
    vcpu: float | None
    """None for a plain price."""
    memory_gib: float | None
    region: str
    """Region that is charged; empty for a plain price without one."""
    provider: str
    """`aws`, `gcp`, `azure`, or `custom` for a plain price."""
    sku: str
    """As people call it: `m6i.large`, `fargate:1vcpu-2gb`, `0.096usd/h`."""
    source: str
    """`spancost:2026-09-06`, `override:<place>`, or `configured` for a plain price."""
    region_fallback: bool
    """The price is that of the provider's default region."""
    basis: str
    """What was assumed: `size_ratio`, `region_fallback`, both with a comma, or nothing."""


@dataclass(frozen=True, slots=True)
class _Size:
    """One size of a machine family; `units` is linear in price."""

    family: str
    units: Decimal


def compute_rate(spec: str, region: str | None, book: PriceBook, at_ns: int | None = None) -> ComputeRate:
    """Return what the machine called `spec` costs.

    Args:
        spec: Specification; see the module's docstring.

        region: Cloud region; None or empty takes the provider's default, marked `region_fallback`.

        book: Where prices are looked up.

        at_ns: Time for which the price is wanted, Unix nanoseconds; now if None.

    Raises:
        ComputeSpecError: The syntax is wrong, the machine is unknown, or the price is negative.
    """
    text = spec.strip()
    region = (region or "").strip()
    at = time.time_ns() if at_ns is None else at_ns
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        return _plain_rate(spec, plain, region)
    kind, colon, name = text.partition(":")
    kind, name = kind.strip().lower(), name.strip()
    if colon and name:
        if kind in _FARGATE_PRICES:
            return _fargate_rate(spec, kind, name, region, book, at)
        if kind == "aws":
            return _machine_rate(spec, "aws", "aws.ec2.", name.lower(), region, book, at)
        if kind == "gcp":
            return _machine_rate(spec, "gcp", "gcp.gce.", name.lower(), region, book, at)
        if kind == "azure":
            return _machine_rate(spec, "azure", "azure.vm.", _azure_name(name), region, book, at)
        raise ComputeSpecError(
            f"compute {spec!r}: {kind!r}: {suggest(kind, ('aws', 'gcp', 'azure', *_FARGATE_PRICES))}"
        )
    raise ComputeSpecError(f"compute {spec!r} is not understood: {_SYNTAX}")


def _plain_rate(spec: str, match: re.Match[str], region: str) -> ComputeRate:
    try:
        usd = Decimal(match["usd"])
    except InvalidOperation:
        usd = Decimal("NaN")
    if not math.isfinite(float(usd)):
        raise ComputeSpecError(f"compute {spec!r}: {match['usd']!r} is not a number: {_SYNTAX}")
    if match["currency"].lower() != "usd":
        raise ComputeSpecError(f"compute {spec!r}: currency {match['currency']!r} is not accepted: prices are in usd")
    seconds = _SECONDS.get(match["per"].lower())
    if seconds is None:
        raise ComputeSpecError(f"compute {spec!r}: unit {match['per']!r}: {suggest(match['per'], _SECONDS)}")
    if usd < 0:
        raise ComputeSpecError(f"compute {spec!r}: a price cannot be negative")
    per_hour = usd * 3600 / seconds
    per_second = float(usd / seconds)
    return ComputeRate(
        usd_per_second=per_second,
        usd_per_hour=per_hour,
        list_usd_per_second=per_second,
        list_usd_per_hour=per_hour,
        vcpu=None,
        memory_gib=None,
        region=region,
        provider="custom",
        sku=spec.strip(),
        source="configured",
        region_fallback=False,
        basis="",
    )


def _fargate_rate(spec: str, kind: str, name: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    match = _FARGATE.fullmatch(name)
    if match is None or not Decimal(match["vcpu"]):
        raise ComputeSpecError(f"compute {spec!r}: write vCPUs and memory as {kind}:1vcpu-2gb or {kind}:0.25vcpu-0.5gb")
    vcpu, memory = Decimal(match["vcpu"]), Decimal(match["memory"])
    cpu_rate = _known(spec, book.price(f"{_FARGATE_PRICES[kind]}.vcpu_hour", region, at_ns))
    memory_rate = _known(spec, book.price(f"{_FARGATE_PRICES[kind]}.gb_hour", region, at_ns))
    parts = ((cpu_rate, vcpu), (memory_rate, memory))
    return _rate(parts, provider="aws", sku=f"{kind}:{name.lower()}", vcpu=vcpu, memory_gib=memory, basis="")


def _machine_rate(
    spec: str, provider: str, prefix: str, name: str, region: str, book: PriceBook, at_ns: int
) -> ComputeRate:
    records = book.records(prefix + name)
    if records:
        rate = _known(spec, book.price(prefix + name, region, at_ns))
        vcpu, memory = records[0].vcpu, records[0].memory_gib
        return _rate(((rate, Decimal(1)),), provider=provider, sku=name, vcpu=vcpu, memory_gib=memory, basis="")
    names = [price_id.removeprefix(prefix) for price_id in book.price_ids() if price_id.startswith(prefix)]
    sibling = _sibling(name, names)
    if sibling is None:
        shown = [other.removeprefix("Standard_") for other in names] if provider == "azure" else names
        hint = suggest(name.removeprefix("Standard_"), shown)
        raise ComputeSpecError(f"compute {spec!r}: no price for {name!r}: {hint}; or give a price: 0.096usd/h")
    sibling_name, ratio = sibling
    rate = _known(spec, book.price(prefix + sibling_name, region, at_ns))
    record = book.records(prefix + sibling_name)[0]
    vcpu = None if record.vcpu is None else record.vcpu * ratio
    if vcpu is not None and provider == "aws" and name.startswith("t"):
        vcpu = max(vcpu, Decimal(2))  # burstable sizes below large have 2 vCPUs and a smaller share of them
    memory = None if record.memory_gib is None else record.memory_gib * ratio
    return _rate(((rate, ratio),), provider=provider, sku=name, vcpu=vcpu, memory_gib=memory, basis=SIZE_RATIO)


def _rate(
    parts: Sequence[tuple[Rate, Decimal]],
    *,
    provider: str,
    sku: str,
    vcpu: Decimal | None,
    memory_gib: Decimal | None,
    basis: str,
) -> ComputeRate:
    per_hour = sum((_usd(rate) * quantity for rate, quantity in parts), Decimal(0))
    list_per_hour = sum(((rate.price.usd or _usd(rate)) * quantity for rate, quantity in parts), Decimal(0))
    first = parts[0][0]
    fallback = any(rate.region_fallback for rate, _ in parts)
    return ComputeRate(
        usd_per_second=float(per_hour / 3600),
        usd_per_hour=per_hour,
        list_usd_per_second=float(list_per_hour / 3600),
        list_usd_per_hour=list_per_hour,
        vcpu=None if vcpu is None else float(vcpu),
        memory_gib=None if memory_gib is None else float(memory_gib),
        region=first.region,
        provider=provider,
        sku=sku,
        source=next((rate.source for rate, _ in parts if rate.override is not None), first.source),
        region_fallback=fallback,
        basis=",".join(filter(None, (basis, REGION_FALLBACK if fallback else ""))),
    )


def _usd(rate: Rate) -> Decimal:
    if rate.override is not None:
        return rate.override.usd
    return Decimal(repr(rate.usd)) if rate.price.usd is None else rate.price.usd


def _known(spec: str, rate: Rate | Unpriced) -> Rate:
    if isinstance(rate, Unpriced):
        raise ComputeSpecError(f"compute {spec!r}: no price at that time ({rate.reason})")
    return rate


def _azure_name(name: str) -> str:
    name = name if name.lower().startswith("standard_") else f"Standard_{name}"
    size = re.fullmatch(r"standard_([a-z]+)(\d+)([a-z]*)(_v\d+)?", name.lower())
    # Azure writes Standard_D2s_v5; people write d2s_v5.
    return name if size is None else f"Standard_{size[1].upper()}{size[2]}{size[3]}{size[4] or ''}"


def _size(name: str) -> _Size | None:
    """Split a machine name into its family and a size that is linear in price; None where there is no such size."""
    ec2 = re.fullmatch(r"([a-z][a-z0-9-]*)\.(?:(\d+)xlarge|(\w+))", name)
    if ec2 is not None:
        units = Decimal(2) * int(ec2[2]) if ec2[2] else _EC2_UNITS.get(ec2[3])
        return None if units is None else _Size(ec2[1], units)
    azure = re.fullmatch(r"Standard_([A-Z]+)(\d+)([a-z]*(?:_v\d+)?)", name)
    if azure is not None:
        # Burstable B sizes are not linear: their number does not tell their share of a core.
        return None if azure[1].startswith("B") else _Size(f"{azure[1]}#{azure[3]}", Decimal(azure[2]))
    gce = re.fullmatch(r"([a-z0-9]+-(?:standard|highmem|highcpu))-(\d+)", name)
    return None if gce is None else _Size(gce[1], Decimal(gce[2]))


def _sibling(name: str, names: Iterable[str]) -> tuple[str, Decimal] | None:
    """Return the priced size of the same family nearest to `name`, and how many of it make one `name`."""
    wanted = _size(name)
    if wanted is None or not wanted.units:
        return None
    best: tuple[float, str, Decimal] | None = None
    for other in names:
        size = _size(other)
        if size is not None and size.family == wanted.family:
            distance = abs(math.log(size.units / wanted.units))
            if best is None or distance < best[0]:
                best = (distance, other, wanted.units / size.units)
    return None if best is None else (best[1], best[2])
