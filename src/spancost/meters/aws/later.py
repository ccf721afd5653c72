"""Calls that start work, and the answers that tell its size: what the modules of such services share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from spancost.capture.aws import work
from spancost.meters.aws.call import (
    FREE,
    NO_USAGE,
    USAGE_COMES_LATER,
    Call,
    Measure,
    Usage,
    failure,
    number,
    resource_of,
    unpriced,
)

STARTED_ELSEWHERE: Final = "job:started_elsewhere"
DURATION_NOT_SEEN: Final = "duration_not_seen"
"""Billed by the time that something runs, which no answer tells."""
SIZE_NOT_SEEN: Final = "size_not_seen"
"""Billed by the size of data that no call carries."""
MODEL_CALLS_NOT_SEEN: Final = "model_calls_not_seen"
"""Billed by tokens of models that the service calls by itself."""


def start(call: Call) -> Sequence[Usage]:
    """Measure a call that starts work which a later answer charges; one that fails starts none."""
    resource = resource_of(call)
    return failure(call, resource) if call.failed else unpriced(USAGE_COMES_LATER, resource)


def finished(call: Call, charge: Callable[[float, str], Sequence[Usage]]) -> Sequence[Usage]:
    """Measure an answer that may be the first to show finished work.

    Args:
        call: The call.

        charge: Makes usages of an amount (NaN if it is no number zero or more), and of what was assumed.
    """
    if call.failed:
        return FREE
    amounts = call.facts.get(work.AMOUNTS)
    if amounts is None:
        return unpriced(NO_USAGE)
    if not amounts:
        return FREE
    basis = STARTED_ELSEWHERE if work.ELSEWHERE in call.facts else ""
    return [usage for amount in amounts for usage in charge(number(amount), basis)]


def never_seen(reason: str) -> Measure:
    """Return what measures calls that cost money by something which no call and no answer shows."""

    def measure(call: Call) -> Sequence[Usage]:
        resource = resource_of(call)
        return failure(call, resource) if call.failed else unpriced(reason, resource)

    return measure
