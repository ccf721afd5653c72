from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spancost.cli._format import usd
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin
from tests.cli.conftest import TRACE_ID, Cli
from tests.sinks.ledger_batches import MACHINE_USD, PUT_USD, TOKEN_USD, at_minute, batch_of, served

SHOP_USD = 0.02 * MACHINE_USD + 301 * PUT_USD + 1e-5 * 0.09
CHAT_USD = 1200 * TOKEN_USD


def document(cli: Cli, ledger_file: Path) -> dict[str, Any]:
    done = cli("tree", "--costliest", "--ledger", str(ledger_file), "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_costliest_trace_is_drawn_with_quantity_times_rate(cli: Cli, ledger_file: Path) -> None:
    done = cli("tree", "--costliest", "--ledger", str(ledger_file))
    assert done.returncode == 0, done.stderr
    assert f"trace {TRACE_ID:032x}" in done.stdout
    assert "aws dynamodb.PutItem carts  301 WRU x $0.000000625 = $0.000188  spancost:2026-07-28" in done.stdout
    assert "not priced: unknown_host" in done.stdout
    assert "estimated: assumed_machine" in done.stdout


def test_another_services_part_hangs_below_its_caller(cli: Cli, ledger_file: Path) -> None:
    (root,) = document(cli, ledger_file)["roots"]
    put, post = root["children"]
    (recommend,) = post["children"]
    (chat,) = recommend["children"]
    assert (root["service"], recommend["service"]) == ("shop", "recommender")
    assert (put["name"], chat["name"]) == ("DynamoDB.PutItem", "chat gpt-5-mini")
    assert [part["is_local_root"] for part in (root, put, post, recommend, chat)] == [True, False, False, True, False]


def test_totals_stay_within_a_local_root_and_the_trace_is_their_sum(cli: Cli, ledger_file: Path) -> None:
    found = document(cli, ledger_file)
    (root,) = found["roots"]
    assert root["total_usd"] == pytest.approx(SHOP_USD, rel=1e-9)
    assert found["total_usd"] == pytest.approx(SHOP_USD + CHAT_USD, rel=1e-9)


def test_a_trace_is_found_by_its_first_digits(cli: Cli, ledger_file: Path) -> None:
    done = cli("tree", "5b8eff", "--ledger", str(ledger_file))
    assert done.returncode == 0
    assert f"{TRACE_ID:032x}" in done.stdout


def test_an_unknown_trace_is_wrong_usage_that_names_one_that_is_kept(cli: Cli, ledger_file: Path) -> None:
    done = cli("tree", "abc", "--ledger", str(ledger_file))
    assert done.returncode == 2
    assert "Only the costliest are kept, such as" in done.stderr
    assert f"{TRACE_ID:032x}" in done.stderr


def test_without_anything_named_it_is_the_costliest(cli: Cli, ledger_file: Path) -> None:
    named = cli("tree", "--costliest", "--ledger", str(ledger_file))
    alone = cli("tree", "--ledger", str(ledger_file))
    assert (alone.returncode, alone.stdout) == (0, named.stdout)


def test_the_header_says_what_of_it_was_spent_in_other_services(cli: Cli, ledger_file: Path) -> None:
    header = cli("tree", "--ledger", str(ledger_file)).stdout.splitlines()[1]
    assert header.startswith(f"{usd(SHOP_USD + CHAT_USD)} in 5 spans: ")
    assert f"{usd(SHOP_USD)} in shop + {usd(CHAT_USD)} in 1 other service" in header


def test_a_wrapped_charge_hangs_below_its_first_line(cli: Cli, ledger_file: Path) -> None:
    lines = cli("tree", "--ledger", str(ledger_file), COLUMNS="60").stdout.splitlines()
    (at,) = (index for index, line in enumerate(lines) if "dynamodb.PutItem carts" in line)
    assert lines[at + 1].index("$0.000188") == lines[at].index("aws ") + 4
    assert max(map(len, lines)) <= 60


def test_a_trace_and_the_costliest_at_once_is_wrong_usage(cli: Cli, ledger_file: Path) -> None:
    assert cli("tree", "5b8e", "--costliest", "--ledger", str(ledger_file)).returncode == 2


def test_a_ledger_without_kept_traces_says_so_and_is_fine(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(served(1)))
    done = cli("tree", "--costliest", "--ledger", str(path))
    assert (done.returncode, done.stdout) == (0, "no trace is kept in the ledger yet\n")
