"""Pages by the Events API v2 of PagerDuty: one incident for each episode, resolved by its end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from spancost.budgets.alert import RESOLVED, Alert
from spancost.budgets.notify import text
from spancost.budgets.notify.http_post import post
from spancost.budgets.notify.references import Reference, Value, read

URLS: Final = {
    "us": "https://events.pagerduty.com/v2/enqueue",
    "eu": "https://events.eu.pagerduty.com/v2/enqueue",
}
"""By region of the account."""
_SEVERITIES: Final = {"critical": "critical", "warning": "warning", "info": "info"}
_MAX_SUMMARY: Final = 1024
_MAX_KEY: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDutyChannel:
    """An integration of the type Events API v2."""

    routing_key: Reference
    url: Value = URLS["us"]

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Trigger or resolve; PagerDuty adds what has the same key to the same incident.

        Args:
            alert: What is told.

            timeout_s: Longest time.

        Raises:
            DeliveryError: It was not accepted.
        """
        body = json.dumps(event(alert, self.routing_key.read())).encode()
        post(read(self.url), body, {"Idempotency-Key": alert.id}, timeout_s=timeout_s)


def event(alert: Alert, routing_key: str) -> dict[str, Any]:
    """Return what is posted."""
    known: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if alert.status == RESOLVED else "trigger",
        "dedup_key": (alert.episode or alert.id)[:_MAX_KEY],
    }
    if alert.status == RESOLVED:
        return known
    known["payload"] = {
        "summary": text.title(alert)[:_MAX_SUMMARY],
        "source": alert.service or alert.rule,
        "severity": _SEVERITIES.get(alert.severity, "warning"),
        "timestamp": text.instant(alert.at),
        "component": alert.rule,
        "group": alert.owner or "spancost",
        "class": alert.kind,
        "custom_details": {
            "summary": text.summary(alert),
            **{fact.name: list(fact.lines) if len(fact.lines) > 1 else fact.value for fact in text.facts(alert)},
            "alert_id": alert.id,
        },
    }
    known["client"] = "spancost"
    if alert.runbook:
        known["links"] = [{"href": alert.runbook, "text": "Runbook"}]
    return known
