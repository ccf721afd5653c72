"""An example of how Alertmanager may route these alerts: by owner and severity, and quiet where another says it all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spancost.budgets.prometheus.alerts import BREACHED_ALERT, BURN_RATE_ALERT, FAST, SLOW, WARNING_ALERT
from spancost.budgets.prometheus.files import as_yaml
from spancost.budgets.prometheus.selectors import quoted
from spancost.budgets.rules import SEVERITIES, AnyRule

_HEAD: Final = """\
# Made by `spancost rules alertmanager`: an example. Give the receivers what they are to do
# (https://prometheus.io/docs/alerting/latest/configuration/), or take the routes and inhibit_rules into your own file.
"""
PAGE: Final = "page"
TICKET: Final = "ticket"
OTHERS: Final = "others"
_SAME: Final = ("budget", "key")


def receiver_of(owner: str, what: str) -> str:
    """Return the name of an owner's receiver."""
    return f"{owner}: {what}"


def routes_yaml(rules: Sequence[AnyRule]) -> str:
    """Return a configuration of Alertmanager: for each owner what is critical pages, and the rest makes a ticket."""
    owners = sorted({rule.owner for rule in rules if rule.owner})
    document: dict[str, Any] = {
        "route": {
            "receiver": OTHERS,
            # One message for all keys of a rule that speak at once.
            "group_by": ["alertname", "owner", "budget"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "24h",
            "routes": [
                {
                    "matchers": [f"owner={quoted(owner)}", 'alertname=~"Spancost.*"'],
                    "receiver": receiver_of(owner, TICKET),
                    "routes": [
                        {"matchers": [f"severity={quoted(SEVERITIES[-1])}"], "receiver": receiver_of(owner, PAGE)}
                    ],
                }
                for owner in owners
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": [f"alertname={quoted(BURN_RATE_ALERT)}", f"burn={quoted(FAST)}"],
                "target_matchers": [f"alertname={quoted(BURN_RATE_ALERT)}", f"burn={quoted(SLOW)}"],
                "equal": list(_SAME),
            },
            {
                "source_matchers": [f"alertname={quoted(BREACHED_ALERT)}"],
                "target_matchers": [f"alertname={quoted(WARNING_ALERT)}"],
                "equal": list(_SAME),
            },
        ],
        "receivers": [
            *({"name": receiver_of(owner, what)} for owner in owners for what in (PAGE, TICKET)),
            {"name": OTHERS},
        ],
    }
    if not owners:
        del document["route"]["routes"]
    return _HEAD + as_yaml(document)
