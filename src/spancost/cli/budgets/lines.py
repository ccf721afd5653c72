"""How one key of a budget rule stands, the same whatever it was read from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from spancost.budgets.evaluation import Reading
from spancost.budgets.rules import AnyRule, BudgetRule, RequestRule
from spancost.budgets.states import step
from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING, StateRecord
from spancost.cost_changes import known_usd

_WEIGHTS: Final = {BREACHED: 3, WARNING: 2, RECOVERING: 1, OK: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One key of a rule at a moment. Amounts are USD, times Unix seconds."""

    rule: str
    kind: str
    """`budget`, `spike`, `burn_rate`, `forecast` or `request`; empty where only metrics are known."""
    key: str
    state: str
    """One of `store.STATES`."""
    level: int = 0
    """Thresholds that are reached, or not given up yet."""
    is_incomplete: bool = False
    """Something in it had no price: the true spend is higher."""
    spend_usd: float | None
    """None where it is not known: of single requests, and where all that was seen had no price."""
    limit_usd: float | None = None
    thresholds: tuple[float, ...] = ()
    """Of a budget: parts of the limit at which it speaks."""
    told: float | None = None
    """The highest of them that was told in this period."""
    severity: str = ""
    """Of its present level; empty where that is not known."""
    value: float | None = None
    """What the rule compares, where it is not the spend: a burn rate, an expected spend."""
    limit: float | None = None
    """What that is compared with."""
    window: str = ""
    window_start: float | None = None
    window_end: float | None = None
    estimated_usd: float | None = None
    reserved_usd: float = 0.0
    """Held by guards whose calls are not over."""
    unpriced: int | None = None
    """Calls without a price."""
    calls: int | None = None
    burn_rates: tuple[tuple[str, float], ...] = ()
    """By pair of windows: `1h/5m`."""
    forecast_usd: float | None = None
    """Expected at the end of the window."""
    forecast_at: float | None = None
    """When the budget will be gone."""
    explanation: str = ""
    owner: str = ""

    @property
    def ratio(self) -> float | None:
        """Spend over limit."""
        if self.spend_usd is None or not self.limit_usd:
            return None
        return self.spend_usd / self.limit_usd

    @property
    def name(self) -> str:
        """Rule and key as one text, on one line."""
        return shown(f"{self.rule} ({self.key})" if self.key else self.rule)

    @property
    def state_text(self) -> str:
        """The state; what is incomplete is never a plain `ok`."""
        return f"{self.state}, incomplete" if self.is_incomplete else self.state

    def document(self) -> dict[str, Any]:
        """Return it as plain values that are valid JSON."""
        return {
            "rule": self.rule,
            "key": self.key,
            "kind": self.kind,
            "state": self.state,
            "incomplete": self.is_incomplete,
            "level": self.level,
            "told": self.told,
            "window": self.window,
            "window_start": self.window_start,
            "window_end": self.window_end,
            "spend_usd": self.spend_usd,
            "limit_usd": self.limit_usd,
            "ratio": self.ratio,
            "value": self.value,
            "limit": self.limit,
            "estimated_usd": self.estimated_usd,
            "reserved_usd": self.reserved_usd,
            "unpriced": self.unpriced,
            "calls": self.calls,
            "forecast_usd": self.forecast_usd,
            "forecast_at": self.forecast_at,
            "burn_rates": dict(self.burn_rates),
            "explanation": self.explanation,
            "owner": self.owner,
        }


def line_of(rule: AnyRule, record: StateRecord, reading: Reading, now: float) -> BudgetLine:
    """Return how a key stands now: its stored state, and what follows from what is read.

    Args:
        rule: The rule.

        record: Its stored state; one of version 0 where there is none.

        reading: What is read of it.

        now: Unix seconds.
    """
    after = record
    if not isinstance(rule, RequestRule):  # what single requests have cost is not read
        after = step(record, reading.seen, now, cooldown_s=rule.cooldown_s, episode="").record
    is_present = record.level and record.period_start == reading.seen.period_start
    is_compared = rule.kind in ("burn_rate", "forecast")
    is_single = isinstance(rule, RequestRule)
    period, spend = reading.period, reading.spend
    level = min(after.level, len(reading.thresholds))
    spend_usd = None if is_single else known_usd(spend.usd, spend.unpriced)
    is_known = spend_usd is not None
    return BudgetLine(
        rule=rule.name,
        kind=rule.kind,
        key=record.key,
        state=after.state,
        level=after.level,
        is_incomplete=reading.seen.is_incomplete,
        spend_usd=spend_usd,
        limit_usd=reading.limit_usd,
        thresholds=rule.thresholds if isinstance(rule, BudgetRule) else (),
        told=reading.thresholds[min(record.level, len(reading.thresholds)) - 1]
        if is_present and isinstance(rule, BudgetRule)
        else None,
        severity=reading.severities[max(0, level - 1)] if reading.severities else rule.severity,
        value=reading.value if is_compared and is_known else None,
        limit=reading.limit if is_compared else None,
        window="one request" if is_single else reading.window,
        window_start=None if period is None else float(period.start),
        window_end=None if period is None or period.end is None else float(period.end),
        estimated_usd=None if is_single else spend.estimated_usd,
        unpriced=None if is_single else spend.unpriced,
        calls=None if is_single else spend.calls,
        burn_rates=reading.burn_rates if is_known else (),
        forecast_usd=reading.forecast_usd if is_known else None,
        forecast_at=reading.forecast_at,
        explanation=reading.explanation,
        owner=rule.owner,
    )


def by_urgency(lines: Iterable[BudgetLine]) -> list[BudgetLine]:
    """Return lines with the most urgent first: by state, then what is incomplete, then by the part that is spent."""
    return sorted(lines, key=lambda line: (-_WEIGHTS[line.state], not line.is_incomplete, -(line.ratio or 0.0)))


def with_reserved(lines: Sequence[BudgetLine], reserved: dict[tuple[str, str], float]) -> list[BudgetLine]:
    """Return lines with what guards hold of them.

    Args:
        lines: Of any rules.

        reserved: USD by rule and key.
    """
    return [replace(line, reserved_usd=reserved.get((line.rule, line.key), 0.0)) for line in lines]


def shown(text: str) -> str:
    """Return text without what could break a line or a terminal: keys are values of tenants and routes."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
