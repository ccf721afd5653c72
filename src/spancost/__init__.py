"""spancost puts a price on every OpenTelemetry span, and adds the prices up along the span tree.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spancost._install import flush, install, shutdown
    from spancost.attribution import attribute
    from spancost.before_freeze import flush_before_return
    from spancost.budget_breaker import CircuitBreaker
    from spancost.budget_guard import guard
    from spancost.budgets.decision import BudgetExceeded, Decision
    from spancost.budgets.middleware.asgi import BudgetASGIMiddleware
    from spancost.budgets.middleware.wsgi import BudgetWSGIMiddleware
    from spancost.config import Config, load_config
    from spancost.errors import ConfigError, SpancostError
    from spancost.exporter import CostSpanExporter
    from spancost.processor import CostSpanProcessor
    from spancost.sampler import MeterAll
    from spancost.usage import RequestCost, add_usage, current_cost

    __version__: str

__all__ = [
    "install",
    "flush",
    "flush_before_return",
    "shutdown",
    "attribute",
    "add_usage",
    "current_cost",
    "RequestCost",
    "guard",
    "CircuitBreaker",
    "Decision",
    "BudgetExceeded",
    "BudgetASGIMiddleware",
    "BudgetWSGIMiddleware",
    "CostSpanProcessor",
    "CostSpanExporter",
    "MeterAll",
    "Config",
    "load_config",
    "SpancostError",
    "ConfigError",
    "__version__",
]

_HOMES = {
    "install": "spancost._install",
    "flush": "spancost._install",
    "flush_before_return": "spancost.before_freeze",
    "shutdown": "spancost._install",
    "attribute": "spancost.attribution",
    "add_usage": "spancost.usage",
    "current_cost": "spancost.usage",
    "RequestCost": "spancost.usage",
    "guard": "spancost.budget_guard",
    "CircuitBreaker": "spancost.budget_breaker",
    "Decision": "spancost.budgets.decision",
    "BudgetExceeded": "spancost.budgets.decision",
    "BudgetASGIMiddleware": "spancost.budgets.middleware.asgi",
    "BudgetWSGIMiddleware": "spancost.budgets.middleware.wsgi",
    "CostSpanProcessor": "spancost.processor",
    "CostSpanExporter": "spancost.exporter",
    "MeterAll": "spancost.sampler",
    "Config": "spancost.config",
    "load_config": "spancost.config",
    "SpancostError": "spancost.errors",
    "ConfigError": "spancost.errors",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from spancost._version import spancost_version

        return spancost_version()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'spancost' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
