"""Price SNS requests, USD per request (aws.amazon.com/sns/pricing).

A publish to a standard topic is one request per started 64 KB of the call's payload, a batch of its messages
together; to a FIFO topic one request plus its payload per GB, at least 1 KB per message. Publishing to a mobile
endpoint adds one delivery. SMS prices depend on country and carrier and are unpriced unless overridden. Sizes come
from the hooks; without them the smallest is assumed.

Failed calls: throttled ones and 5xx answers are free; the price page does not speak of other refusals: they are
counted as one request, marked. Left out: deliveries to the subscribers of a topic, which the publisher cannot see
(to SQS and Lambda they are free; to HTTP, e-mail and Firehose the book has prices that no span is charged by), and
the scan of messages by data protection policies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import (
    GB,
    KB,
    NOT_BILLED,
    ONE_CHUNK,
    Call,
    Measure,
    Usage,
    chunks,
    failure,
    free,
    resource_of,
)

CHUNK_BYTES: Final = 64 * KB

_PUBLISH: Final = "aws.sns.standard.publish"
_OTHER: Final = "aws.sns.standard.other_api"
_FIFO_PUBLISH: Final = "aws.sns.fifo.publish"
_FIFO_PAYLOAD: Final = "aws.sns.fifo.publish_payload"
_MOBILE: Final = "aws.sns.delivery.mobile_push"
_SMS: Final = "aws.sns.sms"
_PUBLISHES: Final = frozenset({"Publish", "PublishBatch"})
_OTHER_OPERATIONS: Final = re.compile(
    r"(Get|List|Set|Create|Delete|Add|Remove|Tag|Untag|Subscribe|Unsubscribe|ConfirmSubscription|Check|Opt|Verify"
    r"|PutDataProtectionPolicy)[A-Za-z]*"
)


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if SNS has no such operation that we know."""
    if operation in _PUBLISHES:
        return _publish
    return _other if _OTHER_OPERATIONS.fullmatch(operation) is not None else None


def _publish(call: Call) -> Sequence[Usage]:
    destination = call.attributes.get("messaging.destination.name") or call.attributes.get("messaging.destination")
    sms = isinstance(destination, str) and destination.startswith("phone_number")
    if sms or call.facts.get(aws_facts.SMS):
        return free(basis=NOT_BILLED) if call.failed else (Usage(_SMS, 1.0),)
    topic = resource_of(call, "aws.sns.topic.arn", "messaging.destination.name", "messaging.destination")
    fifo = topic.endswith(".fifo")
    if call.failed:
        return failure(call, topic, _FIFO_PUBLISH if fifo else _PUBLISH)
    size = call.size(aws_facts.REQUEST_BYTES)
    if fifo:
        # The hook counts each message as 1 KB at least.
        payload, basis = (KB, "size:1_KB") if size is None else (size, "")
        return (Usage(_FIFO_PUBLISH, 1.0, topic), Usage(_FIFO_PAYLOAD, payload / GB, topic, basis))
    if call.facts.get(aws_facts.MOBILE_PUSH):
        return (Usage(_PUBLISH, 1.0, topic), Usage(_MOBILE, 1.0, topic))
    if size is None:
        return (Usage(_PUBLISH, 1.0, topic, ONE_CHUNK),)
    return (Usage(_PUBLISH, chunks(size, CHUNK_BYTES) if size == size else size, topic),)  # NaN stays NaN


def _other(call: Call) -> Sequence[Usage]:
    topic = resource_of(call, "aws.sns.topic.arn")
    return failure(call, topic, _OTHER) if call.failed else (Usage(_OTHER, 1.0, topic),)
