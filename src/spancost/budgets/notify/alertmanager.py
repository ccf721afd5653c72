"""Tells Alertmanager by its API v2, so that its routes, silences and inhibitions hold for budgets too.

Alertmanager ends by itself what was not posted again within its `resolve_timeout` (5 minutes), unless the alert says
when it ends. A budget is told once, not every minute: each alert says an end that lies far enough, and the alert that
resolves it an end that is now. Should nobody be left to resolve it, it goes away at that far end.

The labels are what Alertmanager knows an alert by, so they hold nothing that changes within an episode but the
severity. What resolves is therefore posted for every severity: what was never firing is nothing new to Alertmanager.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from spancost.budgets.alert import RESOLVED, Alert
from spancost.budgets.notify import text
from spancost.budgets.notify.http_post import post
from spancost.budgets.notify.references import read
from spancost.budgets.notify.webhook import HttpAccess
from spancost.budgets.rules import SEVERITIES
from spancost.budgets.store import PROCESS

PATH: Final = "/api/v2/alerts"
DEFAULT_HOLD_S: Final = 7 * 86_400.0
_AFTER_WINDOW_S: Final = 3600.0
_NOT_IN_LABELS: Final = re.compile(r"[^a-zA-Z0-9_]")
_NAMES: Final = {
    "budget": "SpancostBudget",
    "spike": "SpancostSpike",
    "burn_rate": "SpancostBurnRate",
    "forecast": "SpancostForecast",
    "request": "SpancostRequestCost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerChannel:
    """One Alertmanager, or the address of its cluster."""

    access: HttpAccess
    """The URL is the one of its page: `http://alertmanager:9093`."""
    hold_s: float = DEFAULT_HOLD_S
    """How long an alert stays that nobody resolves, seconds; at least until its window ends."""

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Post an alert; posted again it is the same one.

        Args:
            alert: What is told.

            timeout_s: Longest time.

        Raises:
            DeliveryError: It was not accepted.
        """
        post(
            read(self.access.url).rstrip("/") + PATH,
            json.dumps(alerts(alert, self.hold_s)).encode(),
            {"Idempotency-Key": alert.id, **self.access.headers()},
            timeout_s=timeout_s,
            needs_https=self.access.has_secrets,
            ca_file=self.access.ca_file,
        )


def alerts(alert: Alert, hold_s: float = DEFAULT_HOLD_S) -> list[dict[str, Any]]:
    """Return what is posted."""
    if alert.status == RESOLVED:
        return [_alert(alert, severity, alert.at) for severity in SEVERITIES]
    ends_at = alert.at + hold_s
    if alert.window_end is not None:
        ends_at = max(ends_at, alert.window_end + _AFTER_WINDOW_S)
    return [_alert(alert, alert.severity, ends_at)]


def _alert(alert: Alert, severity: str, ends_at: float) -> dict[str, Any]:
    annotations = {
        "summary": text.title(alert),
        "description": "\n".join([text.summary(alert), *(f"{fact.name}: {fact.value}" for fact in text.facts(alert))]),
        "runbook_url": alert.runbook,
    }
    plain: dict[str, Any] = {
        "labels": _labels(alert, severity),
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": text.instant(alert.at),
        "endsAt": text.instant(ends_at),
    }
    if alert.runbook.startswith(("http://", "https://")):
        plain["generatorURL"] = alert.runbook
    return plain


def _labels(alert: Alert, severity: str) -> dict[str, str]:
    labels = {_NOT_IN_LABELS.sub("_", name): value for name, value in alert.labels}
    labels = {f"_{name}" if name[:1].isdigit() else name: value for name, value in labels.items()}
    labels |= {
        "alertname": _NAMES.get(alert.kind, "Spancost"),
        "severity": severity,
        "owner": alert.owner,
        "budget": alert.rule,
        "key": alert.key,
        # Where processes of several services share a store, another one may resolve what this one has told.
        "service": alert.service if alert.scope == PROCESS else "",
        "environment": alert.environment if alert.scope == PROCESS else "",
        "test": "true" if alert.is_test else "",
    }
    return {name: value for name, value in labels.items() if value}
