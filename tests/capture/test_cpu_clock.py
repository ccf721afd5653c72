"""CPU time goes to the span in whose name it was used, whatever runs it, and the application notices nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from asyncio import events
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

from spancost import current_cost, names
from spancost._guard import ErrorLog
from spancost.capture import cpu_clock
from spancost.capture.facts import NODE_ATTRIBUTE
from spancost.cpu_tree import CpuTree
from spancost.meters.compute import ComputePricing
from spancost.meters.meter_set import MachineFound
from spancost.prices.book import PriceBook
from spancost.prices.compute import compute_rate
from spancost.testing import priced_provider
from spancost.tree import Tree
from spancost.window import IDLE, LATE_INNER
from tests.cpu_load import SERVERS, Load, loaded

_WORK_S = 0.02
_PATCHED: tuple[tuple[Any, str], ...] = (
    (ContextVarsRuntimeContext, "attach"),
    (ContextVarsRuntimeContext, "detach"),
    (events.Handle, "_run"),
    (ThreadPoolExecutor, "submit"),
    (threading.Thread, "run"),
    (anyio.to_thread, "run_sync"),
    (uvloop.Loop, "create_task"),
)


@pytest.fixture
def load() -> Iterator[Load]:
    with loaded(spin_s=_WORK_S) as made:
        yield made


def charged_s(load: Load, name: str) -> float:
    """The CPU time that a span was charged as its own, seconds."""
    span = next(span for span in load.exporter.get_finished_spans() if span.name == name)
    return float((span.attributes or {})[names.DIRECT_USD])  # type: ignore[arg-type]


def total_s(load: Load, name: str) -> float:
    """The CPU time of a local root, seconds."""
    span = next(span for span in load.exporter.get_finished_spans() if span.name == name)
    return float((span.attributes or {})[names.TOTAL_USD])  # type: ignore[arg-type]


def about(seconds: float) -> Any:
    """That time, and what it takes to get there."""
    return pytest.approx(seconds, rel=0.1, abs=0.005)


# --- the proof ----------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_every_request_of_a_mixed_load_is_charged_what_it_used(server: str) -> None:
    with loaded(spin_s=0.1) as load:
        SERVERS[server](load, 1)
        outcomes = load.outcomes()
        attributed_s, idle_s, uptime_s = load.books()
    assert len(outcomes) >= 2
    for outcome in outcomes:
        # Short requests, beside other tests on the same cores; the bars of the model are those of the long run.
        assert outcome.ratio == pytest.approx(1.0, rel=0.1), outcome
    assert attributed_s + idle_s == pytest.approx(uptime_s, rel=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS)
def test_each_request_within_five_percent_and_all_of_them_within_two(server: str) -> None:
    with loaded(spin_s=0.3) as load:
        SERVERS[server](load, 3)
        outcomes = load.outcomes()
        attributed_s, idle_s, uptime_s = load.books()
    for outcome in outcomes:
        assert outcome.ratio == pytest.approx(1.0, rel=0.05), outcome
    true_s = sum(outcome.true_s for outcome in outcomes)
    assert sum(outcome.measured_s for outcome in outcomes) == pytest.approx(true_s, rel=0.02)
    assert attributed_s + idle_s == pytest.approx(uptime_s, rel=1e-9)


def test_occupancy_and_idle_are_the_uptime_of_the_same_load() -> None:
    with loaded(names.OCCUPANCY_MODEL, spin_s=_WORK_S) as load:
        SERVERS["asyncio"](load, 1)
        attributed_s, idle_s, uptime_s = load.books()
    assert attributed_s > 0
    assert attributed_s + idle_s == pytest.approx(uptime_s, rel=1e-9)


# --- which span ---------------------------------------------------------------------------------


def test_time_is_that_of_the_current_span_and_waiting_is_nobodys(load: Load) -> None:
    with load.tracer.start_as_current_span("request"):
        load.spin("request", _WORK_S)
        with load.tracer.start_as_current_span("inner"):
            load.spin("inner", 2 * _WORK_S)
            time.sleep(_WORK_S)
        load.spin("request", _WORK_S)
    assert charged_s(load, "inner") == about(2 * _WORK_S)
    assert charged_s(load, "request") == about(2 * _WORK_S)
    assert total_s(load, "request") == about(4 * _WORK_S)


def test_current_cost_has_what_was_used_up_to_now(load: Load) -> None:
    from spancost import usage

    before = usage.connect(load.engine)
    try:
        with load.tracer.start_as_current_span("request"):
            load.spin("request", _WORK_S)
            cost = current_cost()
    finally:
        usage.connect(before)
    assert cost is not None
    assert cost.total_usd == about(_WORK_S)


def test_span_that_ends_before_it_is_detached_is_charged_nothing_afterwards(load: Load) -> None:
    span = load.tracer.start_span("request")
    token = otel_context.attach(trace.set_span_in_context(span))
    load.spin("request", _WORK_S)
    span.end()
    load.spin("afterwards", _WORK_S)
    otel_context.detach(token)
    attributed_s, _, _ = load.books()
    assert attributed_s == total_s(load, "request") == about(_WORK_S)


def test_span_that_is_never_current_has_what_its_thread_used_for_nobody_else(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve() -> None:
        span = load.tracer.start_span("request")
        load.spin("request", _WORK_S)
        with load.tracer.start_as_current_span("other"):
            load.spin("other", _WORK_S)
        span.end()

    # On a thread of its own: another test may have brought greenlets, which take turns on this one.
    monkeypatch.setattr(cpu_clock, "_GREEN", ())
    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(20)
    assert total_s(load, "request") == about(_WORK_S)
    assert total_s(load, "other") == about(_WORK_S)


def test_span_that_is_never_current_in_an_event_loop_is_counted_not_guessed(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        span = load.tracer.start_span("request")
        load.spin("request", _WORK_S)
        await asyncio.sleep(0)
        span.end()

    asyncio.run(work())
    assert total_s(load, "request") == 0.0
    with caplog.at_level(logging.WARNING, "spancost"):
        load.books()
    assert load.engine.errors.counts == {"cpu_clock.unseen": 1}
    assert "the CPU time of 1 requests is not known" in caplog.text


def test_span_ended_by_another_thread_keeps_its_time_and_what_comes_then_is_late(load: Load) -> None:
    span = load.tracer.start_span("request")
    half_way, ended = threading.Event(), threading.Event()

    def work() -> None:
        with trace.use_span(span):
            load.spin("request", _WORK_S)
            with load.tracer.start_as_current_span("part"):
                pass
            load.spin("request", _WORK_S)
            half_way.set()
            ended.wait(10)

    worker = threading.Thread(target=work)
    worker.start()
    assert half_way.wait(10)
    span.end()
    ended.set()
    worker.join()
    load.books()
    assert total_s(load, "request") == about(_WORK_S)
    late_s = load.recorded.usd(names.COMPUTE, LATE_INNER)
    assert late_s == about(_WORK_S)


def test_generators_that_leave_their_spans_in_the_wrong_order_lose_nothing(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    def steps(name: str) -> Generator[None]:
        with load.tracer.start_as_current_span(name):
            for _ in range(2):
                load.spin(name, _WORK_S)
                yield

    with load.tracer.start_as_current_span("request"), caplog.at_level(logging.CRITICAL, "opentelemetry.context"):
        first, second = steps("first"), steps("second")
        for generator in (first, second, first, second):
            next(generator)
        first.close()
        second.close()
        with load.tracer.start_as_current_span("last"):
            load.spin("last", _WORK_S)
    assert charged_s(load, "last") == about(_WORK_S)
    attributed_s, idle_s, uptime_s = load.books()
    assert attributed_s == about(5 * _WORK_S)
    assert attributed_s + idle_s == pytest.approx(uptime_s, rel=1e-9)


def test_time_of_a_task_that_outlives_its_request_is_idle(load: Load) -> None:
    async def serve() -> asyncio.Task[None]:
        async def background() -> None:
            await asyncio.sleep(0.001)
            load.spin("background", _WORK_S)

        with load.tracer.start_as_current_span("request"):
            load.spin("request", _WORK_S)
            return asyncio.create_task(background())

    async def main() -> None:
        await (await asyncio.create_task(serve()))

    asyncio.run(main())
    attributed_s, _, _ = load.books()
    assert attributed_s == total_s(load, "request") == about(_WORK_S)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks start later")
def test_eager_task_leaves_its_maker_its_own_time(load: Load) -> None:
    async def child() -> None:
        with load.tracer.start_as_current_span("child"):
            load.spin("child", _WORK_S)
            await asyncio.sleep(0)

    async def main() -> None:
        factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009 - unknown to Python 3.11
        asyncio.get_running_loop().set_task_factory(factory)
        with load.tracer.start_as_current_span("request"):
            task = asyncio.create_task(child())
            load.spin("request", 2 * _WORK_S)
            await task

    asyncio.run(main())
    assert charged_s(load, "child") == about(_WORK_S)
    assert charged_s(load, "request") == about(2 * _WORK_S)


# --- the books ----------------------------------------------------------------------------------


def agrees(load: Load) -> None:
    """Σ direct = Σ totals of local roots + late = what was charged, and that and idle are the uptime."""
    attributed_s, idle_s, uptime_s = load.books()
    spans = load.exporter.get_finished_spans()
    direct_s = sum(float((span.attributes or {})[names.DIRECT_USD]) for span in spans)  # type: ignore[arg-type]
    totals_s = sum(
        float((span.attributes or {})[names.TOTAL_USD])  # type: ignore[arg-type]
        for span in spans
        if names.TOTAL_NANO_USD in (span.attributes or {})
    )
    unseen_s = load.recorded.late_usd(names.COMPUTE)
    late_direct_s = sum(
        sums.usd for key, sums in load.recorded.charges.items() if key.position == LATE_INNER and sums.count == 0
    )
    assert direct_s + late_direct_s == pytest.approx(attributed_s, rel=1e-9)
    assert totals_s + unseen_s == pytest.approx(attributed_s, rel=1e-9)
    assert attributed_s + idle_s == pytest.approx(uptime_s, rel=1e-9)


def repaid(load: Load) -> None:
    """Let idle time repay what a thread had used when it could not be looked at, a fraction of a millisecond."""
    deadline = time.monotonic() + 20
    load.books()
    while load.engine.compute_debt_s and time.monotonic() < deadline:
        time.sleep(0.002)
        load.books()
    assert load.engine.compute_debt_s == 0.0


_STEPS = st.lists(
    st.tuples(st.sampled_from(["open", "close", "work", "yield", "task", "thread", "abandon"]), st.integers(0, 5)),
    min_size=3,
    max_size=25,
)


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEPS, min_size=1, max_size=4), st.booleans())
def test_nothing_is_lost_or_counted_twice_whatever_tasks_threads_and_spans_do(
    requests: list[list[tuple[str, int]]], is_uvloop: bool
) -> None:
    with loaded(spin_s=0.0) as load:
        loose: list[Any] = []

        async def request(steps: list[tuple[str, int]], depth: int = 0) -> None:
            tasks: list[asyncio.Task[None]] = []
            opened: list[Any] = []
            with load.tracer.start_as_current_span("request"):
                for action, size in steps:
                    if action == "open":
                        opened.append(load.tracer.start_as_current_span("part"))
                        opened[-1].__enter__()
                    elif action == "close" and opened:
                        opened.pop(size % len(opened)).__exit__(None, None, None)  # often not the innermost one
                    elif action == "work":
                        load.spin("all", size * 1e-5)
                    elif action == "yield":
                        await asyncio.sleep(0)
                    elif action == "task" and depth < 2:
                        tasks.append(asyncio.create_task(request(steps[:size], depth + 1)))
                    elif action == "thread":
                        await asyncio.to_thread(load.spin, "all", size * 1e-5)
                    elif action == "abandon":
                        loose.append(load.tracer.start_span("never ended here"))
                for span in reversed(opened):
                    span.__exit__(None, None, None)
            # They end after the request: what they use then is late or their own.
            await asyncio.gather(*tasks)

        async def main() -> None:
            await asyncio.gather(*(request(steps) for steps in requests))

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if is_uvloop else None) as runner:
            runner.run(main())
        for span in loose:
            span.end()
        agrees(load)


def test_books_of_the_mixed_load_agree(load: Load) -> None:
    for serve in SERVERS.values():
        serve(load, 1)
    agrees(load)


def test_without_a_price_the_seconds_of_requests_are_reported_with_those_of_their_inner_spans() -> None:
    with priced_provider(compute_model="cpu", cpu_request=2.0) as world:
        with world.tracer.start_as_current_span("request"), world.tracer.start_as_current_span("inner"):
            begun_ns = time.thread_time_ns()
            while time.thread_time_ns() < begun_ns + _WORK_S * 1e9:
                pass
        world.publish()
        ((key, sums),) = [one for one in world.recorded.charges.items() if one[0].line.component == names.COMPUTE]
        assert (key.line.status, sums.usd) == (names.UNPRICED, 0.0)
        assert sums.quantity == about(_WORK_S / 2)


def test_what_a_request_that_goes_on_has_used_reaches_the_counters_once() -> None:
    settings: dict[str, Any] = {"compute": "3600usd/h", "cpu_request": 1.0, "partial_cost_interval_s": 10.0}
    with priced_provider(compute_model="cpu", **settings) as world:
        with world.tracer.start_as_current_span("request") as span:
            for seconds in (1, 2, 3):
                world.engine.book_cpu(getattr(span, NODE_ATTRIBUTE), 1.0)
                world.clock.advance(11.0)
                world.publish()
                assert world.recorded.usd(names.COMPUTE) == pytest.approx(seconds, rel=0.02)
        world.clock.advance(1.0)
        world.publish()
        charged = world.recorded.usd(names.COMPUTE)
        assert charged == pytest.approx(world.root_totals_usd(), rel=1e-9)
        assert charged + world.recorded.usd(names.COMPUTE, IDLE) == pytest.approx(34.0, rel=1e-9)


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks of other threads cannot be read")
def test_thread_that_computes_for_long_is_seen_meanwhile_and_charged_once() -> None:
    with loaded(spin_s=0.0, partial_cost_interval_s=0.01) as load:

        def compute() -> None:
            with load.tracer.start_as_current_span("request"):
                while not seen.is_set():
                    load.spin("request", 0.01)

        seen = threading.Event()
        worker = threading.Thread(target=compute)
        worker.start()
        deadline = time.monotonic() + 20
        try:
            while load.recorded.usd(names.COMPUTE) < 0.05 and time.monotonic() < deadline:
                attributed_s, idle_s, uptime_s = load.books()
                assert attributed_s + idle_s <= uptime_s + 0.01
                time.sleep(0.005)
        finally:
            seen.set()
            worker.join()
        assert load.recorded.usd(names.COMPUTE) >= 0.05  # while the span was open
        repaid(load)
        agrees(load)
        assert total_s(load, "request") == pytest.approx(load.true_s["request"], rel=0.1, abs=0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="the clocks of other threads cannot be read")
def test_request_ended_by_another_thread_pays_once_for_what_was_booked_in_advance() -> None:
    with loaded(spin_s=0.0, partial_cost_interval_s=0.001) as load:
        span = load.tracer.start_span("request")
        ended = threading.Event()

        def compute() -> None:
            with trace.use_span(span):
                while not ended.is_set():
                    load.spin("request", 0.005)

        worker = threading.Thread(target=compute)
        worker.start()
        deadline = time.monotonic() + 20
        try:
            while load.recorded.usd(names.COMPUTE) < 0.05 and time.monotonic() < deadline:
                load.books()
                time.sleep(0.002)
        finally:
            span.end()
            ended.set()
            worker.join()
        repaid(load)
        attributed_s, idle_s, uptime_s = load.books()
        assert attributed_s == pytest.approx(load.true_s["request"], rel=0.1, abs=0.005)
        assert attributed_s + idle_s == pytest.approx(uptime_s, rel=1e-9)
        totals_s = total_s(load, "request") + load.recorded.late_usd(names.COMPUTE)
        assert totals_s == pytest.approx(attributed_s, rel=1e-9)


def test_burst_is_charged_at_once_and_idle_time_repays_it() -> None:
    settings: dict[str, Any] = {"compute": "3600usd/h", "cpu_request": 1.0, "compute_share": 0.25}
    with priced_provider(compute_model="cpu", **settings) as world:
        with world.tracer.start_as_current_span("request") as span:
            world.engine.book_cpu(getattr(span, NODE_ATTRIBUTE), 2.0)
            world.clock.advance(4.0)
        world.publish()
        charged = world.recorded.usd(names.COMPUTE)
        assert charged == pytest.approx(2.0, rel=0.01)
        assert world.recorded.usd(names.COMPUTE, IDLE) == 0.0
        assert world.engine.compute_debt_s == pytest.approx(charged - 1.0, rel=1e-9)
        world.clock.advance(6.0)
        world.publish()
        assert world.engine.compute_debt_s == 0.0
        idle = world.recorded.usd(names.COMPUTE, IDLE)
        assert charged + idle == pytest.approx(0.25 * 10.0, rel=1e-9)


def test_machine_that_is_found_later_says_how_many_vcpus_share_its_price() -> None:
    with priced_provider(compute_model="cpu", compute="") as world:
        world.engine.meters = world.engine.meters._replace(compute=ComputePricing(pending=True))
        world.engine.prepare = None
        rate = compute_rate("aws:m6i.xlarge", "us-east-1", PriceBook.shipped())
        world.engine.find_machine = lambda: MachineFound(rate)
        with world.tracer.start_as_current_span("request") as span:
            node = getattr(span, NODE_ATTRIBUTE)
            world.engine.settle_machine()
            world.engine.book_cpu(node, 8.0)
        # $0.192 an hour for 4 vCPUs: 8 CPU-seconds are 2 seconds of it.
        assert world.attributes("request")[names.TOTAL_USD] == pytest.approx(2 * 0.192 / 3600, rel=0.01)


# --- threads ------------------------------------------------------------------------------------


def _in_thread_by_context(work: Callable[[], None]) -> None:
    worker = threading.Thread(target=copy_context().run, args=(work,))
    worker.start()
    worker.join()


def _in_instrumented_thread(work: Callable[[], None]) -> None:
    ThreadingInstrumentor().instrument()
    try:
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    finally:
        ThreadingInstrumentor().uninstrument()


def _in_instrumented_pool(work: Callable[[], None]) -> None:
    ThreadingInstrumentor().instrument()
    try:
        _in_pool(work)
    finally:
        ThreadingInstrumentor().uninstrument()


def _in_pool(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.mark.parametrize(
    "run",
    [_in_thread_by_context, _in_instrumented_thread, _in_pool, _in_instrumented_pool],
    ids=lambda run: run.__name__,
)
def test_threads_work_for_the_span_that_sent_them(load: Load, run: Callable[[Callable[[], None]], None]) -> None:
    with load.tracer.start_as_current_span("request"), load.tracer.start_as_current_span("part"):
        run(lambda: load.spin("part", _WORK_S))
    assert charged_s(load, "part") == about(_WORK_S)


def test_thread_without_the_context_is_nobodys(load: Load) -> None:
    with load.tracer.start_as_current_span("request"):
        worker = threading.Thread(target=load.spin, args=("worker", 2 * _WORK_S))
        worker.start()
        worker.join()
    assert total_s(load, "request") < _WORK_S


def test_pool_thread_that_one_request_has_started_works_for_the_next_one(load: Load) -> None:
    ThreadingInstrumentor().instrument()  # its threads keep the context of whoever started them
    try:
        with ThreadPoolExecutor(1) as pool, load.tracer.start_as_current_span("first"):
            pool.submit(int).result()

            def second() -> None:
                context = otel_context.attach(otel_context.Context())
                try:
                    with load.tracer.start_as_current_span("second"):
                        pool.submit(load.spin, "second", _WORK_S).result()
                finally:
                    otel_context.detach(context)

            second()
    finally:
        ThreadingInstrumentor().uninstrument()
    assert total_s(load, "second") == about(_WORK_S)
    assert total_s(load, "first") < _WORK_S / 2


def test_context_of_a_pool_thread_is_not_that_of_what_it_works_for(load: Load) -> None:
    def work() -> None:
        with load.tracer.start_as_current_span("inside"):
            pass
        load.spin("second", _WORK_S)

    first = load.tracer.start_span("first")
    of_first = trace.set_span_in_context(first)
    with ThreadPoolExecutor(1, initializer=otel_context.attach, initargs=(of_first,)) as pool:
        with load.tracer.start_as_current_span("second"):
            pool.submit(work).result()
        with trace.use_span(first, end_on_exit=True):
            pass
    assert total_s(load, "second") == about(_WORK_S)
    assert total_s(load, "first") < _WORK_S / 2


def test_spans_of_a_callable_without_a_context_are_roots_and_leave_it_to_its_sender(load: Load) -> None:
    def work() -> None:
        load.spin("request", _WORK_S)
        with load.tracer.start_as_current_span("own root"):
            load.spin("own root", _WORK_S)
        load.spin("request", _WORK_S)

    with load.tracer.start_as_current_span("request"):
        _in_pool(work)
    assert total_s(load, "own root") == about(_WORK_S)
    assert total_s(load, "request") == about(2 * _WORK_S)


# --- the application notices nothing ------------------------------------------------------------


def test_patches_come_once_and_go_with_the_engine() -> None:
    before = [getattr(owner, name) for owner, name in _PATCHED]
    with loaded(spin_s=_WORK_S) as load:
        ours = [getattr(owner, name) for owner, name in _PATCHED]
        assert not {id(one) for one in before} & {id(one) for one in ours}
        load.engine.watch_cpu()
        assert [getattr(owner, name) for owner, name in _PATCHED] == ours
    assert [getattr(owner, name) for owner, name in _PATCHED] == before
    assert "create_task" not in uvloop.Loop.__dict__


def test_patch_of_somebody_else_on_top_of_ours_stays() -> None:
    original = events.Handle._run  # pyright: ignore[reportPrivateUsage]
    try:
        with loaded(spin_s=_WORK_S):
            ours = events.Handle._run  # pyright: ignore[reportPrivateUsage]

            def theirs(self: Any) -> None:
                ours(self)

            events.Handle._run = theirs  # type: ignore[method-assign]
        assert events.Handle._run is theirs  # pyright: ignore[reportPrivateUsage]

        async def nothing() -> int:
            return 7

        assert asyncio.run(nothing()) == 7
    finally:
        events.Handle._run = original  # type: ignore[method-assign]


def test_nothing_is_patched_by_occupancy() -> None:
    before = [getattr(owner, name) for owner, name in _PATCHED]
    with loaded(names.OCCUPANCY_MODEL, spin_s=_WORK_S) as load:
        with load.tracer.start_as_current_span("request"):
            assert [getattr(owner, name) for owner, name in _PATCHED] == before
        assert type(load.engine.tree) is Tree


def test_task_factory_of_the_application_is_kept_under_uvloop(load: Load) -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    async def request() -> str:
        with load.tracer.start_as_current_span("request"):
            for _ in range(4):
                load.spin("request", _WORK_S / 4)
                await asyncio.sleep(0)
        return "done"

    async def main() -> str:
        asyncio.get_running_loop().set_task_factory(factory)
        return await asyncio.get_running_loop().create_task(request(), name="named")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "done"
    assert made[0].endswith("request")
    assert [name.rpartition(".")[2] for name in made[1:]] == ["shutdown_asyncgens", "shutdown_default_executor"]
    assert total_s(load, "request") == about(_WORK_S)


def test_tasks_under_uvloop_are_cancelled_and_fail_as_ever(load: Load) -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise LookupError("its own")

    async def waiting(seen: list[str]) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        seen: list[str] = []
        with pytest.raises(LookupError, match="its own"):
            await asyncio.create_task(failing())
        task = asyncio.create_task(waiting(seen))
        assert "waiting" in repr(task)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["cancelled"]
        not_a_coroutine: Any = 5
        with pytest.raises(TypeError):
            asyncio.get_running_loop().create_task(not_a_coroutine)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert load.engine.errors.counts == {}


def test_errors_of_ours_are_counted_and_change_nothing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load.engine.errors = ErrorLog()
    load.engine.connect()

    def broken(*_: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(load.engine, "book_cpu", broken)

    async def part() -> int:
        await asyncio.sleep(0)
        return 1

    async def main() -> int:
        with load.tracer.start_as_current_span("request"):
            done = await asyncio.gather(part(), asyncio.to_thread(int, "2"), anyio.to_thread.run_sync(int, "3"))
        return sum(done)

    assert asyncio.run(main()) == 6
    with ThreadPoolExecutor(1) as pool, load.tracer.start_as_current_span("sync"):
        assert pool.submit(int, "4").result() == 4
    assert load.engine.errors.counts["capture.cpu_clock"] > 0


def test_engine_that_cannot_measure_says_so_and_splits_occupancy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", object())
    with caplog.at_level(logging.WARNING, "spancost"), loaded(spin_s=_WORK_S) as load:
        monkeypatch.undo()
        assert not load.engine._seen_vcpus  # pyright: ignore[reportPrivateUsage]
    assert "cannot be measured here; occupancy is used" in caplog.text


# --- processes and platforms --------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forked_child_measures_its_own_requests_and_none_of_its_parent(load: Load) -> None:
    reading, writing = os.pipe()
    begun_ns = time.thread_time_ns()
    with load.tracer.start_as_current_span("of the parent"):
        load.spin("of the parent", 2 * _WORK_S)
        pid = os.fork()
        if pid == 0:
            load.exporter.clear()
            load.recorded.charges.clear()
            load.spin("of the parent", _WORK_S)
            token = otel_context.attach(otel_context.Context())
            with load.tracer.start_as_current_span("of the child"):
                load.spin("of the child", _WORK_S)
            otel_context.detach(token)
            load.spin("of the parent", _WORK_S)
            attributed_s, _, _ = load.books()
            os.write(writing, json.dumps([total_s(load, "of the child"), attributed_s]).encode())
            os._exit(0)
    used_s = (time.thread_time_ns() - begun_ns) * 1e-9  # the fork itself is work, too
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        child_s, attributed_s = json.loads(answer.read())
    os.waitpid(pid, 0)
    assert child_s == attributed_s == about(_WORK_S)
    assert total_s(load, "of the parent") == about(used_s)


@pytest.mark.parametrize("machine", ["lambda:512mb", "cloudrun:1vcpu-512mb", "apprunner:1vcpu-2gb"])
def test_platforms_that_bill_requests_ignore_the_model_and_say_so_once(
    machine: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "spancost"),
        priced_provider(compute=machine, compute_model="cpu") as world,
    ):
        for _ in range(2):
            with world.tracer.start_as_current_span("request"):
                world.clock.advance(1.0)
        assert type(world.engine.tree) is Tree
        world.publish()
        assert world.recorded.usd(names.COMPUTE) > 0
    assert caplog.text.count("compute.model cpu is ignored") == 1


@pytest.mark.parametrize(
    ("settings", "vcpus"),
    [
        ({"compute": "aws:m6i.xlarge", "region": "us-east-1"}, 4.0),
        ({"compute": "aws:m6i.xlarge", "region": "us-east-1", "cpu_request": 1.0}, 4.0),
        ({"compute": "0.1usd/h", "cpu_request": 0.5}, 0.5),
    ],
)
def test_vcpus_are_those_that_the_rate_is_for(settings: dict[str, Any], vcpus: float) -> None:
    with priced_provider(compute_model="cpu", **settings) as world, world.tracer.start_as_current_span("request"):
        tree = world.engine.tree
        assert isinstance(tree, CpuTree)
        assert tree.vcpus == vcpus


def test_container_pays_for_the_vcpus_it_has_reserved() -> None:
    settings: dict[str, Any] = {"compute": "aws:m6i.xlarge", "cpu_request": 0.5, "memory_request_gib": 1.0}
    with priced_provider(
        compute_model="cpu",
        region="us-east-1",
        compute_share=None,
        resource={"cloud.platform": "aws_eks"},
        **settings,
    ) as world:
        with world.tracer.start_as_current_span("request"):
            pass
        assert isinstance(world.engine.tree, CpuTree)
        assert world.engine.tree.vcpus == 0.5


_GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, json
from tests.cpu_load import loaded
with loaded(spin_s=0.02) as load:
    def request(name):
        with load.tracer.start_as_current_span(name):
            for _ in range(4):
                load.spin(name, 0.01)
                gevent.sleep(0.002)
    def noise():
        for _ in range(20):
            load.spin("noise", 0.003)
            gevent.sleep(0)
    gevent.joinall([gevent.spawn(request, f"r{n}") for n in range(4)] + [gevent.spawn(noise)])
    load.true_s.pop("noise")
    print(json.dumps([one.ratio for one in load.outcomes()]))
"""


