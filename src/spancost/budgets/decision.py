"""The answer of a guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from spancost.errors import SpancostError

ALLOW: Final = "allow"
THROTTLE: Final = "throttle"
BLOCK: Final = "block"
ACTIONS: Final = (ALLOW, THROTTLE, BLOCK)

NO_BUDGET: Final = "no_budget"
WITHIN: Final = "within_budget"
COVERED: Final = "covered"
EXHAUSTED: Final = "exhausted"
TOO_LITTLE: Final = "too_little_left"
RESERVED: Final = "reserved"
NEAR_LIMIT: Final = "near_limit"
REQUEST_LIMIT: Final = "request_limit"
UNAVAILABLE: Final = "store_unavailable"
UNPRICED: Final = "unpriced"
BREACHED_RULE: Final = "breached"
REASONS: Final = {
    NO_BUDGET: "No budget is about this call.",
    WITHIN: "There is money left.",
    COVERED: "A guard around this one has reserved the money.",
    EXHAUSTED: "The budget is spent.",
    TOO_LITTLE: "What is left is less than the call may cost.",
    RESERVED: "What is left is reserved by calls that are still open.",
    NEAR_LIMIT: "The budget is nearly spent: the call is delayed.",
    REQUEST_LIMIT: "This request has cost as much as one may.",
    UNAVAILABLE: "The store of budgets could not be asked in time.",
    UNPRICED: "What the call may cost is not known, or something in the budget has no price.",
    BREACHED_RULE: "The rule is breached.",
}
"""Why a guard decides as it does, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a call may be made."""

    action: str = ALLOW
    """`ALLOW`, `THROTTLE` or `BLOCK`."""
    reason: str = NO_BUDGET
    """One of `REASONS`."""
    rule: str = ""
    """The rule that has decided; empty where none is about the call."""
    key: str = ""
    """Its key: the tenant, for example."""
    limit_usd: float | None = None
    spent_usd: float = 0.0
    """Of the rule's window, everybody's."""
    reserved_usd: float = 0.0
    """Reserved by other calls that are still open."""
    reserve_usd: float = 0.0
    """Reserved for this one."""
    delay_s: float = 0.0
    """How long a throttled call waits."""
    retry_after_s: float | None = None
    """When it is worth asking again, seconds from now; None: not in this window, which has no end."""

    @property
    def is_allowed(self) -> bool:
        """True if the call may be made, at once or after the delay."""
        return self.action != BLOCK

    @property
    def remaining_usd(self) -> float | None:
        """What is left of the limit; None where there is none."""
        return None if self.limit_usd is None else max(0.0, self.limit_usd - self.spent_usd - self.reserved_usd)

    @property
    def explanation(self) -> str:
        """One sentence for people, without secrets."""
        name = f"{self.rule} ({self.key})" if self.key else self.rule
        text = REASONS[self.reason]
        return f"{name}: {text}" if name else text

    def as_dict(self) -> Mapping[str, Any]:
        """Return it as plain values that are valid JSON."""
        return {**asdict(self), "remaining_usd": self.remaining_usd, "explanation": self.explanation}


class BudgetExceeded(SpancostError):
    """A guard has refused a call; `decision` says why and when to come again."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.explanation)
        self.decision = decision

    @property
    def retry_after_s(self) -> float | None:
        """When it is worth asking again, seconds from now; None: not in this window, which has no end."""
        return self.decision.retry_after_s


ALLOWED: Final = Decision()
"""What is said where there is nothing to guard."""
