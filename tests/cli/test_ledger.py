from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spancost.charge import price_line
from spancost.cli.ledger import size
from spancost.sinks.ledger.query import Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.retention import Retention
from spancost.sinks.ledger.schema import DAY, SCHEMA_VERSION
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, INNER, Attribution, ChargeSum, EntryLabels, Origin
from tests.cli.conftest import Cli
from tests.sinks.ledger_batches import (
    MINUTE,
    NO_USAGE,
    PUT,
    PUT_USD,
    UNKNOWN_HOST,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

FREE_CALL = price_line("aws", "aws", "sts.GetCallerIdentity", unit="request", status="free")

_DATA = Path(__file__).parents[1] / "data"
_FOCUS = {
    row["column"]: row
    for row in csv.DictReader((_DATA / "focus" / "focus_1_2_columns.csv").read_text(encoding="utf-8").splitlines())
}


def reported(cli: Cli, ledger_file: Path, *more: str) -> dict[str, Any]:
    done = cli("report", "--format", "json", "--ledger", str(ledger_file), *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def exported(cli: Cli, ledger_file: Path, *more: str) -> list[dict[str, str]]:
    done = cli("ledger", "export", "--ledger", str(ledger_file), *more)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def total(rows: list[dict[str, str]], column: str = "EffectiveCost") -> float:
    return math.fsum(float(row[column]) for row in rows if row[column])


@pytest.fixture
def months(tmp_path: Path) -> Path:
    """Write rows of three days by the minute, and let retention make hours and days of the older ones."""
    path = tmp_path / "months.sqlite"
    retention = Retention(minutes_for=DAY, hours_for=2 * DAY)
    for day in range(4):
        now = MINUTE + day * DAY
        ledger = Ledger(path, Origin("shop", "prod"), retention=retention, now=lambda now=now: now * 60.0)
        for minute in (now - 90, now):
            owner = Attribution("checkout", "acme", "web", (("cost_center", "c1"),))
            ledger.write(
                batch_of(
                    charged(charge(PUT, 3, PUT_USD), attribution=owner, position=INNER, minute=minute, times=7),
                    served(7, attribution=owner, minute=minute),
                )
            )
    return path


# --- export -------------------------------------------------------------------------------------


def test_sums_of_csv_are_those_of_the_report(cli: Cli, ledger_file: Path) -> None:
    report = reported(cli, ledger_file)
    for keys in ((), ("--by", "service"), ("--by", "day,tenant,component"), ("--by", "model,cloud-service,position")):
        rows = exported(cli, ledger_file, *keys)
        assert total(rows) == pytest.approx(report["total_usd"], rel=1e-9)
        listed = math.fsum(row["list_usd"] for row in report["rows"] + report["idle"])
        assert total(rows, "ListCost") == pytest.approx(listed, rel=1e-9)
    by_service = {row["service"]: row["total_usd"] for row in reported(cli, ledger_file, "--by", "service")["rows"]}
    found = {row["x_Service"]: row for row in exported(cli, ledger_file, "--by", "service") if row["x_Idle"] == "false"}
    assert {name: float(row["EffectiveCost"]) for name, row in found.items()} == pytest.approx(by_service, rel=1e-9)


def test_sums_of_parquet_are_those_of_the_report_and_its_types_are_sensible(
    cli: Cli, ledger_file: Path, tmp_path: Path
) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "costs.parquet"
    assert cli("ledger", "export", "--ledger", str(ledger_file), "-o", str(file)).returncode == 0
    table = parquet.read_table(file)
    costs = [cost for cost in table.column("EffectiveCost").to_pylist() if cost is not None]
    assert math.fsum(costs) == pytest.approx(reported(cli, ledger_file)["total_usd"], rel=1e-9)
    types = {field.name: str(field.type) for field in table.schema}
    assert types["ChargePeriodStart"] == "timestamp[us, tz=UTC]"
    assert (types["EffectiveCost"], types["ConsumedQuantity"], types["x_ChargeCount"]) == ("double", "double", "int64")
    assert table.column("ChargePeriodStart").to_pylist()[0].tzinfo is not None
    rows = exported(cli, ledger_file)
    assert table.column_names == list(rows[0])
    assert table.num_rows == len(rows)


def test_columns_are_those_of_focus_or_begin_with_x(cli: Cli, ledger_file: Path) -> None:
    for keys in ((), ("--by", "hour,cloud-service,provider,region,unit,tenant,label.cost_center")):
        rows = exported(cli, ledger_file, *keys)
        for column in rows[0]:
            assert column in _FOCUS or column.startswith("x_")
    assert "BilledCost" not in exported(cli, ledger_file)[0]


def test_a_row_tells_what_a_bill_would(cli: Cli, ledger_file: Path) -> None:
    rows = exported(cli, ledger_file)
    (put,) = [row for row in rows if row["x_Operation"] == "dynamodb.PutItem" and row["ConsumedQuantity"] == "12040.0"]
    assert put["ServiceName"] == "Amazon DynamoDB"
    assert (put["ServiceCategory"], put["ProviderName"], put["RegionId"]) == ("Databases", "AWS", "us-east-1")
    assert (put["ConsumedUnit"], put["ResourceName"], put["BillingCurrency"]) == ("WRU", "carts", "USD")
    assert float(put["EffectiveCost"]) == pytest.approx(40 * 301 * PUT_USD)
    assert json.loads(put["Tags"]) == {"feature": "checkout", "tenant": "acme", "team": "web"}
    begin = datetime.fromtimestamp(MINUTE * 60, UTC)
    assert put["ChargePeriodStart"] == begin.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert put["ChargePeriodEnd"] == datetime.fromtimestamp((MINUTE + 1) * 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_what_has_no_price_has_no_cost_rather_than_none_to_pay(cli: Cli, ledger_file: Path) -> None:
    unpriced = [row for row in exported(cli, ledger_file) if row["x_Status"] == "unpriced"]
    assert unpriced
    assert {(row["EffectiveCost"], row["ListCost"]) for row in unpriced} == {("", "")}


def test_unpriced_rows_that_count_no_charge_have_no_cost_either(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "unpriced.sqlite"
    machine = price_line("compute", "aws", "instance", unit="s", sku="x9.huge", status="unpriced", reason="unknown_sku")
    idle_key, _ = charged(charge(machine, 60), EntryLabels(), position=IDLE)
    second_key, _ = charged(charge(NO_USAGE, 1))
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(
            (idle_key, ChargeSum(60.0)),
            (second_key, ChargeSum(1.0)),
            charged(charge(UNKNOWN_HOST, 1)),
            charged(charge(FREE_CALL, 1)),
        )
    )
    options: tuple[tuple[str, ...], ...] = ((), ("--by", "component,status,position"))
    for keys in options:
        rows = {row["x_Component"]: row for row in exported(cli, path, *keys)}
        assert {row["x_Component"] for row in rows.values() if row["x_ChargeCount"] == "0"} == {"compute", "llm"}
        costs = {component: (row["EffectiveCost"], row["ListCost"]) for component, row in rows.items()}
        # What is free costs 0, which is known.
        assert costs == {"compute": ("", ""), "llm": ("", ""), "http": ("", ""), "aws": ("0.0", "0.0")}


def test_a_sum_of_free_and_unpriced_charges_has_no_cost(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mixed.sqlite"
    batch = batch_of(charged(charge(UNKNOWN_HOST, 1)), charged(charge(FREE_CALL, 1)))
    Ledger(path, Origin("shop"), now=at_minute).write(batch)
    (row,) = exported(cli, path, "--by", "service")
    assert (row["EffectiveCost"], row["x_UnpricedChargeCount"], row["x_ChargeCount"]) == ("", "1", "2")


def test_rows_of_every_level_are_exported_with_their_own_period(cli: Cli, months: Path) -> None:
    rows = exported(cli, months)
    lengths = {
        datetime.fromisoformat(row["ChargePeriodEnd"]) - datetime.fromisoformat(row["ChargePeriodStart"])
        for row in rows
    }
    assert {length.total_seconds() for length in lengths} == {60, 3600, 86400}
    assert total(rows) == pytest.approx(8 * 7 * 3 * PUT_USD, rel=1e-9)
    assert {json.loads(row["Tags"])["cost_center"] for row in rows} == {"c1"}


def test_a_period_of_the_export_is_the_period_of_the_report(cli: Cli, months: Path) -> None:
    day = datetime.fromtimestamp((MINUTE + DAY) * 60, UTC).strftime("%Y-%m-%d")
    begin = MINUTE - MINUTE % DAY + DAY
    bounds = Selection(begin, begin + DAY)
    with LedgerReader(months) as reader:
        usd = reader.totals(bounds).usd
    assert usd == pytest.approx(2 * 7 * 3 * PUT_USD)
    assert total(exported(cli, months, "--from", day, "--to", day)) == pytest.approx(usd, rel=1e-9)
    by_day = exported(cli, months, "--by", "day")
    assert [row["ChargePeriodStart"] for row in by_day][1] == f"{day}T00:00:00Z"
    assert len(by_day) == 4


def test_days_of_another_time_zone_begin_there(cli: Cli, ledger_file: Path) -> None:
    (row, *_) = exported(cli, ledger_file, "--by", "day", "--tz", "Asia/Tokyo")
    assert row["ChargePeriodStart"].endswith("T15:00:00Z")
    assert row["ChargePeriodEnd"].endswith("T15:00:00Z")


def test_rows_are_read_one_by_one(months: Path) -> None:
    with LedgerReader(months) as reader:
        rows = reader.each_charge(["service"])
        first = next(rows)
        assert first.key == ("shop",)
        Ledger(months, Origin("shop"), now=lambda: MINUTE * 60.0).write(batch_of(charged(charge(PUT, 1, PUT_USD))))
        rest = list(rows)  # one state of the file, whatever is written meanwhile
    assert math.fsum(row.usd for row in (first, *rest)) == pytest.approx(8 * 7 * 3 * PUT_USD)


def test_a_file_is_whole_or_as_it_was(cli: Cli, ledger_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    file.write_text("before")
    refused = cli("ledger", "export", "--ledger", str(ledger_file), "--by", "reprot", "-o", str(file))
    assert refused.returncode == 2
    assert file.read_text() == "before"
    assert cli("ledger", "export", "--ledger", str(ledger_file), "-o", str(file)).returncode == 0
    assert file.read_text().startswith("ChargePeriodStart,")
    assert [path.name for path in tmp_path.glob("*unfinished*")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "parquet"), "name a file with -o"),
        (("--by", "tenannt"), "did you mean 'tenant'"),
        (("--month", "2026-13"), "--month"),
        (("--month", "2026-10", "--to", "2026-10-05"), "only one of them says which period"),
        (("--tz", "Mars"), "is not a time zone"),
        (("-o", "/nowhere/costs.csv"), "/nowhere/costs.csv: No such file or directory"),
    ],
)
def test_a_wrong_option_is_named(cli: Cli, ledger_file: Path, arguments: tuple[str, ...], said: str) -> None:
    done = cli("ledger", "export", "--ledger", str(ledger_file), *arguments)
    assert done.returncode == 2
    assert said in done.stderr


# --- info ---------------------------------------------------------------------------------------


def info(cli: Cli, path: Path, *more: str) -> dict[str, Any]:
    done = cli("ledger", "info", str(path), "--format", "json", *more)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_info_tells_what_a_ledger_holds(cli: Cli, ledger_file: Path) -> None:
    found = info(cli, ledger_file, "--check")
    assert found["services"] == ["recommender", "shop"]
    assert found["requests"] == reported(cli, ledger_file)["requests"]
    assert (found["costliest_traces"], found["sampled_traces"]) == (2, 0)
    assert (found["first"], found["end"]) == ("2025-11-10T23:40Z", "2025-11-10T23:51Z")
    assert found["file_bytes"] >= ledger_file.stat().st_size
    assert found["problems"] == []
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    connection = sqlite3.connect(ledger_file)
    assert rows["charges_minute"] == connection.execute("SELECT count(*) FROM charges_minute").fetchone()[0]
    connection.close()


def test_info_of_several_levels_says_what_time_each_covers(cli: Cli, months: Path) -> None:
    levels = {table["name"]: table for table in info(cli, months)["tables"]}
    assert levels["charges_day"]["end"] <= levels["charges_hour"]["first"] < levels["charges_minute"]["first"]
    shown = cli("ledger", "info", str(months), COLUMNS="80").stdout
    assert "charges_minute" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE charges_minute SET usd = usd + 1 WHERE rowid_is", "sum of usd"),
        ("DELETE FROM lines WHERE component = 'llm'", "refer to lines that are not there"),
    ],
)
def test_check_finds_money_that_does_not_add_up(cli: Cli, ledger_file: Path, damage: str, said: str) -> None:
    connection = sqlite3.connect(ledger_file, isolation_level=None)
    connection.execute(damage.replace(" WHERE rowid_is", " WHERE position = 0"))
    connection.close()
    done = cli("ledger", "info", str(ledger_file), "--check")
    assert done.returncode == 1
    assert said in done.stdout
    assert cli("ledger", "info", str(ledger_file)).returncode == 0


