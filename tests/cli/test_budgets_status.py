from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest

from spancost.budgets.store import Cell, Claim, Delivery, Sums
from spancost.budgets.stores.redis import RedisStore
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.charge import price_line
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, Attribution, Batch, ChargeKey, ChargeSum, EntryLabels, Origin
from tests.budgets.books import CHAT, PUT, UNKNOWN
from tests.cli.budget_shop import Ask, ask, books, dump, folder
from tests.support.json_server import json_server
from tests.support.redis_server import RedisServer

__all__ = ["ask", "folder"]

DAY_S = 86_400


def by_name(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(line["rule"], line["key"]): line for line in document["budgets"]}


def spend(folder: Path) -> None:
    """Have three tenants spend: one most of its budget, one with something unpriced, one with nothing else."""
    shop = books(folder)
    shop.spend(83.0, tenant="acme", calls=10)
    shop.spend(2.5, tenant="globex")
    shop.spend(0.0, tenant="globex", line=UNKNOWN)
    shop.spend(0.0, tenant="umbrella", line=UNKNOWN, calls=4)
    shop.book.close()


def test_each_key_is_shown_with_what_it_has_spent_the_most_urgent_first(folder: Path, ask: Ask) -> None:
    spend(folder)
    done = ask("status", "--format", "json")
    found = by_name(done.json)
    acme = found["llm", "acme"]
    assert (acme["spend_usd"], acme["limit_usd"], acme["ratio"]) == (83.0, 100.0, pytest.approx(0.83, rel=1e-12))
    assert (acme["state"], acme["told"], acme["calls"]) == ("warning", 0.8, 10)
    assert found["all", ""]["spend_usd"] == pytest.approx(85.5, rel=1e-12)
    assert done.json["scope"] == "machine"
    assert [(line["rule"], line["key"]) for line in done.json["budgets"]] == [
        ("llm", "acme"),
        ("all", ""),
        ("llm", "globex"),
        ("llm", "umbrella"),
        ("night", ""),
        ("dear-request", ""),
    ]
    assert done.json["unseen"] == ["night"]


def test_what_is_incomplete_never_reads_ok_alone_and_unknown_is_not_0(folder: Path, ask: Ask) -> None:
    spend(folder)
    lines = ask("status").stdout.splitlines()
    of_globex = next(line for line in lines if "globex" in line)
    of_umbrella = next(line for line in lines if "umbrella" in line)
    assert "ok, incomplete" in of_globex
    assert "≥ $2.50" in of_globex
    assert "ok, incomplete" in of_umbrella
    assert "$0" not in of_umbrella
    assert "?" in of_umbrella
    assert by_name(ask("status", "--format", "json").json)["llm", "umbrella"]["spend_usd"] is None
    assert "night: nothing that it counts was seen yet." in lines


def test_asking_writes_no_state_and_sends_no_alert(folder: Path, ask: Ask) -> None:
    store = SqliteStore(folder / "budgets.sqlite")
    slot = int(time.time()) // 300 * 300
    # Nobody has looked at this money yet: whoever does so first would tell people.
    store.exchange(
        Delivery("x", 1, {Cell("llm", 0, "acme", 0): Sums(150.0, calls=1), Cell("all", 0, "", slot): Sums(1)}), 0
    )
    store.close()
    before = dump(folder)
    acme = by_name(ask("status", "--format", "json").json)["llm", "acme"]
    assert (acme["state"], acme["told"]) == ("breached", None)
    assert ask("check").code == 2
    assert ask("history", "llm").code == 0
    assert dump(folder) == before
    assert "'states'" not in "".join(line for line in before if line.startswith("INSERT"))


def test_rules_and_keys_are_chosen_and_what_is_not_there_is_named(folder: Path, ask: Ask) -> None:
    spend(folder)
    rows = list(csv.DictReader(io.StringIO(ask("status", "--rule", "llm", "--key", "acme", "--format", "csv").stdout)))
    assert [(row["rule"], row["key"], float(row["spend_usd"])) for row in rows] == [("llm", "acme", 83.0)]
    assert "did you mean 'llm'" in ask("status", "--rule", "lml").stderr
    assert "'nobody'" in ask("status", "--key", "nobody").stderr
    short = ask("status", "--limit", "1").stdout
    assert "acme" in short
    assert "globex" not in short
    assert "5 more rows" in short


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no budget store at budgets.sqlite"),
        (("--store", "memory"), "nobody but its process can read"),
        (("--store", "redis-env:NOT_SET"), "NOT_SET is not set"),
        (("--store", "redis://user:secret@host/0"), "redis-env:NAME"),
        (("--ledger", "none.sqlite"), "none.sqlite: no such file"),
        (("--ledger", "x", "--prometheus", "http://x"), "--ledger and --prometheus: only one of them"),
        (("--prometheus", "file:///etc/passwd"), "such as http://localhost:9090"),
        (("--config", "none.yaml"), "none.yaml"),
    ],
)
def test_a_source_that_cannot_be_read_is_told_with_what_to_do(
    folder: Path, ask: Ask, arguments: tuple[str, ...], said: str
) -> None:
    done = ask("status", *arguments)
    assert done.code == 2
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not (folder / "budgets.sqlite").exists()


