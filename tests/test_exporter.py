"""CostSpanExporter beside other exporters and processors: each span is charged once, and nothing is disturbed."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind

import spancost._install as spancost_install
import spancost.finished as finished
from spancost import Config, CostSpanExporter, CostSpanProcessor, MeterAll, install, names, shutdown
from spancost.engine import CostEngine
from spancost.internals import gauges
from spancost.sinks.totals import MetricTotals
from spancost.testing import RecordingSink, SequentialIdGenerator
from spancost.window import ENTRY
from tests.exporting import exporting_world, finished_spans
from tests.offline.traces import Span
from tests.recorded import NOW_NS
from tests.spans import PUT_USD, REGION, SMS_USD, chat, put_item, server, sms, start
from tests.test_fork import _in_child as in_child  # pyright: ignore[reportPrivateUsage]

_CONFIG = Config(region=REGION, lease="off", compute_share=1.0, first_value_hold_s=0.0, detect=False)


def _ignored(*_: object) -> None:
    """Tests shut their engine down themselves."""


@pytest.fixture(autouse=True)
def _own_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(spancost_install, "_default", None)
    monkeypatch.setattr("atexit.register", _ignored)
    monkeypatch.setenv("SPANCOST_REGION", REGION)
    yield
    shutdown(5.0)


def _provider(
    *processors: Any,
    sampler: Sampler | None = ALWAYS_ON,
    resource: Resource | None = None,
    id_generator: IdGenerator | None = None,
) -> TracerProvider:
    provider = TracerProvider(sampler, resource, False, id_generator=id_generator)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def _put(provider: TracerProvider) -> ReadableSpan:
    span = start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item())
    span.end()
    return span


def _recording(engine: CostEngine) -> RecordingSink:
    sink = RecordingSink()
    engine.add_sink(sink)
    return sink


def _engine() -> CostEngine:
    engine = spancost_install.current_engine()
    assert engine is not None
    return engine


def test_entry_point_names_the_exporter() -> None:
    (found,) = [one for one in entry_points(group="opentelemetry_traces_exporter") if one.name == "spancost"]
    assert found.load() is CostSpanExporter


def test_nothing_is_written_on_spans() -> None:
    with exporting_world() as world:
        _put(world.provider)
        (span,) = world.spans
        assert dict(span.attributes or {}) == put_item()
        assert not hasattr(span, "_spancost_node")


# --- each span once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(("exporter", "processor", "batch"))))
def test_with_a_processor_on_the_same_provider_the_exporters_charge_nothing(order: tuple[str, ...]) -> None:
    engine = spancost_install.default_engine(_CONFIG)
    sink = _recording(engine)
    parts = {
        "exporter": lambda: SimpleSpanProcessor(CostSpanExporter()),
        "processor": lambda: CostSpanProcessor(),
        "batch": lambda: BatchSpanProcessor(CostSpanExporter()),
    }
    provider = _provider(*(parts[part]() for part in order))
    for _ in range(10):
        _put(provider)
    provider.force_flush()
    provider.shutdown()
    assert sink.usd(names.AWS) == pytest.approx(10 * PUT_USD)
    assert engine.sources == []
    assert all(key.line.reason != names.EXPORTER for key in sink.charges)


def test_of_two_providers_with_one_resource_each_span_is_charged_once() -> None:
    """One has a processor, one the exporter, one both, one the exporter twice."""
    engine = spancost_install.default_engine(_CONFIG)
    sink = _recording(engine)
    resource = Resource({"service.name": "shop"})
    priced = _provider(CostSpanProcessor(), resource=resource)
    exported = _provider(SimpleSpanProcessor(CostSpanExporter()), resource=resource)
    both = _provider(SimpleSpanProcessor(CostSpanExporter()), CostSpanProcessor(), resource=resource)
    twice = _provider(
        SimpleSpanProcessor(CostSpanExporter()), BatchSpanProcessor(CostSpanExporter()), resource=resource
    )
    providers = {1: priced, 2: exported, 4: both, 8: twice}
    for count, provider in providers.items():
        for _ in range(count):
            _put(provider)
    twice.force_flush()
    assert engine.flush()
    assert sink.usd(names.AWS) == pytest.approx(15 * PUT_USD)
    reasons: Counter[str] = Counter()
    for key, sums in sink.charges.items():
        if key.line.component == names.COMPUTE:
            reasons[key.line.reason] += sums.count
    assert reasons == {"compute_rate_unknown": 5, names.EXPORTER: 10}
    for provider in providers.values():
        provider.shutdown()
    assert sink.usd(names.AWS) == pytest.approx(15 * PUT_USD)


def test_an_exporter_made_first_takes_the_engine_that_install_makes_with_its_settings() -> None:
    provider = _provider(BatchSpanProcessor(CostSpanExporter()))
    engine = install(provider, config=_CONFIG)
    sink = _recording(engine)
    _put(provider)
    other = _provider(SimpleSpanProcessor(CostSpanExporter()))
    _put(other)
    provider.force_flush()
    assert engine.flush()
    assert spancost_install.current_engine() is engine
    assert sink.usd(names.AWS) == pytest.approx(2 * PUT_USD)
    other.shutdown()
    provider.shutdown()
    assert engine.is_stopped


def test_a_span_that_began_before_the_processor_was_added_is_left_to_the_exporter() -> None:
    provider = _provider(SimpleSpanProcessor(CostSpanExporter()))
    early = start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item())
    engine = install(provider, config=_CONFIG)
    sink = _recording(engine)
    early.end()
    _put(provider)
    assert engine.flush()
    assert sink.usd(names.AWS) == pytest.approx(2 * PUT_USD)
    provider.shutdown()


def test_many_threads_with_exporter_and_processor_charge_each_span_once() -> None:
    engine = spancost_install.default_engine(_CONFIG)
    sink = _recording(engine)
    exporter = CostSpanExporter()
    priced = _provider(SimpleSpanProcessor(exporter), CostSpanProcessor())
    exported = _provider(SimpleSpanProcessor(exporter), SimpleSpanProcessor(CostSpanExporter()))

    def work() -> None:
        for _ in range(200):
            _put(priced)
            _put(exported)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.flush()
    assert sink.usd(names.AWS) == pytest.approx(4 * 200 * 2 * PUT_USD, rel=1e-9)
    exported.shutdown()
    priced.shutdown()


def test_where_the_sdk_leaves_no_room_for_the_mark_nothing_is_charged_and_the_error_is_counted() -> None:
    class Context(tuple[Any, ...]):
        __slots__ = ()

    class Exported:
        context = Context()
        resource = Resource({})

    with exporting_world(reraise=False) as world:
        assert world.exporter.export([Exported()]) is SpanExportResult.FAILURE  # type: ignore[list-item]
        world.publish(final=True)
        assert world.recorded.charges == {}
        assert world.engine.errors.counts == {"exporter": 1}


# --- sampled only -----------------------------------------------------------------------------------


class _HighIdGenerator(SequentialIdGenerator):
    """Every other trace is above the half of all ids."""

    def generate_trace_id(self) -> int:
        number = super().generate_trace_id()
        return number + (number % 2 << 63)


def _sampled_only(engine: CostEngine) -> float:
    totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))
    (gauge,) = [one for one in gauges(engine, totals) if one.name == names.METRIC_INTERNAL_SAMPLED_ONLY]
    ((_, value),) = gauge.values
    return value


def test_only_sampled_spans_are_charged_and_the_log_and_a_gauge_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with exporting_world() as world, caplog.at_level(logging.INFO, "spancost"):
        provider = _provider(
            SimpleSpanProcessor(world.exporter),
            sampler=TraceIdRatioBased(0.5),
            id_generator=_HighIdGenerator(),
        )
        sampled = 0
        for _ in range(20):
            span = provider.get_tracer("app").start_span("put", None, SpanKind.CLIENT, put_item())
            span.end()
            sampled += span.get_span_context().trace_flags.sampled
        world.publish(final=True)
        assert sampled == 10
        assert world.usd(names.AWS) == pytest.approx(sampled * PUT_USD)
        assert world.engine.sampled_only
        assert _sampled_only(world.engine) == 1.0
        said = [record.message for record in caplog.records if "sampled" in record.message]
        assert said == [
            "only sampled spans are metered: CostSpanExporter sees no others, and no compute; "
            "spancost.install() meters all"
        ]


@pytest.mark.parametrize(
    ("sampler", "is_said"), [(None, True), (ALWAYS_ON, False), (MeterAll(TraceIdRatioBased(0.5)), False)]
)
def test_a_processor_that_was_added_by_hand_says_so_unless_the_sampler_drops_nothing(
    sampler: Any, is_said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = spancost_install.default_engine(_CONFIG)
    provider = _provider(CostSpanProcessor(), sampler=sampler)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    _put(provider)
    with caplog.at_level(logging.INFO, "spancost"):
        for _ in range(3):
            for call in engine.upkeep:
                call()
    assert engine.sampled_only is is_said
    # The publishing thread of another test's engine may have something to say at the same time.
    own = [record for record in caplog.records if record.thread == threading.get_ident()]
    assert sum("only sampled spans" in record.message for record in own) <= int(is_said)
    provider.shutdown()


def test_without_a_processor_nobody_is_told_to_name_the_machine_and_no_share_of_it_is_taken(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SPANCOST_LEASE", str(tmp_path / "lease.json"))
    provider = _provider(SimpleSpanProcessor(CostSpanExporter()))
    with caplog.at_level(logging.INFO, "spancost"):
        _put(provider)
        engine = _engine()
        sink = _recording(engine)
        assert engine.flush()
        provider.shutdown()
    assert sink.usd() == pytest.approx(PUT_USD)
    assert engine.is_stopped
    assert engine.tree is None
    assert not (tmp_path / "lease.json").exists()
    assert len(caplog.records) == 1


def test_a_processor_that_comes_after_the_exporter_shares_the_machine(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPANCOST_LEASE", str(tmp_path / "lease.json"))
    monkeypatch.setenv("SPANCOST_COMPUTE", "36usd/h")
    exported = _provider(SimpleSpanProcessor(CostSpanExporter()))
    _put(exported)
    engine = _engine()
    priced = _provider()
    install(priced)
    assert spancost_install.current_engine() is engine
    _put(priced)
    joined = threading.Event()
    monkeypatch.setattr(engine, "upkeep", [*engine.upkeep, lambda: joined.set() if engine._lease else None])  # pyright: ignore[reportPrivateUsage]
    for _ in range(200):
        engine._wake.set()  # pyright: ignore[reportPrivateUsage]
        if joined.wait(0.05):
            break
    assert joined.is_set()
    exported.shutdown()
    priced.shutdown()


# --- the contract of an exporter --------------------------------------------------------------------


def test_after_shutdown_export_fails_and_everything_received_before_is_booked() -> None:
    with exporting_world() as world:
        root = world.tracer.start_span("request", kind=SpanKind.SERVER, attributes=server())
        start(world.tracer, "put", root, SpanKind.CLIENT, put_item()).end()  # type: ignore[arg-type]
        world.publish(final=True)
        assert world.usd() == 0
        world.exporter.shutdown()
        assert world.usd() == pytest.approx(PUT_USD)
        assert world.engine.is_stopped
        world.exporter.shutdown()
        root.end()
        assert world.exporter.export(world.spans[-1:]) is SpanExportResult.FAILURE
        assert world.exporter.force_flush(10)
        assert world.usd() == pytest.approx(PUT_USD)


def test_an_exporter_that_was_never_used_flushes_and_shuts_down_at_once() -> None:
    exporter = CostSpanExporter()
    assert exporter.force_flush(0)
    exporter.shutdown()
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert spancost_install.current_engine() is None


def test_force_flush_publishes_complete_trees_and_returns_in_time_where_a_sink_is_stuck() -> None:
    class StuckSink:
        name = "stuck"

        def __init__(self) -> None:
            self.entered, self.free = threading.Event(), threading.Event()

        def write(self, batch: Any, *, final: bool) -> None:
            self.entered.set()
            self.free.wait(30)

        def close(self) -> None:
            """Nothing to release."""

    with exporting_world() as world:
        _put(world.provider)
        assert world.exporter.force_flush(10_000)
        assert world.usd() == pytest.approx(PUT_USD)
        _put(world.provider)
        lock = world.engine._publish_lock  # pyright: ignore[reportPrivateUsage]
        with lock:  # somebody else publishes, for long
            assert not world.exporter.force_flush(50)
        stuck = StuckSink()
        world.engine.add_sink(stuck)
        flusher = threading.Thread(target=world.exporter.force_flush, args=(10_000,))
        flusher.start()
        assert stuck.entered.wait(10)
        assert world.exporter.export([]) is SpanExportResult.SUCCESS
        stuck.free.set()
        flusher.join(10)
        assert not flusher.is_alive()


def test_once_the_engine_is_stopped_export_fails() -> None:
    provider = _provider(SimpleSpanProcessor(exporter := CostSpanExporter()))
    _put(provider)
    assert shutdown()
    readable = finished_spans([Span(1, 0, "put", "CLIENT", put_item())])
    assert exporter.export(list(readable.values())) is SpanExportResult.FAILURE
    provider.shutdown()


@pytest.mark.parametrize("name", ["local_trees", "Measured"])
def test_a_pricing_part_that_raises_changes_nothing_for_the_application_and_other_exporters(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(finished, name, broken)
    with exporting_world(reraise=False) as world:
        with world.tracer.start_as_current_span("request"):
            answer = _put(world.provider)
        world.publish(final=True)
        assert [span.name for span in world.spans] == ["put", "request"]
        assert answer.name == "put"
        assert set(world.engine.errors.counts) <= {"exporter", "source"}
        assert sum(world.engine.errors.counts.values()) >= 1
        assert world.exporter.force_flush()


def test_a_part_that_raises_at_the_border_is_a_failure_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("broken")

    readable = list(finished_spans([Span(1, 0, "put", "CLIENT", put_item())]).values())
    with exporting_world(reraise=False) as world:
        monkeypatch.setattr(world.engine, "begin_without_clock", broken)
        assert world.exporter.export(readable) is SpanExportResult.FAILURE
        monkeypatch.setattr(world.engine, "flush", broken)
        assert not world.exporter.force_flush()
        monkeypatch.undo()
        assert world.exporter.export(readable) is SpanExportResult.SUCCESS
        monkeypatch.setattr(world.engine, "release", broken)
        world.exporter.shutdown()
        monkeypatch.undo()
        assert world.engine.errors.counts == {"exporter": 1, "flush": 1, "shutdown": 1}


class Hostile:
    """Raises at whatever is done with it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


