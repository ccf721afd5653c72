"""Price reads of DynamoDB streams, USD per streams read request unit (aws.amazon.com/dynamodb/pricing/on-demand).

A `GetRecords` call returns up to 1 MB and is one unit, also if it returns nothing; a refused one is not billed.
Left out: reads by Lambda triggers, which are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.meters.aws.call import Call, Measure, Usage, failure, resource_of

_READ: Final = "aws.dynamodbstreams.streams.read"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _get_records if operation == "GetRecords" else None


def _get_records(call: Call) -> Sequence[Usage]:
    table = resource_of(call)
    return failure(call, table) if call.failed else (Usage(_READ, 1.0, table),)
