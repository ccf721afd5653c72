"""Price messages published to AWS IoT, USD per 5 KB message (aws.amazon.com/iot-core/pricing).

A message is billed per started 5 KB of its payload; refused ones are not. Left out: deliveries to subscribers,
rules, connection minutes, device shadows (the book has no price for them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import KB, Call, Measure, Usage, failure, sized

MESSAGE_BYTES: Final = 5 * KB

_PUBLISH: Final = "aws.iot-data.publish"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _publish if operation == "Publish" else None


def _publish(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    count, basis = sized(call.size(aws_facts.REQUEST_BYTES), MESSAGE_BYTES)
    return (Usage(_PUBLISH, count, basis=basis),)
