"""What AWS IoT bills of a published message: its size."""

from __future__ import annotations

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params, body_bytes


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "Publish":
        size = body_bytes(params.get("payload", b""))
        if size is not None:
            facts[keys.REQUEST_BYTES] = size
