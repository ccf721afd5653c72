"""What SQS bills of a call: payload of the messages, message groups."""

from __future__ import annotations

from collections.abc import Iterable

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params, attribute_bytes, note_messages, note_name, text_bytes


def request(facts: Facts, operation: str, params: Params) -> None:
    note_name(facts, params.get("QueueUrl") or params.get("QueueName"))
    entries: Iterable[Params]
    if operation == "SendMessage":
        entries = (params,)
    elif operation == "SendMessageBatch":
        entries = params["Entries"]
    else:
        return
    note_messages(facts, keys.REQUEST_BYTES, [_message_bytes(entry, "MessageBody") for entry in entries])
    if any(entry.get("MessageGroupId") for entry in entries):
        facts[keys.FAIR_QUEUE] = True


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "ReceiveMessage":
        messages: Iterable[Params] = result.get("Messages") or ()
        note_messages(facts, keys.RESPONSE_BYTES, [_message_bytes(message, "Body") for message in messages])


def _message_bytes(message: Params, body: str) -> int:
    return text_bytes(message.get(body, "")) + attribute_bytes(message.get("MessageAttributes"))
