"""The real command on real files: options that go together, files, pushing, and its own examples."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import stat
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spancost.cli._format import usd
from spancost.cli.report.command import report
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, EntryLabels, Origin
from tests.cli.conftest import Cli
from tests.sinks.ledger_batches import (
    ACME,
    CART,
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    PUT,
    PUT_USD,
    TOKEN_USD,
    batch_of,
    charge,
    charged,
    served,
)

_EXAMPLES = [line.strip() for line in (report.__doc__ or "").splitlines() if line.strip().startswith("spancost ")]
_IDLE_USD = 600 * MACHINE_USD


@pytest.fixture
def recent(tmp_path: Path) -> Path:
    """A shop in production: an hour ago, and as much a week before; ten minutes of compute were idle."""
    path = tmp_path / "spancost.sqlite"
    now = int(time.time() // 60)
    entries = [
        charged(charge(PUT, 1000, PUT_USD), CART, ACME, minute=now - 60),
        charged(charge(MACHINE, 30, MACHINE_USD), CART, ACME, minute=now - 50),
        charged(charge(MACHINE, 10, MACHINE_USD), HOME, minute=now - 50),
        charged(charge(CHAT, 500, TOKEN_USD), HOME, minute=now - 50),
        charged(charge(MACHINE, 600, MACHINE_USD), EntryLabels(), position=IDLE, minute=now - 55),
        charged(charge(PUT, 3000, PUT_USD), CART, ACME, minute=now - 7 * 1440 - 60),
        served(3, CART, ACME, minute=now - 60),
        served(1, HOME, minute=now - 50),
    ]
    Ledger(path, Origin("shop", "prod")).write(batch_of(*entries))
    return path


@pytest.fixture
def run(cli: Cli, recent: Path) -> Cli:
    """Run the command on the ledger."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return cli("report", *arguments, SPANCOST_LEDGER=str(recent), **variables)

    return run


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_are_examples() -> None:
    assert len(_EXAMPLES) >= 6


@pytest.mark.parametrize("example", _EXAMPLES)
def test_each_example_of_the_help_runs(run: Cli, example: str) -> None:
    words = shlex.split(example)
    assert words[:2] == ["spancost", "report"]
    done = run(*words[2:])
    assert (done.returncode, done.stderr) == (0, ""), example
    assert "-o" in words or "--html" in words or done.stdout


def test_the_help_shows_each_example_on_a_line_of_its_own(cli: Cli) -> None:
    lines = [line.strip() for line in cli("report", "--help", COLUMNS="80").stdout.splitlines()]
    assert set(_EXAMPLES) <= set(lines)


def test_idle_compute_is_given_to_rows_and_the_total_stays(run: Cli) -> None:
    separate, proportional, even = (
        document(run("--by", "tenant", "--idle", method, "--since", "2h", "--format", "json"))
        for method in ("separate", "proportional", "even")
    )
    acme_usd = 1000 * PUT_USD + 30 * MACHINE_USD
    rows = [{row["tenant"]: row["total_usd"] for row in found["rows"]} for found in (separate, proportional, even)]
    assert rows[0]["acme"] == pytest.approx(acme_usd)
    assert rows[1]["acme"] == pytest.approx(acme_usd + _IDLE_USD * 3 / 4)  # 30 s of 40 s
    assert rows[2]["acme"] == pytest.approx(acme_usd + _IDLE_USD * 3 / 4)  # 3 requests of 4
    assert proportional["total_usd"] == pytest.approx(separate["total_usd"], rel=1e-9)
    assert even["total_usd"] == pytest.approx(separate["total_usd"], rel=1e-9)
    assert [found["idle_method"]["AllocatedMethodId"] for found in (separate, proportional, even)] == [
        "spancost:idle-separate",
        "spancost:idle-by-compute-cost",
        "spancost:idle-by-request",
    ]


def test_conditions_choose_rows(run: Cli) -> None:
    found = document(
        run("--by", "component", "--where", "tenant=ac*", "--where", "component!=compute", "--format", "json")
    )
    assert {row["component"]: row["total_usd"] for row in found["rows"]} == {"aws": pytest.approx(4000 * PUT_USD)}
    assert found["where"] == ["tenant=ac*", "component!=compute"]


