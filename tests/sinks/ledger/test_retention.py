from __future__ import annotations

import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spancost.charge import price_line
from spancost.sinks.ledger.query import Condition, Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.retention import Retention
from spancost.sinks.ledger.schema import BY_ENTRY, DAY, DETAIL, HOUR, money_tables
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, INNER, Attribution, Batch, ChargeKey, ChargeSum, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    CART,
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    NO_USAGE,
    PUT,
    PUT_USD,
    TOKEN_USD,
    batch_of,
    charge,
    charged,
    served,
)

_FIRST = 29_380_320
"""2025-11-11 00:00 UTC."""
_SHORT = Retention(minutes_for=2 * HOUR, hours_for=DAY, entry_hours_for=2 * DAY, days_for=400 * DAY)
_LINES = ((PUT, PUT_USD), (CHAT, TOKEN_USD), (MACHINE, MACHINE_USD))
_LABELS = (CART, HOME, EntryLabels("", "", "nightly"))
_WHOSE = (Attribution(), Attribution("f", "acme", "web"), Attribution("", "zeta", "", (("cost_center", "4711"),)))
_KEY_SETS: tuple[tuple[str, ...], ...] = (
    (),
    ("service",),
    ("entrypoint",),
    ("component", "status"),
    ("http_route", "http_request_method"),
    ("tenant",),
    ("feature", "component"),
    ("tenant", "http_route"),
    ("label.cost_center",),
    ("day",),
    ("month",),
    ("hour", "operation"),
    ("minute",),
    ("day", "tenant"),
    ("cloud_service", "region"),
    ("position", "unit", "model"),
)

_charges = st.lists(
    st.tuples(
        st.integers(0, 4 * DAY - 1),
        st.sampled_from(range(3)),
        st.sampled_from(range(3)),
        st.sampled_from(range(3)),
        st.integers(1, 500),
    ),
    min_size=1,
    max_size=25,
)


