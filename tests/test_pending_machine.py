"""A machine that is looked for: what it costs until it is found is held, and priced then."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind

from spancost import attribute, names
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.config import Config
from spancost.detect import Surroundings
from spancost.detect.metadata import Services
from spancost.meters.meter_set import MachineFound
from spancost.prices.book import PriceBook
from spancost.prices.compute import compute_rate
from spancost.testing import RecordingSink, SteppingClock, World
from spancost.window import IDLE
from tests.spans import EGRESS_USD_PER_GB, GB, counted_usd, exported_usd, server, start
from tests.support.metadata_servers import Reply, Service, closed_port, ec2, fixed, serve

USD_PER_S = 0.107 / 3600
"""m6i.large in eu-west-1."""


@contextmanager
def world_on(service: Service | None, *, background: bool = False, **settings: Any) -> Generator[World]:
    """Make a priced TracerProvider in a process whose machine only a metadata service knows."""
    clock = SteppingClock()
    config = Config(compute_share=1.0, lease="off", first_value_hold_s=0.0, egress_clients="internet", **settings)
    with serve(fixed(Reply("", 404)) if service is None else service) as running:
        services = Services(running.url, closed_port(), closed_port())
        around = Surroundings({}, services, Path("/nowhere"), Path("/nowhere"))
        engine = build_engine(config, around=around)
        engine.monotonic = clock
        engine.errors = ErrorLog(reraise=True)
        engine.background = background
        engine.upkeep.clear()
        engine.add_sink(RecordingSink())
        world = World(engine, clock, Resource({}))
        try:
            yield world
        finally:
            world.provider.shutdown()


def compute_agrees(world: World) -> None:
    """Σ exported + late = charged = counted, and attributed + idle = R x time."""
    charged = world.recorded.usd(names.COMPUTE)
    late = world.recorded.late_usd(names.COMPUTE)
    assert exported_usd(world, names.COMPUTE) + late == pytest.approx(charged, rel=1e-9, abs=1e-18)
    assert counted_usd(world, names.COMPUTE) == pytest.approx(charged, rel=1e-9, abs=1e-18)
    idle = world.recorded.usd(names.COMPUTE, IDLE)
    assert charged + idle == pytest.approx(world.clock.now * USD_PER_S, rel=1e-9)


def test_seconds_before_the_machine_is_found_are_priced_afterwards() -> None:
    with world_on(ec2("m6i.large", "eu-west-1")) as world:
        first = start(world.tracer, "first")
        world.clock.advance(2.0)
        first.end()
        world.clock.advance(3.0)
        world.publish()
        assert world.recorded.usd() == 0.0
        assert world.attributes("first")[names.REASON] == "compute_rate_pending"
        world.engine.settle_machine()
        second = start(world.tracer, "second", None, SpanKind.SERVER, server("/b"))
        world.clock.advance(4.0)
        second.end()
        world.publish()
        assert world.recorded.late_usd(names.COMPUTE) == pytest.approx(2 * USD_PER_S)
        assert world.recorded.usd(names.COMPUTE, IDLE) == pytest.approx(3 * USD_PER_S)
        assert world.attributes("second")[names.TOTAL_USD] == pytest.approx(4 * USD_PER_S)
        compute_agrees(world)


def test_seconds_not_yet_published_when_the_machine_is_found_come_late_too() -> None:
    with world_on(ec2("m6i.large", "eu-west-1")) as world:
        first = start(world.tracer, "first", None, SpanKind.SERVER, server("/a"))
        world.clock.advance(2.0)
        first.end()
        world.engine.settle_machine()
        world.publish()
        assert world.recorded.late_usd(names.COMPUTE) == pytest.approx(2 * USD_PER_S)
        compute_agrees(world)


def test_request_that_is_open_meanwhile_is_exported_with_all_of_its_compute() -> None:
    with world_on(ec2("m6i.large", "eu-west-1")) as world:
        root = start(world.tracer, "request", None, SpanKind.SERVER, server("/a"))
        inner = start(world.tracer, "inner", root)
        with attribute(tenant="acme"):
            own = start(world.tracer, "own", root)
        world.clock.advance(2.0)
        inner.end()
        own.end()
        world.engine.settle_machine()
        world.clock.advance(1.0)
        root.end()
        world.publish()
        assert world.attributes("request")[names.TOTAL_USD] == pytest.approx(3 * USD_PER_S)
        assert world.recorded.late_usd(names.COMPUTE) == 0.0
        compute_agrees(world)
        tenants = {
            key.attribution.tenant: sums.usd
            for key, sums in world.recorded.charges.items()
            if key.line.component == names.COMPUTE and key.attribution.tenant
        }
        assert tenants == {"acme": pytest.approx(1 * USD_PER_S)}


def test_long_request_that_was_booked_in_parts_before_the_machine_is_found_keeps_its_sum() -> None:
    with world_on(ec2("m6i.large", "eu-west-1"), partial_cost_interval_s=1.0) as world:
        root = start(world.tracer, "request", None, SpanKind.SERVER, server("/a"))
        inner = start(world.tracer, "inner", root)
        world.clock.advance(2.0)
        inner.end()
        world.publish()
        world.engine.settle_machine()
        world.clock.advance(1.0)
        root.end()
        world.publish()
        assert world.recorded.late_usd(names.COMPUTE) == pytest.approx(2 * USD_PER_S)
        assert world.attributes("request")[names.TOTAL_USD] == pytest.approx(1 * USD_PER_S)
        compute_agrees(world)


def test_region_that_was_found_prices_bytes_from_then_on() -> None:
    with world_on(ec2("m6i.large", "eu-west-1")) as world:
        for name in ("before", "after"):
            start(world.tracer, name, None, SpanKind.SERVER, server("/a", response_bytes=GB)).end()
            world.engine.settle_machine()
        assert world.attributes("before")[names.COMPONENT_USD[names.EGRESS]] == 0.0
        assert world.attributes("before")[names.REASON] == "region_unknown"
        assert world.attributes("after")[names.COMPONENT_USD[names.EGRESS]] == pytest.approx(EGRESS_USD_PER_GB)


def test_machine_that_is_not_found_leaves_its_seconds_unpriced() -> None:
    with world_on(None) as world:
        root = start(world.tracer, "request", None, SpanKind.SERVER, server("/a"))
        world.clock.advance(2.0)
        root.end()
        world.engine.settle_machine()
        world.publish()
        lines = {key.line.reason: sums.quantity for key, sums in world.recorded.charges.items() if key.line.unit == "s"}
        assert lines == {"compute_rate_unknown": pytest.approx(2.0)}
        assert world.recorded.usd(names.COMPUTE) == 0.0


def test_services_are_asked_once_by_the_background_thread_and_never_before_the_first_span() -> None:
    askers: set[str] = set()
    answered = threading.Event()
    spoken = ec2("m6i.large", "eu-west-1")

    def service(method: str, path: str, headers: Any) -> Reply:
        askers.add(f"{method} {path}")
        if path.endswith("life-cycle"):
            answered.set()
        return spoken(method, path, headers)

    with world_on(service, background=True) as world:
        assert not askers
        for _ in range(50):
            start(world.tracer, "request", None, SpanKind.SERVER, server("/a")).end()
        assert answered.wait(10.0)
        world.provider.shutdown()
        assert world.engine.meters.compute.rate is not None
        assert world.engine.find_machine is None
    assert len(askers) == 4


def test_process_that_ends_at_once_still_waits_for_what_it_runs_on() -> None:
    with world_on(ec2("m6i.large", "eu-west-1"), background=True) as world:
        root = start(world.tracer, "request", None, SpanKind.SERVER, server("/a"))
        world.clock.advance(2.0)
        root.end()
        world.provider.shutdown()
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(2 * USD_PER_S)


def test_shutdown_without_a_thread_gives_up_and_says_unpriced() -> None:
    with world_on(ec2("m6i.large", "eu-west-1")) as world:
        root = start(world.tracer, "request", None, SpanKind.SERVER, server("/a"))
        world.clock.advance(2.0)
        root.end()
        world.provider.shutdown()
        assert sum(sums.quantity for key, sums in world.recorded.charges.items() if key.line.unit == "s") == 2.0
        assert world.recorded.usd(names.COMPUTE) == 0.0


steps = st.lists(
    st.tuples(st.sampled_from(["root", "child", "own", "end", "end", "wait", "publish"]), st.integers(0, 7)),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.integers(0, 40))
def test_whenever_the_machine_is_found_nothing_is_lost_or_doubled(
    script: list[tuple[str, int]], found_after: int
) -> None:
    around = Surroundings({}, Services(closed_port(), closed_port(), closed_port()), Path("/nowhere"), Path("/nowhere"))
    config = Config(compute_share=1.0, lease="off", first_value_hold_s=0.0, partial_cost_interval_s=2.0)
    engine = build_engine(config, around=around)
    clock = engine.monotonic = SteppingClock()
    engine.errors = ErrorLog(reraise=True)
    engine.background = False
    engine.upkeep.clear()
    engine.add_sink(RecordingSink())
    world = World(engine, clock, Resource({}))
    started: list[Any] = []
    rate = compute_rate("aws:m6i.large", "eu-west-1", PriceBook.shipped())
    for step, (what, number) in enumerate([*script, ("publish", 0)]):
        if step == min(found_after, len(script)):
            if not started:
                started.append(start(world.tracer, "first"))
            engine.find_machine = lambda: MachineFound(rate)
            engine.settle_machine()
        open_spans = [span for span in started if span.is_recording()]
        if what == "root" or (what in ("child", "own") and not open_spans):
            started.append(start(world.tracer, f"span-{step}", None, SpanKind.SERVER))
        elif what == "child":
            started.append(start(world.tracer, f"span-{step}", open_spans[number % len(open_spans)]))
        elif what == "own":
            with attribute(tenant=f"tenant-{number}"):
                started.append(start(world.tracer, f"span-{step}", open_spans[number % len(open_spans)]))
        elif what == "end" and open_spans:
            open_spans[number % len(open_spans)].end()
        elif what == "wait" and started:
            clock.advance(number / 4)
        elif what == "publish":
            world.publish()
    for span in reversed(started):
        if span.is_recording():
            span.end()
    world.publish()
    compute_agrees(world)
    world.provider.shutdown()


def test_a_machine_that_is_found_while_somebody_publishes_is_stated_the_next_time() -> None:
    with world_on(ec2("m6i.large", "eu-west-1")) as world:
        engine = world.engine
        first = start(world.tracer, "first", None, SpanKind.SERVER, server("/a"))
        world.clock.advance(2.0)
        first.end()
        engine._publisher = threading.get_ident()  # pyright: ignore[reportPrivateUsage]
        engine.settle_machine()
        assert engine.meters.compute.is_pending
        engine._publisher = None  # pyright: ignore[reportPrivateUsage]
        engine.settle_machine()
        world.publish()
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(2 * USD_PER_S)
