"""Costs and `attribute()` follow the work through threads, tasks, generators and processes, and no sum depends on it.

What has no parent in its own context is a local root of its own, and counted as one: with the threading
instrumentation a thread's call belongs to the request that has started it, without it only to the same tenant.
"""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing.pool
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.trace import SpanKind

from spancost import add_usage, attribute, names
from spancost.attribution import tags_of
from spancost.capture.threads import follow_threads
from spancost.testing import World, priced_provider
from tests.entrypoints.booked import instrumented
from tests.spans import PUT_USD, REGION, put_item, server

_ROOT = Path(__file__).parent.parent
_ACME = "acme"

Work = Callable[[], None]


@pytest.fixture(params=[True, False], ids=["threading instrumentation", "no instrumentation"])
def is_instrumented(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(is_instrumented: bool) -> Iterator[World]:
    with ExitStack() as stack:
        world = stack.enter_context(priced_provider(region=REGION, compute="36usd/h"))
        # Where another test has taken this instrumentation off, it has left the inherited method on the class.
        if "start" in vars(threading.Timer):
            del threading.Timer.start
        stack.callback(follow_threads())
        if is_instrumented:
            stack.enter_context(instrumented(world, ThreadingInstrumentor()))
        yield world


def _put(world: World) -> None:
    with world.tracer.start_as_current_span("put", kind=SpanKind.CLIENT, attributes=put_item()):
        pass


def _put_by(world: World) -> dict[str, int]:
    """Number of PutItem calls by tenant, worked out from the money, after every sum has been compared."""
    world.publish()
    charged = world.recorded.usd()
    assert world.root_totals_usd() + world.recorded.late_usd() == pytest.approx(charged, rel=1e-9)
    counted = sum(reading.value for reading in world.totals.read(world.totals.cost))
    assert counted == pytest.approx(charged, rel=1e-9)
    found: dict[str, float] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == names.AWS:
            found[key.attribution.tenant] = found.get(key.attribution.tenant, 0.0) + sums.usd
    return {tenant: round(usd / PUT_USD) for tenant, usd in found.items()}


def _in_thread(work: Work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)


class _OwnRun(threading.Thread):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def run(self) -> None:
        self._work()


def _in_thread_of_own_class(work: Work) -> None:
    thread = _OwnRun(work)
    thread.start()
    thread.join(10)


def _in_timer(work: Work) -> None:
    timer = threading.Timer(0.0, work)
    timer.start()
    timer.join(10)


def _in_pool(work: Work) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(10)


def _mapped_by_pool(work: Work) -> None:
    def call(task: Work) -> None:
        task()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(call, [work]))


def _in_thread_of_thread(work: Work) -> None:
    _in_thread(lambda: _in_thread(work))


def _in_task(work: Work) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        work()

    async def main() -> None:
        await asyncio.gather(asyncio.create_task(child()))

    asyncio.run(main())


def _in_thread_of_loop(work: Work) -> None:
    async def main() -> None:
        await asyncio.to_thread(work)

    asyncio.run(main())


def _in_executor_of_loop(work: Work) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, work)

    asyncio.run(main())


def _in_anyio_worker(work: Work) -> None:
    async def main() -> None:
        await anyio.to_thread.run_sync(work)

    anyio.run(main)


def _in_anyio_task(work: Work) -> None:
    async def child() -> None:
        work()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)

    anyio.run(main)


def _in_async_generator(work: Work) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        work()
        yield 2

    async def main() -> None:
        async for _ in items():
            await asyncio.sleep(0)

    asyncio.run(main())


def _in_generator(work: Work) -> None:
    def items() -> Iterator[int]:
        yield 1
        work()
        yield 2

    assert list(items()) == [1, 2]


def _in_callback_of_loop(work: Work) -> None:
    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(0.001, work)
        loop.call_later(0.002, done.set)
        await done.wait()

    asyncio.run(main())


_FOLLOWED = [
    _in_thread,
    _in_thread_of_own_class,
    _in_timer,
    _in_pool,
    _mapped_by_pool,
    _in_thread_of_thread,
    _in_task,
    _in_thread_of_loop,
    _in_executor_of_loop,
    _in_anyio_worker,
    _in_anyio_task,
    _in_async_generator,
    _in_generator,
    _in_callback_of_loop,
]


@pytest.mark.parametrize("run", _FOLLOWED, ids=lambda run: run.__name__.strip("_"))
def test_attribution_follows_and_the_sums_agree(world: World, run: Callable[[Work], None]) -> None:
    with (
        world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()),
        attribute(tenant=_ACME),
    ):
        run(lambda: _put(world))
        world.clock.advance(1.0)
    assert _put_by(world) == {_ACME: 1}
    roots = [span.name for span in world.spans if names.TOTAL_NANO_USD in (span.attributes or {})]
    has_own_root = "put" in roots
    assert roots == (["put", "GET"] if has_own_root else ["GET"])
    assert world.attributes("put")[names.TENANT] == _ACME
    assert tags_of(None) is None