def _written(path: Path, entries: list[tuple[int, int, int, int, int]], writes_after: int) -> None:
    """Write what happened over four days at the times at which it happened; then some empty hours pass."""
    clock = [0.0]
    ledger = Ledger(path, Origin("shop", "prod"), retention=_SHORT, now=lambda: clock[0])
    for minute, line, labels, whose, quantity in sorted(entries):
        clock[0] = (_FIRST + minute) * 60.0
        what, rate = _LINES[line]
        at = _FIRST + minute
        ledger.write(
            batch_of(
                charged(charge(what, quantity, rate), _LABELS[labels], _WHOSE[whose], INNER, at),
                served(quantity, _LABELS[labels], _WHOSE[whose], at),
            )
        )
    for _ in range(writes_after):
        clock[0] += 3600.0
        ledger.write(batch_of(served(0, HOME, minute=int(clock[0] // 60))))


@given(_charges, st.integers(0, 60))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_key_set_and_every_level_tell_the_same_sums(
    entries: list[tuple[int, int, int, int, int]], writes_after: int
) -> None:
    usd = sum(_LINES[line][1] * quantity for _, line, _, _, quantity in entries)
    requests = sum(quantity for *_, quantity in entries)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite")
        _written(path, entries, writes_after)
        with LedgerReader(path) as reader:
            totals = reader.totals()
            assert totals.usd == pytest.approx(usd, rel=1e-9)
            assert totals.requests == requests
            for keys in _KEY_SETS:
                rows = reader.rows(list(keys))
                assert sum(row.usd for row in rows) == pytest.approx(usd, rel=1e-9), keys
                assert sum(row.list_usd for row in rows) == pytest.approx(usd, rel=1e-9), keys
                if "component" not in keys and "operation" not in keys and "position" not in keys:
                    counted = {row.key: row.requests for row in rows if "region" not in keys}
                    assert not counted or sum(counted.values()) == requests, keys


@given(_charges, st.integers(0, 5 * DAY), st.integers(0, 5 * DAY))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_periods_that_meet_have_the_sum_of_both_whatever_is_asked(
    entries: list[tuple[int, int, int, int, int]], one: int, other: int
) -> None:
    first, cut = sorted((_FIRST + one, _FIRST + other))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite")
        _written(path, entries, 30)
        with LedgerReader(path) as reader:
            for keys in (["entrypoint"], ["tenant"], ["tenant", "entrypoint"], ["minute"]):
                parts = (Selection(first, cut), Selection(cut, None), Selection(first, None))
                before, after, both = (sum(row.usd for row in reader.rows(keys, part)) for part in parts)
                assert before + after == pytest.approx(both, rel=1e-9, abs=1e-15)
            sums = [
                sum(row.usd for row in reader.rows(keys, Selection(first, cut)))
                for keys in (["entrypoint"], ["tenant"], ["tenant", "entrypoint"], ["minute"])
            ]
            assert sums == [pytest.approx(sums[0], rel=1e-9, abs=1e-15)] * len(sums)
            totals = reader.totals(Selection(first, cut))
            assert totals.usd == pytest.approx(sums[0], rel=1e-9, abs=1e-15)


def test_minutes_become_hours_and_hours_become_days_while_time_passes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    _written(path, [(minute, 0, 0, 1, 1) for minute in range(0, 2 * DAY, 7)], 30)
    connection = sqlite3.connect(path)
    rows = {
        table: connection.execute(f"SELECT count(*), min(time), max(time) FROM {table}").fetchone()
        for table, kind, _ in money_tables()
        if kind == "charges"
    }
    counted = dict(connection.execute("SELECT table_name, sum(row_count) FROM row_counts GROUP BY 1"))
    connection.close()
    assert rows["charges_minute"][0] == 0
    assert rows["charges_day"] == (2, _FIRST, _FIRST + DAY)
    assert rows["charges_hour"][0] == 0
    assert rows["charges_by_entry_day"][0] == 1
    assert rows["charges_by_entry_hour"][0] == 24
    assert rows["charges_by_owner_day"][0] == 2
    for table, (count, *_) in rows.items():
        assert counted.get(table, 0) == count


def test_what_comes_late_goes_where_its_time_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Origin("shop"), retention=_SHORT, now=lambda: (_FIRST + 10 * DAY) * 60.0)
    for minutes_ago in (5, 300, 3 * DAY):
        minute = _FIRST + 10 * DAY - minutes_ago
        ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), minute=minute)))
    connection = sqlite3.connect(path)
    counts = [
        connection.execute(f"SELECT count(*) FROM charges_{level}").fetchone()[0] for level in ("minute", "hour", "day")
    ]
    connection.close()
    assert counts == [1, 1, 1]


def _stays(*_: object) -> bool:
    return True


