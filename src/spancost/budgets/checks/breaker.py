"""A circuit breaker over a budget: it opens at the limit, tries again after a while, and closes when money is back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Final

from spancost.budgets.checks import inputs
from spancost.budgets.checks.budget import is_reached
from spancost.budgets.checks.results import CheckResult, percent
from spancost.budgets.rules import CLOSED, OPEN

HALF_OPEN: Final = "half_open"
BREAKER_STATES: Final = (CLOSED, OPEN, HALF_OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """What is remembered of a breaker from one call to the next."""

    state: str = CLOSED
    """`closed` (calls pass), `open` (none does) or `half_open` (a few do)."""
    since: float = 0.0
    """When it was opened, or began to let a few through, Unix seconds."""
    probes: int = 0
    """Calls let through since then, half-open."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values that are valid JSON."""
        return asdict(self)


CLOSED_BREAKER: Final = Breaker()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerDecision(CheckResult):
    """Whether a call passes, and what is to be remembered."""

    kind: ClassVar[str] = "breaker"

    is_allowed: bool
    breaker: Breaker
    """To be given to the next call."""
    retry_after_s: float | None
    """When a refused call may be tried again, seconds; None if it is allowed."""


def evaluate_breaker(
    breaker: Breaker,
    *,
    ratio: float | None,
    now: float,
    open_at: float = 1.0,
    close_below: float = 0.95,
    open_for_s: float = 60.0,
    max_probes: int = 1,
    when_unavailable: str = OPEN,
) -> BreakerDecision:
    """Decide about a call, and what the breaker is after it.

    Closed, it opens when the ratio reaches `open_at`. Open, it refuses for `open_for_s`; then it looks again: it stays
    open if the ratio is still there, closes if that is below `close_below`, and between the two it is half-open and
    lets `max_probes` calls through in each `open_for_s`.

    Args:
        breaker: What the last decision gave; `CLOSED_BREAKER` at first.

        ratio: spend / limit; None: it cannot be known in time.

        now: Unix seconds. A clock that was set back does not prolong anything beyond `open_for_s`.

        open_at: Ratio at which it opens.

        close_below: Ratio below which it closes again, at most `open_at`.

        open_for_s: How long it refuses before it looks again, seconds.

        max_probes: Calls that pass half-open, in each `open_for_s`.

        when_unavailable: What happens without a ratio: `open` lets calls through (fail-open), `closed` refuses them
            (fail-closed). A breaker that is open refuses them for its time in both cases.

    Raises:
        ValueError: A number or a state is impossible.
    """
    inputs.one_of("breaker.state", breaker.state, BREAKER_STATES)
    since = inputs.moment("breaker.since", breaker.since)
    inputs.whole("breaker.probes", breaker.probes, 0)
    at = inputs.moment("now", now)
    known = None if ratio is None else inputs.number("ratio", ratio, 0.0, 1e24, "a ratio from 0, or None")
    opens = inputs.between("open_at", open_at, 0.0, 1e6)
    closes = inputs.between("close_below", close_below, 0.0, opens)
    period_s = inputs.seconds("open_for_s", open_for_s)
    most = inputs.whole("max_probes", max_probes, 1)
    inputs.one_of("when_unavailable", when_unavailable, (OPEN, CLOSED))

    left_s = 0.0 if breaker.state == CLOSED else min(period_s, period_s - (at - min(since, at)))
    if since > at:
        breaker = replace(breaker, since=at)
    if breaker.state == OPEN and left_s > 0:
        return _refused(breaker, left_s, "it was opened and looks again later")
    if known is None:
        if when_unavailable == OPEN:
            return _allowed(breaker, "what is spent cannot be known in time, and the choice is fail-open")
        return _refused(breaker, period_s, "what is spent cannot be known in time, and the choice is fail-closed")
    shown = percent(known)
    if is_reached(known, opens):
        return _refused(
            Breaker(state=OPEN, since=at), period_s, f"{shown} of the limit is spent; it opens at {percent(opens)}"
        )
    if breaker.state == CLOSED or known < closes:
        return _allowed(CLOSED_BREAKER, f"{shown} of the limit is spent")
    if breaker.state == OPEN or left_s <= 0:
        breaker, left_s = Breaker(state=HALF_OPEN, since=at), period_s
    if breaker.probes < most:
        tried = replace(breaker, probes=breaker.probes + 1)
        return _allowed(tried, f"{shown} of the limit is spent; call {tried.probes} of {most} that may try")
    return _refused(breaker, left_s, f"{shown} of the limit is spent, and {breaker.probes} of {most} calls have tried")


def _allowed(breaker: Breaker, why: str) -> BreakerDecision:
    return BreakerDecision(
        is_alarming=False,
        explanation=f"Allowed, {breaker.state}: {why}.",
        is_allowed=True,
        breaker=breaker,
        retry_after_s=None,
    )


def _refused(breaker: Breaker, retry_after_s: float, why: str) -> BreakerDecision:
    return BreakerDecision(
        is_alarming=True,
        explanation=f"Refused for {retry_after_s:.0f} s, {breaker.state}: {why}.",
        is_allowed=False,
        breaker=breaker,
        retry_after_s=retry_after_s,
    )
