"""What an alert says to people, written once; each channel only sets it in its own way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from spancost.amounts import share, times, usd
from spancost.budgets.alert import RESOLVED, Alert
from spancost.budgets.store import FLEET, MACHINE, PROCESS

_SCOPES: Final = {
    PROCESS: "process: only what one process has spent; others are not counted",
    MACHINE: "machine: all processes of one machine",
    FLEET: "fleet: all processes that share the store",
}
_KINDS: Final = {
    "budget": "Budget",
    "spike": "Spike",
    "burn_rate": "Burn rate",
    "forecast": "Forecast",
    "request": "Request cost",
}
_UTC: Final = "%Y-%m-%d %H:%M UTC"


class Fact(NamedTuple):
    """One thing to know about an alert."""

    name: str
    lines: tuple[str, ...]

    @property
    def value(self) -> str:
        """All of it as one line."""
        return "; ".join(self.lines)


def title(alert: Alert) -> str:
    """Return one short line: `BREACHED: Budget llm-monthly, tenant acme: $512.30 of $500.00 (102.5 %)`."""
    said = "RESOLVED" if alert.status == RESOLVED else alert.state.upper()
    test = "TEST, " if alert.is_test else ""
    return _line(f"{test}{said}: {subject(alert)}: {_figures(alert)}")


def subject(alert: Alert) -> str:
    """Return what an alert is about: `Budget llm-monthly, tenant acme`."""
    key = f", {', '.join(alert.per) or 'key'} {alert.key}" if alert.key else ""
    return _line(f"{_KINDS.get(alert.kind, alert.kind)} {alert.rule}{key}")


def summary(alert: Alert) -> str:
    """Return its sentence, and that it is a test where it is one."""
    sentence = _line(alert.summary)
    return f"This is a test. {sentence}" if alert.is_test else sentence


def facts(alert: Alert) -> list[Fact]:
    """Return all else there is to know, the most important first; what is not known is left out."""
    found: list[Fact] = []

    def add(name: str, *lines: str) -> None:
        kept = tuple(_line(line) for line in lines if line)
        if kept:
            found.append(Fact(name, kept))

    add("Spent", _spent(alert))
    add(*_compared(alert))
    if alert.forecast_at is not None:
        add("Gone at", _utc(alert.forecast_at))
    add("Window", _window(alert))
    if alert.threshold is not None:
        add("Threshold", f"{alert.threshold * 100:g} %")
    if alert.unpriced:
        calls = "1 call has" if alert.unpriced == 1 else f"{alert.unpriced:,} calls have"
        add("Unpriced", f"{calls} no price: the true spend is higher")
    elif alert.is_incomplete:
        add("Unpriced", "something had no price: the true spend may be higher")
    if alert.estimated_usd:
        part = share(alert.estimated_usd, alert.spend_usd)
        add("Estimated", f"{usd(alert.estimated_usd)}{f' ({part})' if part else ''} rests on an assumption")
    add("Most spent by", *(f"{usd(one.usd)}  {one.name}" for one in alert.contributors))
    if alert.costliest_trace_id:
        cost = "" if alert.costliest_trace_usd is None else f" ({usd(alert.costliest_trace_usd)})"
        add("Costliest trace", f"{alert.costliest_trace_id}{cost}")
    add("State", f"{alert.previous_state} → {alert.state}, severity {alert.severity}")
    add("Owner", alert.owner)
    add("Service", alert.service + (f" ({alert.environment})" if alert.environment else ""))
    add("Labels", ", ".join(f"{name}={value}" for name, value in alert.labels))
    add("Scope", _SCOPES.get(alert.scope, alert.scope))
    add("Seen at", _utc(alert.at))
    add("Runbook", alert.runbook)
    return found


def plain(alert: Alert) -> str:
    """Return all of it as plain text with aligned facts, for e-mail and terminals."""
    known = facts(alert)
    width = max((len(fact.name) for fact in known), default=0) + 2
    lines = [title(alert), "", summary(alert), ""]
    for fact in known:
        first, *more = fact.lines
        lines += [f"{fact.name + ':':<{width}}{first}", *(" " * width + line for line in more)]
    return "\n".join(lines) + "\n"


def log_line(alert: Alert) -> str:
    """Return it as one line for a log: what it says, and where to look."""
    told = [title(alert)]
    if alert.window:
        told.append(f"window {alert.window}")
    if alert.unpriced or alert.is_incomplete:
        told.append(f"{alert.unpriced} unpriced" if alert.unpriced else "incomplete")
    if alert.contributors:
        told.append(f"most by {alert.contributors[0].name} ({usd(alert.contributors[0].usd)})")
    if alert.costliest_trace_id:
        told.append(f"trace {alert.costliest_trace_id}")
    if alert.owner:
        told.append(f"owner {alert.owner}")
    told.append(f"scope {alert.scope}")
    return _line("; ".join(told))


def instant(unix_s: float) -> str:
    """Return a moment as RFC 3339 has it, UTC, with milliseconds."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _figures(alert: Alert) -> str:
    """Return the figure that matters, beside its limit."""
    if alert.kind == "burn_rate":
        return f"{times(alert.value)} times as fast as it lasts (limit {times(alert.limit)})"
    if alert.kind == "budget":
        return _spent(alert)
    if alert.kind == "forecast":
        return f"{usd(alert.value)} expected, limit {usd(alert.limit)}"
    return f"{usd(alert.value)}, limit {usd(alert.limit)}"


def _spent(alert: Alert) -> str:
    if alert.limit_usd is None:
        return usd(alert.spend_usd)
    part = share(alert.spend_usd, alert.limit_usd)
    return f"{usd(alert.spend_usd)} of {usd(alert.limit_usd)}" + (f" ({part})" if part else "")


def _compared(alert: Alert) -> tuple[str, str]:
    """Return what a rule compares, where it is not simply the spend."""
    if alert.kind == "burn_rate":
        return "Burn rate", _figures(alert)
    if alert.kind == "forecast":
        return "Expected", f"{usd(alert.value)} at the end of the window, limit {usd(alert.limit)}"
    if alert.kind == "spike":
        return "Newest stretch", f"{usd(alert.value)}, expected at most {usd(alert.limit)}"
    if alert.kind == "request":
        return "One request", f"{usd(alert.value)}, limit {usd(alert.limit)}"
    return "", ""


def _window(alert: Alert) -> str:
    if alert.window_start is None and alert.window_end is None:
        return alert.window
    since = "the beginning" if not alert.window_start else _utc(alert.window_start)
    until = "" if alert.window_end is None else f" to {_utc(alert.window_end)}"
    return f"{alert.window}, from {since}{until}" if alert.window else f"from {since}{until}"


def _utc(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime(_UTC)


def _line(text: str) -> str:
    """Return text as one line: values of a tenant or a route could break headers and logs."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split(" ")).strip()
