"""What a machine costs per second: from a specification such as `aws:m6i.large` to a rate.

    aws:m6i.large              EC2 on demand, Linux, shared tenancy
    gcp:e2-standard-2          Compute Engine on demand
    azure:D2s_v5               Azure VM, pay as you go, Linux (also `azure:Standard_D2s_v5`)
    fargate:1vcpu-2gb          and other platforms without machines: see `platforms.py`
    0.096usd/h                 any machine, your own price (per s, min, h, day, or month of 730 h)
    aws:m6i.large@0.05usd/h    list price from the book, and what you pay: spot, or a negotiated rate

Prices are USD list prices of the shipped book, with its overrides. A size that the book lacks is taken
from another size of the same family by the ratio of the two: on-demand prices are linear in size.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Final

from spancost.errors import suggest
from spancost.prices.book import PriceBook
from spancost.prices.machine_rate import REGION_FALLBACK, ComputeRate, ComputeSpecError, Part, combined, known
from spancost.prices.platforms import PLATFORMS, platform_rate

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
SYNTAX: Final = (
    "aws:m6i.large, gcp:e2-standard-2, azure:D2s_v5, fargate:1vcpu-2gb, lambda:512mb, apprunner:1vcpu-2gb, "
    "cloudrun:1vcpu-512mb, cloudrun-instance:1vcpu-512mb, containerapps:0.5vcpu-1gb, appservice:P1v3 or 0.096usd/h"
)
"""What is accepted, by example."""
_MACHINES: Final = {"aws": "aws.ec2.", "gcp": "gcp.gce.", "azure": "azure.vm."}

SIZE_RATIO: Final = "size_ratio"
__all__ = ["REGION_FALLBACK", "SIZE_RATIO", "SYNTAX", "ComputeRate", "ComputeSpecError", "compute_rate"]


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
    listed, negotiated, paid = text.partition("@")
    if negotiated:
        return _negotiated(spec, listed.strip(), paid.strip(), region, book, at)
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        return _plain_rate(spec, plain, region)
    kind, colon, name = text.partition(":")
    kind, name = kind.strip().lower(), name.strip()
    if not colon or not name:
        raise ComputeSpecError(f"compute {spec!r} is not understood: use {SYNTAX}")
    if kind in PLATFORMS:
        return platform_rate(spec, kind, name, region, book, at)
    prefix = _MACHINES.get(kind)
    if prefix is None:
        raise ComputeSpecError(f"compute {spec!r}: {kind!r}: {suggest(kind, (*_MACHINES, *PLATFORMS), limit=20)}")
    name = _azure_name(name) if kind == "azure" else name.lower()
    return _machine_rate(spec, kind, prefix, name, region, book, at)


def _negotiated(spec: str, listed: str, paid: str, region: str, book: PriceBook, at_ns: int) -> ComputeRate:
    plain = _PLAIN.fullmatch(paid)
    if plain is None or not listed or _PLAIN.fullmatch(listed) is not None:
        raise ComputeSpecError(f"compute {spec!r}: write a machine and what you pay as aws:m6i.large@0.05usd/h")
    rate = compute_rate(listed, region, book, at_ns)
    if rate.billing is not None:
        raise ComputeSpecError(f"compute {spec!r}: billed by request: set your own prices under `prices:` instead")
    own = _plain_rate(spec, plain, region)
    whole = rate.idle_usd_per_second == rate.usd_per_second
    return replace(
        rate,
        usd_per_second=own.usd_per_second,
        usd_per_hour=own.usd_per_hour,
        idle_usd_per_second=own.usd_per_second if whole else rate.idle_usd_per_second,
        source=own.source,
    )


def _plain_rate(spec: str, match: re.Match[str], region: str) -> ComputeRate:
    try:
        usd = Decimal(match["usd"])
    except InvalidOperation:
        usd = Decimal("NaN")
    if not math.isfinite(float(usd)):
        raise ComputeSpecError(f"compute {spec!r}: {match['usd']!r} is not a number: use {SYNTAX}")
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


def _machine_rate(
    spec: str, provider: str, prefix: str, name: str, region: str, book: PriceBook, at_ns: int
) -> ComputeRate:
    records = book.records(prefix + name)
    if records:
        rate = known(spec, book.price(prefix + name, region, at_ns))
        vcpu, memory = records[0].vcpu, records[0].memory_gib
        one = Part(rate, Decimal(1), Decimal(1))
        return combined((one,), provider=provider, sku=name, vcpu=vcpu, memory_gib=memory, is_machine=True)
    names = [price_id.removeprefix(prefix) for price_id in book.price_ids() if price_id.startswith(prefix)]
    sibling = _sibling(name, names)
    if sibling is None:
        shown = [other.removeprefix("Standard_") for other in names] if provider == "azure" else names
        hint = suggest(name.removeprefix("Standard_"), shown)
        raise ComputeSpecError(f"compute {spec!r}: no price for {name!r}: {hint}; or give a price: 0.096usd/h")
    sibling_name, ratio = sibling
    rate = known(spec, book.price(prefix + sibling_name, region, at_ns))
    record = book.records(prefix + sibling_name)[0]
    vcpu = None if record.vcpu is None else record.vcpu * ratio
    if vcpu is not None and provider == "aws" and name.startswith("t"):
        vcpu = max(vcpu, Decimal(2))  # burstable sizes below large have 2 vCPUs and a smaller share of them
    memory = None if record.memory_gib is None else record.memory_gib * ratio
    many = Part(rate, ratio, ratio)
    return combined(
        (many,), provider=provider, sku=name, vcpu=vcpu, memory_gib=memory, basis=SIZE_RATIO, is_machine=True
    )


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
