"""Spans of AWS calls as the botocore instrumentation makes them, for table tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from spancost.capture.aws import facts as aws_facts
from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.aws import AwsMeter
from spancost.prices.book import PriceBook

KB = 1024
GB = 2**30
NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
METER = AwsMeter(PriceBook.shipped())


def view(
    service: str,
    operation: str,
    *,
    status: int = 200,
    region: str = "us-east-1",
    start_ns: int = NOW_NS,
    facts: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
) -> SpanView:
    """A span; `facts=None` means that no hook ran, `status=0` that there was no answer."""
    base: dict[str, Any] = {"rpc.system": "aws-api", "rpc.service": service, "rpc.method": operation}
    if region:
        base["cloud.region"] = region
    if status:
        base["http.status_code"] = status
    base.update(attributes or {})
    seen = {} if facts is None else {aws_facts.SEEN: True, **facts}
    failed = status == 0 or status >= 400
    return SpanView(f"{service}.{operation}", CLIENT, "botocore", base, start_ns, start_ns + 1, seen, failed)


def charges(service: str, operation: str, meter: AwsMeter = METER, **arguments: Any) -> Sequence[Charge]:
    return meter.measure(view(service, operation, **arguments))


def charge(service: str, operation: str, meter: AwsMeter = METER, **arguments: Any) -> Charge:
    (only,) = charges(service, operation, meter, **arguments)
    return only


def known(charge: Charge) -> tuple[str, str, str]:
    """How the price is known: status, reason, basis."""
    return charge.line.status, charge.line.reason, charge.line.basis
