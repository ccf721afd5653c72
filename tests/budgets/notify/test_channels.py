"""What an entry of `budgets.notify` may say, and what is said of one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.budgets.notify.alertmanager import AlertmanagerChannel
from spancost.budgets.notify.callback import CallbackChannel
from spancost.budgets.notify.channels import DEFAULT_CHANNEL, TYPES, open_channel, read_channel
from spancost.budgets.notify.email import EmailChannel
from spancost.budgets.notify.log import LogChannel
from spancost.budgets.notify.pagerduty import PagerDutyChannel
from spancost.budgets.notify.references import Reference
from spancost.budgets.notify.slack import SlackChannel
from spancost.budgets.notify.webhook import HttpAccess, WebhookChannel
from spancost.budgets.rules import Channel
from spancost.config.values import PartError

SLACK_URL = "https://hooks.slack.com/services/T000/B000/XXXXSECRETXXXX"
RIGHT: list[tuple[dict[str, Any], object]] = [
    ({"type": "log"}, LogChannel()),
    ({"type": "slack", "url_env": "SLACK_URL"}, SlackChannel(url=Reference("env", "SLACK_URL"))),
    (
        {"type": "webhook", "url": "https://in.example.com/alerts?team=4", "secret_file": "/run/secrets/hmac"},
        WebhookChannel(
            access=HttpAccess(url="https://in.example.com/alerts?team=4"), secret=Reference("file", "/run/secrets/hmac")
        ),
    ),
    (
        {"type": "pagerduty", "routing_key_file": "/run/secrets/pagerduty", "region": "eu"},
        PagerDutyChannel(
            routing_key=Reference("file", "/run/secrets/pagerduty"), url="https://events.eu.pagerduty.com/v2/enqueue"
        ),
    ),
    (
        {"type": "alertmanager", "url": "http://alertmanager:9093", "hold": "48h", "bearer_env": "AM_TOKEN"},
        AlertmanagerChannel(
            access=HttpAccess(url="http://alertmanager:9093", bearer=Reference("env", "AM_TOKEN")), hold_s=172_800.0
        ),
    ),
    (
        {
            "type": "email", "host": "smtp.example.com", "from": "spancost@example.com",
            "to": "a@example.com, b@example.com", "user": "spancost", "password_env": "SMTP_PASSWORD",
        },
        EmailChannel(
            host="smtp.example.com", port=587, sender="spancost@example.com",
            recipients=("a@example.com", "b@example.com"), user="spancost", password=Reference("env", "SMTP_PASSWORD"),
        ),
    ),
    (
        {"type": "email", "host": "mail", "from": "a@b.c", "to": ["d@e.f"], "tls": False},
        EmailChannel(host="mail", port=25, sender="a@b.c", recipients=("d@e.f",), tls="off"),
    ),
    ({"type": "callback", "function": "shop.alerts:tell"}, CallbackChannel(function="shop.alerts:tell")),
    ({"type": "callback", "function": "stop-import"}, CallbackChannel(function="stop-import")),
]  # fmt: skip


@pytest.mark.parametrize(("given", "opened"), RIGHT)
def test_an_entry_becomes_its_channel(given: dict[str, Any], opened: object) -> None:
    channel = read_channel("ops", given)
    assert (channel.name, channel.type) == ("ops", given["type"])
    assert open_channel(channel) == opened


def test_every_type_can_be_opened() -> None:
    assert {given["type"] for given, _ in RIGHT} == set(TYPES)
    assert open_channel(DEFAULT_CHANNEL) == LogChannel()
    with pytest.raises(ValueError, match="one of alertmanager"):
        open_channel(Channel(name="x", type="pigeon"))


@pytest.mark.parametrize(
    ("given", "part", "said"),
    [
        ({}, ".type", "a type: one of log, webhook, slack"),
        ({"type": "slak"}, ".type", "did you mean 'slack'?"),
        ({"type": ["slack"]}, ".type", "one of alertmanager"),
        ({"type": "slack"}, "", "a slack channel needs url_env or url_file"),
        ({"type": "webhook"}, "", "a webhook channel needs url, url_env or url_file"),
        ({"type": "pagerduty"}, "", "needs routing_key_env or routing_key_file"),
        ({"type": "email", "host": "m", "from": "a@b.c"}, "", "a email channel needs to"),
        ({"type": "slack", "url_evn": "X"}, ".url_evn", "unknown key of a slack channel: did you mean 'url_env'"),
        ({"type": "log", "level": "info"}, ".level", "unknown key of a log channel"),
        ({"type": "slack", "url": SLACK_URL}, ".url", "a secret is not written here: url_env or url_file"),
        ({"type": "slack", "url_env": SLACK_URL}, ".url_env", "the name of an environment variable"),
        ({"type": "slack", "url_file": SLACK_URL}, ".url_file", "the path of a file"),
        ({"type": "slack", "webhook": SLACK_URL}, ".webhook", "unknown key"),
        ({"type": "slack", "url_env": "A", "url_file": "/b"}, ".url_file", "one of url_env and url_file, not both"),
        ({"type": "pagerduty", "routing_key": "SECRET"}, ".routing_key", "routing_key_env or routing_key_file"),
        ({"type": "pagerduty", "routing_key_env": "A", "region": "mars"}, ".region", "one of us, eu"),
        ({"type": "webhook", "url": "https://me:SECRET@h.example.com/x"}, ".url", "without user and password"),
        ({"type": "webhook", "url": "https://h.example.com/x?token=SECRET"}, ".url", r"h.example.com: \?token="),
        (
            {"type": "webhook", "url": "https://h/x?a=SECRETSECRETSECRETSECRET"},
            ".url",
            "a URL with a token is a secret",
        ),
        ({"type": "webhook", "url": "SECRET.example.com"}, ".url", "https://HOST/PATH"),
        ({"type": "webhook", "url": "https://[SECRET"}, ".url", "https://HOST/PATH"),
        ({"type": "webhook", "url": "https://h/x", "secret": "SECRET"}, ".secret", "secret_env or secret_file"),
        ({"type": "webhook", "url": "https://h/x", "user": "me"}, "", "a user needs a password"),
        ({"type": "webhook", "url": "https://h/x", "password_env": "P"}, "", "a password needs a user"),
        (
            {"type": "webhook", "url": "https://h/x", "user": "me", "password_env": "P", "bearer_env": "B"},
            "",
            "not both",
        ),
        ({"type": "alertmanager", "url": "http://a:9093", "hold": "5m"}, ".hold", "an hour or more"),
        (
            {"type": "email", "host": "m", "from": "a@b.c", "to": ["d@e.f"], "tls": "maybe"},
            ".tls",
            "one of starttls, ssl, off",
        ),
        ({"type": "email", "host": "m", "from": "a@b.c", "to": "nobody"}, ".to", "an e-mail address"),
        ({"type": "email", "host": "m", "from": "a@b.c\nBcc: x@y.z", "to": "d@e.f"}, ".from", "an e-mail address"),
        ({"type": "email", "host": "m/x", "from": "a@b.c", "to": "d@e.f"}, ".host", "the name of a host"),
        ({"type": "email", "host": "m", "port": 0, "from": "a@b.c", "to": "d@e.f"}, ".port", "from 1 to 65535"),
        (
            {
                "type": "email",
                "host": "m",
                "from": "a@b.c",
                "to": "d@e.f",
                "tls": "off",
                "user": "me",
                "password_env": "P",
            },
            ".tls",
            "a password would travel in clear",
        ),
        ({"type": "callback", "function": "os.system('x')"}, ".function", "module:function"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_shown(given: dict[str, Any], part: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        read_channel("ops", given)
    error = raised.value
    assert isinstance(error, PartError)
    assert error.part == part
    assert "SECRET" not in str(error.value)
    assert "{" not in str(error.value), "the entry itself is not shown"
    assert "SECRET" not in str(error)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "x" * 65, "ä"])
def test_the_name_of_a_channel_is_part_of_an_id(name: str) -> None:
    with pytest.raises(ValueError, match="up to 64 letters"):
        read_channel(name, {"type": "log"})


def test_a_channel_says_nothing_of_its_settings() -> None:
    channel = read_channel("ops", {"type": "slack", "url_env": "SLACK_URL"})
    assert repr(channel) == "Channel(name='ops', type='slack')"
