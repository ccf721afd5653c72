"""What an estimate says of the true cost: at most this much, at least this much, or neither.

An estimated charge is money at risk: the bill may show another amount. Some assumptions only ever err to one side, and
then the amount charged is a bound. What is not in this table may err to either side. What is unpriced has no bound at
all: the dearest model of today is no bound for the price of one that nobody knows.
"""

from __future__ import annotations

from typing import Final

AT_MOST: Final = "at_most"
"""The true cost is this or less."""
AT_LEAST: Final = "at_least"
"""The true cost is this or more; how much more is not known."""
UNKNOWN: Final = "unknown"
"""It may be less or more."""
BOUNDS: Final = (AT_MOST, AT_LEAST, UNKNOWN)

CACHED_TOKENS: Final = "cached_tokens_not_reported"
BOUND_OF_BASIS: Final = {
    CACHED_TOKENS: AT_MOST,  # cached input costs less; for Claude see below
    "client_assumed_internet": AT_MOST,  # everything else is free, or cheaper
    "to_any_region": AT_MOST,
    "spot_at_on_demand": AT_MOST,  # since 2017 a spot price is never above it
    "container_limit": AT_MOST,  # a container never uses more
    "cdn_cache_not_seen": AT_LEAST,  # what the CDN serves from its cache comes on top
    "no_cpu_request": AT_LEAST,
    "no_memory_request": AT_LEAST,
    "reasoning_not_reported": AT_LEAST,
    "span_time": AT_LEAST,
    "stream_cut_short": AT_LEAST,
    "size:1_unit": AT_LEAST,
    "size:1_chunk": AT_LEAST,
    "response:6_MB": AT_LEAST,
    "pages:1": AT_LEAST,
    "metrics:1": AT_LEAST,
    "traces:1": AT_LEAST,
    "search:1_metric": AT_LEAST,
    "quantity:1": AT_LEAST,
}
"""Assumptions that err to one side only."""
_SURCHARGES_FOR_CACHE: Final = "claude"
"""Writing to the cache costs more than plain input there."""


def bound_of(basis: str, model: str = "") -> str:
    """Return which bound the amount of an estimated charge is.

    Args:
        basis: What was assumed, with commas between several; all of them must err to the same side.

        model: LLM model, where it is one.
    """
    found = {BOUND_OF_BASIS.get(part, UNKNOWN) for part in basis.split(",")}
    if CACHED_TOKENS in basis and _SURCHARGES_FOR_CACHE in model:
        return UNKNOWN
    return found.pop() if len(found) == 1 else UNKNOWN