_HOSTILE: list[Any] = [
    Hostile(),
    object(),
    float("nan"),
    float("inf"),
    2**70,
    -1,
    b"\xff",
    ["a", None],
    {"a": {}},
    "x" * 10_000,
]


@pytest.mark.parametrize("value", _HOSTILE, ids=lambda value: type(value).__name__)
def test_attributes_of_any_type_never_leave_and_their_neighbours_are_charged(value: Any) -> None:
    spans: list[Span] = []
    for base in (server(), put_item(), sms(), chat(10, 10), {names.TENANT: "a", "faas.name": "f"}):
        for key in base:
            number = len(spans) + 10
            kind = "SERVER" if "http.route" in base else "CLIENT"
            spans.append(Span(number, 0, "hostile", kind, {**base, key: value}, trace=number))
    spans.append(Span(1, 0, "put", "CLIENT", put_item(), trace=1))
    with exporting_world(reraise=False) as world:
        world.exporter.export(list(finished_spans(spans).values()))
        world.publish(final=True)
        good = [sums.usd for key, sums in world.recorded.charges.items()
                if key.labels.entrypoint == "put" and key.position == ENTRY and sums.usd]  # fmt: skip
        assert good == [pytest.approx(PUT_USD)]
        assert all(sums.usd == sums.usd and 0 <= sums.usd < 1 for sums in world.recorded.charges.values())