def test_what_guards_hold_is_shown_beside_what_was_spent(folder: Path, ask: Ask) -> None:
    spend(folder)
    assert "RESERVED" not in ask("status").stdout
    now = time.time()
    store = SqliteStore(folder / "budgets.sqlite")
    store.reserve("lease", [Claim(Cell("llm", 0, "acme", 0), 0, 100.0, 12.5)], now=now, expires_at=now + 600)
    store.close()
    of_acme = next(line for line in ask("status").stdout.splitlines() if "acme" in line)
    assert "$12.50" in of_acme
    assert by_name(ask("status", "--format", "json").json)["llm", "acme"]["reserved_usd"] == 12.5


def test_a_narrow_terminal_keeps_money_and_state(folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(folder)
    monkeypatch.setenv("COLUMNS", "72")
    lines = ask("status").stdout.splitlines()
    assert max(map(len, lines)) <= 72
    of_acme = next(line for line in lines if "acme" in line)
    assert "$83.00" in of_acme
    assert "warning" in of_acme


def test_keys_cannot_break_the_table(folder: Path, ask: Ask) -> None:
    shop = books(folder)
    shop.spend(1.0, tenant="a\x1b[31m\nb")
    shop.book.close()
    assert "a?[31m?b" in ask("status").stdout


def test_redis_says_the_same_as_a_file_and_says_whose_money_it_is(folder: Path, ask: Ask, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        (folder / "url").write_text(server.url, encoding="utf-8")
        shop = books(folder, store=RedisStore(server.url))
        shop.spend(83.0, tenant="acme")
        shop.spend(0.0, tenant="globex", line=UNKNOWN)
        shop.book.close()
        done = ask("status", "--store", "redis-file:url", "--format", "json")
        assert done.json["scope"] == "fleet"
        found = by_name(done.json)
        assert (found["llm", "acme"]["spend_usd"], found["llm", "acme"]["told"]) == (83.0, 0.8)
        assert found["llm", "globex"]["incomplete"]
        assert ask("check", "llm", "--key", "acme", "--store", "redis-file:url").code == 1
    gone = ask("check", "--store", "redis-file:url")
    assert (gone.code, gone.stdout.count("\n")) == (3, 1)


# --- a ledger -------------------------------------------------------------------------------------


def batch(now: float, *, minutes_ago: int = 0) -> Batch:
    """What a flush brings: two tenants, something unpriced, idle time of the machine."""
    minute = int(now // 60) - minutes_ago
    cart, home = EntryLabels("/cart", "POST"), EntryLabels("", "", "nightly")
    idle = price_line("compute", "aws", "instance", unit="s", source="test")
    return Batch(
        {
            ChargeKey(minute, CHAT, cart, Attribution(tenant="acme"), "entry"): ChargeSum(1.0, 83.0, 83.0, 10),
            ChargeKey(minute, CHAT, home, Attribution(tenant="globex"), "inner"): ChargeSum(1.0, 2.5, 2.5, 1),
            ChargeKey(minute, UNKNOWN, home, Attribution(tenant="globex"), "inner"): ChargeSum(0.0, 0.0, 0.0, 1),
            ChargeKey(minute, PUT, cart, Attribution(), "inner"): ChargeSum(1.0, 0.125, 0.125, 2),
            ChargeKey(minute, idle, EntryLabels(), Attribution(), IDLE): ChargeSum(60.0, 7.0, 7.0, 1),
        },
        {},
        [],
    )


def test_a_ledger_and_the_store_of_the_same_charges_say_the_same(folder: Path, ask: Ask) -> None:
    now = time.time()
    shop = books(folder)
    shop.book.write(batch(now), final=False)
    shop.book.close()
    Ledger(folder / "ledger.sqlite", Origin("shop", "prod")).write(batch(now))
    from_store = ask("status", "--format", "json").json
    from_ledger = ask("status", "--ledger", "ledger.sqlite", "--format", "json").json
    figures = ("spend_usd", "limit_usd", "state", "incomplete", "unpriced", "calls", "window")
    for name in (("llm", "acme"), ("llm", "globex"), ("all", "")):
        one, other = by_name(from_store)[name], by_name(from_ledger)[name]
        assert [one[figure] for figure in figures] == [other[figure] for figure in figures], name
    assert by_name(from_ledger)["all", ""]["spend_usd"] == pytest.approx(83.0 + 2.5 + 0.125, rel=1e-12)
    assert any(note.startswith("dear-request: what single requests cost") for note in from_ledger["notes"])
    assert ("dear-request", "") not in by_name(from_ledger)


def test_rules_about_a_service_count_its_rows_of_a_ledger_alone(folder: Path, ask: Ask) -> None:
    now = time.time()
    for service in ("shop", "night-job"):
        Ledger(folder / "ledger.sqlite", Origin(service, "prod")).write(batch(now))
    found = by_name(ask("status", "--ledger", "ledger.sqlite", "--format", "json").json)
    assert found["night", ""]["spend_usd"] == pytest.approx(85.625, rel=1e-12)
    assert found["llm", "acme"]["spend_usd"] == 166.0


def test_a_ledger_that_keeps_longer_times_than_a_rule_counts_in_says_so(folder: Path, ask: Ask) -> None:
    rules = "budgets: {rules: [{name: berlin, budget: {limit_usd: 9, window: day, time_zone: Asia/Kolkata}}]}"
    (folder / "spancost.yaml").write_text(rules, encoding="utf-8")
    now = time.time()
    Ledger(folder / "ledger.sqlite", Origin("shop", "prod")).write(batch(now, minutes_ago=200 * 24 * 60))
    done = ask("history", "berlin", "--ledger", "ledger.sqlite", "--limit", "1000", "--format", "json")
    assert any(note.startswith("berlin: not exact before") for note in done.json["notes"])
    assert sum(row["spend_usd"] or 0.0 for row in done.json["periods"]) == pytest.approx(85.625, rel=1e-12)
    present = ask("status", "--ledger", "ledger.sqlite", "--format", "json").json
    assert present["notes"] == []  # none of it counts today


# --- Prometheus -----------------------------------------------------------------------------------


def sample(metric: str, value: str, key: str = "", **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": metric, "budget": "llm", "key": key, **labels}, "value": [1.0, value]}


def answer(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(samples)}}


def test_a_prometheus_server_is_asked_with_user_and_password_that_nobody_sees(folder: Path, ask: Ask) -> None:
    samples = answer(
        sample("spancost_budget_spend_usd", "83", "acme"),
        sample("spancost_budget_limit_usd", "100", "acme"),
        sample("spancost_budget_state", "1", "acme"),
        sample("spancost_budget_incomplete", "1", "globex"),
        sample("spancost_budget_spend_usd", "0", "globex"),
        sample("spancost_budget_limit_usd", "100", "globex"),
    )
    with json_server([samples]) as server:
        url = server.url.replace("//", "//ops:hush@") + "/prom/"
        done = ask("status", "--prometheus", url, "--format", "json")
    found = by_name(done.json)
    assert (found["llm", "acme"]["spend_usd"], found["llm", "acme"]["state"]) == (83.0, "warning")
    assert found["llm", "globex"]["spend_usd"] is None
    assert done.json["source"] == f"Prometheus {server.url}/prom"
    assert server.asked[0].path == "/prom/api/v1/query"
    assert server.asked[0].headers["authorization"] == "Basic b3BzOmh1c2g="  # ops:hush
    assert "hush" not in done.stdout


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (503, "answers HTTP 503"),
        (b"<html>", "does not answer as a Prometheus server does"),
        (b'{"status": "success", "data": {"result": [{"metric": {}}]}}', "does not answer as a Prometheus server does"),
        (answer(), "has no spancost_budget_* metrics"),
    ],
)
def test_a_server_that_is_no_prometheus_or_has_nothing_is_named(folder: Path, ask: Ask, reply: Any, said: str) -> None:
    with json_server([reply]) as server:
        done = ask("status", "--prometheus", server.url)
        checked = ask("check", "--prometheus", server.url)
    assert done.code == 2
    assert said in done.stderr
    assert (checked.code, checked.stdout.count("\n")) == (3, 1)
