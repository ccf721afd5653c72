"""CostSpanProcessor: the life of a span, in any order and beside any other processor."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from spancost import names
from spancost.processor import CostSpanProcessor
from spancost.testing import priced_provider
from tests.spans import PUT_USD, REGION, put_item, server, start


def test_remote_parent_makes_a_local_root_whose_total_is_its_own() -> None:
    with priced_provider(region=REGION) as world:
        remote = trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(1))))
        with world.tracer.start_as_current_span("GET", remote, SpanKind.SERVER, server()):
            start(world.tracer, "other trace").end()
        assert names.TOTAL_NANO_USD in world.attributes("GET")


def test_late_child_keeps_its_own_cost_and_leaves_the_exported_root_alone() -> None:
    with priced_provider(region=REGION) as world:
        request = start(world.tracer, "GET", None, SpanKind.SERVER, server())
        call = start(world.tracer, "put", request, SpanKind.CLIENT, put_item())
        request.end()
        call.end()
        world.publish()
        assert world.attributes("GET")[names.TOTAL_USD] == 0
        assert world.attributes("put")[names.TOTAL_USD] == PUT_USD
        assert names.TOTAL_NANO_USD not in world.attributes("put")
        assert world.recorded.late_usd(names.AWS) == pytest.approx(PUT_USD)


def test_two_processors_on_one_provider_price_once() -> None:
    with priced_provider(region=REGION) as world:
        world.provider.add_span_processor(CostSpanProcessor(world.engine))
        start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
        world.publish()
        assert world.recorded.usd() == pytest.approx(PUT_USD)


@pytest.mark.parametrize("cost_first", [True, False])
def test_place_among_the_processors_does_not_matter(cost_first: bool) -> None:
    with priced_provider(region=REGION) as world:
        exporter = InMemorySpanExporter()
        processors = [CostSpanProcessor(world.engine), SimpleSpanProcessor(exporter)]
        provider = TracerProvider(shutdown_on_exit=False)
        for processor in processors if cost_first else reversed(processors):
            provider.add_span_processor(processor)
        start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item()).end()
        (span,) = exporter.get_finished_spans()
        assert (span.attributes or {})[names.TOTAL_USD] == PUT_USD


def test_span_started_before_the_processor_was_added_is_left_alone_and_roots_its_children() -> None:
    with priced_provider(region=REGION) as world:
        provider = TracerProvider(shutdown_on_exit=False)
        tracer = provider.get_tracer("app")
        early = start(tracer, "early", None, SpanKind.CLIENT, put_item())
        provider.add_span_processor(CostSpanProcessor(world.engine))
        child = start(tracer, "child", early, SpanKind.CLIENT, put_item())
        child.end()
        early.end()
        world.publish()
        assert world.recorded.usd() == pytest.approx(PUT_USD)
        assert names.TOTAL_NANO_USD in (child.attributes or {})
        assert names.TOTAL_USD not in (early.attributes or {})


def test_unknown_compute_rate_leaves_compute_unpriced_and_counts_its_seconds() -> None:
    with priced_provider() as world:
        with world.tracer.start_as_current_span("work"):
            world.clock.advance(3.0)
        world.publish()
        assert world.attributes("work")[names.STATUS] == names.UNPRICED
        assert world.attributes("work")[names.REASON] == "compute_rate_unknown"
        (sums,) = [s for key, s in world.recorded.charges.items() if key.position == "entry"]
        assert (sums.quantity, sums.usd) == (3.0, 0.0)
        assert world.totals.read(world.totals.cost) == []


def test_total_in_nano_usd_is_a_whole_number_and_direct_and_total_never_mix() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        request = start(world.tracer, "GET", None, SpanKind.SERVER, server())
        middle = start(world.tracer, "middle", request)
        call = start(world.tracer, "put", middle, SpanKind.CLIENT, put_item())
        world.clock.advance(0.1)
        call.end()
        world.clock.advance(0.2)
        middle.end()
        world.clock.advance(0.3)
        request.end()
        direct = {name: world.attributes(name)[names.DIRECT_USD] for name in ("put", "middle", "GET")}
        total = {name: world.attributes(name)[names.TOTAL_USD] for name in ("put", "middle", "GET")}
        assert direct == {
            "put": pytest.approx(0.001 + PUT_USD),
            "middle": pytest.approx(0.002),
            "GET": pytest.approx(0.003),
        }
        assert total["middle"] == pytest.approx(direct["put"] + direct["middle"])
        assert total["GET"] == pytest.approx(sum(direct.values()))
        assert world.attributes("GET")[names.TOTAL_NANO_USD] == round(total["GET"] * 1e9)


def test_force_flush_and_shutdown_publish_what_was_charged() -> None:
    with priced_provider(region=REGION) as world:
        start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
        assert world.provider.force_flush()
        assert world.recorded.usd() == pytest.approx(PUT_USD)
        start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
        world.provider.shutdown()
        assert world.recorded.usd() == pytest.approx(2 * PUT_USD)
