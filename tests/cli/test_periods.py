from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spancost.cli._periods import is_period, period

NOW = datetime(2026, 11, 21, 14, 5, 30, tzinfo=UTC).timestamp()


def minute(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) // 60


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026-10", minute(2026, 10, 1), minute(2026, 11, 1)),
        ("2026-10-05", minute(2026, 10, 5), minute(2026, 10, 6)),
        ("yesterday", minute(2026, 11, 20), minute(2026, 11, 21)),
        ("2026-10-01..2026-10-15", minute(2026, 10, 1), minute(2026, 10, 16)),
        ("2026-10-05T14:05..2026-10-05T14:10", minute(2026, 10, 5, 14, 5), minute(2026, 10, 5, 14, 10)),
        ("2026-09..2026-10", minute(2026, 9, 1), minute(2026, 11, 1)),
        ("last", minute(2026, 10, 1), minute(2026, 11, 1)),
        ("this", minute(2026, 11, 1), minute(2026, 11, 21, 14, 6)),
        ("1h", minute(2026, 11, 21, 13, 5), minute(2026, 11, 21, 14, 6)),
        ("14d..7d", minute(2026, 11, 7, 14, 5), minute(2026, 11, 14, 14, 6)),
        ("2026-11-20..", minute(2026, 11, 20), minute(2026, 11, 21, 14, 6)),
    ],
)
def test_a_period_is_read(text: str, since: int, until: int) -> None:
    assert is_period(text)
    found = period(text, now=lambda: NOW)
    assert (found.since_minute, found.until_minute) == (since, until)


def test_a_period_that_is_not_over_ends_now() -> None:
    found = period("2026-11", now=lambda: NOW)
    assert found.until_minute == minute(2026, 11, 21, 14, 6)


def test_days_and_months_begin_in_the_time_zone_that_is_asked_for() -> None:
    found = period("2026-10", "Europe/Berlin", now=lambda: NOW)
    assert found.since_minute == minute(2026, 9, 30, 22)  # summer time
    assert found.until_minute == minute(2026, 10, 31, 23)  # winter time
    day = period("2026-10-25", "Europe/Berlin", now=lambda: NOW)
    assert day.until_minute - day.since_minute == 25 * 60


@pytest.mark.parametrize("text", ["2026-13", "2026-10-32", "2027-01", "7d..14d", "2026-10-05..2026-10-01"])
def test_what_is_no_period_says_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="a month"):
        period(text, now=lambda: NOW)


@pytest.mark.parametrize("text", ["main.jsonl", "spancost.sqlite", "fortnight", "", "..", "2026-10..x"])
def test_a_file_name_is_not_written_like_a_period(text: str) -> None:
    assert not is_period(text)
