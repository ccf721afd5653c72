from __future__ import annotations

import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spancost.charge import price_line
from spancost.errors import LedgerError
from spancost.sinks.ledger.query import Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.retention import Retention
from spancost.sinks.ledger.writer import Ledger
from spancost.window import (
    ENTRY,
    IDLE,
    INNER,
    LATE_ENTRY,
    LATE_INNER,
    POSITIONS,
    UNATTRIBUTED,
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    KeptNode,
    KeptTrace,
    Origin,
    RequestKey,
    RequestSum,
)
from tests.sinks.ledger_batches import (
    ACME,
    BUCKETS,
    CART,
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    NIGHTLY,
    NO_USAGE,
    NOBODY,
    PUT,
    PUT_USD,
    TOKEN_USD,
    UNKNOWN_HOST,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

SHOP = Origin("shop", "prod", "123456789012")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, SHOP, now=at_minute)
    yield ledger
    ledger.close()


def view_rows(path: Path, columns: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT {columns} FROM ledger_rows ORDER BY 1").fetchall()
    finally:
        connection.close()


def test_a_charge_comes_back_with_every_key_under_its_name(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(charged(charge(PUT, 301, PUT_USD), attribution=ACME)))
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM ledger_rows").fetchone())
    connection.close()
    assert row == {
        "minute": MINUTE,
        "service": "shop",
        "environment": "prod",
        "cloud_account": "123456789012",
        "namespace": "",
        "region": "us-east-1",
        "component": "aws",
        "provider": "aws",
        "operation": "dynamodb.PutItem",
        "model": "",
        "sku": "aws.dynamodb.on_demand.write",
        "resource": "carts",
        "http_route": "/cart/<int:item>",
        "http_request_method": "POST",
        "entrypoint": "",
        "feature": "checkout",
        "tenant": "acme",
        "team": "web",
        "labels": "",
        "status": "priced",
        "reason": "",
        "basis": "",
        "source": "spancost:2026-07-28",
        "unit": "WRU",
        "position": "entry",
        "quantity": 301.0,
        "list_usd": pytest.approx(301 * PUT_USD, rel=1e-12),
        "usd": pytest.approx(301 * PUT_USD, rel=1e-12),
        "count": 1,
    }


def test_the_same_key_in_a_later_batch_adds_to_its_row(ledger: Ledger, path: Path) -> None:
    for _ in range(3):
        ledger.write(batch_of(charged(charge(PUT, 2, PUT_USD)), served(5)))
    assert view_rows(path, "quantity, count") == [(6.0, 3)]
    with LedgerReader(path) as reader:
        (row,) = reader.rows(["entrypoint"])
    assert row.key == ("POST /cart/<int:item>",)
    assert row.requests == 15
    assert row.usd == pytest.approx(6 * PUT_USD, rel=1e-12)


def test_an_empty_batch_does_not_create_the_file(ledger: Ledger, path: Path) -> None:
    ledger.write(Batch({}, {}, []))
    assert not path.exists()


def test_the_file_states_schema_version_and_flush_interval(path: Path) -> None:
    Ledger(path, SHOP, now=at_minute, flush_interval_seconds=2.5).write(batch_of(served(1)))
    with LedgerReader(path) as reader:
        meta = reader.meta()
    assert (meta["schema_version"], meta["flush_interval_seconds"]) == ("3", "2.5")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_direct_holds_the_entry_span_and_its_late_bytes_and_total_holds_all_but_idle(
    ledger: Ledger, path: Path
) -> None:
    token = charge(CHAT, 1, TOKEN_USD)
    ledger.write(
        batch_of(*(charged(token, position=position, times=10**power) for power, position in enumerate(POSITIONS)))
    )
    with LedgerReader(path) as reader:
        (row,) = reader.rows([])
        totals = reader.totals()
        (idle,) = reader.idle()
    power = {position: 10**number for number, position in enumerate(POSITIONS)}
    assert row.direct_usd == pytest.approx((power[ENTRY] + power[LATE_ENTRY]) * TOKEN_USD, rel=1e-12)
    busy = power[ENTRY] + power[INNER] + power[LATE_ENTRY] + power[LATE_INNER] + power[UNATTRIBUTED]
    assert row.usd == totals.usd == pytest.approx(busy * TOKEN_USD, rel=1e-12)
    assert totals.idle_usd == idle.usd == pytest.approx(power[IDLE] * TOKEN_USD, rel=1e-12)
    assert totals.late_usd == pytest.approx((power[LATE_ENTRY] + power[LATE_INNER]) * TOKEN_USD, rel=1e-12)
    assert totals.unattributed_usd == pytest.approx(power[UNATTRIBUTED] * TOKEN_USD, rel=1e-12)


def test_rows_split_by_component_share_the_requests_of_their_route(ledger: Ledger, path: Path) -> None:
    ledger.write(
        batch_of(
            charged(charge(PUT, 1, PUT_USD)),
            charged(charge(CHAT, 1200, TOKEN_USD), position=INNER),
            charged(charge(CHAT, 10, TOKEN_USD), labels=NIGHTLY),
            served(40),
            served(2, outcome="error"),
            served(1, labels=NIGHTLY),
            served(7, labels=HOME),
        )
    )
    with LedgerReader(path) as reader:
        by_both = {row.key: row.requests for row in reader.rows(["entrypoint", "component"])}
        by_component = {row.key: row.requests for row in reader.rows(["component"])}
        by_entrypoint = {row.key: row.requests for row in reader.rows(["entrypoint"])}
    cart = "POST /cart/<int:item>"
    assert by_both == {(cart, "aws"): 42, (cart, "llm"): 42, ("nightly-report", "llm"): 1}
    assert by_component == {("aws",): 50, ("llm",): 50}
    assert by_entrypoint == {(cart,): 42, ("nightly-report",): 1, ("GET /",): 7}


def test_since_and_until_bound_the_minutes(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(*(charged(charge(PUT, 1, PUT_USD), minute=MINUTE + n) for n in range(5))))
    with LedgerReader(path) as reader:
        minutes = sorted(row.key[0] for row in reader.rows(["minute"], Selection(MINUTE + 1, MINUTE + 4)))
        hours = {row.key[0]: row.charge_count for row in reader.rows(["hour", "day"])}
    assert minutes == ["2025-11-10T23:41Z", "2025-11-10T23:42Z", "2025-11-10T23:43Z"]
    assert hours == {"2025-11-10T23:00Z": 5}


def test_unpriced_charges_keep_count_and_quantity_and_their_reason(ledger: Ledger, path: Path) -> None:
    ledger.write(
        batch_of(
            charged(charge(UNKNOWN_HOST, 1), times=30),
            charged(charge(NO_USAGE, 1), times=12),
            charged(charge(PUT, 1, PUT_USD)),
        )
    )
    with LedgerReader(path) as reader:
        rows = reader.unpriced()
        (by_route,) = reader.rows(["http_route"])
    assert [(row.provider, row.reason, row.charge_count, row.quantity) for row in rows] == [
        ("127.0.0.1", "unknown_host", 30, 30.0),
        ("openai", "no_usage", 12, 12.0),
    ]
    assert by_route.unpriced == {"http": 30, "llm": 12}


def test_estimated_says_what_was_assumed(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(charged(charge(MACHINE, 10, MACHINE_USD)), charged(charge(PUT, 1, PUT_USD))))
    with LedgerReader(path) as reader:
        (row,) = reader.estimated()
    assert (row.component, row.basis, row.sku) == ("compute", "assumed_machine", "m6i.large")
    assert row.usd == pytest.approx(10 * 0.096 / 3600, rel=1e-12)


def test_an_unknown_key_is_refused_with_the_near_miss(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(served(1)))
    with LedgerReader(path) as reader, pytest.raises(LedgerError, match=r"did you mean 'tenant'"):
        reader.rows(["tennant"])


_texts = st.sampled_from(["", "a", "b", "ü€", "other", "\ud800"])
_money = st.floats(min_value=0, max_value=1e6)
_lines = st.sampled_from([PUT, CHAT, MACHINE, UNKNOWN_HOST, NO_USAGE])
_keys = st.builds(
    ChargeKey,
    minute=st.integers(MINUTE, MINUTE + 60),  # crosses the end of a day
    line=_lines,
    labels=st.builds(EntryLabels, _texts, _texts, _texts),
    attribution=st.builds(Attribution, _texts, _texts, _texts),
    position=st.sampled_from(POSITIONS),
)
_sums = st.builds(ChargeSum, _money, _money, _money, st.integers(1, 1000))
_batches = st.lists(st.dictionaries(_keys, _sums, max_size=12), min_size=1, max_size=5)


@given(batches=_batches, cap=st.integers(0, 20))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_goes_in_comes_out_per_component_whatever_the_cap(
    batches: list[dict[ChargeKey, ChargeSum]], cap: int
) -> None:
    expected: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite")
        ledger = Ledger(path, SHOP, now=at_minute, max_rows_per_day=cap)
        for charges in batches:
            ledger.write(Batch(charges, {}, []))
            for key, sums in charges.items():
                total = expected[key.line.component, key.line.status, key.position]
                for index, value in enumerate((sums.quantity, sums.list_usd, sums.usd, sums.count)):
                    total[index] += value
        if not expected:
            return
        connection = sqlite3.connect(path)
        found = connection.execute(
            "SELECT component, status, position, sum(quantity), sum(list_usd), sum(usd), sum(count) "
            "FROM ledger_rows GROUP BY 1, 2, 3"
        ).fetchall()
        connection.close()
    assert {row[:3]: row[3:] for row in found} == {
        key: pytest.approx(tuple(values), rel=1e-9, abs=1e-12) for key, values in expected.items()
    }


def levels_of(path: Path, kind: str = "charges") -> dict[str, int]:
    """Return how many rows each level of the cut with every key has."""
    connection = sqlite3.connect(path)
    try:
        levels = ("minute", "hour", "day")
        return {one: connection.execute(f"SELECT count(*) FROM {kind}_{one}").fetchone()[0] for one in levels}
    finally:
        connection.close()


def test_beyond_the_cap_rows_are_kept_by_the_hour_then_by_the_day_and_at_last_as_other(path: Path) -> None:
    ledger = Ledger(path, SHOP, now=at_minute, max_rows_per_day=100)
    for start in range(0, 1000, 250):
        ledger.write(
            batch_of(
                *(
                    charged(charge(PUT, 2, PUT_USD), EntryLabels(f"/r{n}", "GET"), Attribution("f", f"tenant-{n}"))
                    for n in range(start, start + 250)
                )
            )
        )
    assert levels_of(path) == {"minute": 100, "hour": 100, "day": 101}
    connection = sqlite3.connect(path)
    attributions = connection.execute("SELECT count(*) FROM attributions WHERE tenant <> ''").fetchone()[0]
    connection.close()
    assert attributions == 301  # folded names are not stored either
    with LedgerReader(path) as reader:
        by_both = {row.key: row for row in reader.rows(["tenant", "http_route"])}
        by_tenant = {row.key[0]: row for row in reader.rows(["tenant"])}
    assert by_both["other", "other"].quantity == 2 * 700
    assert by_tenant["other"].usd == pytest.approx(900 * 2 * PUT_USD, rel=1e-9)
    for rows in (by_both, by_tenant):
        assert sum(row.usd for row in rows.values()) == pytest.approx(1000 * 2 * PUT_USD, rel=1e-9)


def test_beyond_the_cap_requests_fold_into_other_with_equal_counts(path: Path) -> None:
    ledger = Ledger(path, SHOP, now=at_minute, max_rows_per_day=10)
    ledger.write(batch_of(*(served(3, EntryLabels(f"/r{n}", "GET")) for n in range(100))))
    assert levels_of(path, "requests") == {"minute": 10, "hour": 10, "day": 11}
    with LedgerReader(path) as reader:
        by_minute = {row.key[1]: row.requests for row in reader.rows(["day", "http_route"], Selection(MINUTE - 20))}
        exact = {row.key[1]: row.requests for row in reader.rows(["minute", "http_route"])}
    assert exact["other"] == 3 * 70
    assert by_minute["other"] == 3 * 80  # the cut without attribution has hours and days
    assert sum(exact.values()) == sum(by_minute.values()) == 300


def test_a_known_key_keeps_its_name_after_the_cap_is_reached(path: Path) -> None:
    ledger = Ledger(path, SHOP, now=at_minute, max_rows_per_day=1)
    known = charged(charge(PUT, 1, PUT_USD), attribution=ACME)
    others = [charged(charge(PUT, 1, PUT_USD), attribution=Attribution("f", f"late-{n}")) for n in range(3)]
    for entry in (known, *others, known):
        ledger.write(batch_of(entry))
    with LedgerReader(path) as reader:
        found = {row.key[0]: row.quantity for row in reader.rows(["tenant", "operation"])}
    assert found == {"acme": 2.0, "late-0": 1.0, "late-1": 1.0, "other": 1.0}


def test_the_next_day_has_room_again(path: Path) -> None:
    ledger = Ledger(path, SHOP, now=at_minute, max_rows_per_day=1)
    for minute in (MINUTE, MINUTE + 1440):
        for tenant in ("a", "b", "c", "d"):
            ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), HOME, Attribution("", tenant), minute=minute)))
    day = MINUTE - MINUTE % 1440
    assert sorted(view_rows(path, "minute, tenant")) == sorted(
        (begin + later, tenant)
        for later in (0, 1440)
        for begin, tenant in ((MINUTE, "a"), (MINUTE - MINUTE % 60, "b"), (day, "c"), (day, "other"))
    )


