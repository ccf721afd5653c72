from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.errors import LedgerError
from spancost.sinks.ledger.query import Condition, Selection, canonical_key, checked, offsets
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.schema import BY_ENTRY, BY_OWNER, DETAIL
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Attribution, Origin
from tests.sinks.ledger_batches import CHAT, HOME, PUT, PUT_USD, TOKEN_USD, batch_of, charge, charged, served

_DST_ENDS = int(datetime(2025, 10, 26, 1, tzinfo=UTC).timestamp()) // 60
"""When Berlin goes from +02:00 to +01:00."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with one charge of $1e-6 in each of the 50 hours around the end of summer time in Berlin."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Origin("shop"), now=lambda: (_DST_ENDS + 1) * 60.0)
    for hour in range(-25, 25):
        ledger.write(batch_of(charged(charge(PUT, 1.6, PUT_USD), HOME, minute=_DST_ENDS + 60 * hour + 30)))
    return path


def test_an_hour_that_is_there_twice_is_told_apart_by_its_offset(path: Path) -> None:
    with LedgerReader(path) as reader:
        rows = {row.key[0]: row.charge_count for row in reader.rows(["hour"], Selection(tz="Europe/Berlin"))}
    assert len(rows) == 50
    assert rows["2025-10-26T02:00+02:00"] == rows["2025-10-26T02:00+01:00"] == 1


def test_a_day_with_25_hours_has_the_charges_of_25(path: Path) -> None:
    with LedgerReader(path) as reader:
        rows = {row.key[0]: row.charge_count for row in reader.rows(["day"], Selection(tz="Europe/Berlin"))}
        utc = {row.key[0]: row.charge_count for row in reader.rows(["day"])}
    assert rows["2025-10-26"] == 25
    assert utc["2025-10-26"] == 24
    assert sum(rows.values()) == sum(utc.values()) == 50


def test_months_and_times_in_utc_end_with_z(path: Path) -> None:
    with LedgerReader(path) as reader:
        assert [row.key for row in reader.rows(["month"])] == [("2025-10",)]
        assert {row.key[0][-1] for row in reader.rows(["hour"])} == {"Z"}
        assert {row.key[0][-1] for row in reader.rows(["minute"])} == {"Z"}


def test_minutes_in_a_zone_of_half_hours_are_right(path: Path) -> None:
    with LedgerReader(path) as reader:
        found = {row.key[0] for row in reader.rows(["minute"], Selection(tz="Asia/Kolkata"))}
    expected = {
        datetime.fromtimestamp((_DST_ENDS + 60 * hour + 30) * 60, ZoneInfo("Asia/Kolkata")).strftime("%Y-%m-%dT%H:%M")
        + "+05:30"
        for hour in range(-25, 25)
    }
    assert found == expected


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca"]),
    st.integers(27_000_000, 30_000_000),
    st.integers(1, 600_000),
    st.floats(0, 1),
)
def test_each_minute_has_the_offset_that_the_zone_has_then(tz: str, first: int, length: int, part: float) -> None:
    minute = first + int(part * (length - 1))
    stretches = offsets(tz, first, first + length)
    offset = next(offset for begin, offset in reversed(stretches) if begin <= minute)
    expected = datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo(tz)).utcoffset()
    assert timedelta(minutes=offset) == expected


def test_a_zone_that_is_none_and_a_time_as_pattern_are_refused(path: Path) -> None:
    with LedgerReader(path) as reader:
        with pytest.raises(LedgerError, match=r"'Mars/Olympus' is not a time zone: an IANA name"):
            reader.rows(["day"], Selection(tz="Mars/Olympus"))
        with pytest.raises(LedgerError, match=r"'day' is a time: bound it by a period"):
            reader.rows(["day"], Selection(where=(Condition("day", "2025*"),)))
        with pytest.raises(LedgerError, match=r"a free label is label.NAME"):
            reader.rows(['label."x'])


def test_keys_are_known_by_their_short_and_dashed_names() -> None:
    assert [canonical_key(key) for key in ("route", "method", "cloud-service", "cloud-account")] == [
        "http_route",
        "http_request_method",
        "cloud_service",
        "cloud_account",
    ]


@pytest.mark.parametrize(
    ("by", "selection", "cut"),
    [
        (["entrypoint"], Selection(), BY_ENTRY),
        (["hour", "operation"], Selection(600, 1200), BY_ENTRY),
        (["entrypoint"], Selection(601), DETAIL),
        (["minute"], Selection(), DETAIL),
        (["tenant"], Selection(), BY_OWNER),
        (["tenant", "day"], Selection(1440), BY_OWNER),
        (["tenant", "day"], Selection(1440, tz="Europe/Berlin"), DETAIL),
        (["tenant", "hour"], Selection(), DETAIL),
        (["tenant", "operation"], Selection(), DETAIL),
        (["label.x", "service"], Selection(), BY_OWNER),
        (["component"], Selection(where=(Condition("tenant", "a*"),)), BY_OWNER),
        (["operation"], Selection(where=(Condition("tenant", "a*"),)), DETAIL),
    ],
)
def test_the_smallest_cut_that_has_all_keys_is_asked(by: list[str], selection: Selection, cut: object) -> None:
    assert checked(by, selection).cut() is cut


def test_a_bill_names_the_service_of_each_charge(path: Path) -> None:
    with LedgerReader(path) as reader:
        assert [row.key for row in reader.rows(["cloud-service"])] == [("Amazon DynamoDB",)]
        only = Selection(where=(Condition("cloud_service", "Amazon S*"),))
        assert reader.rows(["cloud_service"], only) == []


def test_a_free_label_is_a_key(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, Origin("shop"), now=lambda: _DST_ENDS * 60.0)
    for value, quantity in (('it\'s "4711"', 2), ("ünï", 3)):
        whose = Attribution(labels=(("cost_center", value),))
        ledger.write(
            batch_of(
                charged(charge(CHAT, quantity, TOKEN_USD), attribution=whose, minute=_DST_ENDS),
                served(quantity, attribution=whose, minute=_DST_ENDS),
            )
        )
    with LedgerReader(path) as reader:
        found = {row.key: (row.usd, row.requests) for row in reader.rows(["label.cost_center"])}
        assert found == {
            ('it\'s "4711"',): (pytest.approx(2 * TOKEN_USD), 2),
            ("ünï",): (pytest.approx(3 * TOKEN_USD), 3),
        }
        assert [row.key for row in reader.rows(["label.none"])] == [("",)]