def test_a_comparison_says_what_changed(run: Cli) -> None:
    done = run("--by", "component", "--since", "2h", "--compare", "7d", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    (aws,) = (line.split() for line in done.stdout.splitlines() if line.startswith("aws "))
    assert aws == ["aws", usd(3000 * PUT_USD), usd(1000 * PUT_USD), f"-{usd(2000 * PUT_USD)}", "-66.7", "%"]
    (llm,) = (line.split() for line in done.stdout.splitlines() if line.startswith("llm "))
    assert llm[-1] == "new"
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_rate_per_month_is_that_of_the_time_with_data(run: Cli) -> None:
    found = document(run("--since", "2h", "--format", "json"))
    assert found["per_month"]["covered_minutes"] == 11
    assert found["usd_per_month"] == pytest.approx(found["total_usd"] * 730 * 60 / 11)
    assert found["rows"][0]["usd_per_month"] == pytest.approx(found["rows"][0]["total_usd"] * 730 * 60 / 11)


def test_four_minutes_of_data_have_no_rate(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "short.sqlite"
    now = int(time.time() // 60)
    entries = [charged(charge(PUT, 1, PUT_USD), minute=minute) for minute in (now - 4, now - 1)]
    Ledger(path, Origin("shop")).write(batch_of(*entries))
    found = document(cli("report", "--ledger", str(path), "--format", "json"))
    assert (found["per_month"]["covered_minutes"], found["usd_per_month"]) == (4, None)
    assert found["rows"][0]["usd_per_month"] is None
    done = cli("report", "--ledger", str(path))
    assert "PER MONTH" not in done.stdout
    assert "a month" not in done.stdout


def test_times_that_the_ledger_no_longer_tells_apart_are_said(run: Cli) -> None:
    done = run("--by", "minute", "--since", "8d")
    assert done.returncode == 0
    assert "the ledger keeps hours: what was charged there stands at the beginning of its hour." in done.stdout


@pytest.mark.parametrize("arguments", [("json",), ("csv",), ("markdown",), ("prometheus",), ("table",)])
def test_a_file_has_what_the_terminal_would_have(run: Cli, tmp_path: Path, arguments: tuple[str]) -> None:
    file = tmp_path / "out.txt"
    file.write_text("old")
    # a period that has ended does not change between two runs
    wanted = ("--by", "service,route", "--to", "2099-01-01", "--format", *arguments)
    written = run(*wanted, "-o", str(file))
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    assert file.read_text() == run(*wanted).stdout
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_a_file_in_a_missing_folder_is_refused(run: Cli, tmp_path: Path) -> None:
    done = run("-o", str(tmp_path / "none" / "out.txt"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no folder" in done.stderr


def test_prometheus_text_is_valid_and_has_the_total(run: Cli) -> None:
    total = document(run("--by", "service,route", "--format", "json"))["total_usd"]
    text = run("--by", "service,route", "--format", "prometheus").stdout
    found = {family.name: family for family in text_string_to_metric_families(text)}
    costs = [*found["spancost_report_cost_usd"].samples, *found["spancost_report_idle_cost_usd"].samples]
    assert sum(sample.value for sample in costs) == pytest.approx(total, rel=1e-9)
    assert {family.type for family in found.values()} == {"gauge"}


def test_a_pivot_has_a_column_for_each_value(run: Cli) -> None:
    done = run("--by", "route", "--pivot", "component", "--format", "csv")
    rows = {row["http_route"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert float(rows["/cart/<int:item>"]["aws"]) == pytest.approx(4000 * PUT_USD)
    assert float(rows["(idle)"]["compute"]) == pytest.approx(_IDLE_USD)


def test_months_are_told_in_the_time_zone_asked_for(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "zones.sqlite"
    minute = int(datetime(2025, 12, 31, 23, 30, tzinfo=UTC).timestamp() // 60)  # another year in Berlin
    Ledger(path, Origin("shop"), now=lambda: (minute + 60) * 60.0).write(
        batch_of(charged(charge(PUT, 2, PUT_USD), minute=minute))
    )
    arguments = ("report", "--ledger", str(path), "--by", "month", "--format", "json")
    for tz, month in (("UTC", "2025-12"), ("Europe/Berlin", "2026-01")):
        found = document(cli(*arguments, "--tz", tz))
        assert [row["month"] for row in found["rows"]] == [month]
        assert len(document(cli(*arguments, "--tz", tz, "--month", month))["rows"]) == 1
        other = "2026-01" if month == "2025-12" else "2025-12"
        assert document(cli(*arguments, "--tz", tz, "--month", other))["rows"] == []


@pytest.mark.parametrize("method", ["separate", "proportional", "even"])
def test_a_ledger_of_an_older_schema_has_the_same_total_whoever_bears_idle_compute(
    cli: Cli, tmp_path: Path, method: str
) -> None:
    folder = Path(__file__).parents[2] / "data" / "ledger"
    path = tmp_path / "old.sqlite"
    shutil.copy(folder / "schema-1.sqlite", path)
    told = json.loads((folder / "schema-1.json").read_text(encoding="utf-8"))["totals"]
    found = document(cli("report", "--ledger", str(path), "--by", "service,day", "--idle", method, "--format", "json"))
    assert found["total_usd"] == pytest.approx(told["usd"] + told["idle_usd"], rel=1e-9)
    assert found["idle_usd"] == pytest.approx(told["idle_usd"], rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pivot", "route", "--by", "http_route"), "--pivot: 'route' is a row already"),
        (("--pivot", "tenant", "--compare", "7d"), "--pivot and --compare: only one of them"),
        (("--pivot", "tenant", "--format", "prometheus"), "--pivot is for table, json, csv or markdown"),
        (("--compare", "7d", "--html", "x.html"), "--compare and --html"),
        (("--compare", "7d", "--by", "day"), "'day' in --by"),
        (("--since", "1h", "--month", "this"), "only one of them says which period"),
        (("--where", "tenant"), "KEY=GLOB"),
        (("--tz", "Mars"), "is not a time zone"),
        (("--idle", "half"), "'half' is not one of 'separate', 'proportional', 'even'"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(run: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
