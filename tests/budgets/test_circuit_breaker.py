from __future__ import annotations

import pytest

from spancost import CircuitBreaker, add_usage, attribute
from spancost.budgets.rules import BudgetRule
from spancost.budgets.windows import Window
from spancost.testing import World, priced_provider

_TENANTS = BudgetRule(name="tenants", limit_usd=1.0, window=Window("rolling", 3600), per=("tenant",))


def _spend(world: World, tenant: str, usd: float) -> None:
    with world.tracer.start_as_current_span("request"), attribute(tenant=tenant):
        add_usage("work", 1, "unit", usd)
    world.engine.flush()


def test_it_opens_for_the_tenant_that_has_spent_its_money_and_lets_one_call_try_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    breaker = CircuitBreaker("tenants", open_for_s=60.0, close_below=0.5, clock=lambda: now[0])
    with priced_provider(budget_rules=(_TENANTS,), budget_store="memory") as world:
        assert breaker.decide(tenant="acme").is_allowed
        _spend(world, "acme", 1.5)
        refused = breaker.decide(tenant="acme")
        assert (refused.is_allowed, refused.breaker.state, refused.retry_after_s) == (False, "open", 60.0)
        assert breaker.decide(tenant="globex").is_allowed
        with attribute(tenant="acme"):
            now[0] += 30.0
            assert breaker.decide().retry_after_s == 30.0
        book = world.engine.budgets
        assert book is not None
        standing = book.standing_of["tenants", "acme"]
        from dataclasses import replace

        less = replace(standing.reading, spend=standing.reading.spend._replace(usd=0.75))
        monkeypatch.setattr(book, "standing", lambda *_: standing._replace(reading=less))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        now[0] += 31.0
        assert breaker.decide(tenant="acme").breaker.state == "half_open"
        assert not breaker.decide(tenant="acme").is_allowed
        monkeypatch.setattr(book, "standing", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        assert breaker.decide(tenant="acme").breaker.state == "closed"


def test_a_name_that_is_no_budget_and_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="open_for_s"):
        CircuitBreaker("tenants", open_for_s=-1.0)
    world = priced_provider(budget_rules=(_TENANTS,), budget_store="memory")
    with world, pytest.raises(ValueError, match="did you mean 'tenants'"):
        CircuitBreaker("tenant").decide()
    with priced_provider():
        assert CircuitBreaker("anything").decide().is_allowed
