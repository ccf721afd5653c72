"""Attributes reach an ending span, whichever technique the installed SDK allows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from spancost import names, processor, span_attributes
from spancost.span_attributes import END_PATCH, MAPPING, PUBLIC, choose_technique, patch_end, unpatch_end, write_mapping
from spancost.testing import priced_provider
from tests.recorded import NOW_NS
from tests.spans import PUT_USD, REGION, put_item, server, start


@pytest.fixture
def end_patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on an SDK where neither the mapping nor the public API can be written any more."""
    monkeypatch.setattr(processor, "choose_technique", lambda: END_PATCH)
    original = Span.end
    yield
    assert Span.end is original, "the patch outlived its processor"


def test_chosen_technique_is_the_first_that_delivers() -> None:
    chosen = choose_technique()
    assert chosen in (MAPPING, PUBLIC, END_PATCH)
    if span_attributes._delivers(write_mapping):  # pyright: ignore[reportPrivateUsage]
        assert chosen == MAPPING


def test_writing_that_raises_is_no_technique_and_nothing_works_leads_to_the_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(span: Span, values: Any) -> None:
        raise AttributeError

    assert not span_attributes._delivers(refused)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(span_attributes, "write_mapping", refused)
    monkeypatch.setattr(span_attributes, "write_public", refused)
    choose_technique.cache_clear()
    try:
        assert choose_technique() == END_PATCH
    finally:
        choose_technique.cache_clear()


def test_sdk_that_takes_public_attributes_while_ending_is_written_to_in_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(span: Span, values: Any) -> None:
        raise AttributeError

    monkeypatch.setattr(span_attributes, "write_mapping", refused)
    monkeypatch.setattr(span_attributes, "write_public", write_mapping)
    choose_technique.cache_clear()
    try:
        assert choose_technique() == PUBLIC
    finally:
        choose_technique.cache_clear()


def _priced_request() -> tuple[Mapping[str, Any], Mapping[str, Any], list[str]]:
    class Before(SpanProcessor):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_end(self, span: ReadableSpan) -> None:
            self.seen.append(span.name)

    with priced_provider(compute="36usd/h", region=REGION) as world:
        last = InMemorySpanExporter()
        world.provider.add_span_processor(SimpleSpanProcessor(last))
        before = Before()
        world.provider.add_span_processor(before)
        request = start(world.tracer, "GET", None, SpanKind.SERVER, server())
        call = start(world.tracer, "put", request, SpanKind.CLIENT, put_item())
        world.clock.advance(2.0)
        call.set_attribute("app.key", "kept")
        call.end()
        request.end()
        assert [dict(span.attributes or {}) for span in last.get_finished_spans()] == [
            dict(span.attributes or {}) for span in world.spans
        ]
        return world.attributes("GET"), world.attributes("put"), before.seen


def _is_right(result: tuple[Mapping[str, Any], Mapping[str, Any], list[str]]) -> None:
    root, call, seen = result
    assert seen == ["put", "GET"]
    assert call["app.key"] == "kept"
    assert call[names.DIRECT_USD] == call[names.TOTAL_USD] == pytest.approx(2 * 0.01 + PUT_USD, rel=1e-12)
    assert call[names.OPERATION_COST] == PUT_USD
    assert root[names.DIRECT_USD] == 0
    assert root[names.TOTAL_USD] == call[names.TOTAL_USD]
    assert root[names.TOTAL_NANO_USD] == round((2 * 0.01 + PUT_USD) * 1e9)
    assert isinstance(root[names.TOTAL_NANO_USD], int)
    assert root["spancost.aws.usd"] == PUT_USD
    assert root["spancost.compute.usd"] == pytest.approx(0.02)


def test_direct_and_total_reach_exporters_before_and_after_us() -> None:
    _is_right(_priced_request())


@pytest.mark.usefixtures("end_patch")
def test_direct_and_total_reach_exporters_by_the_patch_of_end_too() -> None:
    _is_right(_priced_request())


@pytest.mark.usefixtures("end_patch")
def test_patched_end_keeps_given_end_times_and_ends_a_span_once() -> None:
    with priced_provider(region=REGION) as world:
        span = start(world.tracer, "put", None, SpanKind.CLIENT, put_item(), start_ns=NOW_NS)
        span.end(NOW_NS + 2_000)
        span.end(NOW_NS + 3_000)
        assert span.end_time == NOW_NS + 2_000
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)


def test_patch_goes_with_its_last_listener() -> None:
    original = Span.end

    def one(span: Span, end_time: int | None) -> None: ...

    def two(span: Span, end_time: int | None) -> None: ...

    patch_end(one)
    patch_end(one)
    patch_end(two)
    unpatch_end(one)
    assert Span.end is not original
    unpatch_end(two)
    assert Span.end is original
    unpatch_end(two)


def test_batch_and_console_exporters_see_the_cost() -> None:
    console = io.StringIO()
    with priced_provider(region=REGION) as world:
        batched = InMemorySpanExporter()
        batch = BatchSpanProcessor(batched)
        world.provider.add_span_processor(batch)
        world.provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=console)))
        start(world.tracer, "put", None, SpanKind.CLIENT, put_item()).end()
        assert batch.force_flush()
        (span,) = batched.get_finished_spans()
        assert (span.attributes or {})[names.TOTAL_USD] == PUT_USD
        assert f'"{names.TOTAL_USD}": {PUT_USD}' in console.getvalue()


def test_attribute_limit_of_the_sdk_does_not_push_the_applications_attributes_out() -> None:
    with priced_provider(region=REGION) as world:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=6), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.add_span_processor(processor.CostSpanProcessor(world.engine))
        attributes = put_item()
        assert len(attributes) == 6
        start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, attributes).end()
        (span,) = exporter.get_finished_spans()
        exported = dict(span.attributes or {})
        assert attributes.items() <= exported.items()
        if choose_technique() == MAPPING:
            assert exported[names.TOTAL_USD] == PUT_USD
