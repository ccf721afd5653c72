"""Keys of the facts that the botocore hooks leave on a span and the AWS meters read.

Sizes, counts, flags and names of resources only.
"""

from __future__ import annotations

from typing import Final

SEEN: Final = "aws.seen"
"""True: the request hook ran, so that a fact that is absent was absent in the call."""
RESOURCE: Final = "aws.resource"
"""str: bucket, table, queue, topic or function name."""
REQUEST_BYTES: Final = "aws.request_bytes"
"""int: bytes sent that are billed or transferred: body, message payload."""
RESPONSE_BYTES: Final = "aws.response_bytes"
"""int: bytes received: body, message payload."""
MESSAGES: Final = "aws.messages"
"""int: messages in the call."""
RECORD_BYTES: Final = "aws.record_bytes"
"""list of int: bytes of each record, event or entry that is billed by itself."""
COUNT: Final = "aws.count"
"""int: things that are billed one by one: metrics, traces, paths."""
JOB: Final = "aws.job"
"""int: hash of the id of the job that is asked for."""
ERROR_CODE: Final = "aws.error_code"
"""str: error code of a failed call, such as `ConditionalCheckFailedException`."""
NOT_SENT: Final = "aws.not_sent"
"""True: the call failed before the service got it (bad parameters, no credentials, no connection)."""

STORAGE_CLASS: Final = "aws.s3.storage_class"
"""str: storage class of the object written or read; absent with `SEEN` means STANDARD, see `CLASS_UNKNOWN`."""
CLASS_UNKNOWN: Final = "aws.s3.class_unknown"
"""True: the storage class cannot be known from this call (a part of an upload begun elsewhere)."""
SOURCE_CLASS: Final = "aws.s3.source_class"
"""str: storage class of the object that is copied; absent where no answer has shown it."""
COPIED_BYTES: Final = "aws.s3.copied_bytes"
"""int: bytes that are copied within S3; absent where they are not known."""

FAIR_QUEUE: Final = "aws.sqs.fair_queue"
"""True: a message of the call has a group id (surcharge on standard queues)."""

SMS: Final = "aws.sns.sms"
"""True: published to a phone number."""
MOBILE_PUSH: Final = "aws.sns.mobile_push"
"""True: published to a mobile endpoint."""

INVOCATION_TYPE: Final = "aws.lambda.invocation_type"
"""str: `RequestResponse`, `Event` or `DryRun`."""
BILLED_MS: Final = "aws.lambda.billed_ms"
"""float: billed duration of the invoked function, milliseconds."""
MEMORY_MB: Final = "aws.lambda.memory_mb"
"""float: memory size of the invoked function, MiB."""

CAPACITY: Final = "aws.dynamodb.capacity"
"""dict of table name to consumed capacity units, as the service counted them."""
READ_CAPACITY: Final = "aws.dynamodb.read_capacity"
"""dict of table name to the read units among those in `CAPACITY`; absent where the service does not tell them apart."""
ITEM_BYTES: Final = "aws.dynamodb.item_bytes"
"""dict of table name to list of item sizes in bytes, one entry per item that is billed by itself."""
ASSUMED: Final = "aws.dynamodb.assumed"
"""str: what the sizes in `ITEM_BYTES` assume; absent where they were measured."""
CONSISTENT: Final = "aws.dynamodb.consistent"
"""frozenset of table names read with strong consistency."""
WRITES: Final = "aws.dynamodb.writes"
"""bool: whether the PartiQL statements of the call write; absent where that is not known."""
