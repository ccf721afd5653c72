"""`spancost.CircuitBreaker`: keep calls back while a budget is spent, by what this process knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from spancost.budgets.checks import CLOSED_BREAKER, Breaker, BreakerDecision, evaluate_breaker
from spancost.budgets.matching import key_of
from spancost.budgets.rules import CLOSED, BudgetRule
from spancost.errors import suggest
from spancost.usage import connected_engine, get_ready, present_values

_MAX_KEYS: Final = 10_000


class CircuitBreaker:
    """Closed while a budget has money, open once it is spent, half-open for a few calls when it seems to be back.

    It looks at the sums of the last flush, so it costs no more than a look-up, and may be some seconds late; a
    `guard` is exact. Of a rule that is split each key has a breaker of its own. Thread-safe.

    Args:
        rule: Name of a budget rule.

        open_at: Part of the limit at which it opens.

        close_below: Part of the limit below which it closes again.

        open_for_s: How long it refuses before it looks again, seconds.

        max_probes: Calls that pass half-open, in each `open_for_s`.

        clock: Unix seconds.

    Example:
        >>> from spancost import CircuitBreaker
        >>> breaker = CircuitBreaker("llm-monthly")
        >>> breaker.decide().is_allowed
        True
    """

    def __init__(
        self,
        rule: str,
        *,
        open_at: float = 1.0,
        close_below: float = 0.95,
        open_for_s: float = 60.0,
        max_probes: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rule = rule
        self._open_at = open_at
        self._close_below = close_below
        self._open_for_s = open_for_s
        self._max_probes = max_probes
        self._clock = clock
        self._lock = threading.RLock()
        self._breakers: dict[str, Breaker] = {}
        self._evaluate(CLOSED_BREAKER, 0.0, "open")  # impossible settings are refused at once

    def decide(self, **values: str) -> BreakerDecision:
        """Return whether a call may be made now; where nothing is known, as the rule's `when_unavailable` says.

        Args:
            **values: What is known of the call, as for `guard`: `tenant`, `model`, ...

        Raises:
            ValueError: There is no budget rule of that name.
        """
        engine = connected_engine()
        if engine is None or engine.idle or not engine.config.budget_rules:
            return self._evaluate(CLOSED_BREAKER, 0.0, "open")
        if engine.budgets is None:
            get_ready(engine)
        book = engine.budgets
        if book is None:
            return self._evaluate(CLOSED_BREAKER, None, "open")
        rules = {rule.name: rule for rule in book.rules if isinstance(rule, BudgetRule)}
        rule = rules.get(self._rule)
        if rule is None:
            raise ValueError(f"CircuitBreaker: {self._rule!r} is no budget rule: {suggest(self._rule, rules)}")
        key = book.admitted_key(book.rules.index(rule), key_of(rule.per, {**present_values(), **values}))
        standing = book.standing(rule.name, key)
        ratio: float | None = max(0.0, standing.reading.ratio or 0.0) if standing is not None else 0.0
        if standing is None and book.is_store_away and rule.when_unavailable == CLOSED:
            ratio = None
        with self._lock:
            decision = self._evaluate(self._breakers.get(key, CLOSED_BREAKER), ratio, rule.when_unavailable)
            if decision.breaker == CLOSED_BREAKER:
                self._breakers.pop(key, None)
            elif key in self._breakers or len(self._breakers) < _MAX_KEYS:
                self._breakers[key] = decision.breaker
        return decision

    def _evaluate(self, breaker: Breaker, ratio: float | None, when_unavailable: str) -> BreakerDecision:
        return evaluate_breaker(
            breaker,
            ratio=ratio,
            now=self._clock(),
            open_at=self._open_at,
            close_below=self._close_below,
            open_for_s=self._open_for_s,
            max_probes=self._max_probes,
            when_unavailable=when_unavailable,
        )
