"""Alerts for tests of channels, and an outbox that keeps them."""

from __future__ import annotations

from typing import Any, Final

from spancost.budgets.alert import FIRING, RESOLVED, Alert, Contributor

NOW: Final = 1_795_305_600.0
"""2026-11-22 00:00 UTC."""
MONTH: Final = (1_793_491_200.0, 1_796_083_200.0)
"""November 2026."""

BREACH: Final = Alert(
    id="a1f0.3",
    episode="a1f0",
    status=FIRING,
    rule="llm-monthly",
    kind="budget",
    key="acme",
    per=("tenant",),
    previous_state="warning",
    state="breached",
    severity="critical",
    owner="search-team",
    labels=(("cost_center", "4711"),),
    threshold=1.0,
    value=512.3,
    limit=500.0,
    spend_usd=512.3,
    limit_usd=500.0,
    ratio=1.0246,
    window="month",
    window_start=MONTH[0],
    window_end=MONTH[1],
    estimated_usd=12.0,
    unpriced=3,
    is_incomplete=True,
    contributors=(
        Contributor(name="POST /chat · openai/chat gpt-4o", usd=401.5),
        Contributor(name="POST /search · openai/embeddings text-embedding-3-large", usd=80.25),
    ),
    costliest_trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    costliest_trace_usd=1.75,
    service="shop",
    environment="production",
    scope="fleet",
    at=NOW,
    summary="Tenant acme has spent $512.30 of its $500.00 in November.",
    runbook="https://runbooks.example.com/llm",
)


def alert(**changes: Any) -> Alert:
    """Return the breach with some fields changed."""
    return Alert(**{name: getattr(BREACH, name) for name in Alert.__slots__} | changes)


def resolved(**changes: Any) -> Alert:
    """Return the end of that breach."""
    told = {
        "id": "a1f0.4",
        "status": RESOLVED,
        "previous_state": "recovering",
        "state": "ok",
        "threshold": None,
        "summary": "Tenant acme is below its limit again.",
    }
    return alert(**told | changes)