def test_check_finds_damaged_pages(cli: Cli, ledger_file: Path) -> None:
    connection = sqlite3.connect(ledger_file, isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'traces_by_id'").fetchone()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with ledger_file.open("r+b") as file:
        file.seek((page - 1) * page_size)
        file.write(b"\x0a" + b"\xff" * 200)
    done = cli("ledger", "info", str(ledger_file), "--check")
    assert done.returncode == 1
    assert "The file is damaged" in done.stdout


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (4096, "4.10 KB"), (41_234_567, "41.2 MB"), (1.5e12, "1.50 TB")]
)
def test_sizes_have_three_digits(count: float, text: str) -> None:
    assert size(count) == text


# --- vacuum -------------------------------------------------------------------------------------


def test_vacuum_gives_back_room_and_keeps_the_money(cli: Cli, ledger_file: Path) -> None:
    before = reported(cli, ledger_file)
    connection = sqlite3.connect(ledger_file, isolation_level=None)
    connection.execute("CREATE TABLE filler AS SELECT randomblob(500000) AS waste")
    connection.execute("DROP TABLE filler")
    connection.close()
    size_before = ledger_file.stat().st_size
    done = cli("ledger", "vacuum", str(ledger_file))
    assert done.returncode == 0, done.stderr
    assert ledger_file.stat().st_size < size_before - 400_000
    assert "before," in done.stdout
    assert reported(cli, ledger_file) == before
    assert cli("ledger", "info", str(ledger_file), "--check").returncode == 0