def test_greenlets_of_gevent_are_told_apart() -> None:
    pytest.importorskip("gevent")
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = subprocess.run(
        [sys.executable, "-c", _GEVENT], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    ratios = json.loads(done.stdout)
    assert len(ratios) == 4
    for ratio in ratios:
        assert ratio == pytest.approx(1.0, rel=0.05)


def test_late_imports_are_patched_when_they_come() -> None:
    script = (
        "from tests.cpu_load import loaded\nimport sys\n"
        "with loaded(spin_s=0.01) as load:\n"
        "    assert 'uvloop' not in sys.modules\n"
        "    import uvloop\n"
        "    assert 'create_task' in uvloop.Loop.__dict__\n"
        "assert 'create_task' not in uvloop.Loop.__dict__\n"
    )
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_clock_serves_the_engine_that_came_last_and_charges_no_other() -> None:
    with loaded(spin_s=_WORK_S) as first:
        with first.tracer.start_as_current_span("request"):
            pass
        with loaded(spin_s=_WORK_S) as second:
            cpu_clock.stop(first.engine)  # no longer its own
            with second.tracer.start_as_current_span("request"):
                second.spin("request", _WORK_S)
                first_s, _, _ = first.books()  # asks this thread what it is busy with
            assert total_s(second, "request") == about(_WORK_S)
        assert first_s < _WORK_S / 2
