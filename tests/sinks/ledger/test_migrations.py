"""A file of each past version: `tests/data/ledger/schema-N.sqlite` with what its own reader answered, as JSON."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from spancost.sinks.ledger.query import Condition, Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.retention import Retention
from spancost.sinks.ledger.schema import SCHEMA_VERSION, money_tables
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin
from tests.sinks.ledger_batches import ACME, CART, MINUTE, PUT, PUT_USD, batch_of, charge, charged, served

_DATA = Path(__file__).parents[2] / "data" / "ledger"
_VERSIONS = list(range(1, SCHEMA_VERSION))


@pytest.fixture(params=_VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    version: int = request.param
    path = tmp_path / "ledger.sqlite"
    shutil.copy(_DATA / f"schema-{version}.sqlite", path)
    return path, json.loads((_DATA / f"schema-{version}.json").read_text(encoding="utf-8"))


def _agrees(reader: LedgerReader, told: dict[str, Any]) -> None:
    totals = reader.totals()._asdict()
    assert totals.pop("component_usd") == pytest.approx(told["totals"]["component_usd"], rel=1e-9)
    assert totals == pytest.approx({key: told["totals"][key] for key in totals}, rel=1e-9)
    for keys, rows in told["by"].items():
        found = {"|".join(row.key): row for row in reader.rows(keys.split(","))}
        assert found.keys() == rows.keys()
        for key, (requests, charges, usd, list_usd) in rows.items():
            row = found[key]
            assert (row.requests, row.charge_count) == (requests, charges)
            assert (row.usd, row.list_usd) == pytest.approx((usd, list_usd), rel=1e-9)
    assert [list(row) for row in reader.idle()] == [pytest.approx(row) for row in told["idle"]]


def _now() -> float:
    return (MINUTE + 52 * 60) * 60.0


def test_there_is_a_file_of_every_past_version() -> None:
    assert _VERSIONS
    for version in _VERSIONS:
        assert (_DATA / f"schema-{version}.sqlite").is_file()
        assert (_DATA / f"schema-{version}.json").is_file()


def test_an_older_file_is_read_as_it_stands(old: tuple[Path, dict[str, Any]]) -> None:
    path, told = old
    before = path.read_bytes()
    with LedgerReader(path) as reader:
        _agrees(reader, told)
        (summary,) = reader.kept_traces()
        (trace,) = reader.trace(summary.trace_id)
        assert trace.total_usd == pytest.approx(301 * PUT_USD)
        assert not trace.sampled
        assert reader.rows(["label.cost_center", "namespace"])[0].key == ("", "")
        assert reader.rows(["component"], Selection(where=(Condition("tenant", "ac*"),)))
        assert reader.rows(["day", "tenant"])
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*-wal"))


def test_an_older_file_is_brought_up_to_date_at_the_first_write(old: tuple[Path, dict[str, Any]]) -> None:
    path, told = old
    Ledger(path, Origin("shop"), now=_now).create()
    with LedgerReader(path) as reader:
        assert reader.schema_version == SCHEMA_VERSION
        assert reader.meta()["schema_version"] == str(SCHEMA_VERSION)
        _agrees(reader, told)
        assert len(reader.kept_traces()) == 1
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    counted = dict(connection.execute("SELECT table_name, sum(row_count) FROM row_counts GROUP BY 1"))
    for table, _, _ in money_tables():
        assert counted.get(table, 0) == connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()


def test_a_brought_up_file_takes_more_and_goes_on_to_hours_and_days(old: tuple[Path, dict[str, Any]]) -> None:
    path, told = old
    ledger = Ledger(path, Origin("shop", "prod", "123456789012"), now=lambda: _now() + 30 * 86_400)
    for _ in range(20):
        more = charged(charge(PUT, 2, PUT_USD), CART, ACME, minute=MINUTE + 40 * 1440)
        ledger.write(batch_of(more, served(1, CART, ACME, minute=MINUTE + 40 * 1440)))
    with LedgerReader(path) as reader:
        totals = reader.totals()
        assert totals.usd == pytest.approx(told["totals"]["usd"] + 40 * PUT_USD, rel=1e-9)
        assert totals.requests == told["totals"]["requests"] + 20
        by_tenant = {row.key[0]: row.usd for row in reader.rows(["tenant", "operation"]) if row.key[1] == "chat"}
        assert by_tenant
    connection = sqlite3.connect(path)
    minutes, days = (
        connection.execute(f"SELECT count(*) FROM charges_{level}").fetchone()[0] for level in ("minute", "day")
    )
    connection.close()
    assert minutes == 1  # only what was written now
    assert days > 10


def test_two_processes_that_meet_an_older_file_at_once_bring_it_up_once(old: tuple[Path, dict[str, Any]]) -> None:
    path, told = old
    first, second = (Ledger(path, Origin("shop"), retention=Retention(), now=_now) for _ in range(2))
    first.create()
    second.create()
    with LedgerReader(path) as reader:
        _agrees(reader, told)
