"""Builds the budgets of a process from its configuration and ties them to its engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from spancost.budgets.book import BudgetBook
from spancost.budgets.notify.channels import open_channel
from spancost.budgets.notify.deliverer import Deliverer
from spancost.budgets.rules import Channel
from spancost.budgets.stores.opening import open_store

if TYPE_CHECKING:
    from spancost.engine import CostEngine
    from spancost.window import Origin

_LOG: Final = (Channel(name="log", type="log"),)
"""Told where no channel is configured."""


def add_budgets(engine: CostEngine, origin: Origin) -> None:
    """Add the budgets of an engine's configuration to its sinks.

    Args:
        engine: The engine of the process.

        origin: Service and environment of its spans.

    Raises:
        SpancostError: The store cannot be opened.
    """
    config = engine.config
    store = open_store(config.budget_store, environ=os.environ)
    channels = {channel.name: open_channel(channel) for channel in config.budget_channels or _LOG}
    deliverer = Deliverer(store, channels, errors=engine.errors)
    book = BudgetBook(
        config.budget_rules,
        origin,
        store,
        channels=tuple(channels),
        errors=engine.errors,
        deliverer=deliverer,
        costly_requests=engine.costly_requests,
    )
    engine.budgets = book
    engine.add_sink(book)
    engine.upkeep.append(book.tick)
