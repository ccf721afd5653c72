from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from spancost.budgets.rules import BudgetRule
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.budgets.windows import Window
from spancost.testing import priced_provider

_STORE_WAITS_S = 5.0
_RULE = BudgetRule(name="all", limit_usd=1.0, window=Window("month"))


def test_the_first_span_does_not_wait_for_a_store_that_somebody_else_holds(tmp_path: Path) -> None:
    path = tmp_path / "budgets.sqlite"
    SqliteStore(path).create()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with priced_provider(budget_rules=(_RULE,), budget_store=f"sqlite:{path}", reraise=False) as world:
            began_s = time.monotonic()
            with world.tracer.start_as_current_span("request"):
                pass
            assert time.monotonic() - began_s < _STORE_WAITS_S / 2
            book = world.engine.budgets
            assert book is not None
            assert not book.is_store_away  # nobody has asked it
            holder.execute("ROLLBACK")
            for call in world.engine.upkeep:
                call()
            assert world.engine.flush()
            assert not book.is_store_away
    finally:
        holder.close()
