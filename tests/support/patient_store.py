"""Stores of budgets that tests look into, on machines that may stand still for a while."""

from __future__ import annotations

from spancost.budgets.store import Store
from spancost.budgets.stores.opening import open_store
from spancost.budgets.stores.redis import RedisStore

PATIENCE_S = 10.0
"""Longest wait for an answer; who is away still shows himself at once."""


def patient_store(text: str) -> Store:
    """Return what `open_store` does, but one that waits longer than an application would."""
    return open_store(text) if text.startswith("sqlite:") else RedisStore(text, timeout_s=PATIENCE_S)
