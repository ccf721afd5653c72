"""Budgets as live spans see them: requests that cost too much while they run, and what local roots say at their end."""

from __future__ import annotations

import time

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from spancost import add_usage, attribute, names
from spancost.budgets.alert import Alert, alert_from_json
from spancost.budgets.rules import BudgetRule, Match, RequestRule
from spancost.budgets.windows import Window
from spancost.testing import World, priced_provider
from tests.spans import server, start

_DEAR = RequestRule(name="dear", max_request_usd=0.5, match=Match(route=("/chat/*",)))
_DAY = BudgetRule(name="day", limit_usd=1.0, window=Window("day"), match=Match(tenant=("acme",)))


def _alerts(world: World) -> list[Alert]:
    book = world.engine.budgets
    assert book is not None
    entries = book.store.take_alerts("test", now=time.time(), lease_s=60.0, limit=100)
    return [alert_from_json(entry.body) for entry in entries]


def _quiet(world: World) -> None:
    """Leave the alerts in the store, for the test to take."""
    world.engine.get_ready({})
    book = world.engine.budgets
    assert book is not None
    assert book.deliverer is not None
    book.deliverer.close()
    book.deliverer = None


def test_a_request_is_told_while_it_runs_and_marked_at_its_end() -> None:
    with priced_provider(budget_rules=(_DEAR,), budget_store="memory") as world:
        _quiet(world)
        book = world.engine.budgets
        assert book is not None
        root = start(world.tracer, "POST", kind=SpanKind.SERVER, attributes=server("/chat/{id}"))
        with trace.use_span(root):
            add_usage("work", 1, "unit", 0.4)
            book.tick()
            assert not _alerts(world)
            add_usage("work", 1, "unit", 0.2)
            book.tick()
            book.tick()
        (alert,) = _alerts(world)
        assert (alert.rule, alert.state, alert.limit) == ("dear", "breached", 0.5)
        assert abs(alert.value - 0.6) < 1e-12
        assert alert.costliest_trace_id == f"{root.get_span_context().trace_id:032x}"
        root.end()
        assert world.attributes("POST")[names.BUDGETS] == ("dear:breached",)
        world.engine.flush()
        assert not _alerts(world)


def test_a_request_of_another_route_is_neither_told_nor_marked() -> None:
    with priced_provider(budget_rules=(_DEAR,), budget_store="memory") as world:
        _quiet(world)
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server("/other"))
        with trace.use_span(root):
            add_usage("work", 1, "unit", 5.0)
            world.engine.flush()
        root.end()
        world.engine.flush()
        assert not _alerts(world)
        assert names.BUDGETS not in world.attributes("GET")


def test_local_roots_say_which_of_their_budgets_are_not_ok_and_only_theirs() -> None:
    with priced_provider(budget_rules=(_DAY,), budget_store="memory") as world:
        with world.tracer.start_as_current_span("spends"), attribute(tenant="acme"):
            add_usage("work", 1, "unit", 0.9)
        world.engine.flush()
        for name, tenant in (("theirs", "acme"), ("others", "globex")):
            with world.tracer.start_as_current_span(name), attribute(tenant=tenant):
                pass
        assert world.attributes("theirs")[names.BUDGETS] == ("day:warning",)
        assert names.BUDGETS not in world.attributes("others")
        assert names.BUDGETS not in world.attributes("spends")


def test_long_requests_count_before_they_end() -> None:
    with priced_provider(budget_rules=(_DAY,), budget_store="memory", partial_cost_interval_s=1.0) as world:
        _quiet(world)
        with world.tracer.start_as_current_span("worker loop"), attribute(tenant="acme"):
            add_usage("work", 1, "unit", 0.9)
            world.clock.advance(2.0)
            world.engine.flush()
            (alert,) = _alerts(world)
            assert alert.spend_usd == 0.9
        world.engine.flush()
        book = world.engine.budgets
        assert book is not None
        assert book.standing_of["day", ""].reading.spend.usd == 0.9
