"""The engine: labels that come late, roots that never end, sinks that fail, and limits."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.trace import SpanKind, Status, StatusCode

from spancost import attribute, names
from spancost.testing import RecordingSink, World, priced_provider
from spancost.trace_choice import SAMPLED, lot_of
from spancost.window import INNER, Batch, EntryLabels
from tests.spans import PUT_USD, REGION, counted_usd, put_item, server, start


def _routes(world: World, component: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == component:
            found[key.labels.http_route] = found.get(key.labels.http_route, 0.0) + sums.usd
    return found


def test_charge_waits_for_a_route_that_the_framework_sets_late() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        request = start(world.tracer, "GET", None, SpanKind.SERVER, server(""))
        with attribute(tenant="acme"):
            call = start(world.tracer, "put", request, SpanKind.CLIENT, put_item())
        world.clock.advance(1.0)
        call.end()
        world.publish()
        assert _routes(world, names.AWS) == {}
        request.set_attribute("http.route", "/found")
        request.end()
        world.publish()
        assert _routes(world, names.AWS) == {"/found": pytest.approx(PUT_USD)}
        assert _routes(world, names.COMPUTE)["/found"] == pytest.approx(0.01)


def test_long_request_without_a_route_is_booked_after_one_interval_without_its_path() -> None:
    with priced_provider(region=REGION, partial_cost_interval_s=10.0) as world:
        request = start(world.tracer, "GET /users/7", None, SpanKind.SERVER, server(""))
        world.clock.advance(1.0)
        start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
        world.clock.advance(10.5)
        world.publish()
        assert _routes(world, names.AWS) == {names.NO_ROUTE: pytest.approx(PUT_USD)}
        request.end()
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)


def test_root_that_never_ends_is_settled_and_what_ends_below_it_later_is_late() -> None:
    with priced_provider(region=REGION, compute="36usd/h", max_root_quiet_s=60.0, idle_after_s=1000.0) as world:
        root = start(world.tracer, "socket")
        call = start(world.tracer, "put", root, SpanKind.CLIENT, put_item())
        world.clock.advance(61.0)
        world.publish()
        assert world.engine.evictions == 1
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(0.61)
        call.end()
        root.end()
        world.publish()
        assert world.recorded.late_usd(names.AWS) == pytest.approx(PUT_USD)
        assert names.TOTAL_NANO_USD not in world.attributes("socket")


def test_open_roots_beyond_the_limit_are_settled_oldest_first() -> None:
    with priced_provider(max_open_roots=3) as world:
        roots = [start(world.tracer, f"root-{number}") for number in range(5)]
        world.publish()
        assert world.engine.evictions == 2
        for root in roots:
            root.end()
        kept = [span.name for span in world.spans if names.TOTAL_NANO_USD in (span.attributes or {})]
        assert kept == ["root-2", "root-3", "root-4"]


def test_window_beyond_its_keys_folds_into_other_and_keeps_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spancost.journal._MAX_KEYS", 10)
    with priced_provider(region=REGION) as world:
        for number in range(50):
            with attribute(tenant=f"t{number}"):
                start(world.tracer, "x").end()
                with world.tracer.start_as_current_span("put", attributes=put_item()):
                    pass
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(50 * PUT_USD, rel=1e-9)
        assert counted_usd(world, names.AWS) == pytest.approx(50 * PUT_USD, rel=1e-9)
        assert len({key.attribution.tenant for key in world.recorded.charges}) <= 12


def test_request_is_counted_once_with_its_outcome_and_only_served_ones_reach_the_histogram() -> None:
    with priced_provider() as world:
        bad = start(world.tracer, "GET", None, SpanKind.SERVER, server("/a"))
        bad.set_status(Status(StatusCode.ERROR))
        bad.end()
        start(world.tracer, "GET", None, SpanKind.SERVER, server("/a")).end()
        start(world.tracer, "process", None, SpanKind.CONSUMER).end()
        start(world.tracer, "nightly").end()
        world.publish()
        found = {
            (key.labels, key.outcome, key.served): sums.count
            for batch in world.recorded.batches
            for key, sums in batch.requests.items()
        }
        assert found == {
            (EntryLabels("/a", "GET", ""), "error", True): 1,
            (EntryLabels("/a", "GET", ""), "ok", True): 1,
            (EntryLabels("", "", "process"), "ok", True): 1,
            (EntryLabels("", "", "nightly"), "ok", False): 1,
        }
        assert sum(sum(reading.buckets) for reading in world.totals.read(world.totals.request_cost)) == 3


def test_failing_sink_loses_nothing_and_keeps_few_batches_until_it_is_well_again() -> None:
    class Ailing(RecordingSink):
        name = "ailing"
        is_well = False

        def write(self, batch: Batch, *, final: bool) -> None:
            if not self.is_well:
                raise OSError
            super().write(batch, final=final)

    ailing = Ailing()
    with priced_provider(region=REGION, reraise=False) as world:
        world.engine.add_sink(ailing)
        for _ in range(105):
            start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
            assert not world.engine.publish()
        assert world.engine.waiting_batches <= 17
        ailing.is_well = True
        world.publish()
        assert ailing.usd() == pytest.approx(105 * PUT_USD, rel=1e-9)
        assert ailing.usd() == pytest.approx(world.recorded.usd(), rel=1e-12)


def test_readers_between_two_flushes_lose_no_money_for_other_sinks() -> None:
    with priced_provider(region=REGION) as world:
        for _ in range(301):
            start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
            world.engine.refresh(world.totals)
        world.publish()
        assert world.recorded.usd() == pytest.approx(301 * PUT_USD, rel=1e-9)


def test_costliest_traces_and_a_sample_are_kept_whole_and_the_others_are_not() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        world.engine.keep_traces = True
        for number in range(30):
            request = start(world.tracer, f"r{number}")
            start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
            world.clock.advance(1.0 + number)
            request.end()
        world.publish()
        traces = [trace for batch in world.recorded.batches for trace in batch.traces]
        costliest = {f"r{number}" for number in range(10, 30)}
        drawn = sorted(range(1, 31), key=lot_of)[:SAMPLED]  # ids of traces count up from 1
        assert {trace.nodes[-1].name for trace in traces} == costliest | {f"r{number - 1}" for number in drawn}
        for trace in traces:
            charged = sum(charge.usd for node in trace.nodes for charge in node.charges)
            assert charged == pytest.approx(trace.total_usd, rel=1e-9)


def test_seconds_that_a_quiet_machine_spends_are_idle_and_everything_adds_up_to_uptime() -> None:
    with priced_provider(compute="36usd/h", compute_share=0.25) as world:
        start(world.tracer, "first").end()
        world.clock.advance(10.0)
        with world.tracer.start_as_current_span("work"):
            world.clock.advance(4.0)
        world.clock.advance(6.0)
        world.publish()
        idle = world.totals.read(world.totals.idle)[0].value
        assert idle == pytest.approx(16.0 * 0.25 * 0.01)
        assert world.recorded.usd(names.COMPUTE, "entry", INNER) == pytest.approx(4.0 * 0.25 * 0.01)


_RATE = 0.01
"""USD per second of the machine in these tests: 36 USD per hour."""


def _compute_usd(world: World) -> float:
    world.publish()
    return world.recorded.usd(names.COMPUTE)


def test_cost_of_a_request_that_goes_on_reaches_the_counters_while_its_spans_are_open_and_once_only() -> None:
    with priced_provider(compute="36usd/h", partial_cost_interval_s=10.0, idle_after_s=1000.0) as world:
        socket = start(world.tracer, "socket", None, SpanKind.SERVER, server("/ws"))
        message = start(world.tracer, "message", socket)
        for minute in range(1, 6):
            world.clock.advance(60.0)
            assert _compute_usd(world) == pytest.approx(minute * 60 * _RATE, rel=1e-12)
            assert _routes(world, names.COMPUTE) == {"/ws": pytest.approx(minute * 60 * _RATE, rel=1e-12)}
        message.end()
        world.clock.advance(1.0)
        assert _compute_usd(world) == pytest.approx(300 * _RATE, rel=1e-12)
        socket.end()
        assert _compute_usd(world) == pytest.approx(301 * _RATE, rel=1e-12)
        assert world.attributes("message")[names.DIRECT_USD] == pytest.approx(300 * _RATE, rel=1e-12)
        assert world.attributes("socket")[names.DIRECT_USD] == pytest.approx(1 * _RATE, rel=1e-12)
        assert world.attributes("socket")[names.TOTAL_USD] == pytest.approx(301 * _RATE, rel=1e-12)
        counts = [sums.count for key, sums in world.recorded.charges.items() if key.line.component == names.COMPUTE]
        assert sum(counts) == 2


def test_work_that_goes_on_after_its_request_was_answered_is_booked_late_while_it_runs() -> None:
    with priced_provider(compute="36usd/h", partial_cost_interval_s=10.0, idle_after_s=1000.0) as world:
        request = start(world.tracer, "GET", None, SpanKind.SERVER, server("/r"))
        task = start(world.tracer, "background", request)
        request.end()
        world.clock.advance(100.0)
        assert _compute_usd(world) == world.recorded.late_usd() == pytest.approx(100 * _RATE, rel=1e-12)
        world.clock.advance(1.0)
        task.end()
        assert _compute_usd(world) == world.recorded.late_usd() == pytest.approx(101 * _RATE, rel=1e-12)
        assert world.attributes("background")[names.DIRECT_USD] == pytest.approx(101 * _RATE, rel=1e-12)


def test_span_of_another_tenant_in_a_request_that_was_booked_in_parts_takes_nothing_twice() -> None:
    with priced_provider(compute="36usd/h", partial_cost_interval_s=10.0, idle_after_s=1000.0) as world:
        request = start(world.tracer, "GET", None, SpanKind.SERVER, server("/r"))
        with attribute(tenant="acme"):
            other = start(world.tracer, "other")
            inner = start(world.tracer, "inner", request)
        other.end()
        world.clock.advance(30.0)
        assert _compute_usd(world) == pytest.approx(30 * _RATE, rel=1e-12)
        world.clock.advance(5.0)
        inner.end()
        request.end()
        assert _compute_usd(world) == pytest.approx(35 * _RATE, rel=1e-12)
        by_tenant = {key.attribution.tenant: 0.0 for key in world.recorded.charges}
        for key, sums in world.recorded.charges.items():
            by_tenant[key.attribution.tenant] += sums.usd
        assert by_tenant[""] == pytest.approx(30 * _RATE, rel=1e-12)
        assert by_tenant["acme"] == pytest.approx(5 * _RATE, rel=1e-12)


def test_span_of_another_tenant_bears_its_own_time_though_others_of_its_request_were_booked_before() -> None:
    with priced_provider(compute="36usd/h", partial_cost_interval_s=10.0, idle_after_s=1000.0) as world:
        loop = start(world.tracer, "worker loop")
        world.clock.advance(60.0)
        assert _compute_usd(world) == pytest.approx(60 * _RATE, rel=1e-12)
        for tenant, seconds in (("acme", 5.0), ("globex", 7.0), ("initech", 20.0)):
            with attribute(tenant=tenant):
                job = start(world.tracer, "job", loop)
            world.clock.advance(seconds)
            if seconds > 10.0:
                world.publish()
            job.end()
            assert world.attributes("job")[names.DIRECT_USD] == pytest.approx(seconds * _RATE, rel=1e-12)
        world.clock.advance(1.0)
        start(world.tracer, "of the loop", loop).end()
        loop.end()
        assert _compute_usd(world) == pytest.approx(93 * _RATE, rel=1e-12)
        assert world.attributes("worker loop")[names.DIRECT_USD] == pytest.approx(61 * _RATE, rel=1e-12)
        assert world.attributes("worker loop")[names.TOTAL_USD] == pytest.approx(93 * _RATE, rel=1e-12)
        by_tenant = {key.attribution.tenant: 0.0 for key in world.recorded.charges}
        for key, sums in world.recorded.charges.items():
            by_tenant[key.attribution.tenant] += sums.usd
        # The last job was open when its request was booked in part: until then nobody could tell whose it is.
        expected = {"": 81 * _RATE, "acme": 5 * _RATE, "globex": 7 * _RATE, "initech": 0.0}
        assert by_tenant == {tenant: pytest.approx(usd, rel=1e-9, abs=1e-12) for tenant, usd in expected.items()}


def test_request_that_is_given_up_after_parts_of_it_were_booked_is_booked_once() -> None:
    with priced_provider(
        compute="36usd/h", max_root_quiet_s=60.0, partial_cost_interval_s=10.0, idle_after_s=1000.0
    ) as world:
        root = start(world.tracer, "socket")
        inner = start(world.tracer, "inner", root)
        world.clock.advance(30.0)
        world.publish()
        world.clock.advance(31.0)
        assert _compute_usd(world) == pytest.approx(61 * _RATE, rel=1e-12)
        assert world.engine.evictions == 1
        inner.end()
        root.end()
        assert _compute_usd(world) == pytest.approx(61 * _RATE, rel=1e-12)


def test_what_an_open_request_has_spent_is_booked_when_the_process_ends_and_only_once() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        call = start(world.tracer, "put", request, SpanKind.CLIENT, put_item())
        world.clock.advance(1.0)
        call.end()
        world.publish()
        assert world.recorded.usd() == 0  # waits for the request's last word on its route
        assert world.engine.leave()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(0.01)
        request.end()
        assert world.engine.shutdown()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)
        assert world.attributes("GET")["spancost.aws.usd"] == pytest.approx(PUT_USD)
        assert world.attributes("GET")[names.TOTAL_USD] == pytest.approx(world.recorded.usd(), rel=1e-9)


def test_shutdown_waits_as_long_as_it_may_for_a_sink_that_another_thread_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spancost.engine._PUBLISH_TIMEOUT_S", 0.05)
    with priced_provider(region=REGION) as world:
        go_on, writing = threading.Event(), threading.Event()

        class Slow(RecordingSink):
            name = "slow"

            def write(self, batch: Batch, *, final: bool) -> None:
                writing.set()
                assert go_on.wait(10)
                super().write(batch, final=final)

        slow = Slow()
        world.engine.add_sink(slow)
        start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
        publisher = threading.Thread(target=world.engine.publish)
        publisher.start()
        assert writing.wait(10)
        start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
        release = threading.Timer(0.3, go_on.set)
        release.start()
        assert world.engine.shutdown(10.0)
        publisher.join(10)
        release.join()
        assert slow.usd(names.AWS) == pytest.approx(2 * PUT_USD)
