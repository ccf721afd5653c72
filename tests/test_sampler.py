"""MeterAll: what the sampler drops is metered, and not exported."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind

from spancost import MeterAll
from spancost.processor import CostSpanProcessor
from spancost.sampler import meter_all
from spancost.testing import priced_provider
from tests.spans import PUT_USD, REGION, put_item, start


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF), TraceIdRatioBased(0.0)])
def test_dropped_spans_are_charged_with_their_start_attributes_and_not_exported(sampler: Sampler) -> None:
    with priced_provider(region=REGION) as world:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=MeterAll(sampler), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.add_span_processor(CostSpanProcessor(world.engine))
        root = start(provider.get_tracer("app"), "root")
        assert not root.get_span_context().trace_flags.sampled
        start(provider.get_tracer("app"), "put", root, SpanKind.CLIENT, put_item()).end()
        root.end()
        world.publish()
        assert world.recorded.usd() == pytest.approx(PUT_USD)
        assert exporter.get_finished_spans() == ()


def test_sampled_spans_stay_sampled_and_the_description_names_the_wrapped_sampler() -> None:
    sampler = MeterAll(ALWAYS_ON)
    assert sampler.should_sample(None, 1, "x").decision.is_sampled()
    assert sampler.get_description() == f"MeterAll{{{ALWAYS_ON.get_description()}}}"


def test_wrapping_a_provider_reaches_its_tracers_and_wraps_once() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    assert meter_all(provider)
    wrapped = provider.sampler
    assert meter_all(provider)
    assert provider.sampler is wrapped
    assert provider.get_tracer("late").start_span("x").is_recording()


@pytest.mark.skipif(
    not hasattr(TracerProvider(shutdown_on_exit=False), "_tracers"),
    reason="this SDK keeps no list of its tracers: those made before `install` stay with the bare sampler",
)
def test_wrapping_a_provider_reaches_tracers_made_before() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    early = provider.get_tracer("early")
    assert meter_all(provider)
    assert early.start_span("x").is_recording()


def test_provider_that_always_samples_is_left_alone() -> None:
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    assert meter_all(provider)
    assert provider.sampler is ALWAYS_ON
