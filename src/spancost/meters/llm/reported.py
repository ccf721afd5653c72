"""Costs that a span already states.

Two kinds. A cost that the *provider* reported with its answer is what will be billed: it wins over the price list. A
cost that the instrumentation *computed* from a price table of its own (OpenLIT, Pydantic AI, LiteLLM, OpenInference,
see `Dialect.computes_cost`) knows no more than we do: it is used only where we have no price, as an estimate.

- `gen_ai.usage.cost.amount` with `gen_ai.usage.cost.source` = `provider` and currency USD: the provider's.
- `gen_ai.usage.cost`, `gen_ai.usage.total_cost`: the provider's (gateways such as OpenRouter return a cost, and
  applications and frameworks pass it on under these names), unless the scope is known to compute it.
- `operation.cost`, `llm.cost.total`, `litellm.cost.total`, `gen_ai.cost.total_cost`: computed.
- spancost writes `gen_ai.usage.cost` and `operation.cost` itself. Next to its own attributes they are never read.
- Zero is not believed: several gateways and price tables write 0 for "unknown". Negative, infinite and non-numeric
  costs are ignored, and the charge says so (`bad_reported_cost`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from spancost import names
from spancost.meters.llm.dialects import POSITION, SPELLINGS, Dialect

_COST: Final = POSITION["cost"]
_AMOUNT: Final = POSITION["cost_amount"]
_CURRENCY: Final = POSITION["cost_currency"]
_SOURCE: Final = POSITION["cost_source"]
_COMPUTED: Final = POSITION["computed_cost"]
_LARGEST_USD: Final = 1e6


class ReportedCost(NamedTuple):
    """A cost found on a span."""

    usd: float
    """More than zero; 0.0 where the stated value is unusable."""
    attribute: str
    by_provider: bool
    """The provider reported it; else the instrumentation computed it."""


def reported_cost(found: Sequence[Any], dialect: Dialect, attributes: Mapping[str, Any]) -> ReportedCost | None:
    """Return the best cost that a span states, None if it states none.

    Args:
        found: Values by `POSITION`.

        dialect: Row of the span's scope.

        attributes: All attributes of the span.
    """
    if found[_COST] is None and found[_AMOUNT] is None and found[_COMPUTED] is None:
        return None
    if names.STATUS in attributes or names.DIRECT_USD in attributes or names.SOURCE in attributes:
        return None
    stated: list[ReportedCost] = []
    if found[_AMOUNT] is not None and found[_CURRENCY] in (None, "USD"):
        stated.append(_cost(found[_AMOUNT], SPELLINGS["cost_amount"][0], found[_SOURCE] == "provider"))
    for position, field, by_provider in (
        (_COST, "cost", not dialect.computes_cost),
        (_COMPUTED, "computed_cost", False),
    ):
        if found[position] is not None:
            name = next(spelling for spelling in SPELLINGS[field] if attributes.get(spelling) is not None)
            stated.append(_cost(found[position], name, by_provider))
    stated = [cost for cost in stated if cost.usd != _ZERO]
    usable = [cost for cost in stated if cost.usd > 0]
    return next((cost for cost in usable if cost.by_provider), None) or next(iter(usable or stated), None)


_ZERO: Final = -1.0


def _cost(value: Any, attribute: str, by_provider: bool) -> ReportedCost:
    usd = 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == 0:
            usd = _ZERO
        elif 0 < value <= _LARGEST_USD:
            usd = float(value)
    return ReportedCost(usd, attribute, by_provider)
