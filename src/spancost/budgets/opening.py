"""Builds the budgets of a process from its configuration and ties them to its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spancost.budgets.book import BudgetBook
from spancost.budgets.notify.channels import DEFAULT_CHANNEL, open_channel
from spancost.budgets.notify.deliverer import Deliverer
from spancost.budgets.stores.opening import open_store
from spancost.errors import ConfigError

if TYPE_CHECKING:
    from spancost.engine import CostEngine
    from spancost.window import Origin


def add_budgets(engine: CostEngine, origin: Origin) -> None:
    """Add the budgets of an engine's configuration to its sinks.

    Args:
        engine: The engine of the process.

        origin: Service and environment of its spans.

    Raises:
        ConfigError: The store that is named cannot be opened.
    """
    config = engine.config
    try:
        store = open_store(config.budget_store)
    except ValueError as error:
        raise ConfigError(config.place or "environment", "budgets.store", config.budget_store, str(error)) from None
    channels = {channel.name: open_channel(channel) for channel in config.budget_channels or (DEFAULT_CHANNEL,)}
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
    engine.upkeep.append(lambda: _tick(engine, book))
    deliverer.wake()  # a process that was killed may have left something in the store


def _tick(engine: CostEngine, book: BudgetBook) -> None:
    # Getting ready happens in a request: the first one must not wait for the store.
    if not engine.is_preparing:
        book.tick()