def test_months_of_backlog_are_moved_a_little_with_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(path, Origin("shop"), retention=_SHORT, now=lambda: clock[0])
    whole: dict[str, float] = defaultdict(float)
    for hour in range(48):
        clock[0] = (_FIRST + hour * HOUR) * 60.0
        minute = _FIRST + hour * HOUR
        monkeypatch.setattr("spancost.sinks.ledger.writer.move_on", _stays)
        ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), minute=minute)))
        whole["usd"] += PUT_USD
    monkeypatch.undo()
    monkeypatch.setattr("spancost.sinks.ledger.retention._BUDGET_S", -1.0)  # not even one hour fits
    clock[0] = (_FIRST + 100 * DAY) * 60.0
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), minute=int(clock[0] // 60))))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM charges_minute").fetchone() == (49,)
    connection.close()
    monkeypatch.undo()
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), minute=int(clock[0] // 60))))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM charges_minute").fetchone() == (1,)
    connection.close()
    with LedgerReader(path) as reader:
        assert reader.totals().usd == pytest.approx(whole["usd"] + 2 * PUT_USD, rel=1e-9)


def test_a_crash_in_the_middle_of_moving_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(path, Origin("shop"), retention=_SHORT, now=lambda: clock[0])
    ledger.write(batch_of(charged(charge(PUT, 3, PUT_USD), minute=_FIRST)))

    def breaks(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    clock[0] += 86_400 * 5
    monkeypatch.setattr("spancost.sinks.ledger.retention.add_row_count", breaks)
    with pytest.raises(Exception, match="disk I/O error"):
        ledger.write(Batch({}, dict([served(1, minute=int(clock[0] // 60))]), []))
    monkeypatch.undo()
    with LedgerReader(path) as reader:
        assert [row.quantity for row in reader.rows(["minute", "unit"])] == [3.0]
        assert reader.totals().requests == 0


def test_texts_that_nothing_refers_to_go_with_their_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spancost.sinks.ledger.retention._FEW_TEXTS", 0)
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(path, Origin("shop"), retention=Retention(days_for=5 * DAY), now=lambda: clock[0])
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), attribution=Attribution("", "gone"), minute=_FIRST)))
    clock[0] += 86_400 * 10
    now = int(clock[0] // 60)
    ledger.write(batch_of(charged(charge(CHAT, 1, TOKEN_USD), attribution=Attribution("", "here"), minute=now)))
    connection = sqlite3.connect(path)
    tenants = {row[0] for row in connection.execute("SELECT tenant FROM attributions")}
    operations = {row[0] for row in connection.execute("SELECT operation FROM lines")}
    connection.close()
    assert tenants - {""} == {"here"}
    assert operations - {""} == {"chat"}
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), attribution=Attribution("", "gone"), minute=now)))
    with LedgerReader(path) as reader:
        found = {row.key: row.usd for row in reader.rows(["tenant", "operation"])}
    assert found == {
        ("here", "chat"): pytest.approx(TOKEN_USD),
        ("gone", "dynamodb.PutItem"): pytest.approx(PUT_USD),
    }


def test_a_condition_on_an_owner_is_answered_from_rows_that_have_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    _written(path, [(10, 0, 0, 1, 5), (11, 0, 0, 2, 7), (12, 1, 1, 0, 9)], 50)
    with LedgerReader(path) as reader:
        acme = Selection(where=(Condition("tenant", "ac*"),))
        assert [row.usd for row in reader.rows(["operation"], acme)] == [pytest.approx(5 * PUT_USD)]
        others = Selection(where=(Condition("tenant", "ac*", negated=True), Condition("component", "aws")))
        assert [row.key for row in reader.rows(["tenant"], others)] == [("zeta",)]
        labelled = Selection(where=(Condition("label.cost_center", "47*"),))
        assert [row.usd for row in reader.rows(["entrypoint"], labelled)] == [pytest.approx(7 * PUT_USD)]
        assert reader.totals(labelled).requests == 7


def test_texts_of_rows_that_found_no_room_in_the_small_cuts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spancost.sinks.ledger.retention._FEW_TEXTS", 0)
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(
        path, Origin("shop"), retention=Retention(days_for=400 * DAY), max_rows_per_day=4, now=lambda: clock[0]
    )
    tenants = [Attribution("", f"tenant-{number}") for number in range(11)]
    ledger.write(batch_of(*(charged(charge(PUT, 1, PUT_USD), attribution=whose, minute=_FIRST) for whose in tenants)))
    clock[0] += 86_400
    new = Attribution("", "new")
    ledger.write(batch_of(charged(charge(PUT, 2, PUT_USD), attribution=new, minute=int(clock[0] // 60))))
    with LedgerReader(path) as reader:
        found = {row.key[0]: row.quantity for row in reader.rows(["tenant", "operation"])}
    assert sum(found.values()) == 13
    assert found["new"] == 2


def test_hours_without_attribution_are_kept_as_long_as_those_with_it() -> None:
    retention = Retention(hours_for=90 * DAY)
    assert retention.limit_of(BY_ENTRY, HOUR) == retention.limit_of(DETAIL, HOUR) == 90 * DAY


def test_a_day_kept_whole_is_that_day_in_every_zone_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Origin("shop"), now=lambda: (_FIRST + 100 * DAY) * 60.0)
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), attribution=_WHOSE[1], minute=_FIRST + 15 * HOUR)))
    with LedgerReader(path) as reader:
        for tz in ("UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"):
            for keys in (["day"], ["day", "tenant"], ["day", "tenant", "operation"]):
                assert {row.key[0] for row in reader.rows(keys, Selection(tz=tz))} == {"2025-11-11"}, (tz, keys)


