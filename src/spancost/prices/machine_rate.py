"""What a second of a machine costs: the value that a specification such as `aws:m6i.large` is turned into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

from spancost.charge import joined_basis
from spancost.errors import SpancostError
from spancost.prices.book import Rate, Unpriced

REGION_FALLBACK: Final = "region_fallback"


class ComputeSpecError(SpancostError, ValueError):
    """A compute specification is wrong. The message says what is accepted."""


@dataclass(frozen=True, slots=True)
class RequestBilling:
    """How a platform bills that charges for requests instead of for machines that are up."""

    step_s: float
    """A billed period is rounded up to a multiple of this, seconds."""
    fee_usd: float
    """What a request costs you beside its time."""
    fee_list_usd: float
    fee_sku: str
    fee_source: str
    fee_region: str
    bills_init: bool = False
    """The start of the process is part of its first billed period (AWS Lambda since 2025-08-01)."""


@dataclass(frozen=True, slots=True)
class ComputeRate:
    """What a machine costs."""

    usd_per_second: float
    """What it costs you while it works."""
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
    """What was assumed: `size_ratio`, `region_fallback`, ..., with commas, or nothing."""
    idle_usd_per_second: float | None = None
    """What it costs you while no request is open; None: as much as while it works."""
    idle_list_usd_per_second: float | None = None
    billing: RequestBilling | None = None
    """None where the machine is billed as long as it is up."""
    is_machine: bool = False
    """A whole machine, which containers may share; else what is billed is already the process's own."""
    valid_until_ns: int = 2**63 - 1
    """From when another price or discount holds, Unix nanoseconds."""


class Part(NamedTuple):
    """One line of a machine's price."""

    rate: Rate
    quantity: Decimal
    """Units of the rate in an hour."""
    idle_quantity: Decimal
    """The same while no request is open."""


def combined(
    parts: Sequence[Part],
    *,
    provider: str,
    sku: str,
    vcpu: Decimal | None,
    memory_gib: Decimal | None,
    basis: str = "",
    billing: RequestBilling | None = None,
    is_machine: bool = False,
) -> ComputeRate:
    """Return the rate that the lines of a machine's price add up to."""
    per_hour = sum((part.rate.paid * part.quantity for part in parts), Decimal(0))
    list_per_hour = sum((part.rate.listed * part.quantity for part in parts), Decimal(0))
    idle_per_hour = sum((part.rate.paid * part.idle_quantity for part in parts), Decimal(0))
    idle_list_per_hour = sum((part.rate.listed * part.idle_quantity for part in parts), Decimal(0))
    first = parts[0].rate
    fallback = any(part.rate.region_fallback for part in parts if part.quantity or part.idle_quantity)
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
        source=next((part.rate.source for part in parts if part.rate.override is not None), first.source),
        region_fallback=fallback,
        basis=joined_basis(basis, REGION_FALLBACK if fallback else ""),
        idle_usd_per_second=float(idle_per_hour / 3600),
        idle_list_usd_per_second=float(idle_list_per_hour / 3600),
        billing=billing,
        is_machine=is_machine,
        valid_until_ns=min(part.rate.valid_until_ns for part in parts),
    )


def scaled(rate: ComputeRate, share: float, basis: str, vcpu: float | None = None) -> ComputeRate:
    """Return the rate of a part of a machine.

    Args:
        rate: The machine.

        share: 0..1.

        basis: What was assumed about the share; empty if it is known.

        vcpu: vCPUs that it is taken for; None: as many as the share says.
    """
    part = Decimal(repr(share))
    idle, idle_list = rate.idle_usd_per_second, rate.idle_list_usd_per_second
    return replace(
        rate,
        usd_per_second=rate.usd_per_second * share,
        usd_per_hour=rate.usd_per_hour * part,
        list_usd_per_second=rate.list_usd_per_second * share,
        list_usd_per_hour=rate.list_usd_per_hour * part,
        idle_usd_per_second=None if idle is None else idle * share,
        idle_list_usd_per_second=None if idle_list is None else idle_list * share,
        vcpu=rate.vcpu * share if vcpu is None and rate.vcpu is not None else vcpu,
        basis=joined_basis(rate.basis, basis),
        is_machine=False,
    )


def known(spec: str, rate: Rate | Unpriced) -> Rate:
    """Return a rate.

    Raises:
        ComputeSpecError: There is none.
    """
    if isinstance(rate, Unpriced):
        raise ComputeSpecError(f"compute {spec!r}: no price at that time ({rate.reason})")
    return rate
