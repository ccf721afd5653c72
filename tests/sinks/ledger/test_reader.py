from __future__ import annotations

from pathlib import Path

import pytest

from spancost.sinks.ledger.query import Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    MACHINE,
    MACHINE_USD,
    MINUTE,
    PUT,
    PUT_USD,
    at_minute,
    batch_of,
    charge,
    charged,
)

_DAY = 1440


def written(path: Path, *ages: int) -> LedgerReader:
    entries = [charged(charge(PUT, 1, PUT_USD), minute=MINUTE - age) for age in ages]
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(*entries))
    return LedgerReader(path)


def test_a_gap_of_an_hour_goes_on_and_a_longer_one_ends_a_stretch(tmp_path: Path) -> None:
    with written(tmp_path / "a.sqlite", 0, 61, 123, 200) as reader:
        assert reader.stretches() == [
            (MINUTE - 200, MINUTE - 199),
            (MINUTE - 123, MINUTE - 122),
            (MINUTE - 61, MINUTE + 1),
        ]
        assert reader.stretches(longest_gap=_DAY) == [(MINUTE - 200, MINUTE + 1)]


def test_hours_and_days_count_whole(tmp_path: Path) -> None:
    with written(tmp_path / "a.sqlite", 3 * _DAY, 20 * _DAY) as reader:
        day, hour = MINUTE - 20 * _DAY, MINUTE - 3 * _DAY
        assert reader.stretches() == [
            (day - day % _DAY, day - day % _DAY + _DAY),
            (hour - hour % 60, hour - hour % 60 + 60),
        ]


def test_stretches_are_those_of_the_period(tmp_path: Path) -> None:
    with written(tmp_path / "a.sqlite", 0, 5, 10) as reader:
        assert reader.stretches(Selection(MINUTE - 5, MINUTE)) == [(MINUTE - 5, MINUTE - 4)]
        assert reader.stretches(Selection(MINUTE + 1)) == []


def test_idle_sums_have_seconds_and_list_price_by_the_keys_that_tell_them_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    for service, seconds in (("shop", 10), ("jobs", 20)):
        Ledger(path, Origin(service), now=at_minute).write(
            batch_of(
                charged(charge(MACHINE, seconds, MACHINE_USD), EntryLabels(), position=IDLE),
                charged(charge(MACHINE, 99, MACHINE_USD)),
            )
        )
    with LedgerReader(path) as reader:
        found = reader.idle_sums(["service", "tenant"])
        assert found.keys() == {("shop", ""), ("jobs", "")}
        for service, seconds in (("shop", 10.0), ("jobs", 20.0)):
            usd = pytest.approx(seconds * MACHINE_USD)
            assert tuple(found[(service, "")]) == (seconds, usd, usd, 0)
        assert {key: sums.usd for key, sums in found.items()} == reader.idle_rows(["service", "tenant"])
