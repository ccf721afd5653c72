"""Price invalidations of CloudFront, USD per path (aws.amazon.com/cloudfront/pricing).

Each path of an invalidation counts, a wildcard as one; the first 1 000 of a month are free, which the list price
leaves out of account. Refused calls are not billed. Left out: requests and bytes that CloudFront serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import Call, Measure, Usage, failure, resource_of

_PATH: Final = "aws.cloudfront.invalidation"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _invalidate if operation in ("CreateInvalidation", "CreateInvalidationForDistributionTenant") else None


def _invalidate(call: Call) -> Sequence[Usage]:
    distribution = resource_of(call)
    if call.failed:
        return failure(call, distribution)
    count = call.size(aws_facts.COUNT)
    return (Usage(_PATH, 1.0, distribution, "paths:1"),) if count is None else (Usage(_PATH, count, distribution),)
