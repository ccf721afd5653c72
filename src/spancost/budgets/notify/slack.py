"""Tells a Slack channel by an incoming webhook: blocks, and a text for notifications and for clients without blocks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from spancost.budgets.alert import RESOLVED, Alert
from spancost.budgets.notify import text
from spancost.budgets.notify.http_post import post
from spancost.budgets.notify.references import Value, read

_MAX_HEADER: Final = 150
_MAX_FIELD: Final = 2000
_MAX_TEXT: Final = 3000
"""Characters that Slack takes."""
_SHORT: Final = frozenset(
    {"Spent", "Burn rate", "Expected", "Newest stretch", "One request", "Gone at", "Owner", "State"}
)
"""Facts that stand in two columns."""
_EMOJI: Final = {"critical": ":rotating_light:", "warning": ":warning:", "info": ":information_source:"}
_CALM: Final = ":white_check_mark:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackChannel:
    """An incoming webhook of Slack, or of a service that understands the same (Mattermost, Rocket.Chat)."""

    url: Value

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Post a message. Slack knows no repetitions: where its answer is lost, the message may stand there twice.

        Args:
            alert: What is told.

            timeout_s: Longest time.

        Raises:
            DeliveryError: It was not accepted.
        """
        body = json.dumps(message(alert)).encode()
        post(read(self.url), body, {"Idempotency-Key": alert.id}, timeout_s=timeout_s)


def message(alert: Alert) -> dict[str, Any]:
    """Return what is posted."""
    emoji = _CALM if alert.status == RESOLVED else _EMOJI.get(alert.severity, _EMOJI["warning"])
    heading = text.title(alert)
    facts = text.facts(alert)
    columns = [_field(fact) for fact in facts if fact.name in _SHORT]
    rest = [_field(fact, between=" ") for fact in facts if fact.name not in _SHORT]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(f"{emoji} {heading}", _MAX_HEADER)}},
        {"type": "section", "text": _markdown(_cut(_escaped(text.summary(alert)), _MAX_TEXT))},
        {"type": "section", "fields": [_markdown(column) for column in columns]},
        {"type": "context", "elements": [_markdown(_cut("\n".join(rest), _MAX_TEXT))]},
    ]
    return {"text": _cut(f"{emoji} {_escaped(heading)}\n{_escaped(text.summary(alert))}", _MAX_TEXT), "blocks": blocks}


def _field(fact: text.Fact, *, between: str = "\n") -> str:
    lines = [_escaped(line) for line in fact.lines]
    if len(lines) > 1:
        lines = ["", *(f"•  {line}" for line in lines)]
    return _cut(f"*{fact.name}*{between}" + "\n".join(lines), _MAX_FIELD)


def _markdown(said: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": said}


def _escaped(said: str) -> str:
    """Return text in which Slack sees no links, no mentions and no channels."""
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(said: str, length: int) -> str:
    return said if len(said) <= length else said[: length - 1] + "…"
