"""Price messages sent to WebSocket connections, USD per message (aws.amazon.com/api-gateway/pricing).

A message is billed per started 32 KB; one that is refused, or whose connection is gone, is not. Left out: messages
received and connection minutes, which the sender does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import KB, Call, Measure, Usage, failure, sized

MESSAGE_BYTES: Final = 32 * KB

_MESSAGE: Final = "aws.apigatewaymanagementapi.websocket.message"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _post if operation == "PostToConnection" else None


def _post(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    count, basis = sized(call.size(aws_facts.REQUEST_BYTES), MESSAGE_BYTES)
    return (Usage(_MESSAGE, count, basis=basis),)
