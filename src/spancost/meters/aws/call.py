"""What the AWS service modules share: the call they look at, and the usages they return."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from spancost.capture.aws import facts as facts_keys

GB: Final = float(2**30)
"""AWS bills a GB as 2^30 bytes."""
KB: Final = 1024

_TOO_MUCH: Final = 2.0**63
"""No size and no count is this large."""

ONE_UNIT: Final = "size:1_unit"
ONE_CHUNK: Final = "size:1_chunk"

BAD_USAGE: Final = "bad_usage"
NO_ANSWER: Final = "no_answer"
NO_USAGE: Final = "no_usage"
UNKNOWN_OPERATION: Final = "unknown_operation"
UNKNOWN_SERVICE: Final = "unknown_service"
USAGE_COMES_LATER: Final = "usage_comes_later"
"""A call that starts work: a later answer tells how much, and is charged."""

NOT_BILLED: Final = "not_billed:error"
FAILED_REQUEST: Final = "failed_request"
RETRIED: Final = "retried"

THROTTLES: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "SlowDown",
    }
)
"""Error codes of calls that the service refused to do."""


class Call(NamedTuple):
    """One API call, as a service module sees it."""

    operation: str
    """`PutItem`"""
    attributes: Mapping[str, Any]
    facts: Mapping[str, Any]
    """What our hooks saw; empty for stored spans."""
    http_status: int
    """0 if there was no answer."""
    failed: bool
    """The service answered with an error."""

    @property
    def seen(self) -> bool:
        """Whether our hooks saw the call."""
        return facts_keys.SEEN in self.facts

    def size(self, key: str) -> float | None:
        """Return a size or count from the facts; None if absent, NaN if it is no number zero or more."""
        value = self.facts.get(key)
        return None if value is None else number(value)


class Usage(NamedTuple):
    """Some quantity of one price; or, without a price, what is known instead."""

    price_id: str
    """Empty if there is nothing to price: then `reason` or `free` says what."""
    quantity: float = 1.0
    resource: str = ""
    basis: str = ""
    """What was assumed; makes the charge `estimated`."""
    reason: str = ""
    """Why it is unpriced."""
    free: bool = False
    unit: str = "request"
    """Unit of an unpriced or free quantity; a priced one has its price's unit."""


Usages: TypeAlias = Sequence[Usage]
Measure: TypeAlias = Callable[[Call], Usages]

FREE: Final[Usages] = (Usage("", free=True),)


def unpriced(reason: str, resource: str = "", quantity: float = 1.0, unit: str = "request") -> Usages:
    """Return one usage without a price."""
    return (Usage("", quantity, resource=resource, reason=reason, unit=unit),)


def free(resource: str = "", basis: str = "") -> Usages:
    """Return one usage that costs nothing."""
    return (Usage("", resource=resource, basis=basis, free=True),)


def refused(call: Call) -> bool:
    """Return whether the service did not do a failed call: an answer of 5xx, or a throttled call."""
    status = call.http_status
    return status >= 500 or status == 429 or call.facts.get(facts_keys.ERROR_CODE) in THROTTLES


def failure(call: Call, resource: str = "", price_id: str = "") -> Usages:
    """Return what a failed call costs by the rule that most services share.

    A service that bills work or data bills none for a call that failed: give no `price_id`. A service that bills
    requests does not bill throttled calls and answers of 5xx; its price page is silent on other refused requests
    (no such key, access denied): they are counted, marked.
    """
    if not price_id or refused(call):
        return free(resource, NOT_BILLED)
    return (Usage(price_id, resource=resource, basis=FAILED_REQUEST),)


def number(value: object) -> float:
    """Return `value` as a number zero or more; NaN if it is none (text, a negative number, 2^63 or more)."""
    if type(value) is float or type(value) is int:  # not bool
        return float(value) if 0 <= value < _TOO_MUCH else math.nan
    return math.nan


def text(value: object) -> str:
    """Return a name from an attribute, cut at 256 characters; empty if it is no string."""
    return value[:256] if isinstance(value, str) else ""


def resource_of(call: Call, *attributes: str) -> str:
    """Return the resource name from the facts, else the last part of the first attribute that is set."""
    named = call.facts.get(facts_keys.RESOURCE)
    if named:
        return text(named)
    for key in attributes:
        value = text(call.attributes.get(key))
        if value:
            return last_part(value)
    return ""


def last_part(name: str) -> str:
    """Return the name at the end of a URL or ARN."""
    return name.rstrip("/").rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def sized(size_bytes: float | None, chunk_bytes: int) -> tuple[float, str]:
    """Return how many chunks are billed for a payload, and what was assumed: one chunk where its size is unknown."""
    if size_bytes is None:
        return 1.0, ONE_CHUNK
    return (size_bytes if math.isnan(size_bytes) else chunks(size_bytes, chunk_bytes)), ""


def record_chunks(call: Call, chunk_bytes: int) -> float | None:
    """Return the billed chunks of all records of a call, each rounded up by itself.

    None if their sizes are not known, NaN if a size is no number zero or more.
    """
    sizes = call.facts.get(facts_keys.RECORD_BYTES)
    if sizes is None:
        return None
    if not isinstance(sizes, list):
        return math.nan
    total = 0
    for value in cast("list[object]", sizes):
        size = number(value)
        if math.isnan(size):
            return math.nan
        total += chunks(size, chunk_bytes)
    return float(total)


def chunks(size_bytes: float, chunk_bytes: int) -> int:
    """Return how many chunks are billed for a payload; an empty one is one chunk."""
    return max(1, math.ceil(size_bytes / chunk_bytes))
