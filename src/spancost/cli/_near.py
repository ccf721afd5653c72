"""Names that may have been meant by one that is unknown: models of the price list, operations of the price book."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from spancost.prices.book import PriceBook

_SHOWN: Final = 3


def near_model(provider: str, model: str) -> list[str]:
    """Return up to three `provider model` of genai-prices, the nearest first; none for one that is there."""
    from genai_prices.data_snapshot import get_snapshot

    models = {one.id: [known.id for known in one.models] for one in get_snapshot().providers}
    if provider in models:
        return [f"{provider} {name}" for name in _near(model, models[provider])]
    return [f"{name} {model}" for name in _near(provider, models)]


def near_operation(operation: str, book: PriceBook) -> list[str]:
    """Return up to three `service.Operation` of the price book, the nearest first."""
    names = {
        f"{price_id.split('.')[1]}.{name}"
        for price_id in book.price_ids()
        if price_id.startswith("aws.")
        for name in book.records(price_id)[0].operations
    }
    return _near(operation, names)


def _near(name: str, known: Iterable[str]) -> list[str]:
    return [found for found in get_close_matches(name, sorted(known), n=_SHOWN, cutoff=0.7) if found != name]
