from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.budget_shop import Ask, ask, folder
from tests.support.alert_receiver import AlertReceiver, Reply, always

__all__ = ["ask", "folder"]

_TELL = "from pathlib import Path\n\ndef tell(alert):\n    Path('told').write_text(alert.rule)\n"
SECRET = "T00-B00-XYZ"
RULES = """\
budgets:
  store: sqlite:budgets.sqlite
  notify:
    ops: {type: slack, url_env: SLACK_URL}
    hook: {type: webhook, url_env: HOOK_URL}
    pager: {type: pagerduty, routing_key_env: PAGER_KEY}
    mail: {type: email, host: 127.0.0.1, port: 1, from: a@example.com, to: [b@example.com], tls: off}
    board: {type: alertmanager, url: "http://127.0.0.1:1"}
    log: {type: log}
    own: {type: callback, function: "told:tell"}
  rules:
    - {name: llm, budget: {limit_usd: 500, window: month}, per: tenant, notify: [ops, hook], severity: critical}
    - {name: spike, spike: {bucket: 1h, min_usd: 2}}
    - {name: burn, burn_rate: {budget: llm}}
    - {name: soon, forecast: {budget: llm}}
    - {name: dear, max_request_usd: 0.25}
"""


@pytest.fixture(autouse=True)
def _rules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "spancost.yaml").write_text(RULES, encoding="utf-8")
    monkeypatch.setenv("PAGER_KEY", SECRET)
    monkeypatch.setenv("SLACK_URL", f"http://127.0.0.1:1/services/{SECRET}")


def test_the_alert_is_shown_as_each_channel_of_the_rule_writes_it_and_nothing_is_sent(folder: Path, ask: Ask) -> None:
    done = ask("test", "llm", "--key", "acme")
    assert done.code == 0
    title = "TEST, BREACHED: Budget llm, tenant acme: $510.00 of $500.00 (102.0 %)"
    assert done.stdout.splitlines()[0] == title
    assert "ops (slack)" in done.stdout
    assert "hook (webhook)" in done.stdout
    assert "pager" not in done.stdout
    assert "nothing was sent" in done.stdout
    assert not (folder / "budgets.sqlite").exists()


@pytest.mark.parametrize("rule", ["llm", "spike", "burn", "soon", "dear"])
@pytest.mark.parametrize("more", [(), ("--resolve",)])
def test_every_kind_of_rule_and_channel_has_a_text_without_secrets(ask: Ask, rule: str, more: tuple[str, ...]) -> None:
    channels = [
        part for name in ("ops", "hook", "pager", "mail", "board", "log", "own") for part in ("--channel", name)
    ]
    done = ask("test", rule, *channels, *more, "--format", "json")
    assert done.code == 0
    alert = done.json["alert"]
    assert (alert["rule"], alert["is_test"], alert["scope"]) == (rule, True, "machine")
    assert alert["status"] == ("resolved" if more else "firing")
    assert (alert["value"] >= alert["limit"]) == (not more)
    texts = {one["name"]: one["text"] for one in done.json["channels"]}
    assert len(texts) == 7
    assert SECRET not in done.stdout
    for name, text in texts.items():
        assert rule in text, name
    assert json.loads(texts["pager"])["routing_key"] == "..."
    assert all(one["delivered"] is None for one in done.json["channels"])


def test_sending_delivers_to_the_channels_of_the_rule_and_the_end_closes_what_was_opened(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AlertReceiver() as receiver:
        monkeypatch.setenv("SLACK_URL", f"{receiver.url}/services/{SECRET}")
        monkeypatch.setenv("HOOK_URL", f"{receiver.url}/hook")
        assert ask("test", "llm", "--send").code == 0
        assert ask("test", "llm", "--send", "--channel", "hook").code == 0
        done = ask("test", "llm", "--send", "--resolve", "--channel", "hook")
    assert done.code == 0
    assert "delivered" in done.stdout
    hooks: list[dict[str, Any]] = [json.loads(one.body) for one in receiver.seen if one.path == "/hook"]
    assert [one.path for one in receiver.seen] == [f"/services/{SECRET}", "/hook", "/hook", "/hook"]
    assert [one["status"] for one in hooks] == ["firing", "firing", "resolved"]
    assert all(one["is_test"] for one in hooks)
    assert len({one["id"] for one in hooks}) == 3  # nobody takes the second test for a repetition of the first
    assert len({one["episode"] for one in hooks}) == 1
    assert not (folder / "budgets.sqlite").exists()


def test_a_channel_that_does_not_take_it_is_named_and_is_exit_code_1(
    ask: Ask, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "told.py").write_text(_TELL, encoding="utf-8")
    with AlertReceiver(always(Reply(404))) as receiver:
        monkeypatch.setenv("HOOK_URL", f"{receiver.url}/{SECRET}")
        monkeypatch.delenv("PAGER_KEY")
        channels = [part for name in ("ops", "hook", "pager", "mail", "own") for part in ("--channel", name)]
        done = ask("test", "dear", "--send", *channels, "--format", "json")
    assert done.code == 1
    results = {one["name"]: (one["delivered"], one["problem"]) for one in done.json["channels"]}
    assert results["own"] == (True, "")
    assert (folder / "told").read_text(encoding="utf-8") == "dear"
    assert not any(results[name][0] for name in ("ops", "hook", "pager", "mail"))
    assert "404" in results["hook"][1]
    assert "PAGER_KEY" in results["pager"][1]
    assert SECRET not in done.stdout


def test_an_unknown_rule_or_channel_is_named_with_those_there_are(ask: Ask) -> None:
    assert "did you mean 'llm'" in ask("test", "lml").stderr
    done = ask("test", "llm", "--channel", "opps")
    assert (done.code, "did you mean 'ops'" in done.stderr) == (2, True)
