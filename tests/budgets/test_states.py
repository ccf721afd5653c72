from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.alert import FIRING, RESOLVED
from spancost.budgets.evaluation import reached
from spancost.budgets.states import Observation, Step, step
from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING, StateRecord

_THRESHOLDS = (0.5, 0.8, 1.0)
_COOLDOWN_S = 300.0
_NEW = StateRecord("rule", "key")


def _seen(ratio: float, period_start: int = 0) -> Observation:
    return Observation(reached(ratio, _THRESHOLDS), reached(ratio, _THRESHOLDS, 0.05), 3, period_start)


def _step(record: StateRecord, seen: Observation, now: float) -> Step:
    return step(record, seen, now, cooldown_s=_COOLDOWN_S, episode=f"episode at {now:g}")


def test_each_threshold_speaks_once_on_the_way_up() -> None:
    record = _NEW
    told: list[tuple[float, int, str]] = []
    for now, ratio in enumerate((0.1, 0.5, 0.55, 0.6, 0.81, 0.9, 1.0, 1.4, 2.0)):
        done = _step(record, _seen(ratio), float(now))
        record = done.record
        told += [(ratio, event.level, record.state) for event in done.events]
    assert told == [(0.5, 1, WARNING), (0.81, 2, WARNING), (1.0, 3, BREACHED)]


def test_a_jump_over_several_thresholds_is_told_once_as_the_highest() -> None:
    done = _step(_NEW, _seen(1.2), 0.0)
    assert [(event.status, event.level) for event in done.events] == [(FIRING, 3)]
    assert done.record.state == BREACHED


def test_a_value_that_swings_around_its_threshold_speaks_once() -> None:
    record, events = _NEW, 0
    for now in range(0, 2000, 10):
        done = _step(record, _seen(1.01 if now % 20 else 0.93), float(now))
        record = done.record
        events += len(done.events)
    assert events == 2  # first the threshold below, then the limit
    assert record.state in (BREACHED, RECOVERING)


def test_within_the_hysteresis_nothing_recovers() -> None:
    breached = _step(_NEW, _seen(1.0), 0.0).record
    assert _step(breached, _seen(0.96), 1e6).record is breached


def test_it_is_well_again_after_the_cooldown_below_the_threshold_and_says_so_once() -> None:
    record = _step(_NEW, _seen(1.5), 0.0).record
    episode = record.episode
    record = _step(record, _seen(0.1), 100.0).record
    assert record.state == RECOVERING
    assert _step(record, _seen(0.1), 399.0).record is record
    done = _step(record, _seen(0.1), 400.0)
    assert [(event.status, event.episode) for event in done.events] == [(RESOLVED, episode)]
    assert (done.record.state, done.record.level, done.record.episode) == (OK, 0, "")
    again = _step(done.record, _seen(0.6), 500.0)
    assert [event.status for event in again.events] == [FIRING]
    assert again.record.episode != episode


def test_from_a_breach_it_goes_back_to_a_warning_without_a_word() -> None:
    record = _step(_NEW, _seen(1.5), 0.0).record
    record = _step(record, _seen(0.6), 1.0).record
    done = _step(record, _seen(0.6), 302.0)
    assert done.record.state == WARNING
    assert not done.events


def test_a_new_period_begins_at_ok_and_ends_what_was_told() -> None:
    record = _step(_NEW, _seen(1.5, 1000), 1500.0).record
    done = _step(record, _seen(0.0, 2000), 2001.0)
    assert [event.status for event in done.events] == [RESOLVED]
    assert done.record.state == OK
    assert _step(done.record, _seen(0.5, 2000), 2002.0).events[0].level == 1


def test_a_new_period_may_begin_with_a_breach() -> None:
    record = _step(_NEW, _seen(1.5, 1000), 1500.0).record
    done = _step(record, _seen(1.1, 2000), 2001.0)
    assert [event.status for event in done.events] == [RESOLVED, FIRING]
    assert done.record.version == record.version + 1


def test_a_clock_that_was_set_back_into_the_last_period_changes_nothing() -> None:
    record = _step(_NEW, _seen(0.6, 2000), 2500.0).record
    assert _step(record, _seen(1.5, 1000), 1999.0).record is record


def test_a_period_of_the_window_that_a_rule_had_before_does_not_silence_it() -> None:
    day = _step(_NEW, _seen(0.6, 86_400 * 20), 86_400.0 * 20 + 50).record
    for start in (0, 86_400 * 3):  # rolling or without an end, and a month
        done = _step(day, _seen(1.5, start), 86_400.0 * 20 + 100)
        assert [(event.status, event.level) for event in done.events] == [(FIRING, 3)]
        assert _step(done.record, _seen(1.5, start), 86_400.0 * 20 + 105).record is done.record
        fallen = _step(done.record, _seen(0.0, start), 86_400.0 * 20 + 110).record
        ended = _step(fallen, _seen(0.0, start), 86_400.0 * 20 + 111 + _COOLDOWN_S)
        assert [event.status for event in ended.events] == [RESOLVED]


def test_a_process_whose_clock_was_years_ahead_does_not_silence_a_rule() -> None:
    record = _step(_NEW, _seen(0.6, 10**9), 10.0**9).record
    assert [event.level for event in _step(record, _seen(1.5, 1000), 1999.0).events] == [3]


def test_a_warning_that_is_the_breach_now_since_thresholds_were_taken_away_is_told() -> None:
    record = _step(_NEW, _seen(0.9), 10.0).record
    assert (record.state, record.level) == (WARNING, 2)
    done = _step(record, Observation(1, 1, 1), 20.0)
    assert [event.status for event in done.events] == [FIRING]
    assert (done.record.state, done.record.level) == (BREACHED, 1)
    assert _step(done.record, Observation(1, 1, 1), 25.0).record is done.record


def test_a_clock_that_was_set_back_does_not_keep_a_rule_recovering_for_ever() -> None:
    record = _step(_NEW, _seen(1.5), 10_000.0).record
    record = _step(record, _seen(0.0), 10_001.0).record
    assert _step(record, _seen(0.0), 50.0).record.state == OK


def test_nothing_that_happens_is_not_stored() -> None:
    assert _step(_NEW, _seen(0.2), 5.0).record is _NEW


def test_that_something_has_no_price_is_stored_without_an_alert() -> None:
    done = _step(_NEW, replace(_seen(0.2), is_incomplete=True), 5.0)
    assert done.record.is_incomplete
    assert not done.events


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 1000)), max_size=60))
def test_what_fires_is_resolved_before_the_next_episode_and_levels_only_rise_within_one(
    course: list[tuple[float, float]],
) -> None:
    record, now, open_episode, highest = _NEW, 0.0, "", 0
    for ratio, seconds in course:
        now += seconds
        done = _step(record, _seen(ratio), now)
        assert done.record.version == record.version + (done.record is not record)
        for event in done.events:
            if event.status == RESOLVED:
                assert event.episode == open_episode
                open_episode, highest = "", 0
            else:
                assert open_episode in ("", event.episode)
                open_episode = event.episode
                highest = event.level
        record = done.record
        assert bool(record.episode) == (record.state != OK)
        assert record.level <= max(highest, 3)
