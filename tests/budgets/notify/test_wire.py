"""What each channel puts on the wire, seen by a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spancost.budgets.alert import alert_from_json
from spancost.budgets.notify import log
from spancost.budgets.notify.callback import register_callback
from spancost.budgets.notify.channels import open_channel, read_channel
from spancost.budgets.notify.pagerduty import PagerDutyChannel
from spancost.budgets.notify.references import Reference
from spancost.budgets.notify.sending import DeliveryError
from tests.budgets.notify.alerts import BREACH, MONTH, NOW, alert, resolved
from tests.support.alert_receiver import AlertReceiver, Reply, always


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with AlertReceiver() as started:
        yield started


def send(given: dict[str, Any], told: Any = BREACH) -> None:
    open_channel(read_channel("ops", given)).send(told, timeout_s=5.0)


def test_a_webhook_gets_all_of_it_with_its_key_and_signature(
    receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMAC_KEY", "s3cr3t")
    send({"type": "webhook", "url": f"{receiver.url}/in", "secret_env": "HMAC_KEY"})
    [posted] = receiver.seen
    assert alert_from_json(posted.body.decode()) == BREACH
    assert posted.path == "/in"
    assert posted.headers["idempotency-key"] == "a1f0.3"
    signature = hmac.new(b"s3cr3t", posted.body, hashlib.sha256).hexdigest()
    assert posted.headers["x-spancost-signature"] == f"sha256={signature}"
    assert b"s3cr3t" not in posted.body


def test_a_webhook_may_want_a_login(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "open-sesame")
    send({"type": "webhook", "url": receiver.url, "bearer_env": "WORD"})
    send({"type": "webhook", "url": receiver.url, "user": "me", "password_env": "WORD"})
    assert [posted.headers["authorization"] for posted in receiver.seen] == [
        "Bearer open-sesame",
        "Basic bWU6b3Blbi1zZXNhbWU=",
    ]


def test_a_secret_is_read_at_each_sending(receiver: AlertReceiver, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    channel = open_channel(read_channel("ops", {"type": "slack", "url_file": str(secret)}))
    with pytest.raises(DeliveryError, match="url: No such file") as raised:
        channel.send(BREACH, timeout_s=5.0)
    assert not raised.value.is_final, "it may be put there yet"
    for path in ("one", "two"):
        secret.write_text(f"{receiver.url}/{path}\n")
        channel.send(BREACH, timeout_s=5.0)
    assert [posted.path for posted in receiver.seen] == ["/one", "/two"]


@pytest.mark.parametrize("content", [b"", b" \n", b"SECRET\nSECRET\n", b"SECRET\xff", b"SEC\x00RET"])
def test_a_secret_that_is_none_is_not_shown(tmp_path: Path, content: bytes) -> None:
    secret = tmp_path / "key"
    secret.write_bytes(content)
    with pytest.raises(DeliveryError) as raised:
        Reference("file", str(secret)).read()
    assert "SECRET" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_slack_gets_a_message(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", f"{receiver.url}/services/T0/B0/XX")
    send({"type": "slack", "url_env": "SLACK_URL"})
    [posted] = receiver.seen
    said = json.loads(posted.body)
    assert posted.path == "/services/T0/B0/XX"
    assert [block["type"] for block in said["blocks"]] == ["header", "section", "section", "context"]
    assert said["text"].startswith(":rotating_light: BREACHED: Budget llm-monthly, tenant acme")


def test_pagerduty_gets_an_incident_and_its_end(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "R0UT1NG")
    channel = PagerDutyChannel(routing_key=Reference("env", "KEY"), url=f"{receiver.url}/v2/enqueue")
    receiver.reply = always(Reply(202))
    channel.send(BREACH, timeout_s=5.0)
    channel.send(resolved(), timeout_s=5.0)
    trigger, end = (json.loads(posted.body) for posted in receiver.seen)
    assert (trigger["event_action"], trigger["routing_key"], trigger["dedup_key"]) == ("trigger", "R0UT1NG", "a1f0")
    assert end == {"event_action": "resolve", "routing_key": "R0UT1NG", "dedup_key": "a1f0"}
    payload = trigger["payload"]
    assert payload["summary"] == "BREACHED: Budget llm-monthly, tenant acme: $512.30 of $500.00 (102.5 %)"
    assert (payload["source"], payload["severity"], payload["timestamp"]) == (
        "shop",
        "critical",
        "2026-11-22T00:00:00.000Z",
    )
    assert (payload["component"], payload["group"], payload["class"]) == ("llm-monthly", "search-team", "budget")
    assert payload["custom_details"]["Unpriced"] == "3 calls have no price: the true spend is higher"
    assert len(payload["custom_details"]["Most spent by"]) == 2
    assert trigger["links"] == [{"href": "https://runbooks.example.com/llm", "text": "Runbook"}]


def test_alertmanager_gets_labels_that_stay_the_same(receiver: AlertReceiver) -> None:
    given = {"type": "alertmanager", "url": f"{receiver.url}/", "hold": "48h"}
    send(given)
    send(given, alert(window_start=None, window_end=None, scope="process"))
    send(given, resolved(at=NOW + 60.0))
    first, rolling, over = (json.loads(posted.body) for posted in receiver.seen)
    assert receiver.seen[0].path == "/api/v2/alerts"
    [firing] = first
    labels = {
        "alertname": "SpancostBudget",
        "severity": "critical",
        "owner": "search-team",
        "budget": "llm-monthly",
        "key": "acme",
        "cost_center": "4711",
    }
    assert firing["labels"] == labels, "in a fleet another service may resolve it"
    assert firing["startsAt"] == "2026-11-22T00:00:00.000Z"
    assert MONTH[1] > NOW + 48 * 3600
    assert firing["endsAt"] == "2026-12-01T01:00:00.000Z", "an hour after its window"
    assert rolling[0]["endsAt"] == "2026-11-24T00:00:00.000Z"
    assert rolling[0]["labels"] == {**labels, "service": "shop", "environment": "production"}
    assert firing["annotations"]["runbook_url"] == "https://runbooks.example.com/llm"
    assert firing["annotations"]["summary"].startswith("BREACHED: Budget llm-monthly")
    assert "3 calls have no price" in firing["annotations"]["description"]
    assert [one["labels"]["severity"] for one in over] == ["info", "warning", "critical"]
    assert {one["endsAt"] for one in over} == {"2026-11-22T00:01:00.000Z"}
    assert over[2]["labels"] == labels


def test_labels_have_names_that_prometheus_takes(receiver: AlertReceiver) -> None:
    told = alert(labels=(("4th-floor", "yes"), ("cost.center", "4711"), ("severity", "mine")))
    send({"type": "alertmanager", "url": receiver.url}, told)
    labels = json.loads(receiver.seen[0].body)[0]["labels"]
    assert (labels["_4th_floor"], labels["cost_center"], labels["severity"]) == ("yes", "4711", "critical")


def test_a_callback_gets_the_alert() -> None:
    got: list[object] = []
    register_callback("told-in-a-test", got.append)
    send({"type": "callback", "function": "told-in-a-test"})
    assert got == [BREACH]


def test_a_callback_is_found_by_its_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_alerts_of_a_test.py").write_text(
        "class Told:\n    all = []\n    tell = all.append\n\ndef broken(alert):\n    raise RuntimeError('SECRET')\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    send({"type": "callback", "function": "my_alerts_of_a_test:Told.tell"})
    assert sys.modules["my_alerts_of_a_test"].Told.all == [BREACH]
    with pytest.raises(DeliveryError, match="raised RuntimeError") as raised:
        send({"type": "callback", "function": "my_alerts_of_a_test:broken"})
    assert (raised.value.is_final, "SECRET" in str(raised.value)) == (False, False)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nobody-registered-this", "no function is registered"),
        ("no_such_module_xyz:tell", "cannot be imported"),
        ("json:nothing", "cannot be imported"),
        ("math:pi", "is no function"),
    ],
)
def test_a_callback_that_is_not_there_is_tried_again(function: str, said: str) -> None:
    with pytest.raises(DeliveryError, match=said) as raised:
        send({"type": "callback", "function": function})
    assert not raised.value.is_final


def test_a_name_of_a_callback_has_no_colon() -> None:
    with pytest.raises(ValueError, match="without a colon"):
        register_callback("a:b", print)


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (BREACH, logging.ERROR),
        (alert(severity="warning", state="warning"), logging.WARNING),
        (alert(severity="info"), logging.INFO),
        (resolved(), logging.INFO),
    ],
)
def test_the_log_has_a_record_at_the_level_of_its_severity(
    told: Any, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, log.LOGGER)
    send({"type": "log"}, told)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("spancost.budgets", level)
    assert "llm-monthly" in record.getMessage()
    assert record.__dict__["spancost_alert"]["key"] == "acme"


def test_nothing_is_logged_below_the_level_that_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, log.LOGGER)
    send({"type": "log"}, resolved())
    assert caplog.records == []
