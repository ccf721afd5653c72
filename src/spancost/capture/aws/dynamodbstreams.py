"""Whose stream DynamoDB Streams bills a call for: the table's name stands in the stream's ARN."""

from __future__ import annotations

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params, table_name


def request(facts: Facts, operation: str, params: Params) -> None:
    # A shard iterator is the stream's ARN, then `|` and a position.
    arn = str(params.get("StreamArn") or params.get("ShardIterator", "")).partition("|")[0]
    if ":table/" in arn:
        facts[keys.RESOURCE] = table_name(arn).partition("/")[0][:256]
