"""Whether a call may be made: allowed, delayed, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from spancost.amounts import usd
from spancost.budgets.checks import inputs
from spancost.budgets.checks.results import CheckResult, percent

ALLOW: Final = "allow"
THROTTLE: Final = "throttle"
BLOCK: Final = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecision(CheckResult):
    """What is to be done with a call."""

    kind: ClassVar[str] = "policy"

    action: str
    """`allow`, `throttle` or `block`."""
    ratio: float
    """Part of the limit that is spent and reserved, with this call."""
    delay_s: float
    """How long the call waits, seconds; 0 unless it is throttled."""
    retry_after_s: float | None
    """When a refused call may be tried again, seconds; None: it is not refused, or the window never ends."""


def evaluate_policy(
    spend_usd: float,
    limit_usd: float,
    *,
    reserve_usd: float = 0.0,
    throttle_from: float | None = None,
    throttle_delay_s: float = 1.0,
    ends_in_s: float | None = None,
) -> PolicyDecision:
    """Decide about a call before it is made.

    It is blocked if the limit is reached, or would be exceeded by its reserve. From `throttle_from` on it waits, the
    longer the nearer the limit is.

    Args:
        spend_usd: Spent and reserved by others in the window, USD.

        limit_usd: At most so much, USD.

        reserve_usd: The most that this call may cost, USD.

        throttle_from: Part of the limit from which calls wait, above 0 and below 1; None: never.

        throttle_delay_s: The longest such delay, reached at the limit, seconds.

        ends_in_s: Until the window ends, seconds; None: never.

    Raises:
        ValueError: A number is impossible.
    """
    spend, limit = inputs.usd("spend_usd", spend_usd), inputs.limit("limit_usd", limit_usd)
    reserve = inputs.usd("reserve_usd", reserve_usd)
    longest = inputs.seconds("throttle_delay_s", throttle_delay_s)
    ends = None if ends_in_s is None else inputs.number("ends_in_s", ends_in_s, 0.0, inputs.MAX_SECONDS, "seconds")
    begins = None if throttle_from is None else inputs.between("throttle_from", throttle_from, 0.0, 1.0)
    if begins == 1.0:
        raise ValueError(f"throttle_from: {throttle_from!r} is not accepted: a part above 0 and below 1")
    after = spend + reserve
    ratio = after / limit
    said = f"{usd(spend)} of {usd(limit)} is spent ({percent(spend / limit)})"
    if spend >= limit or after > limit:
        why = "the limit is reached" if spend >= limit else f"a reserve of {usd(reserve)} would exceed it"
        again = "" if ends is None else f"; a new window begins in {ends:.0f} s"
        return PolicyDecision(
            is_alarming=True,
            explanation=f"Blocked: {said}, {why}{again}.",
            action=BLOCK,
            ratio=ratio,
            delay_s=0.0,
            retry_after_s=ends,
        )
    delay_s = 0.0 if begins is None else longest * max(0.0, min(1.0, (ratio - begins) / (1.0 - begins)))
    is_slowed = delay_s > 0
    return PolicyDecision(
        is_alarming=is_slowed,
        explanation=f"Throttled by {delay_s:.3g} s: {said}." if is_slowed else f"Allowed: {said}.",
        action=THROTTLE if is_slowed else ALLOW,
        ratio=ratio,
        delay_s=delay_s,
        retry_after_s=None,
    )
