from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spancost.dashboards.times import (
    Span,
    duration_s,
    duration_text,
    moment,
    panel_span,
    rate_interval_s,
    step_s,
)

NOW = datetime(2026, 11, 21, 13, 45, 30, tzinfo=UTC).timestamp()


def _utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> float:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("now", (2026, 11, 21, 13, 45, 30)),
        ("now-90s", (2026, 11, 21, 13, 44, 0)),
        ("now/d", (2026, 11, 21)),
        ("now-1d/d", (2026, 11, 20)),
        ("now/w", (2026, 11, 16)),
        ("now/M", (2026, 11, 1)),
        ("now-1M/M", (2026, 10, 1)),
        ("now/y", (2026, 1, 1)),
        ("now/h", (2026, 11, 21, 13)),
        ("2026-11-21T12:00:00Z", (2026, 11, 21, 12)),
        ("2026-11-21T12:00:00", (2026, 11, 21, 12)),
        ("1763726400000", (2025, 11, 21, 12)),
    ],
)
def test_a_time_is_that_of_grafana_in_utc(text: str, parts: tuple[int, int, int]) -> None:
    assert moment(text, NOW) == _utc(*parts)


def test_the_end_of_a_day_is_its_last_millisecond() -> None:
    assert moment("now-1d/d", NOW, is_end=True) == pytest.approx(_utc(2026, 11, 21) - 0.001, abs=1e-6)


def test_a_month_before_the_31st_ends_with_its_own_last_day() -> None:
    assert moment("now-1M", _utc(2026, 3, 31, 8)) == _utc(2026, 2, 28, 8)


@pytest.mark.parametrize("text", ["yesterday", "now-", "now-5q", "", "now-99999y"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a time"):
        moment(text, NOW)


def test_durations_are_read_and_written_as_prometheus_does() -> None:
    assert (duration_s("1h30m"), duration_s("250ms"), duration_s("2w")) == (5400.0, 0.25, 1_209_600.0)
    assert [duration_text(seconds) for seconds in (15, 90, 5400, 86400, 0.25)] == ["15s", "90s", "90m", "1d", "250ms"]
    with pytest.raises(ValueError, match="a duration"):
        duration_s("5 minutes")


def test_the_step_is_round_and_no_shorter_than_the_scrape_interval() -> None:
    day, hour = Span(0, 86400), Span(0, 3600)
    assert step_s(day, 1000, 15) == 60  # 86.4 s are rounded to a minute
    assert step_s(hour, 1000, 15) == 15  # 3.6 s would be 5 s
    assert step_s(hour, 1000, 1) == 5
    assert step_s(Span(0, 30 * 86400), 1000, 15) == 1800
    assert step_s(Span(0, 3650 * 86400), 10, 15) == 2_592_000


def test_a_series_never_has_more_points_than_prometheus_gives() -> None:
    assert step_s(Span(0, 86400), 86400, 1) == pytest.approx(86400 / 11000)


def test_the_rate_interval_has_four_scrapes_and_reaches_over_a_step() -> None:
    assert rate_interval_s(15, 15) == 60
    assert rate_interval_s(600, 15) == 615


def test_a_panel_has_a_time_of_its_own() -> None:
    whole = Span(NOW - 3600, NOW)
    assert panel_span(whole, NOW, "", "") == whole
    assert panel_span(whole, NOW, "now/d", "") == Span(_utc(2026, 11, 21), NOW)
    assert panel_span(whole, NOW, "2h", "1d") == Span(NOW - 7200 - 86400, NOW - 86400)
