"""What CloudFront bills of a call: the number of paths to invalidate."""

from __future__ import annotations

from collections.abc import Sized
from typing import cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation.startswith("CreateInvalidation"):
        paths: Params = params["InvalidationBatch"]["Paths"]
        facts[keys.COUNT] = len(cast("Sized", paths.get("Items") or ()))
        distribution = params.get("DistributionId") or params.get("Id")
        if isinstance(distribution, str):
            facts[keys.RESOURCE] = distribution[:256]
