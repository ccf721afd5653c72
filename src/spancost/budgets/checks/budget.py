"""How much of a budget is spent, and which thresholds that reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

from spancost.amounts import usd
from spancost.budgets.checks import inputs
from spancost.budgets.checks.results import CheckResult, percent
from spancost.budgets.rules import DEFAULT_THRESHOLDS

ROUNDING: Final = 1e-12
"""Sums of binary fractions may miss a threshold by this part of it, and have still reached it."""
_MAX_THRESHOLD: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCheck(CheckResult):
    """How a spend stands to its limit."""

    kind: ClassVar[str] = "budget"

    spend_usd: float
    limit_usd: float
    ratio: float
    """spend / limit."""
    remaining_usd: float
    """What is left, never below 0."""
    level: int
    """How many of the thresholds are reached."""
    threshold: float | None
    """The highest of them; None: none is reached."""
    is_breached: bool
    """The limit itself is reached."""


def check_budget(spend_usd: float, limit_usd: float, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> BudgetCheck:
    """Compare what was spent with a limit.

    Args:
        spend_usd: Spent in the window, USD.

        limit_usd: At most so much, USD.

        thresholds: Parts of the limit, rising. One is reached when spend / limit is it or more.

    Raises:
        ValueError: A number is impossible, or the thresholds do not rise.
    """
    spend, limit = inputs.usd("spend_usd", spend_usd), inputs.limit("limit_usd", limit_usd)
    if not thresholds:
        raise ValueError("thresholds: () is not accepted: at least one part of the limit, such as 1.0")
    parts = [inputs.between(f"thresholds[{n}]", part, 0.0, _MAX_THRESHOLD) for n, part in enumerate(thresholds)]
    if any(after <= before for before, after in pairwise(parts)):
        raise ValueError(f"thresholds: {tuple(thresholds)!r} is not accepted: rising parts, such as (0.5, 0.8, 1.0)")
    ratio = spend / limit
    level = sum(is_reached(ratio, part) for part in parts)
    threshold = parts[level - 1] if level else None
    reached = f"reaches the threshold of {percent(threshold)}" if threshold else "no threshold is reached"
    return BudgetCheck(
        is_alarming=level > 0,
        explanation=f"{usd(spend)} of {usd(limit)} is spent ({percent(ratio)}): {reached}.",
        spend_usd=spend,
        limit_usd=limit,
        ratio=ratio,
        remaining_usd=max(0.0, limit - spend),
        level=level,
        threshold=threshold,
        is_breached=is_reached(ratio, 1.0),
    )


def is_reached(ratio: float, threshold: float) -> bool:
    """Return whether spend / limit has reached a threshold, in spite of the rounding of sums."""
    return ratio >= threshold * (1.0 - ROUNDING)
