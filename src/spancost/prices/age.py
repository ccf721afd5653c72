"""How old prices are: of the newest one in the shipped book, and of those that were refreshed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from spancost.errors import PriceBookError
from spancost.prices.book import PriceBook, shipped_data
from spancost.prices.cache import read_cache

if TYPE_CHECKING:
    from spancost.config import Config

BOOK: Final = "book"
CACHE: Final = "cache"
_FIRST_DAY: Final = "YYYY-01-01"


def prices_since(config: Config) -> dict[str, float]:
    """Return the time of the newest price, Unix seconds: of `book`, and of `cache` where prices were refreshed."""
    found: dict[str, float] = {}
    try:
        book = _seconds(str(shipped_data()["as_of"]))
    except PriceBookError:
        book = None
    if book is not None:
        found[BOOK] = book
    refreshed = [_seconds(file.refreshed) for file in read_cache(config.prices_cache, PriceBook.shipped()).files]
    times = [time for time in refreshed if time is not None]
    if times:
        found[CACHE] = max(times)
    return found


def _seconds(day: str) -> float | None:
    """Read `2026-11-20` or `2026-11-20T06:00:00Z`; of a month or a year its first day."""
    day += _FIRST_DAY[len(day) :] if len(day) < len(_FIRST_DAY) else ""
    try:
        moment = datetime.fromisoformat(day)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