def test_spans_of_odd_shapes_never_leave() -> None:
    odd = list(
        finished_spans([Span(number, 0, "put", "CLIENT", put_item(), trace=number) for number in range(1, 9)]).values()
    )
    without_context, without_scope, without_times, without_parts = odd[:4]
    without_context._context = None  # type: ignore[attr-defined]
    without_scope._instrumentation_scope = None  # type: ignore[attr-defined]
    without_times._start_time = without_times._end_time = None  # type: ignore[attr-defined]
    without_parts._attributes = None  # type: ignore[attr-defined]
    odd[4]._name = None  # type: ignore[attr-defined, assignment]
    odd[5]._kind = None  # type: ignore[attr-defined, assignment]
    with exporting_world(reraise=False) as world:
        assert world.exporter.export(odd) is SpanExportResult.FAILURE
        world.publish(final=True)
        # Without times it is one of now; without context, kind or name nothing can be said.
        assert world.usd() == pytest.approx(4 * PUT_USD)
        assert world.engine.errors.counts == {"exporter": 3}


@pytest.mark.parametrize("setting", [{"SPANCOST_ENABLED": "false"}, {"SPANCOST_FLUSH_INTERVAL": "soon"}])
def test_switched_off_or_wrongly_set_it_is_inert_and_says_at_most_one_thing(
    setting: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    in_memory = InMemorySpanExporter()
    provider = _provider(SimpleSpanProcessor(exporter := CostSpanExporter()), SimpleSpanProcessor(in_memory))
    for _ in range(5):
        _put(provider)
    spans = in_memory.get_finished_spans()
    assert len(spans) == 5
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert exporter.force_flush()
    provider.shutdown()
    assert spancost_install.current_engine() is None
    expected = [] if "SPANCOST_ENABLED" in setting else ["spancost is off: "]
    assert [record.message[:17] for record in caplog.records] == expected


def test_an_engine_that_is_switched_off_charges_nothing() -> None:
    with exporting_world(enabled=False) as world:
        _put(world.provider)
        world.publish(final=True)
        assert world.recorded.charges == {}
        assert world.engine.sources == []


# --- fork -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_prices_what_it_exports_itself_and_nothing_of_its_parent() -> None:
    with exporting_world() as world:
        root = start(world.tracer, "request", None, SpanKind.SERVER, server(response_bytes=0))
        start(world.tracer, "put", root, SpanKind.CLIENT, put_item()).end()

        def work() -> dict[str, Any]:
            world.recorded.charges.clear()
            start(world.tracer, "sms", None, SpanKind.CLIENT, sms()).end()
            world.publish(final=True)
            world.engine.shutdown()
            return {"usd": world.usd(), "aws": world.usd(names.AWS)}

        assert in_child(work) == {"usd": pytest.approx(SMS_USD), "aws": 0}
        root.end()
        world.publish(final=True)
        assert world.usd() == pytest.approx(PUT_USD)


def test_prices_are_those_of_the_day_on_which_the_span_began() -> None:
    with exporting_world() as world:
        before = NOW_NS - 3 * 365 * 86_400 * 10**9  # a write unit cost twice as much
        world.exporter.export(
            list(finished_spans([Span(1, 0, "put", "CLIENT", put_item(), start_ns=before, end_ns=before)]).values())
        )
        world.publish(final=True)
        assert world.usd() == pytest.approx(2 * PUT_USD)
