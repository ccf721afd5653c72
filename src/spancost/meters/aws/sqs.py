"""Price SQS requests, USD per request (aws.amazon.com/sqs/pricing).

Every API call is billed, empty receives and long polls too; a call is one request per started 64 KB of its payload,
so a batch of ten small messages is one. Bodies and message attributes are payload; system attributes (the trace
header) are not. FIFO queues (`.fifo`, high throughput or not) have their own rate for message operations; a message
group on a standard queue (fair queue) adds a surcharge to sends. Payload sizes come from the hooks; without them one
chunk is assumed. Entries of a batch that failed are part of a billed call.

Failed calls: throttled ones and 5xx answers are free; the price page does not speak of other refusals: they are
counted as one request, marked. Left out: volume tiers over 100 000 million requests a month, attributes of messages
that a receive did not ask for, the KMS calls of encrypted queues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import KB, ONE_CHUNK, Call, Measure, Usage, chunks, failure, resource_of

CHUNK_BYTES: Final = 64 * KB

_STANDARD: Final = "aws.sqs.standard"
_FIFO: Final = "aws.sqs.fifo"
_FAIR: Final = "aws.sqs.fair_queue_surcharge"
_SENDS: Final = frozenset({"SendMessage", "SendMessageBatch"})
_RECEIVES: Final = frozenset({"ReceiveMessage"})
_MESSAGE_OPERATIONS: Final = (
    _SENDS
    | _RECEIVES
    | {"DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch"}
)
_OTHER_OPERATIONS: Final = frozenset(
    {
        "AddPermission",
        "CancelMessageMoveTask",
        "CreateQueue",
        "DeleteQueue",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListDeadLetterSourceQueues",
        "ListMessageMoveTasks",
        "ListQueueTags",
        "ListQueues",
        "PurgeQueue",
        "RemovePermission",
        "SetQueueAttributes",
        "StartMessageMoveTask",
        "TagQueue",
        "UntagQueue",
    }
)


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if SQS has no such operation that we know."""
    if operation in _MESSAGE_OPERATIONS:
        return _messages
    return _other if operation in _OTHER_OPERATIONS else None


def _messages(call: Call) -> Sequence[Usage]:
    queue = resource_of(call, "messaging.destination", "messaging.destination.name", "aws.queue_url")
    fifo = queue.endswith(".fifo")
    price_id = _FIFO if fifo else _STANDARD
    if call.failed:
        return failure(call, queue, price_id)
    count, basis = _chunks(call)
    usages = [Usage(price_id, count, queue, basis)]
    if not fifo and call.operation in _SENDS and call.facts.get(aws_facts.FAIR_QUEUE):
        usages.append(Usage(_FAIR, count, queue, basis))
    return usages


def _other(call: Call) -> Sequence[Usage]:
    queue = resource_of(call, "messaging.destination", "messaging.destination.name", "aws.queue_url")
    return failure(call, queue, _STANDARD) if call.failed else (Usage(_STANDARD, 1.0, queue),)


def _chunks(call: Call) -> tuple[float, str]:
    """Return billed requests of a call, and what was assumed."""
    if call.operation in _SENDS:
        size = call.size(aws_facts.REQUEST_BYTES)
    elif call.operation in _RECEIVES:
        size = call.size(aws_facts.RESPONSE_BYTES)
    else:
        return 1.0, ""
    if size is None:
        return 1.0, ONE_CHUNK
    return (chunks(size, CHUNK_BYTES), "") if size == size else (size, "")  # NaN stays NaN: bad usage
