"""Times of spans, and days of price dates: a price is valid from one midnight, UTC, to another."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Final

MAX_NS: Final = 2**63
"""Times from here on, in the year 2262, fit neither OTLP nor a ledger."""


def midnight_ns(day: date) -> int:
    """Return the first moment of a day, UTC, as Unix nanoseconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000


def possible_ns(ns: int | None, otherwise: int = 0) -> int:
    """Return a time that a span says, Unix nanoseconds, if it can be one; else `otherwise`, or the present time.

    Clocks are set wrong, and some applications pass seconds or nothing.
    """
    return ns if ns is not None and 0 < ns < MAX_NS else otherwise or time.time_ns()
