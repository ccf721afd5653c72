"""Makes the alert of a transition: everything that people and channels are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spancost.amounts import usd
from spancost.budgets.alert import RESOLVED, Alert, Contributor
from spancost.budgets.evaluation import Reading
from spancost.budgets.rules import AnyRule, BudgetRule, RequestRule
from spancost.budgets.states import Event
from spancost.budgets.store import StateRecord
from spancost.window import Origin

_WARNING: Final = "warning"
_INFO: Final = "info"


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """What is known where a transition is seen."""

    rule: AnyRule
    key: str
    per: tuple[str, ...]
    reading: Reading
    origin: Origin
    scope: str
    """Whose money the store knows."""
    now: float
    contributors: tuple[Contributor, ...] = ()
    costliest: tuple[float, int] | None = None
    """USD and trace id of the costliest request."""


def alert_of(facts: AlertFacts, event: Event, after: StateRecord) -> Alert:
    """Return the alert that tells an event.

    Args:
        facts: What is known.

        event: What has happened.

        after: The state that follows.
    """
    rule, reading = facts.rule, facts.reading
    level = min(event.level, len(reading.thresholds))
    is_resolved = event.status == RESOLVED
    trace_usd, trace_id = facts.costliest or (0.0, 0)
    period = reading.period
    return Alert(
        # A rule that has eased from a breach to a warning may be breached again in the same episode.
        id=f"{event.episode}.{after.version}.{level}.{event.status}",
        episode=event.episode,
        status=event.status,
        rule=rule.name,
        kind=rule.kind,
        key=facts.key,
        per=facts.per,
        previous_state=event.before.state,
        state=after.state,
        severity=_severity(rule, reading, level),
        owner=rule.owner,
        labels=rule.labels,
        threshold=reading.thresholds[level - 1] if isinstance(rule, BudgetRule) and level else None,
        value=reading.value,
        limit=reading.limit if reading.limit != float("inf") else 0.0,
        spend_usd=reading.spend.usd,
        limit_usd=reading.limit_usd,
        ratio=reading.ratio,
        window=reading.window,
        window_start=None if period is None else float(period.start),
        window_end=None if period is None or period.end is None else float(period.end),
        estimated_usd=reading.spend.estimated_usd,
        unpriced=reading.spend.unpriced,
        is_incomplete=reading.seen.is_incomplete,
        contributors=facts.contributors,
        costliest_trace_id=f"{trace_id:032x}" if trace_id else "",
        costliest_trace_usd=trace_usd if trace_id else None,
        forecast_at=reading.forecast_at,
        service=facts.origin.service,
        environment=facts.origin.environment,
        scope=facts.scope,
        at=facts.now,
        summary=_summary(facts, event, is_resolved=is_resolved),
        runbook=rule.runbook,
        notify=rule.notify,
    )


def _severity(rule: AnyRule, reading: Reading, level: int) -> str:
    """Return the severity of a level: what comes before a breach is a warning at most."""
    if reading.severities:
        return reading.severities[max(0, level - 1)]
    if level < reading.seen.breach_level and rule.severity != _INFO:
        return _WARNING
    return rule.severity


def _summary(facts: AlertFacts, event: Event, *, is_resolved: bool) -> str:
    rule, reading = facts.rule, facts.reading
    name = f"{rule.name} ({facts.key})" if facts.key else rule.name
    if is_resolved:
        return f"{rule.kind.replace('_', ' ').capitalize()} {name} is well again: {_money(reading)}."
    if isinstance(rule, RequestRule):
        return f"A request of {name} has cost {usd(reading.value)}, more than {usd(reading.limit)}."
    if reading.explanation:
        return f"{rule.kind.replace('_', ' ').capitalize()} {name}: {reading.explanation}"
    text = f"Budget {name} is at {reading.ratio or 0.0:.0%}: {_money(reading)}."
    if reading.seen.is_incomplete:
        text += f" {reading.spend.unpriced} calls had no price, so the true spend is higher."
    return text


def _money(reading: Reading) -> str:
    spent = f"{usd(reading.spend.usd)} spent"
    if reading.limit_usd is not None:
        spent += f" of {usd(reading.limit_usd)}"
    return f"{spent} in {_window(reading.window)}" if reading.window else spent


def _window(window: str) -> str:
    if window in ("minute", "hour", "day", "week", "month"):
        return f"this {window}"
    return "total" if window == "total" else window.removeprefix("rolling ")
