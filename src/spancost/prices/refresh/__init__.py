"""Fetch list prices from the vendors: AWS Price List API, Azure Retail Prices, GCP Billing Catalog, genai-prices.

Run by `spancost prices refresh` only: nothing of this is imported by a process that prices spans. Answers are taken as
untrusted: bounded in size and number, checked, and a price that is wildly off the known one is not taken.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from spancost.errors import SpancostError
from spancost.prices.book import PriceBook, PriceRecord, Rate

Progress = Callable[[str, int, int], None]
"""Told what is being asked, how many questions are answered, and how many there are."""

_ATTEMPTS: Final = 5
_TIMEOUT_S: Final = 30.0
_MAX_BYTES: Final = 64 * 2**20
_IMPLAUSIBLE: Final = 20
"""A price that changed by more than this factor is a changed unit or a wrong product, not a new price."""
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class RefreshError(SpancostError):
    """Prices could not be fetched; nothing was changed."""


@dataclass(slots=True)
class Refreshed:
    """What a vendor answered."""

    records: dict[str, list[PriceRecord]] = field(default_factory=dict[str, "list[PriceRecord]"])
    """New prices by id; one for each region."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Ids that were asked for and got no price, and why."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report nothing."""


def plausible(record: PriceRecord, book: PriceBook, at_ns: int) -> bool:
    """Say whether a new price can be one, seen from the price that is known for that region or for the default one.

    Quoting per 1,000, 10,000 or a million what is stored per piece is the mistake that this catches.
    """
    known = book.price(record.id, record.regions[0], at_ns)
    if not isinstance(known, Rate) or not known.listed or not record.usd:
        return True
    return known.listed / _IMPLAUSIBLE < record.usd < known.listed * _IMPLAUSIBLE


def take(found: Refreshed, records: Iterable[PriceRecord], book: PriceBook, at_ns: int) -> None:
    """Add records to an answer, but for those that cannot be right."""
    for record in records:
        if plausible(record, book, at_ns):
            found.records.setdefault(record.id, []).append(record)
        else:
            found.missing[record.id] = f"{record.regions[0]}: ${record.usd} per {record.unit} is too far off"


def get_json(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    pause_s: float = 1.0,
    attempts: int = _ATTEMPTS,
    timeout_s: float = _TIMEOUT_S,
) -> Any:
    """Return the JSON that an HTTP server answers.

    Args:
        url: Where to ask; https, or http on this machine.

        headers: Added to the request, and never shown.

        pause_s: Pause before the second attempt, seconds; it doubles with each further one.

        attempts: How often to ask at most, where asking again may help.

        timeout_s: Longest wait for one answer, seconds.

    Raises:
        RefreshError: No answer, an error status, more than 64 MB, or no JSON.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise RefreshError(f"{parts.scheme}://{parts.hostname}: https is needed")
    place = f"{parts.hostname}{parts.path}"
    problem = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        request = urllib.request.Request(url, headers={"Accept": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                content = answer.read(_MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            problem = f"status {error.code}"
            error.close()
            if error.code not in _RETRIED:
                break
        except (OSError, HTTPException) as error:
            problem = str(getattr(error, "reason", "")) or type(error).__name__
        else:
            return _parsed(content, place)
    raise RefreshError(f"{place}: {problem}")


def _parsed(content: bytes, place: str) -> Any:
    if len(content) > _MAX_BYTES:
        raise RefreshError(f"{place}: more than {_MAX_BYTES // 2**20} MB")
    try:
        # Prices as they are written: a float would lose digits.
        return json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise RefreshError(f"{place}: the answer is no JSON") from None
