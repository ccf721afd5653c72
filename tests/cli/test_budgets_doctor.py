from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from spancost.cli.budgets.findings import Finding, findings, workers
from spancost.config import load_config
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin
from tests.budgets.books import UNKNOWN
from tests.cli.budget_shop import books, folder
from tests.cli.conftest import Cli
from tests.cli.test_budgets_status import batch
from tests.support.redis_server import RedisServer

__all__ = ["folder"]


def found(folder: Path, ledger: str = "", **environ: str) -> list[Finding]:
    return list(findings(load_config(folder / "spancost.yaml"), ledger, time.time(), {"HOME": str(folder), **environ}))


def of(subject: str, several: list[Finding]) -> list[tuple[bool, bool, str]]:
    return [one[1:] for one in several if one.subject == subject]


def with_store(folder: Path, store: str) -> None:
    rules = "[{name: all, budget: {limit_usd: 1, window: day}}]"
    (folder / "spancost.yaml").write_text(f"budgets: {{store: '{store}', rules: {rules}}}", encoding="utf-8")


def test_without_rules_nothing_is_said(folder: Path) -> None:
    (folder / "spancost.yaml").write_text("region: us-east-1\n", encoding="utf-8")
    assert found(folder) == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PROMETHEUS_MULTIPROC_DIR": "/run/prom"}, "PROMETHEUS_MULTIPROC_DIR is set"),
        ({"WEB_CONCURRENCY": "4"}, "WEB_CONCURRENCY=4"),
        ({"GUNICORN_CMD_ARGS": "--bind :80 --workers=3"}, "GUNICORN_CMD_ARGS asks for 3 workers"),
        ({"GUNICORN_CMD_ARGS": "-w 2"}, "GUNICORN_CMD_ARGS asks for 2 workers"),
        ({"UVICORN_WORKERS": "2"}, "UVICORN_WORKERS asks for 2 workers"),
    ],
)
def test_a_memory_store_under_several_workers_is_a_problem_with_what_to_set(
    folder: Path, environ: dict[str, str], said: str
) -> None:
    with_store(folder, "memory")
    ((is_problem, _, text),) = of("budget store", found(folder, **environ))
    assert is_problem
    assert said in text
    assert "budgets.store: sqlite:PATH" in text


@pytest.mark.parametrize("environ", [{}, {"WEB_CONCURRENCY": "1"}, {"GUNICORN_CMD_ARGS": "--workers 1"}])
def test_a_memory_store_of_one_process_is_a_note(folder: Path, environ: dict[str, str]) -> None:
    with_store(folder, "memory")
    assert workers(environ) == ""
    ((is_problem, is_note, text),) = of("budget store", found(folder, **environ))
    assert (is_problem, is_note) == (False, True)
    assert "forgotten when it ends" in text


def test_a_store_that_can_be_used_says_whose_money_it_knows(folder: Path) -> None:
    assert of("budget store", found(folder))[0][2] == "budgets.sqlite: not there yet; the application makes it"
    books(folder).book.tick()
    ((is_problem, is_note, text),) = of("budget store", found(folder))
    assert (is_problem, is_note) == (False, False)
    assert "can be read and written" in text
    assert "all processes of this machine" in text


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("sqlite:none/budgets.sqlite", "there is no folder none"),
        ("sqlite:text", "not an SQLite database"),
        ("sqlite:.", "is not a file"),
        ("redis://127.0.0.1:1/0", "Connection refused"),
        ("redis-env:NOT_SET", "NOT_SET is not set"),
    ],
)
def test_a_store_that_cannot_be_reached_or_written_is_a_problem(folder: Path, store: str, said: str) -> None:
    (folder / "text").write_text("text " * 500, encoding="utf-8")
    with_store(folder, store)
    ((is_problem, _, text),) = of("budget store", found(folder))
    assert is_problem
    assert said in text


def test_a_redis_server_is_asked_and_written_to(folder: Path, tmp_path: Path) -> None:
    (folder / "spancost.yaml").write_text(
        "budgets: {store: 'redis-file:url', rules: [{name: all, budget: {limit_usd: 1, window: day}}]}",
        encoding="utf-8",
    )
    with RedisServer(tmp_path / "redis") as server:
        (folder / "url").write_text(server.url, encoding="utf-8")
        ((is_problem, _, text),) = of("budget store", found(folder))
    assert not is_problem
    assert "all processes that share it" in text
    ((is_problem, _, text),) = of("budget store", found(folder))
    assert is_problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_default_store_that_cannot_be_written_is_told_as_memory(folder: Path) -> None:
    with_store(folder, "auto")
    home = folder / "home"
    home.mkdir(mode=0o500)
    ((is_problem, _, text),) = of("budget store", found(folder, HOME=str(home)))
    assert is_problem
    assert "in its own memory" in text


def test_a_default_store_behind_a_file_is_told_as_memory(folder: Path) -> None:
    with_store(folder, "auto")
    (folder / "home").write_text("", encoding="utf-8")
    ((is_problem, _, text),) = of("budget store", found(folder, HOME=str(folder / "home"), WEB_CONCURRENCY="2"))
    assert is_problem
    assert "in its own memory" in text
    assert "WEB_CONCURRENCY=2" in text


def test_secrets_that_are_missing_are_told_by_the_names_of_variables_and_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "spancost.yaml").write_text(
        "budgets:\n"
        "  notify:\n"
        "    ops: {type: slack, url_env: OPS_URL}\n"
        "    dev: {type: slack, url_env: DEV_URL}\n"
        "    pager: {type: pagerduty, routing_key_file: key}\n"
        "  rules: [{name: all, budget: {limit_usd: 1, window: day}}]\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("DEV_URL", "https://hooks.example.com/T00SECRET")
    monkeypatch.delenv("OPS_URL", raising=False)
    said = [text for is_problem, _, text in of("channels", found(folder)) if is_problem]
    assert [text.split(":")[0] for text in said] == ["ops (slack)", "pager (pagerduty)"]
    assert "OPS_URL" in said[0]
    assert "the file key" in said[1]
    monkeypatch.setenv("OPS_URL", "https://hooks.example.com/T00SECRET")
    (folder / "key").write_text("R0SECRET", encoding="utf-8")
    after = of("channels", found(folder))
    assert after == [(False, False, "ops (slack), dev (slack), pager (pagerduty)")]
    assert "SECRET" not in str(found(folder))


def test_rules_that_count_nothing_of_the_ledger_and_incomplete_ones_are_named(folder: Path) -> None:
    shop = books(folder)
    shop.spend(1.0, tenant="acme")
    shop.spend(0.0, tenant="acme", line=UNKNOWN, calls=3)
    shop.book.close()
    Ledger(folder / "ledger.sqlite", Origin("shop", "prod")).write(batch(time.time()))
    several = [text for _, _, text in of("budgets", found(folder, str(folder / "ledger.sqlite")))]
    assert several[0] == "4 rules (3 budget, 1 request)"
    assert "llm (acme) is incomplete: 3 calls without a price in this window" in several
    unmatched = [text.split(" ")[0] for text in several if "counts nothing" in text]
    assert unmatched == ["night"]


def test_doctor_has_the_findings_among_its_own(folder: Path, cli: Cli) -> None:
    with_store(folder, "memory")
    done = cli("doctor", SPANCOST_CONFIG=str(folder / "spancost.yaml"), WEB_CONCURRENCY="4", COLUMNS="250")
    line = next(line for line in done.stdout.splitlines() if "budget store" in line)
    assert line.startswith("set ")
    assert "WEB_CONCURRENCY=4" in line
    assert done.returncode == 1
