"""A machine's price that changes while the process runs: each second once, at one of the two rates, in every sink."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import Span, set_span_in_context

from spancost import names
from spancost.prices.discounts import Discount
from spancost.prices.own import OwnPrices
from spancost.testing import World, priced_provider
from spancost.window import IDLE

LAST_DAY = date(2027, 3, 31)
NOON = datetime(2027, 3, 31, 12, tzinfo=UTC)
LIST_PER_S = 0.096 / 3600
STEPS = ("start", "child", "end", "day", "publish")
PLAN = OwnPrices(discounts=(Discount("plan", Decimal(50), component="compute", valid_to=LAST_DAY),))


class Calendar:
    """The wall clock, which the tests turn."""

    def __init__(self) -> None:
        self.now = NOON

    def time_ns(self) -> int:
        return int(self.now.timestamp()) * 1_000_000_000


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    calendar = Calendar()
    monkeypatch.setattr(time, "time_ns", calendar.time_ns)
    return calendar


def _start(world: World, name: str, parent: Span | None = None) -> Span:
    return world.tracer.start_span(name, None if parent is None else set_span_in_context(parent))


def _agrees(world: World) -> None:
    """Exported + late = charged = counted."""
    charged = world.recorded.usd(names.COMPUTE)
    exported = sum(
        float((span.attributes or {}).get(names.COMPONENT_USD[names.COMPUTE], 0.0))  # type: ignore[arg-type]
        for span in world.spans
    )
    assert exported + world.recorded.late_usd(names.COMPUTE) == pytest.approx(charged, rel=1e-9, abs=1e-18)


def test_a_discount_that_ends_counts_to_its_last_second_and_not_longer(calendar: Calendar) -> None:
    with priced_provider(compute="aws:m5.large", region="us-east-1", own=PLAN) as world:
        first = _start(world, "before")
        world.clock.advance(10)
        first.end()
        world.clock.advance(5)
        world.publish()
        assert world.attributes("before")[names.TOTAL_USD] == pytest.approx(10 * LIST_PER_S / 2)

        calendar.now += timedelta(days=1)
        world.publish()
        second = _start(world, "after")
        world.clock.advance(10)
        second.end()
        world.publish()

        assert world.attributes("after")[names.TOTAL_USD] == pytest.approx(10 * LIST_PER_S)
        assert "plan" not in str(world.attributes("after")[names.SOURCE])
        assert world.recorded.usd(names.COMPUTE, IDLE) == pytest.approx(5 * LIST_PER_S / 2)
        lists = sum(sums.list_usd for key, sums in world.recorded.charges.items() if key.position != IDLE)
        assert lists == pytest.approx(20 * LIST_PER_S)
        _agrees(world)


def test_a_request_that_is_open_meanwhile_keeps_what_ended_before_at_the_old_rate(calendar: Calendar) -> None:
    with priced_provider(compute="aws:m5.large", region="us-east-1", own=PLAN) as world:
        request = _start(world, "request")
        step = _start(world, "first step", request)
        world.clock.advance(10)
        step.end()
        calendar.now += timedelta(days=1)
        world.publish()
        step = _start(world, "second step", request)
        world.clock.advance(10)
        step.end()
        request.end()
        world.publish()
        assert world.attributes("first step")[names.TOTAL_USD] == pytest.approx(10 * LIST_PER_S / 2)
        assert world.attributes("request")[names.TOTAL_USD] == pytest.approx(15 * LIST_PER_S)
        _agrees(world)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("start", "child", "end", "day", "publish")), st.floats(0, 100)), max_size=25
    )
)
def test_no_second_is_lost_or_charged_twice_whenever_the_rate_changes(steps: list[tuple[str, float]]) -> None:
    calendar = Calendar()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", calendar.time_ns)
        with priced_provider(compute="aws:m5.large", region="us-east-1", own=PLAN) as world:
            _start(world, "the clock begins with the first span").end()
            open_spans: list[Span] = []
            for step, seconds in steps:
                world.clock.advance(seconds)
                if step == "start":
                    open_spans.append(_start(world, "request"))
                elif step == "child" and open_spans:
                    open_spans.append(_start(world, "step", open_spans[-1]))
                elif step == "end" and open_spans:
                    open_spans.pop().end()
                elif step == "day":
                    calendar.now += timedelta(hours=9)
                elif step == "publish":
                    world.publish()
            while open_spans:
                open_spans.pop().end()
            world.publish()
            _agrees(world)
            seconds = sum(
                sums.quantity for key, sums in world.recorded.charges.items() if key.line.component == names.COMPUTE
            )
            assert seconds == pytest.approx(world.clock.now, rel=1e-9, abs=1e-9)