def test_vacuum_brings_an_older_file_up_to_date(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    shutil.copy(_DATA / "ledger" / "schema-1.sqlite", path)
    old = info(cli, path, "--check")
    assert (old["schema_version"], old["problems"]) == (1, [])
    assert "older than" in cli("ledger", "info", str(path)).stdout
    before = reported(cli, path)["total_usd"]
    assert total(exported(cli, path)) == pytest.approx(before, rel=1e-9)
    done = cli("ledger", "vacuum", str(path))
    assert f"migrated from schema 1 to {SCHEMA_VERSION}" in done.stdout
    assert info(cli, path)["schema_version"] == SCHEMA_VERSION
    assert reported(cli, path)["total_usd"] == pytest.approx(before, rel=1e-9)


def test_vacuum_says_that_another_process_holds_the_file(cli: Cli, ledger_file: Path) -> None:
    connection = sqlite3.connect(ledger_file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    done = cli("ledger", "vacuum", str(ledger_file))
    connection.close()
    assert done.returncode == 2
    assert "another process has held it" in done.stderr


def test_vacuum_beside_a_reader_says_when_the_room_comes(cli: Cli, ledger_file: Path) -> None:
    connection = sqlite3.connect(ledger_file, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM charges_minute").fetchone()
    done = cli("ledger", "vacuum", str(ledger_file))
    connection.close()
    assert done.returncode == 0, done.stderr
    assert "another process reads it" in done.stderr


@pytest.mark.parametrize("command", ["info", "vacuum", "export"])
def test_a_file_that_is_no_ledger_is_left_alone(cli: Cli, tmp_path: Path, command: str) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    before = path.read_bytes()
    done = cli("ledger", command, "--ledger", str(path))
    assert done.returncode == 2
    assert "not a ledger of spancost" in done.stderr
    assert path.read_bytes() == before
    missing = cli("ledger", command, "--ledger", str(tmp_path / "none.sqlite"))
    assert (missing.returncode, "no ledger at" in missing.stderr) == (2, True)