def test_a_value_that_is_no_number_is_kept_as_unpriced_and_stops_nothing(ledger: Ledger, path: Path) -> None:
    broken = ChargeKey(MINUTE, PUT, CART, NOBODY, ENTRY), ChargeSum(math.nan, 0.0, math.inf, 4)
    ledger.write(batch_of(broken, charged(charge(CHAT, 1, TOKEN_USD))))
    with LedgerReader(path) as reader:
        assert [(row.reason, row.charge_count) for row in reader.unpriced()] == [("not_finite", 4)]
        assert reader.totals().usd == pytest.approx(TOKEN_USD)


def node(span_id: int, parent: int, usd: float, start_ns: int = 0) -> KeptNode:
    one = charge(PUT, usd / PUT_USD, PUT_USD)
    return KeptNode(span_id, parent, f"span {span_id}", start_ns, start_ns + 1_000_000, usd, usd, (one,))


def kept(trace_id: int, usd: float, minute: int = MINUTE, span_id: int = 1, parent: int = 0) -> KeptTrace:
    end_ns = minute * 60_000_000_000
    return KeptTrace(trace_id, CART, ACME, usd, end_ns, (node(span_id, parent, usd, end_ns - 1_000_000),))


def test_a_kept_trace_comes_back_with_quantity_rate_and_source(ledger: Ledger, path: Path) -> None:
    ledger.write(Batch({}, {}, [kept(0xABC, 0.01)]))
    with LedgerReader(path) as reader:
        (trace,) = reader.trace(format(0xABC, "032x"))
        assert reader.costliest(1) == [trace.trace_id] == reader.find_traces("0000")
    assert (trace.service, trace.entrypoint, trace.tenant, trace.total_usd) == (
        "shop",
        "POST /cart/<int:item>",
        "acme",
        0.01,
    )
    (stored,) = trace.nodes
    assert (stored.span_id, stored.parent_span_id, stored.duration_ns) == ("0000000000000001", "", 1_000_000)
    (one,) = stored.charges
    assert one["rate_usd"] == pytest.approx(PUT_USD)
    assert one["quantity"] * one["rate_usd"] == pytest.approx(0.01)
    assert (one["unit"], one["source"], one["status"]) == ("WRU", "spancost:2026-07-28", "priced")


