"""Whatever breaks in spancost, the application, its spans and the other processors go on; the error is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from spancost import _auto, attribute, names
from spancost._guard import ErrorLog
from spancost.capture import facts as capture_facts
from spancost.charge import Charge, SpanView
from spancost.meters.llm import LlmMeter
from spancost.prices.tokens import TokenPrices
from spancost.testing import World, priced_provider
from spancost.window import Batch
from tests.spans import PUT_USD, REGION, chat, put_item, server, sms, start


class Broken(Exception):
    """Raised by whatever a test breaks."""


def _break(*_: Any, **__: Any) -> Any:
    raise Broken


class BrokenMeter:
    def measure(self, view: SpanView) -> Sequence[Charge]:
        raise Broken


class BrokenTokenPrices(TokenPrices):
    def rates(self, provider: str, model: str, tier: str, at_ns: int) -> Any:
        raise Broken


class BrokenSink:
    name = "broken"

    def __init__(self) -> None:
        self.is_broken = True
        self.usd = 0.0

    def write(self, batch: Batch, *, final: bool) -> None:
        if self.is_broken:
            raise Broken
        self.usd += sum(sums.usd for sums in batch.charges.values())

    def close(self) -> None:
        raise Broken


class Witness(SpanProcessor):
    """A processor of the application that comes after ours."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.started.append(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span.name)


_NAMES = ["put", "chat", "sms", "GET"]


def _answer(world: World) -> str:
    """One request as an application serves it."""
    tracer = world.tracer
    with (
        attribute(tenant="acme"),
        tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server(response_bytes=100)),
    ):
        for name, attributes in (("put", put_item()), ("chat", chat(10, 10)), ("sms", sms())):
            with tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
                span.set_attribute("app.key", name)
        return "answer"


def _is_untouched(world: World, witness: Witness) -> None:
    assert [span.name for span in world.spans] == witness.ended == _NAMES
    assert witness.started == ["GET", *_NAMES[:3]]
    for name in _NAMES[:3]:
        assert world.attributes(name)["app.key"] == name


def _break_meter(component: str) -> Callable[[World], None]:
    def apply(world: World) -> None:
        _warm(world)
        world.engine.meters = world.engine.meters._replace(**{component: BrokenMeter()})

    return apply


def _warm(world: World) -> None:
    """Build the meters, which happens with the first span."""
    world.tracer.start_span("first").end()
    world.exporter.clear()


def _break_llm_prices(world: World) -> None:
    _warm(world)
    world.engine.meters = world.engine.meters._replace(llm=LlmMeter(BrokenTokenPrices()))


def _break_clock(world: World) -> None:
    world.engine.monotonic = _break


def _break_prepare(world: World) -> None:
    world.engine.prepare = _break


def _break_tree(world: World) -> None:
    _warm(world)
    world.engine.tree = BrokenTree()  # type: ignore[assignment]


class BrokenTree:
    start_root = start_child = end = roll_up = advance = _break


@pytest.mark.parametrize(
    ("break_it", "place", "count"),
    [
        (_break_meter("aws"), "meter.aws", 1),
        (_break_meter("egress"), "meter.egress", 1),
        (_break_meter("http"), "meter.http", 1),
        (_break_llm_prices, "meter.llm", 1),
        (_break_prepare, "prepare", 1),
        (_break_tree, "on_start", 4),
        (_break_clock, "on_start", 4),
    ],
    ids=["aws meter", "egress meter", "http meter", "token prices", "set-up", "tree", "clock"],
)
def test_failing_part_leaves_application_spans_and_processors_alone_and_is_counted(
    break_it: Callable[[World], None], place: str, count: int
) -> None:
    with priced_provider(reraise=False, region=REGION) as world:
        witness = Witness()
        break_it(world)
        world.provider.add_span_processor(witness)
        assert _answer(world) == "answer"
        _is_untouched(world, witness)
        assert world.engine.errors.counts[place] == count


@pytest.mark.parametrize(("component", "name"), [("aws", "put"), ("http", "sms")])
def test_span_of_a_failing_meter_says_so_and_the_others_are_priced(component: str, name: str) -> None:
    with priced_provider(reraise=False, region=REGION) as world:
        _break_meter(component)(world)
        _answer(world)
        assert world.attributes(name)[names.STATUS] == names.UNPRICED
        assert world.attributes(name)[names.REASON] == "meter_error"
        world.publish()
        rows = {reading.labels: reading.value for reading in world.totals.read(world.totals.unpriced)}
        assert rows["meter_error", component, "", ""] == 1
        assert (world.recorded.usd(names.AWS) > 0) == (component != "aws")
        assert world.recorded.usd(names.LLM) > 0


