"""What the hooks remember between calls: bounded, by hash, without locks.

Some calls start work whose size only a later answer tells, and that answer is fetched again and again: `Jobs` says
which is the first. Some calls show a property of a resource which the billed calls do not: `Learned` keeps it.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

_MAX_PER_GENERATION: Final = 4096

Value = TypeVar("Value")


class Learned(Generic[Value]):
    """Values by name; at least the 4 096 newest, at most twice that."""

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: dict[int, Value] = {}
        self._old: dict[int, Value] = {}

    def note(self, name: str | int, value: Value) -> None:
        """Keep a value, in place of the one before."""
        self._young[hash(name)] = value
        self._forget()

    def get(self, name: str | int) -> Value | None:
        """Return the value noted last; None if there is none, or it was long ago."""
        key = hash(name)
        value = self._young.get(key)
        return self._old.get(key) if value is None and self._old else value

    def _forget(self) -> None:
        if len(self._young) >= _MAX_PER_GENERATION:
            self._old, self._young = self._young, {}


class Jobs(Learned[object]):
    """Jobs that were charged. Make one per kind of job: ids of different services may be equal."""

    __slots__ = ()

    def first_time(self, job_id: str | int) -> bool:
        """Return whether this id is seen for the first time; True for one thread only."""
        key = hash(job_id)
        if key in self._old:
            return False
        mark = object()
        first = self._young.setdefault(key, mark) is mark
        self._forget()
        return first
