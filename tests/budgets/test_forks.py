from __future__ import annotations

import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from spancost import add_usage
from spancost.budgets.rules import BudgetRule
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.budgets.windows import Window
from spancost.testing import priced_provider

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
_RULE = BudgetRule(name="all", limit_usd=1.0, window=Window("month"))


def test_a_fork_lets_a_flush_that_is_about_to_use_the_store_come_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with priced_provider(budget_rules=(_RULE,), budget_store=f"sqlite:{tmp_path / 'budgets.sqlite'}") as world:
        add_usage("work", 1, "unit", 0.25)
        book = world.engine.budgets
        assert book is not None
        store = book.store
        assert isinstance(store, SqliteStore)
        began, ended = threading.Event(), threading.Event()
        exchange = store.exchange

        def slow_exchange(*arguments: Any) -> Any:
            began.set()
            patient_until = time.monotonic() + 0.3
            while not store._lock.locked() and time.monotonic() < patient_until:  # pyright: ignore[reportPrivateUsage]
                time.sleep(0.001)
            changes = exchange(*arguments)
            ended.set()
            return changes

        monkeypatch.setattr(store, "exchange", slow_exchange)
        publisher = threading.Thread(target=world.engine.publish)
        publisher.start()
        assert began.wait(10.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os._exit(0)
        has_ended = ended.is_set()
        os.waitpid(child, 0)
        publisher.join()
        assert has_ended