@pytest.mark.parametrize("is_instrumented", [True], indirect=True)
def test_with_the_instrumentation_the_request_pays_for_its_threads(world: World, is_instrumented: bool) -> None:
    with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()):
        _in_thread(lambda: _put(world))
        _in_pool(lambda: _put(world))
    assert _put_by(world) == {"": 2}
    assert world.attributes("GET")["spancost.aws.usd"] == pytest.approx(2 * PUT_USD)


@pytest.mark.parametrize("is_instrumented", [False], indirect=True)
def test_without_it_spans_of_a_thread_keep_the_parents_that_they_would_have(
    world: World, is_instrumented: bool
) -> None:
    seen: list[dict[str, Any]] = []

    def work() -> None:
        seen.append(dict(contextvars.copy_context().items().__iter__().__next__()[1]))
        _put(world)

    with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()), attribute(tenant=_ACME):
        _in_thread(work)
    assert [list(context) for context in seen] == [["spancost-attribution"]]
    put = next(span for span in world.spans if span.name == "put")
    assert put.parent is None
    assert put.context is not None
    assert put.context.trace_id != next(span for span in world.spans if span.name == "GET").context.trace_id  # type: ignore[union-attr]


def test_threads_that_serve_everybody_do_not_go_on_as_the_tenant_that_has_started_them(world: World) -> None:
    """Unless the instrumentation makes them part of the request: then they are that in the traces, too."""
    tasks: list[Work] = []
    wanted, done = threading.Semaphore(0), threading.Semaphore(0)

    def serve() -> None:
        for _ in range(2):
            assert wanted.acquire(timeout=10)
            tasks.pop()()
            done.release()

    with ExitStack() as stack:
        with attribute(tenant=_ACME):
            pool = stack.enter_context(ThreadPoolExecutor(1))
            pool.submit(lambda: _put(world)).result(10)
            background = threading.Thread(target=serve, daemon=True)
            background.start()
            old_pool = stack.enter_context(multiprocessing.pool.ThreadPool(1))
        pool.submit(lambda: _put(world)).result(10)
        with attribute(tenant="other"):
            pool.submit(lambda: _put(world)).result(10)
        instrumented_thread = _tags_seen_by(background, tasks, wanted, done)
        old_pool.apply(lambda: _put(world))
        tasks.append(lambda: None)
        wanted.release()
        background.join(10)
    by_tenant = _put_by(world)
    assert by_tenant.pop("other") == 1
    if ThreadingInstrumentor().is_instrumented_by_opentelemetry:
        assert instrumented_thread == _ACME
        assert by_tenant == {_ACME: 2, "": 1}
    else:
        assert instrumented_thread == ""
        assert by_tenant == {_ACME: 1, "": 2}


def _tags_seen_by(
    thread: threading.Thread, tasks: list[Work], wanted: threading.Semaphore, done: threading.Semaphore
) -> str:
    """Return whose work a running thread does."""
    seen: list[str] = []

    def look() -> None:
        tags = tags_of(None)
        seen.append("" if tags is None else tags.tenant)

    assert thread.is_alive()
    tasks.append(look)
    wanted.release()
    assert done.acquire(timeout=10)
    return seen[0]


def test_usage_in_a_plain_thread_is_counted_whether_or_not_it_has_a_request(world: World) -> None:
    with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()), attribute(tenant=_ACME):
        _in_thread(lambda: add_usage("pdf.render", 1, "page", usd=0.25))
    world.publish()
    assert world.recorded.usd(names.CUSTOM) == pytest.approx(0.25)
    whose = {key.attribution.tenant for key in world.recorded.charges if key.line.component == names.CUSTOM}
    assert whose == {_ACME}


def test_thread_that_cannot_be_started_and_one_that_is_started_twice_fail_as_they_would(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attribute(tenant=_ACME):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join(10)
        assert "run" not in vars(thread)
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()


def test_failure_of_ours_starts_the_thread_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("unexpected")

    world.engine.errors.reraise = False
    world.engine.connect()
    monkeypatch.setattr("spancost.capture.threads._serves_everybody", fail)
    with attribute(tenant=_ACME):
        _in_thread(lambda: _put(world))
    assert _put_by(world)[_ACME if ThreadingInstrumentor().is_instrumented_by_opentelemetry else ""] == 1
    assert world.engine.errors.counts == {"capture.threads": 1}


def test_undone_the_threads_of_python_are_as_they_were() -> None:
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit
    undo = follow_threads()
    assert follow_threads() is undo
    assert threading.Thread.start is not start
    undo()
    assert threading.Thread.start is start
    assert ThreadPoolExecutor.submit is submit
