"""Days of price dates: a price is valid from one midnight, UTC, to another."""

from __future__ import annotations

from datetime import UTC, date, datetime


def midnight_ns(day: date) -> int:
    """Return the first moment of a day, UTC, as Unix nanoseconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000
