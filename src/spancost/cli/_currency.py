"""The currency in which commands show a second figure."""

from __future__ import annotations

from spancost.config import load_config
from spancost.errors import ConfigError
from spancost.prices.currency import Currency


def display_currency() -> Currency | None:
    """Return the configured currency; None without one, and where the configuration is wrong (`doctor` shows it)."""
    try:
        return load_config().own.currency
    except ConfigError:
        return None
