"""A budget book on a clock that is told, and batches of charges to give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from spancost import names
from spancost._guard import ErrorLog
from spancost.budgets.alert import Alert, alert_from_json
from spancost.budgets.book import BudgetBook, Standing
from spancost.budgets.rules import AnyRule
from spancost.budgets.store import Store
from spancost.budgets.stores.memory import MemoryStore
from spancost.charge import PriceLine, price_line
from spancost.window import (
    ENTRY,
    NOBODY,
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    Origin,
    RequestKey,
    RequestSum,
)

NOON: Final = 1_790_000_000 - 1_790_000_000 % 86_400 + 43_200
"""Noon of a day, UTC, Unix seconds."""
CHAT: Final = price_line(names.LLM, "openai", "chat", model="gpt-4o", unit="token", source="test")
PUT: Final = price_line(names.AWS, "aws", "dynamodb.PutItem", unit="WRU", source="test")
UNKNOWN: Final = price_line(names.LLM, "openai", "chat", model="x", status=names.UNPRICED, reason="unknown_model")
CART: Final = EntryLabels("/cart", "POST")


class Clock:
    """Unix seconds that move only when told."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Books:
    """One process of a fleet that shares a store.

    Args:
        rules: The rules.

        store: Shared with others; an own one in memory by default.

        clock: Shared with others.
    """

    def __init__(
        self, rules: Sequence[AnyRule], store: Store | None = None, clock: Clock | None = None, **more: Any
    ) -> None:
        self.clock = Clock() if clock is None else clock
        self.store: Store = MemoryStore() if store is None else store
        self.book = BudgetBook(
            rules,
            Origin("shop", "prod"),
            self.store,
            channels=("log",),
            errors=ErrorLog(reraise=True),
            now=self.clock,
            **more,
        )

    def spend(
        self,
        usd: float,
        *,
        line: PriceLine = CHAT,
        tenant: str = "",
        labels: EntryLabels = CART,
        calls: int = 1,
        at: float | None = None,
        position: str = ENTRY,
    ) -> None:
        """Have a flush bring one charge."""
        minute = int((self.clock.now if at is None else at) // 60)
        key = ChargeKey(minute, line, labels, Attribution(tenant=tenant) if tenant else NOBODY, position)
        self.book.write(Batch({key: ChargeSum(1.0, usd, usd, calls)}, {}, []), final=False)

    def request(self, usd: float, *, trace: int = 7, labels: EntryLabels = CART, tenant: str = "") -> None:
        """Have a flush bring one finished request."""
        sums = RequestSum(16)
        sums.count, sums.total_usd, sums.costliest_usd, sums.costliest_trace = 1, usd, usd, trace
        whose = Attribution(tenant=tenant) if tenant else NOBODY
        key = RequestKey(int(self.clock.now // 60), labels, whose, "ok", served=True)
        self.book.write(Batch({}, {key: sums}, []), final=False)

    def wait(self, seconds: float) -> None:
        """Let time pass, and look."""
        self.clock.now += seconds
        self.book.tick()

    def alerts(self) -> list[Alert]:
        """Take the alerts that lie in the store."""
        entries = self.store.take_alerts("test", now=self.clock.now, lease_s=60.0, limit=1000)
        for entry in entries:
            self.store.finish_alert(entry.id)
        return [alert_from_json(entry.body) for entry in entries]

    def standing(self, rule: str, key: str = "") -> Standing:
        """Return how a key of a rule stands now."""
        return next(one for one in self.book.fresh_standings() if (one.rule.name, one.key) == (rule, key))
