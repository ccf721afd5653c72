"""Alerts in a real Alertmanager."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from spancost.budgets.notify.channels import open_channel, read_channel
from tests.budgets.notify.alerts import alert, resolved
from tests.support.alert_receiver import AlertReceiver
from tests.support.alertmanager_server import AlertmanagerServer

pytestmark = pytest.mark.e2e


def test_an_alert_is_shown_once_though_it_was_sent_twice_and_ends_when_it_is_resolved(tmp_path: Path) -> None:
    with AlertReceiver() as told, AlertmanagerServer(tmp_path, webhook=f"{told.url}/am") as server:
        channel = open_channel(read_channel("am", {"type": "alertmanager", "url": server.url}))
        now = time.time()
        breach = alert(at=now - 30.0, window_start=now - 3600.0, window_end=now + 3600.0)
        channel.send(breach, timeout_s=5.0)
        channel.send(breach, timeout_s=5.0)
        [shown] = server.wait_for(bool)
        assert shown["labels"]["budget"] == "llm-monthly"
        assert shown["labels"]["severity"] == "critical"
        assert shown["status"]["state"] == "active"
        assert shown["annotations"]["runbook_url"] == "https://runbooks.example.com/llm"
        told.wait_for(lambda: len(told.seen) >= 1, "the notification of the breach")
        channel.send(resolved(at=now), timeout_s=5.0)
        server.wait_for(lambda alerts: not alerts)
        told.wait_for(lambda: _statuses(told) == ["firing", "resolved"], "firing and then resolved")


def test_a_warning_and_its_breach_end_together_and_others_stay(tmp_path: Path) -> None:
    with AlertmanagerServer(tmp_path) as server:
        channel = open_channel(read_channel("am", {"type": "alertmanager", "url": server.url}))
        now = time.time()
        channel.send(alert(id="a1f0.2", severity="warning", state="warning", at=now - 60.0), timeout_s=5.0)
        channel.send(alert(at=now - 30.0), timeout_s=5.0)
        channel.send(alert(id="b.1", episode="b", key="globex", at=now - 30.0), timeout_s=5.0)
        server.wait_for(lambda alerts: len(alerts) == 3)
        channel.send(resolved(at=now), timeout_s=5.0)
        [left] = server.wait_for(lambda alerts: len(alerts) == 1)
        assert left["labels"]["key"] == "globex"


def _statuses(told: AlertReceiver) -> list[str]:
    return [json.loads(posted.body)["status"] for posted in told.seen]
