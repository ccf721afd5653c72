"""Entries of a store's outbox: one for each alert and channel, so that each channel is told on its own."""

from __future__ import annotations

from collections.abc import Iterable

from spancost.budgets.alert import Alert
from spancost.budgets.store import OutboxEntry


def outbox_entries(alert: Alert, channels: Iterable[str]) -> list[OutboxEntry]:
    """Return what has to be delivered of an alert.

    Args:
        alert: Names the channels that are told, or none for all.

        channels: Names of those that are configured.
    """
    body = alert.as_json()
    return [OutboxEntry(f"{alert.id}:{name}", body) for name in channels if not alert.notify or name in alert.notify]


def channel_of(entry: OutboxEntry) -> str:
    """Return the name of the channel that an entry is for."""
    return entry.id.rpartition(":")[2]