def costliest_only(path: Path, origin: Origin, count: int) -> Ledger:
    return Ledger(path, origin, now=at_minute, kept_traces=count, sampled_traces=0)


def test_only_the_costliest_traces_of_an_hour_and_service_are_kept(path: Path) -> None:
    shop, api = costliest_only(path, SHOP, 3), costliest_only(path, Origin("api"), 3)
    hour = MINUTE // 60 * 60
    for number in range(1, 31):
        minute = hour + number  # spread over half an hour, so that only the last ones are recent
        shop.write(Batch({}, {}, [kept(number, (31 - number) / 1000, minute)]))
    api.write(Batch({}, {}, [kept(99, 1e-6, hour + 59)]))
    shop.write(Batch({}, {}, [kept(100, 1e-9, hour + 59)]))
    with LedgerReader(path) as reader:
        kept_ids = [int(trace_id, 16) for trace_id in reader.costliest(99)]
    assert kept_ids == [1, 2, 3, 99, 100]


def test_a_cheap_part_of_another_services_costly_trace_is_kept(path: Path) -> None:
    shop, api = costliest_only(path, SHOP, 2), costliest_only(path, Origin("api"), 2)
    hour = MINUTE // 60 * 60
    api.write(Batch({}, {}, [kept(7, 1e-9, hour, span_id=70, parent=1), kept(50, 1.0, hour), kept(51, 1.0, hour)]))
    shop.write(Batch({}, {}, [kept(7, 5.0, hour)]))
    for minute in range(1, 50):
        api.write(Batch({}, {}, [kept(1000 + minute, 0.001, hour + minute)]))
    with LedgerReader(path) as reader:
        parts = reader.trace(format(7, "032x"))
    assert {part.service for part in parts} == {"shop", "api"}


