"""What SNS bills of a call: payload of the messages, kind of destination."""

from __future__ import annotations

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import KB, Facts, Params, attribute_bytes, note_messages, note_name, text_bytes


def request(facts: Facts, operation: str, params: Params) -> None:
    arn = params.get("TopicArn") or params.get("TargetArn")
    if isinstance(arn, str):
        if ":endpoint/" in arn:
            facts[keys.MOBILE_PUSH] = True  # the endpoint's own name stands for a person's device
            facts[keys.RESOURCE] = arn.split(":endpoint/", 1)[1].rpartition("/")[0][:256]
        else:
            note_name(facts, arn)
    if operation == "Publish":
        if params.get("PhoneNumber"):
            facts[keys.SMS] = True
        sizes = [_message_bytes(params)]
    elif operation == "PublishBatch":
        sizes = [_message_bytes(entry) for entry in params["PublishBatchRequestEntries"]]
    else:
        return
    if isinstance(arn, str) and arn.endswith(".fifo"):
        sizes = [max(KB, size) for size in sizes]
    note_messages(facts, keys.REQUEST_BYTES, sizes)


def _message_bytes(message: Params) -> int:
    return text_bytes(message.get("Message", "")) + attribute_bytes(message.get("MessageAttributes"))