def test_days_of_a_zone_of_half_hours_are_the_same_with_and_without_tenants(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Origin("shop"), now=lambda: (_FIRST + DAY) * 60.0)
    for minute, quantity in ((18 * HOUR + 10, 1), (18 * HOUR + 50, 2)):  # Kolkata's day begins at 18:30 UTC
        ledger.write(batch_of(charged(charge(PUT, quantity, PUT_USD), attribution=_WHOSE[1], minute=_FIRST + minute)))
    with LedgerReader(path) as reader:
        for keys in (["day"], ["day", "tenant"]):
            found = {row.key[0]: row.quantity for row in reader.rows(keys, Selection(tz="Asia/Kolkata"))}
            assert found == {"2025-11-11": 1.0, "2025-11-12": 2.0}


def test_a_report_sees_one_state_while_retention_moves_rows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(path, Origin("shop"), retention=_SHORT, now=lambda: clock[0])
    ledger.write(batch_of(charged(charge(PUT, 3, PUT_USD), minute=_FIRST)))
    with LedgerReader(path) as reader, reader.one_state():
        before = reader.totals().usd
        clock[0] += 86_400 * 5
        ledger.write(batch_of(charged(charge(PUT, 4, PUT_USD), minute=int(clock[0] // 60))))
        assert [row.quantity for row in reader.rows(["minute", "unit"])] == [3.0]
        assert reader.totals().usd == before == pytest.approx(3 * PUT_USD)


def test_unpriced_usage_that_counts_no_call_is_still_unpriced(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    unknown = price_line("compute", "", "instance", unit="s", status="unpriced", reason="compute_rate_unknown")
    idle = (ChargeKey(_FIRST, unknown, EntryLabels(), Attribution(), IDLE), ChargeSum(3600.0, 0.0, 0.0, 0))
    second = (ChargeKey(_FIRST, NO_USAGE, HOME, Attribution(), INNER), ChargeSum(1.0, 0.0, 0.0, 0))
    Ledger(path, Origin("shop"), now=lambda: _FIRST * 60.0).write(batch_of(idle, second))
    with LedgerReader(path) as reader:
        assert [row.unpriced for row in reader.idle()] == [1]
        assert [row.unpriced for row in reader.rows(["model"])] == [{"llm": 1}]
        assert {row.reason: row.charge_count for row in reader.unpriced()} == {"compute_rate_unknown": 1, "no_usage": 1}


def test_a_clock_that_jumps_by_years_and_comes_back_deletes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(path, Origin("shop"), now=lambda: clock[0])
    for years in (0, 3, 0, -20, 0, 40, 0):
        clock[0] = (_FIRST + years * 365 * DAY) * 60.0 + 60.0 * years
        ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), minute=int(clock[0]) // 60)))
    with LedgerReader(path) as reader:
        assert reader.totals().usd == pytest.approx(7 * PUT_USD, rel=1e-9)


def test_a_clock_that_stays_years_ahead_for_a_day_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    clock = [_FIRST * 60.0]
    ledger = Ledger(path, Origin("shop"), now=lambda: clock[0])
    kept: list[float] = []
    for hours in (0, 3 * 365 * 24, 23, 2):
        clock[0] += hours * 3600.0
        ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), minute=int(clock[0]) // 60)))
        with LedgerReader(path) as reader:
            kept.append(reader.totals().usd)
    assert kept == pytest.approx([PUT_USD, 2 * PUT_USD, 3 * PUT_USD, 3 * PUT_USD], rel=1e-9)
