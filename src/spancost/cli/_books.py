"""Which prices a command reads, and for which day."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from spancost.cli._ledger import fail
from spancost.config import Config, load_config, own_prices_file
from spancost.config.strict_yaml import read_mapping
from spancost.errors import SpancostError
from spancost.prices.book import PriceBook
from spancost.prices.configured import price_book
from spancost.prices.own import OWN_KEYS, OwnPrices


def configured_book() -> tuple[PriceBook, Config]:
    """Return the prices that a process here would use: shipped, refreshed, own; a wrong setting ends the command."""
    try:
        config = load_config()
        return price_book(config), config
    except SpancostError as error:
        fail(str(error))


def own_prices_of(file: Path) -> OwnPrices:
    """Return the own prices of a prices file or of a whole `spancost.yaml`.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong.
    """
    if {str(key) for key in read_mapping(file)} <= set(OWN_KEYS):
        return own_prices_file(file, PriceBook.shipped())
    return load_config(file, environ={}).own


def at_ns(day: str | None) -> int:
    """Return the first moment of a day as Unix nanoseconds, UTC; now for None. What is no day ends the command."""
    if day is None:
        return time.time_ns()
    try:
        moment = datetime.fromisoformat(day)
    except ValueError:
        fail(f"--at: {day!r} is not a date such as 2026-11-01")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1_000_000_000


def day_of(moment_ns: int) -> str:
    """Return the day of a time, UTC."""
    return datetime.fromtimestamp(moment_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d")


def exact_usd(amount: Decimal | None, unknown: str = "?") -> str:
    """Return a rate with all its digits: `$0.000000625`."""
    return unknown if amount is None else f"${plain(amount)}"


def plain(amount: Decimal) -> str:
    """Return a number without exponent and without zeros at the end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(ratio: Decimal | None) -> str:
    """Return a change: `+12.5 %`; empty where there is nothing to compare with."""
    if ratio is None:
        return ""
    value = float(ratio) * 100
    return f"{value:+.1f} %" if abs(value) >= 0.05 else f"{value:+.2g} %"


def print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as CSV with a header; nothing for no rows."""
    if rows:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
