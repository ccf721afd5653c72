"""How a rule goes from ok over warnings to breached and back: a pure function of what is stored and what is seen.

    ok ──▶ warning ──▶ breached          each threshold speaks once
     ▲        │            │
     └── recovering ◀──────┘             below it by the hysteresis, for as long as the cooldown

A new period of a calendar window begins at ok. A value that rises again while it recovers goes back without a word: a
value that swings around its threshold speaks once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from spancost.budgets.alert import FIRING, RESOLVED
from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING, StateRecord


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen of one key of a rule at one moment."""

    level: int
    """Thresholds that are reached."""
    held_level: int
    """Thresholds that are reached, or missed by less than the hysteresis: what is not given up yet."""
    breach_level: int
    """From this level on it is a breach, below it a warning."""
    period_start: int = 0
    """Of a calendar window; 0 for what rolls."""
    is_incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that people are to be told."""

    status: str
    """`FIRING` or `RESOLVED`."""
    before: StateRecord
    level: int
    """Thresholds reached when it fires; what had been reached when it is resolved."""
    episode: str
    period_start: int


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from an observation."""

    record: StateRecord
    """To be stored, its version one higher; the same object if nothing has changed."""
    events: tuple[Event, ...] = ()


_CLOCKS_DIFFER_S: Final = 86_400.0
"""Another process may be ahead by so much, or have been before its clock was set right, seconds."""
_NO_EVENTS: Final[tuple[Event, ...]] = ()


def step(record: StateRecord, seen: Observation, now: float, *, cooldown_s: float, episode: str) -> Step:
    """Return the next state of a key.

    Args:
        record: Its present state.

        seen: What is seen of it.

        now: Unix seconds.

        cooldown_s: How long it must stay below its threshold to be well again.

        episode: Id for an episode that begins now.
    """
    events: tuple[Event, ...] = _NO_EVENTS
    after = record
    if seen.period_start > record.period_start:
        if record.level:
            events = (Event(RESOLVED, record, record.level, record.episode, record.period_start),)
        after = replace(
            record, state=OK, level=0, period_start=seen.period_start, since=now, below_since=0.0, episode=""
        )
    elif now < record.period_start <= now + _CLOCKS_DIFFER_S and seen.period_start:
        return Step(record)  # the clock was set back, or another process is ahead: the later period stands
    # A period that began already, but later than ours, or far in the future, is one of another window that the rule
    # had before, or of a clock that was wrong: waiting for it would silence the rule. What was told stays told.
    if seen.is_incomplete != after.is_incomplete:
        after = replace(after, is_incomplete=seen.is_incomplete)
    level = max(seen.level, 0)
    if level > after.level or (after.state == WARNING and level >= seen.breach_level):  # the rule had more thresholds
        started = after.episode or episode
        events = (*events, Event(FIRING, after, level, started, seen.period_start))
        after = replace(after, state=_state_at(level, seen), level=level, since=now, below_since=0.0, episode=started)
    elif after.level and max(seen.held_level, level) < after.level:
        after, resolved = _falling(after, seen, now, cooldown_s)
        events = (*events, *resolved)
    elif after.state == RECOVERING:
        after = replace(after, state=_state_at(after.level, seen), since=now, below_since=0.0)
    if after.version == 0 and after.state == OK and not after.is_incomplete and not events:
        return Step(record)  # nothing worth a row
    if after is record or after == record:
        return Step(record)
    return Step(replace(after, version=record.version + 1), events)


def _falling(
    record: StateRecord, seen: Observation, now: float, cooldown_s: float
) -> tuple[StateRecord, tuple[Event, ...]]:
    if record.state != RECOVERING:
        return replace(record, state=RECOVERING, since=now, below_since=now), _NO_EVENTS
    if not 0.0 <= now - record.below_since < cooldown_s:
        held = max(seen.held_level, seen.level)
        if held:  # from a breach to a warning: that had been told
            return replace(record, state=_state_at(held, seen), level=held, since=now, below_since=0.0), _NO_EVENTS
        over = Event(RESOLVED, record, record.level, record.episode, record.period_start)
        return replace(record, state=OK, level=0, since=now, below_since=0.0, episode=""), (over,)
    return record, _NO_EVENTS


def _state_at(level: int, seen: Observation) -> str:
    return BREACHED if level >= seen.breach_level else WARNING
