from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.windows import CALENDAR, DAY, HOUR, MONTH, ROLLING, TOTAL, WEEK, Window, rolling_slot_s

_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe")
_MOMENTS = st.integers(1_000_000_000, 2_500_000_000)


def _at(text: str, zone: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


@given(st.sampled_from(CALENDAR), st.sampled_from(_ZONES), _MOMENTS)
def test_each_moment_is_in_exactly_one_period_and_periods_follow_without_a_gap(
    kind: str, zone: str, unix_s: int
) -> None:
    window = Window(kind, time_zone=zone)
    period = window.period_at(unix_s)
    assert period.end is not None
    assert period.start <= unix_s < period.end
    assert Window(kind, time_zone=zone).period_at(period.start) == period
    assert Window(kind, time_zone=zone).period_at(period.end - 1) == period
    assert Window(kind, time_zone=zone).period_at(period.end).start == period.end


@given(st.sampled_from((DAY, WEEK, MONTH)), st.sampled_from(_ZONES), _MOMENTS)
def test_days_weeks_and_months_begin_with_the_first_moment_of_their_local_day(
    kind: str, zone: str, unix_s: int
) -> None:
    begin = datetime.fromtimestamp(Window(kind, time_zone=zone).period_at(unix_s).start, ZoneInfo(zone))
    before = begin.astimezone(UTC) - timedelta(seconds=1)
    assert before.astimezone(ZoneInfo(zone)).date() < begin.date()
    if kind == WEEK:
        assert begin.weekday() == 0
    if kind == MONTH:
        assert begin.day == 1


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2026-03-29T12:00", "Europe/Berlin", 23),
        ("2026-10-25T12:00", "Europe/Berlin", 25),
        ("2026-06-01T12:00", "Europe/Berlin", 24),
        ("2018-11-04T12:00", "America/Sao_Paulo", 23),  # midnight was skipped
    ],
)
def test_a_day_on_which_the_clocks_change_has_23_or_25_hours(day: str, zone: str, hours: int) -> None:
    assert Window(DAY, time_zone=zone).period_at(_at(day, zone)).seconds == hours * 3600


def test_months_end_with_their_own_last_day() -> None:
    window = Window(MONTH, time_zone="Europe/Berlin")
    february = window.period_at(_at("2028-02-29T23:59:59", "Europe/Berlin"))
    assert february.end == _at("2028-03-01T00:00", "Europe/Berlin")
    assert february.seconds == 29 * 86_400
    assert window.period_at(_at("2026-12-31T23:59:59", "Europe/Berlin")).end == _at("2027-01-01T00:00", "Europe/Berlin")


def test_hours_of_a_zone_with_half_an_hour_begin_at_its_own_full_hour() -> None:
    period = Window(HOUR, time_zone="Asia/Kolkata").period_at(_at("2026-05-05T10:45", "Asia/Kolkata"))
    assert period.start == _at("2026-05-05T10:00", "Asia/Kolkata")


def test_a_clock_that_is_set_back_finds_the_earlier_period_again() -> None:
    window = Window(DAY)
    today = window.period_at(1_800_000_000)
    assert window.period_at(today.start - 1).end == today.start
    assert window.period_at(1_800_000_000) == today


@given(st.integers(60, 40 * 86_400), _MOMENTS)
def test_a_rolling_window_counts_all_that_is_younger_and_at_most_one_slot_more(length_s: int, unix_s: int) -> None:
    length_s -= length_s % 60
    window = Window(ROLLING, length_s)
    first = window.first_slot(unix_s)
    assert first <= unix_s - length_s < first + window.slot_s
    minute = unix_s // 60
    assert window.slot_of(minute) <= minute * 60 < window.slot_of(minute) + window.slot_s
    assert window.slot_s % 60 == 0


def test_a_rolling_day_is_counted_in_slots_of_five_minutes() -> None:
    assert rolling_slot_s(86_400) == 300
    assert rolling_slot_s(3600) == 60


def test_the_total_has_one_period_without_an_end() -> None:
    window = Window(TOTAL)
    assert window.period_at(1e9) == window.period_at(2e9)
    assert window.slot_of(30_000_000) == 0
    assert window.period_at(1e9).end is None
