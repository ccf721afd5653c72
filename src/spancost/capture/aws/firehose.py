"""What Firehose bills of a call: the size of each record."""

from __future__ import annotations

from spancost.capture.aws.records import drop_refused, note_records
from spancost.capture.aws.sizes import Facts, Params, note_name


def request(facts: Facts, operation: str, params: Params) -> None:
    note_name(facts, params.get("DeliveryStreamName"))
    if operation == "PutRecord":
        note_records(facts, (params["Record"].get("Data"),))
    elif operation == "PutRecordBatch":
        note_records(facts, (record.get("Data") for record in params["Records"]))


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "PutRecordBatch":
        drop_refused(facts, result.get("RequestResponses"))
