"""What API Gateway bills of a message to a WebSocket connection: its size."""

from __future__ import annotations

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params, body_bytes


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "PostToConnection":
        size = body_bytes(params.get("Data"))
        if size is not None:
            facts[keys.REQUEST_BYTES] = size