def test_failing_sink_keeps_its_batches_and_gets_them_later_while_the_others_are_served() -> None:
    with priced_provider(reraise=False, region=REGION) as world:
        sink = BrokenSink()
        world.engine.add_sink(sink)
        assert _answer(world) == "answer"
        assert not world.engine.flush()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)
        assert world.engine.errors.counts["sink.broken"] == 1
        assert world.engine.waiting_batches == 1
        _answer(world)
        sink.is_broken = False
        assert world.engine.flush()
        assert sink.usd == pytest.approx(world.recorded.usd(), rel=1e-12)
        assert world.engine.waiting_batches == 0


def test_failing_capture_hook_and_late_report_are_counted() -> None:
    with priced_provider(reraise=False, region=REGION) as world:
        world.engine.connect()
        try:
            _break()
        except Broken:
            capture_facts.hook_failed("flask")
        with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()) as span:
            pass
        _break_meter("egress")(world)
        capture_facts.report_late(span, {"response_bytes": 1})
        assert world.engine.errors.counts == {"capture.flask": 1, "meter.egress": 1}


def test_late_report_for_a_span_that_was_never_linked_is_ignored() -> None:
    with priced_provider(reraise=False) as world:
        world.engine.connect()
        _break_clock(world)
        span = world.tracer.start_span("GET", kind=SpanKind.SERVER)
        span.end()
        capture_facts.report_late(span, {"response_bytes": 1})


def test_attribute_inside_a_span_whose_start_hook_failed_does_not_reach_the_application() -> None:
    with priced_provider(reraise=False) as world:
        _warm(world)
        world.engine.tree = BrokenTree()  # type: ignore[assignment]
        with world.tracer.start_as_current_span("GET"), attribute(tenant="acme"):
            pass
        assert world.engine.errors.counts["on_start"] == 1


def test_failing_exporter_of_the_application_changes_no_charge() -> None:
    class BrokenExporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            raise Broken

    with priced_provider(region=REGION) as world:
        logging.getLogger("opentelemetry").disabled = True
        world.provider.add_span_processor(SimpleSpanProcessor(BrokenExporter()))
        assert _answer(world) == "answer"
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)


def test_failing_push_on_flush_is_counted_and_makes_flush_false() -> None:
    with priced_provider(reraise=False) as world:
        world.engine.on_flush.append(_break)
        assert world.engine.flush() is False
        assert world.engine.errors.counts == {"flush": 1}


def test_errors_of_one_kind_are_logged_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorLog()
    for _ in range(3):
        try:
            _break()
        except Broken:
            errors.caught("sink.ledger")
    assert errors.counts == {"sink.ledger": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "error in sink.ledger (Broken: ); the application is not affected"
    ]


def test_wrong_configuration_under_zero_code_is_logged_once_and_the_application_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setenv("SPANCOST_COMPUTE", "aws:m6i.larg")
    _auto.pre_instrument()
    (record,) = caplog.records
    assert "spancost is off: environment: SPANCOST_COMPUTE: 'aws:m6i.larg'" in record.getMessage()
    provider.get_tracer("app").start_span("work").end()
    (span,) = exporter.get_finished_spans()
    assert not span.attributes


def test_root_whose_labels_cannot_be_made_costs_nobody_else_their_money(monkeypatch: pytest.MonkeyPatch) -> None:
    from spancost import journal

    real = journal.final_labels

    def failing(name: str, *rest: Any) -> Any:
        if name == "odd":
            raise ValueError(name)
        return real(name, *rest)

    monkeypatch.setattr(journal, "final_labels", failing)
    with priced_provider(region=REGION, reraise=False) as world:
        for name in ("first", "odd", "last"):
            start(world.tracer, name, kind=SpanKind.CLIENT, attributes=put_item()).end()
        world.publish()
        assert world.engine.errors.counts == {"journal": 1}
        booked = {key.labels.entrypoint for key in world.recorded.charges if key.line.component == names.AWS}
        assert booked == {"first", "last"}
