"""Whose cost it is: `attribute()` in every kind of code, span attributes, and the labels of the local root."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.trace import SpanKind

from spancost import attribute, names
from spancost.attribution import no_attribution, tags_of
from spancost.testing import World, priced_provider
from spancost.window import Attribution
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, put_item, server, start


def _put(world: World) -> None:
    with world.tracer.start_as_current_span("put", kind=SpanKind.CLIENT, attributes=put_item()):
        pass


def _puts_by(world: World) -> dict[Attribution, int]:
    """Number of PutItem calls by whose they are, worked out from the money."""
    world.publish()
    found: dict[Attribution, float] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == names.AWS:
            found[key.attribution] = found.get(key.attribution, 0.0) + sums.usd
    return {attribution: round(usd / PUT_USD) for attribution, usd in found.items()}


def test_context_manager_attributes_what_starts_inside_and_nothing_after() -> None:
    with priced_provider(region=REGION) as world:
        with attribute(feature="search", tenant="acme"):
            _put(world)
        _put(world)
        assert _puts_by(world) == {Attribution("search", "acme", ""): 1, Attribution(): 1}


def test_inner_call_overrides_key_by_key_and_the_outer_one_comes_back() -> None:
    with priced_provider(region=REGION) as world:
        with attribute(feature="search", tenant="acme"):
            with attribute(feature="rank", team="web"):
                _put(world)
            _put(world)
        assert _puts_by(world) == {Attribution("rank", "acme", "web"): 1, Attribution("search", "acme", ""): 1}


def test_span_attributes_win_over_attribute() -> None:
    with priced_provider(region=REGION) as world:
        own = {**put_item(), names.TENANT: "from-span"}
        with attribute(tenant="from-context", team="web"), world.tracer.start_as_current_span("put", attributes=own):
            pass
        assert _puts_by(world) == {Attribution("", "from-span", "web"): 1}


def test_keys_still_empty_on_the_local_root_are_set_there_so_that_its_own_cost_follows() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        attributes = {**server(response_bytes=GB), names.FEATURE: "checkout"}
        with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=attributes):
            world.clock.advance(1.0)
            with attribute(feature="not-this", tenant="acme"):
                _put(world)
            with attribute(tenant="second"):
                _put(world)
            _put(world)
        world.publish()
        usd: dict[tuple[str, Attribution], float] = {}
        for key, sums in world.recorded.charges.items():
            where = (key.line.component, key.attribution)
            usd[where] = usd.get(where, 0.0) + sums.usd
        root = Attribution("checkout", "acme", "")
        assert usd["egress", root] == pytest.approx(EGRESS_USD_PER_GB)
        assert usd["compute", root] == pytest.approx(0.01)
        assert usd["aws", Attribution("not-this", "acme", "")] == pytest.approx(PUT_USD)
        assert usd["aws", Attribution("checkout", "second", "")] == pytest.approx(PUT_USD)
        assert usd["aws", root] == pytest.approx(PUT_USD)


def test_decorated_function_coroutine_and_generators_are_attributed_at_each_step() -> None:
    with priced_provider(region=REGION) as world:

        @attribute(feature="call")
        def call() -> str:
            _put(world)
            return "called"

        @attribute(feature="coroutine")
        async def coroutine() -> str:
            await asyncio.sleep(0)
            _put(world)
            return "awaited"

        @attribute(feature="generator")
        def generator() -> Generator[int, str, str]:
            _put(world)
            answer = yield 1
            _put(world)
            return answer

        @attribute(feature="asyncgen")
        async def asyncgen() -> AsyncGenerator[int, str]:
            _put(world)
            answer = yield 1
            assert answer == "sent"
            _put(world)
            yield 2

        assert call() == "called"
        assert asyncio.run(coroutine()) == "awaited"

        running = generator()
        assert next(running) == 1
        _put(world)  # between two steps the consumer's own context is in force
        with pytest.raises(StopIteration) as stopped:
            running.send("sent")
        assert stopped.value.value == "sent"

        async def consume() -> None:
            stream = asyncgen()
            assert await anext(stream) == 1
            _put(world)
            assert await stream.asend("sent") == 2
            await stream.aclose()

        asyncio.run(consume())
        by_feature = {attribution.feature: count for attribution, count in _puts_by(world).items()}
        assert by_feature == {"call": 1, "coroutine": 1, "generator": 2, "asyncgen": 2, "": 2}


def test_exception_thrown_into_a_decorated_generator_arrives_there() -> None:
    seen: list[str] = []

    @attribute(feature="f")
    def generator() -> Generator[int]:
        try:
            yield 1
        except KeyError:
            seen.append("sync")
            yield 2

    @attribute(feature="f")
    async def asyncgen() -> AsyncGenerator[int]:
        try:
            yield 1
        except KeyError:
            seen.append("async")
            yield 2
        finally:
            seen.append("closed")

    running = generator()
    next(running)
    assert running.throw(KeyError()) == 2
    running.close()

    async def consume() -> None:
        stream = asyncgen()
        await anext(stream)
        assert await stream.athrow(KeyError()) == 2
        await stream.aclose()

    asyncio.run(consume())
    assert seen == ["sync", "async", "closed"]
    assert tags_of(None) is None


def test_child_tasks_inherit_and_sibling_tasks_do_not_mix() -> None:
    with priced_provider(region=REGION) as world:

        async def work(tenant: str) -> None:
            async with attribute(tenant=tenant):
                await asyncio.sleep(0)
                await asyncio.create_task(child())

        async def child() -> None:
            await asyncio.sleep(0)
            _put(world)

        async def main() -> None:
            await asyncio.gather(*(work(f"t{number}") for number in range(5)))

        asyncio.run(main())
        assert _puts_by(world) == {Attribution("", f"t{number}", ""): 1 for number in range(5)}


def test_object_shared_by_threads_is_left_by_each_of_them_on_its_own() -> None:
    acme = attribute(tenant="acme")
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    after: dict[str, object] = {}

    def first() -> None:
        with acme:
            first_in.set()
            assert second_in.wait(10)
        after["first"] = tags_of(None)
        first_out.set()

    def second() -> None:
        assert first_in.wait(10)
        with acme:
            second_in.set()
            assert first_out.wait(10)
            after["inside"] = tags_of(None)
        after["second"] = tags_of(None)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert after == {"first": None, "inside": Attribution("", "acme", ""), "second": None}


def test_object_shared_by_tasks_and_entered_twice_is_undone_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    acme = attribute(tenant="acme")
    after: list[object] = []

    async def work(rounds: int) -> None:
        async with acme:
            with attribute(tenant="inner"):
                async with acme:
                    for _ in range(rounds):
                        await asyncio.sleep(0)
                tags = tags_of(None)
                assert tags is not None
                assert tags.tenant == "inner"
        after.append(tags_of(None))

    async def main() -> None:
        async with acme:
            await asyncio.gather(*(asyncio.create_task(work(rounds)) for rounds in (3, 1, 2)))
        after.append(tags_of(None))

    asyncio.run(main())
    assert after == [Attribution("", "acme", "")] * 3 + [None]
    assert not caplog.records  # no token was used outside of its own context


def test_threads_inherit_with_the_threading_instrumentation() -> None:
    instrumentor = ThreadingInstrumentor()
    instrumentor.instrument()
    try:
        with priced_provider(region=REGION) as world:
            with attribute(tenant="acme"):
                thread = threading.Thread(target=_put, args=(world,))
                thread.start()
            thread.join(10)
            assert _puts_by(world) == {Attribution("", "acme", ""): 1}
    finally:
        instrumentor.uninstrument()


def test_free_labels_are_written_on_priced_spans_and_can_be_forgotten() -> None:
    with priced_provider(region=REGION) as world:
        with attribute(feature="f", plan="gold"), attribute(plan="silver", shard="7"):
            _put(world)
            written = world.attributes("put")
            with no_attribution():
                _put(world)
        assert written[names.FEATURE] == "f"
        assert (written["spancost.label.plan"], written["spancost.label.shard"]) == ("silver", "7")
        assert names.FEATURE not in world.attributes("put")


def test_long_value_is_cut() -> None:
    with priced_provider(region=REGION) as world:
        with attribute(tenant="x" * 1000):
            _put(world)
        assert [len(attribution.tenant) for attribution in _puts_by(world)] == [200]


def test_attribution_of_background_work_does_not_relabel_the_request_that_has_ended() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        request = start(world.tracer, "request")
        world.clock.advance(1.0)
        request.end()
        with trace.use_span(request, end_on_exit=False), attribute(tenant="batch"):
            start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
        world.publish()
        whose = {
            (key.line.component, key.attribution.tenant) for key, sums in world.recorded.charges.items() if sums.usd
        }
        assert whose == {(names.COMPUTE, ""), (names.AWS, "batch")}
