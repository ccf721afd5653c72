"""The prices that a configuration asks for: shipped ones, refreshed ones over them, your own over both."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from spancost.prices.book import PriceBook
from spancost.prices.cache import llm_file, read_cache
from spancost.prices.custom_rates import CustomRates
from spancost.prices.discounts import Discounts
from spancost.prices.http_rules import HttpRules
from spancost.prices.tokens import TokenPrices

if TYPE_CHECKING:
    from spancost.config import Config

_logger: Final = logging.getLogger(__name__)
_warned: Final[set[str]] = set()


def price_book(config: Config) -> PriceBook:
    """Return the prices of clouds. Refreshed ones that cannot be read are warned about once, and left out."""
    book = PriceBook.shipped()
    cache = read_cache(config.prices_cache, book)
    for problem in cache.problems:
        if problem not in _warned:  # once per process
            _warned.add(problem)
            _logger.warning("%s", problem)
    return config.own.onto(cache.onto(book))


def token_prices(config: Config) -> TokenPrices:
    """Return the prices of LLM models; they are read at the first look-up."""
    return TokenPrices(config.own.models, Discounts(config.own.discounts), llm_file(config.prices_cache))


def http_rules(config: Config) -> HttpRules:
    """Return the rules for HTTP APIs, your own first."""
    return HttpRules.shipped().with_own(config.own.http_rules)


def custom_rates(config: Config) -> CustomRates:
    """Return the rates for units of your own."""
    return CustomRates(config.own.custom)