def test_a_huge_trace_keeps_its_costliest_spans_and_says_how_many_are_left_out(ledger: Ledger, path: Path) -> None:
    children = tuple(node(number, 1, number * 1e-9) for number in range(2, 3002))
    root = KeptNode(1, 0, "root", 0, 1_000_000, 0.0, sum(child.total_usd for child in children), ())
    ledger.write(Batch({}, {}, [KeptTrace(1, CART, NOBODY, root.total_usd, MINUTE * 60 * 10**9, (*children, root))]))
    with LedgerReader(path) as reader:
        (trace,) = reader.trace(format(1, "032x"))
    assert (len(trace.nodes), trace.left_out) == (2000, 1001)
    assert trace.nodes[-1].name == "root"
    assert min(stored.total_usd for stored in trace.nodes) == pytest.approx(1003 * 1e-9)


_WORKER = """
import sys
from spancost.sinks.ledger.retention import Retention
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Attribution, Batch, ChargeKey, ChargeSum, EntryLabels, Origin, RequestKey, RequestSum
from spancost.charge import price_line
path, worker, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
line = price_line("aws", "aws", "sqs.SendMessage", unit="request", source="test")
ledger = Ledger(path, Origin("shop"), now=lambda: 29380300 * 60.0, kept_traces=2)
written = 0
while written != rounds:
    charges = {
        ChargeKey(29380000 + written % 3, line, EntryLabels(f"/r{n}", "GET"), Attribution("", f"t{n}"), "entry"):
        ChargeSum(2.0, 0.25, 0.25, 1)
        for n in range(40)
    }
    ledger.write(Batch(charges, {}, []))
    written += 1
    if rounds < 0:
        print(written, flush=True)
"""


