from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer

from spancost.cli.report.period import Period, compared_period, period_of, time_zone


def now() -> float:
    return datetime(2026, 11, 20, 14, 5, 30, tzinfo=UTC).timestamp()


def minute(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() // 60)


def asked(
    since: str | None = None,
    begin: str | None = None,
    end: str | None = None,
    month: str | None = None,
    tz: str = "UTC",
) -> Period:
    return period_of(since, begin, end, month, tz, now)


@pytest.mark.parametrize(
    ("month", "tz", "since", "until"),
    [
        ("2026-02", "UTC", "2026-02-01T00:00+00:00", "2026-03-01T00:00+00:00"),
        ("2025-12", "UTC", "2025-12-01T00:00+00:00", "2026-01-01T00:00+00:00"),
        ("this", "UTC", "2026-11-01T00:00+00:00", "2026-12-01T00:00+00:00"),
        ("last", "UTC", "2026-10-01T00:00+00:00", "2026-11-01T00:00+00:00"),
        ("last", "Europe/Berlin", "2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00"),
        ("2026-11", "Asia/Kathmandu", "2026-11-01T00:00+05:45", "2026-12-01T00:00+05:45"),
    ],
)
def test_a_month_is_from_midnight_to_midnight_in_its_time_zone(month: str, tz: str, since: str, until: str) -> None:
    period = asked(month=month, tz=tz)
    assert (period.since_minute, period.until_minute) == (minute(since), minute(until))


@pytest.mark.parametrize(
    ("begin", "end", "tz", "since", "until"),
    [
        ("2026-11-01", "2026-11-07", "UTC", "2026-11-01T00:00+00:00", "2026-11-08T00:00+00:00"),
        ("2026-11-01", "2026-11-01", "America/New_York", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00"),
        ("2026-11-01T14:05", "2026-11-01T14:35", "Europe/Berlin", "2026-11-01T14:05+01:00", "2026-11-01T14:35+01:00"),
        ("2026-11-01T14:05Z", "2026-11-02T00:00+05:00", "Asia/Tokyo", "2026-11-01T14:05Z", "2026-11-01T19:00Z"),
    ],
)
def test_a_day_that_ends_a_period_is_counted_whole_and_a_time_is_its_end(
    begin: str, end: str, tz: str, since: str, until: str
) -> None:
    period = asked(begin=begin, end=end, tz=tz)
    assert (period.since_minute, period.until_minute) == (minute(since), minute(until))


def test_one_end_is_enough() -> None:
    assert asked(begin="2026-11-01")[:2] == (minute("2026-11-01T00:00Z"), None)
    assert asked(end="2026-11-01T10:00")[:2] == (None, minute("2026-11-01T10:00Z"))
    assert asked()[:2] == (None, None)
    assert asked(since="1h")[:2] == (minute("2026-11-20T13:05Z"), None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"since": "1h", "month": "this"}, "--since and --month: only one of them"),
        ({"since": "1h", "end": "2026-11-01"}, "--since and --from/--to: only one of them"),
        ({"month": "this", "begin": "2026-11-01"}, "--from/--to and --month: only one of them"),
        ({"begin": "2026-11-02", "end": "2026-11-01"}, "the end is not behind the beginning"),
        ({"begin": "2026-11-01T10:00", "end": "2026-11-01T10:00"}, "the end is not behind the beginning"),
        ({"begin": "yesterday"}, "--from: 'yesterday' is not a day such as 2026-11-20"),
        ({"end": "2026-02-30"}, "--to: '2026-02-30' is not a day"),
        ({"end": "9999-12-31"}, "--to: '9999-12-31' is not a day"),
        ({"month": "2026-13"}, "--month: '2026-13' is not a month such as 2026-11, this or last"),
        ({"month": "november"}, "--month: 'november' is not a month"),
    ],
)
def test_wrong_or_contradictory_periods_are_refused_with_what_is_accepted(
    given: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        asked(**given)
    assert ended.value.exit_code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_time_zone_is_refused_with_the_near_miss(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        time_zone("Europe/Berln")
    assert "did you mean Europe/Berlin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "given", "before"),
    [
        ("previous", {"month": "2026-10"}, ("2026-09-01T00:00Z", "2026-10-01T00:00Z")),
        # of the running month 19 days, 14 hours and 6 minutes have passed
        ("previous", {"month": "this"}, ("2026-10-01T00:00Z", "2026-10-20T14:06Z")),
        ("previous", {"since": "1h"}, ("2026-11-20T12:04Z", "2026-11-20T13:05Z")),
        ("previous", {"begin": "2026-11-08", "end": "2026-11-14"}, ("2026-11-01T00:00Z", "2026-11-08T00:00Z")),
        ("7d", {"since": "1h"}, ("2026-11-13T13:05Z", "2026-11-13T14:06Z")),
        ("7d", {}, ("2026-11-06T14:06Z", "2026-11-13T14:06Z")),
        ("2026-08", {"month": "this"}, ("2026-08-01T00:00Z", "2026-09-01T00:00Z")),
        ("last", {"month": "this"}, ("2026-10-01T00:00Z", "2026-11-01T00:00Z")),
        ("2026-11-01..2026-11-07", {"since": "7d"}, ("2026-11-01T00:00Z", "2026-11-08T00:00Z")),
    ],
)
def test_what_a_period_is_compared_with(text: str, given: dict[str, str], before: tuple[str, str]) -> None:
    _, found = compared_period(text, asked(**given), now)
    assert (found.since_minute, found.until_minute) == tuple(map(minute, before))


def test_a_running_month_ends_now_where_it_is_compared() -> None:
    for text in ("previous", "2026-10"):
        period, _ = compared_period(text, asked(month="this"), now)
        assert period.until_minute == minute("2026-11-20T14:06Z")
    assert compared_period("previous", asked(month="2026-09"), now)[0] == asked(month="2026-09")


def test_a_duration_alone_is_the_length_of_both_periods() -> None:
    period, before = compared_period("7d", asked(), now)
    assert period.since_minute == before.until_minute
    assert period.since_minute is not None
    assert before.since_minute is not None
    assert period.since_minute - before.since_minute == 7 * 1440


@pytest.mark.parametrize("text", ["previous", "0d", "sometime", "2026-11-07..2026-11-01"])
def test_a_comparison_with_nothing_sensible_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        compared_period(text, asked(), now)
    assert "--compare" in capsys.readouterr().err