def worker(path: Path, number: int, rounds: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _WORKER, str(path), str(number), str(rounds)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_processes_that_begin_one_file_at_once_lose_nothing(path: Path) -> None:
    processes = [worker(path, number, 25) for number in range(4)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], outputs
    with LedgerReader(path) as reader:
        totals = reader.totals()
    assert totals.charge_count == 4 * 25 * 40
    assert totals.usd == pytest.approx(4 * 25 * 40 * 0.25, rel=1e-9)


def test_kill_9_while_writing_leaves_a_whole_file_with_whole_batches(path: Path) -> None:
    process = worker(path, 0, -1)
    assert process.stdout is not None
    for _ in range(10):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=10)
    printed = 10 + len(rest.splitlines())
    with LedgerReader(path) as reader:
        count = reader.totals().charge_count
    assert count % 40 == 0
    assert printed <= count // 40 <= printed + 1
    Ledger(path, SHOP, now=at_minute).write(batch_of(charged(charge(PUT, 1, PUT_USD))))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_with_its_own_connection(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD))))
    children: list[int] = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(10):
                    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD)), charged(charge(CHAT, 1, TOKEN_USD))))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for _ in range(10):
        ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD))))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    with LedgerReader(path) as reader:
        assert {row.key[0]: row.quantity for row in reader.rows(["operation"])} == {
            "dynamodb.PutItem": 1 + 10 + 3 * 10,
            "chat": 3 * 10,
        }


def test_a_failed_write_writes_nothing_and_the_same_batch_can_be_given_again(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(served(1)))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("ALTER TABLE requests_minute RENAME TO gone")  # charges are written, then requests fail
    batch = batch_of(charged(charge(PUT, 1, PUT_USD), attribution=ACME), served(1))
    with pytest.raises(LedgerError, match="cannot write"):
        ledger.write(batch)
    assert other.execute("SELECT count(*) FROM charges_minute").fetchone() == (0,)
    other.execute("ALTER TABLE gone RENAME TO requests_minute")
    other.close()
    ledger.write(batch)
    with LedgerReader(path) as reader:
        (row,) = reader.rows(["tenant"])[:1]
        assert (row.key, row.charge_count) == (("acme",), 1)
        assert reader.totals().requests == 2


def test_a_locked_file_is_an_error_that_says_so(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.write(batch_of(served(1)))
    monkeypatch.setattr("spancost.sinks.ledger.schema.BUSY_TIMEOUT_SECONDS", 0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"locked.*another process has held it"):
        ledger.write(batch_of(served(1)))
    holder.close()
    ledger.write(batch_of(served(1)))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_takes_no_more_bytes_is_an_error_and_the_batch_can_be_given_again(
    ledger: Ledger, path: Path
) -> None:
    import resource

    ledger.write(batch_of(served(1)))
    big = batch_of(*(charged(charge(PUT, 1, PUT_USD), EntryLabels(f"/{n}")) for n in range(5000)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    try:
        with pytest.raises(LedgerError, match="cannot write"):
            ledger.write(big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with LedgerReader(path) as reader:
        assert reader.totals().charge_count == 0
    ledger.write(big)
    with LedgerReader(path) as reader:
        assert reader.totals().charge_count == 5000


def test_a_missing_folder_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="folder is missing or not writable"):
        Ledger(tmp_path / "none" / "ledger.sqlite", SHOP, now=at_minute).write(batch_of(served(1)))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_refuses_writes_and_allows_reads(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(served(3)))
    path.chmod(stat.S_IRUSR)
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(LedgerError):
            ledger.write(batch_of(served(1)))
        with LedgerReader(path) as reader:
            assert reader.totals().requests == 3
    finally:
        path.parent.chmod(stat.S_IRWXU)


@pytest.mark.parametrize("content", [b"not a database at all, just text " * 100, b"\x00" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="not an SQLite database"):
        Ledger(path, SHOP, now=at_minute).write(batch_of(served(1)))
    with pytest.raises(LedgerError, match="not an SQLite database"):
        LedgerReader(path)
    assert path.read_bytes() == content


def test_a_damaged_ledger_is_an_error_that_says_so(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(*(charged(charge(PUT, 1, PUT_USD), EntryLabels(f"/{n}")) for n in range(500))))
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(bytes(content))
    with pytest.raises(LedgerError, match="damaged"):
        ledger.write(batch_of(served(1)))


def test_a_database_of_somebody_else_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (id INTEGER)")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    with pytest.raises(LedgerError, match="not a ledger of spancost"):
        Ledger(path, SHOP, now=at_minute).write(batch_of(served(1)))
    with pytest.raises(LedgerError, match="not a ledger of spancost"):
        LedgerReader(path)
    assert path.read_bytes() == content


def test_a_newer_schema_is_refused_with_what_to_do(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(served(1)))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA user_version = 4")
    connection.close()
    with pytest.raises(LedgerError, match=r"schema version 4 is newer than 3.*update spancost"):
        ledger.write(batch_of(served(1)))
    with pytest.raises(LedgerError, match="update spancost"):
        LedgerReader(path)


def test_reading_a_missing_file_is_an_error_and_creates_nothing(path: Path) -> None:
    with pytest.raises(LedgerError, match="no such file"):
        LedgerReader(path)
    assert not path.exists()


def test_a_ledger_deleted_while_the_application_runs_is_begun_anew(ledger: Ledger, path: Path) -> None:
    ledger.write(batch_of(charged(charge(PUT, 1, PUT_USD), HOME), charged(charge(CHAT, 1, TOKEN_USD))))
    path.unlink()
    ledger.write(batch_of(charged(charge(CHAT, 1, TOKEN_USD), attribution=ACME)))
    assert view_rows(path, "operation, tenant, count") == [("chat", "acme", 1)]


def test_rows_older_than_the_kept_days_are_deleted_and_other_processes_notice(path: Path) -> None:
    now = int(time.time()) // 60
    writer = Ledger(path, SHOP, retention=Retention(days_for=31 * 1440))
    other = Ledger(path, SHOP, retention=Retention(days_for=9 * 1440))
    old = charged(charge(PUT, 1, PUT_USD), attribution=ACME, minute=now - 30 * 1440)
    new = charged(charge(PUT, 1, PUT_USD), attribution=ACME, minute=now)
    writer.write(batch_of(old))
    other.write(batch_of(charged(charge(CHAT, 1, TOKEN_USD), minute=now)))  # keeps fewer days: deletes
    assert view_rows(path, "operation") == [("chat",)]
    writer.write(batch_of(new))  # its cached ids are of deleted names
    assert view_rows(path, "operation, tenant") == [("chat", ""), ("dynamodb.PutItem", "acme")]


def test_a_hundred_thousand_rows_stay_small(path: Path) -> None:
    ledger = Ledger(path, SHOP, now=at_minute)
    lines = [price_line("aws", "aws", f"s3.Operation{n}", unit="request", source="test") for n in range(20)]
    for minute in range(50):
        charges = {
            ChargeKey(MINUTE + minute, line, EntryLabels(f"/r{n}", "GET"), NOBODY, ENTRY): ChargeSum(1.0, 5e-6, 5e-6, 1)
            for line in lines
            for n in range(20)
        }
        ledger.write(Batch(charges, {}, []))
    assert path.stat().st_size / (50 * 400) < 64


def test_request_sums_carry_the_outcome(ledger: Ledger, path: Path) -> None:
    sums = RequestSum(BUCKETS)
    sums.count, sums.total_usd = 2, 0.5
    ledger.write(Batch({}, {RequestKey(MINUTE, CART, NOBODY, "error", served=False): sums}, []))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT outcome, served, count, total_usd FROM requests_minute").fetchall() == [
        ("error", 0, 2, 0.5)
    ]
    connection.close()
