"""Whatever an application puts into spans, context and clocks: its spans stay as they are, sums stay whole."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from spancost import CostSpanProcessor, attribute, names
from spancost._install import build_engine
from spancost.config import Config
from spancost.prices.book import PriceBook
from spancost.prices.cache import write_file
from spancost.prices.configured import price_book
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.testing import World, priced_provider
from spancost.window import Origin
from tests.exporting import exporting_world, finished_spans
from tests.offline.traces import Span as StoredSpan
from tests.recorded import NOW_NS
from tests.spans import PUT_USD, REGION, counted_usd, put_item, server, start

_YEAR_NS = 365 * 86_400 * 10**9
_HOUR_NS = 3_600 * 10**9
STRANGE_TEXTS = {
    "lone surrogate": "a\ud800b",
    "NUL": "a\x00b",
    "line ends": 'a\nb\r\n"c\\',
    "right to left": "\u202eabc\u2066",
    "emoji": "\U0001f9fe" * 300,
    "no character at all": "\ufffe\uffff",
    "one megabyte": "x" * 2**20,
}


@pytest.mark.parametrize("limit", [128, 20_000])
def test_ten_thousand_attributes_are_kept_as_the_sdk_keeps_them_and_the_span_is_priced(limit: int) -> None:
    given = {**put_item(), **{f"app.key.{number}": number for number in range(10_000)}}
    with priced_provider(region=REGION) as world:
        exporter = InMemorySpanExporter()
        for processors in ([SimpleSpanProcessor(exporter)], [CostSpanProcessor(world.engine)]):
            provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=limit), shutdown_on_exit=False)
            for processor in (*processors, SimpleSpanProcessor(exporter)):
                provider.add_span_processor(processor)
            provider.get_tracer("app").start_span("put", kind=SpanKind.CLIENT, attributes=given).end()
        plain, _, priced = exporter.get_finished_spans()
        kept = {name: value for name, value in (priced.attributes or {}).items() if name in given}
        assert kept == {name: value for name, value in (plain.attributes or {}).items() if name in given}
        assert len(plain.attributes or {}) == min(limit, len(given))
        world.publish()
        assert counted_usd(world, names.AWS) == pytest.approx(PUT_USD if limit > 10_000 else 0.0)


def _booked(world: World) -> float:
    world.publish()
    return world.recorded.usd()


@pytest.mark.parametrize("text", STRANGE_TEXTS.values(), ids=STRANGE_TEXTS)
def test_strange_texts_are_no_obstacle_to_ledger_metrics_and_scrapes(text: str, tmp_path: Path) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from spancost.sinks.prometheus import TotalsCollector

    path = tmp_path / "ledger.sqlite"
    with priced_provider(region=REGION, ledger=str(path)) as world:
        with (
            attribute(tenant=text, feature=text, team=text, plan=text),
            world.tracer.start_as_current_span(text, kind=SpanKind.SERVER, attributes=server(text)),
        ):
            world.tracer.start_span(text, kind=SpanKind.CLIENT, attributes={**put_item(), "app.key": text}).end()
        world.tracer.start_span(text, kind=SpanKind.CONSUMER).end()
        assert _booked(world) == pytest.approx(PUT_USD)
        assert [span.name for span in world.spans] == [text] * 3
        assert world.spans[0].attributes is not None
        assert world.spans[0].attributes["app.key"] == text
        registry = CollectorRegistry()
        registry.register(TotalsCollector(world.engine, world.totals, {}))
        assert f"{PUT_USD}" in generate_latest(registry).decode()
        assert world.engine.errors.counts == {}
    with LedgerReader(path) as reader:
        assert reader.totals().usd == pytest.approx(PUT_USD)
        (row,) = [row for row in reader.rows(["tenant", "http_route"]) if row.usd]
        assert all(len(value) <= 200 for value in row.key)


def test_context_that_holds_itself_and_values_that_hold_themselves_are_no_obstacle() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    with priced_provider(region=REGION) as world:
        token = otel_context.attach(otel_context.set_value("cyclic", cyclic))
        try:
            holder = otel_context.set_value("self", otel_context.get_current())
            with attribute(tenant=cyclic):  # type: ignore[arg-type]
                span = world.tracer.start_span("put", holder, SpanKind.CLIENT, put_item())
                inside = world.tracer.start_span("again", trace.set_span_in_context(span), SpanKind.CLIENT, put_item())
            span.end()
            inside.end()  # late: its parent has ended before
            span.end()
        finally:
            otel_context.detach(token)
        assert _booked(world) == pytest.approx(2 * PUT_USD)
        assert world.recorded.late_usd() == pytest.approx(PUT_USD)


def test_finished_spans_that_are_their_own_ancestors_are_charged_once_each() -> None:
    spans = [
        StoredSpan(1, 1, "own parent", "CLIENT", put_item()),
        StoredSpan(2, 3, "one", "CLIENT", put_item(), trace=2),
        StoredSpan(3, 2, "other", "CLIENT", put_item(), trace=2),
    ]
    with exporting_world() as world:
        world.exporter.export(list(finished_spans(spans).values()))
        world.engine.shutdown()
        assert world.usd() == pytest.approx(3 * PUT_USD)
        assert world.engine.errors.counts == {}


@pytest.mark.parametrize("time_ns", [-1, -(2**62), 2**63, 10**30])
def test_finished_spans_of_impossible_times_are_charged_as_of_now(time_ns: int) -> None:
    odd = [
        StoredSpan(1, 0, "put", "CLIENT", put_item(), start_ns=time_ns, end_ns=time_ns),
        StoredSpan(2, 0, "put", "CLIENT", put_item(), trace=2, end_ns=time_ns),
    ]
    with exporting_world() as world:
        world.exporter.export(list(finished_spans(odd).values()))
        world.publish(final=True)
        assert world.usd() == pytest.approx(2 * PUT_USD)
        now = time.time_ns() // 60_000_000_000
        assert all(now - 1 <= key.minute <= now for key in world.recorded.charges if key.line.component == names.AWS)
        assert world.engine.errors.counts == {}


@pytest.mark.parametrize(
    "step_ns",
    [_HOUR_NS, -_HOUR_NS, 10 * _YEAR_NS, -10 * _YEAR_NS, -60 * _YEAR_NS, 300 * _YEAR_NS],
    ids=["1 h ahead", "1 h back", "10 years ahead", "10 years back", "before 1970", "after 2262"],
)
def test_clock_that_jumps_while_spans_are_open_changes_no_amount(step_ns: int, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with priced_provider(region=REGION, compute="3.6usd/h") as world:
        world.engine.add_sink(Ledger(path, Origin("shop")))
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server(), start_ns=NOW_NS)
        put = start(world.tracer, "put", root, SpanKind.CLIENT, put_item(), start_ns=NOW_NS)
        world.clock.advance(2.0)
        put.end(NOW_NS + step_ns)
        root.end(NOW_NS + step_ns)
        assert _booked(world) == pytest.approx(0.002 + PUT_USD)
        assert world.attributes("GET")[names.TOTAL_USD] == pytest.approx(0.002 + PUT_USD)
        assert world.engine.errors.counts == {}
    with LedgerReader(path) as reader:
        assert reader.totals().usd == pytest.approx(0.002 + PUT_USD)
        assert sum(row.usd for row in reader.rows(["day"])) == pytest.approx(0.002 + PUT_USD)


def test_wall_clock_of_the_process_that_jumps_while_it_runs_changes_no_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time_ns
    step_ns = [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + step_ns[0])
    with priced_provider(region=REGION, compute="3.6usd/h", partial_cost_interval_s=0.5) as world:
        root = start(world.tracer, "worker", attributes={"app.key": 1})
        for step_ns[0] in (0, 5 * _YEAR_NS, -5 * _YEAR_NS, _HOUR_NS, 0):
            start(world.tracer, "put", root, SpanKind.CLIENT, put_item(), start_ns=NOW_NS).end()
            world.clock.advance(1.0)
            world.publish()  # books what the open request has cost so far
        root.end()
        assert _booked(world) == pytest.approx(5 * 0.001 + 5 * PUT_USD)


class _Raising(SpanProcessor):
    """A processor of somebody else that fails in one of its hooks."""

    def __init__(self, hook: str) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError(hook)

        setattr(self, hook, fail)


def _outcomes(provider: TracerProvider, exporter: InMemorySpanExporter) -> list[str]:
    """What an application sees: answers, exceptions, exported spans."""
    seen: list[str] = []
    tracer = provider.get_tracer("app")

    def attempt(what: str, call: Callable[[], Any]) -> Any:
        try:
            answer = call()
        except Exception as error:
            seen.append(f"{what}: {error!r}")
            return None
        seen.append(f"{what}: done")
        return answer

    root: Span | None = attempt("start", lambda: tracer.start_span("GET", kind=SpanKind.SERVER, attributes=server()))
    within = trace.set_span_in_context(root) if root is not None else None
    call = attempt("start", lambda: tracer.start_span("put", within, SpanKind.CLIENT, put_item()))
    for span in (call, root):
        if span is not None:
            attempt("end", span.end)
    attempt("flush", provider.force_flush)
    attempt("shutdown", provider.shutdown)
    return [*seen, *(span.name for span in exporter.get_finished_spans())]


@pytest.mark.parametrize("hook", ["on_start", "_on_ending", "on_end", "shutdown", "force_flush"])
@pytest.mark.parametrize("is_first", [True, False], ids=["before ours", "after ours"])
def test_processor_of_somebody_else_that_raises_is_seen_as_it_is_without_us(hook: str, is_first: bool) -> None:
    answers: list[list[str]] = []
    with priced_provider(region=REGION, compute="3.6usd/h") as world:
        for ours in ([], [CostSpanProcessor(world.engine)]):
            provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
            theirs: list[SpanProcessor] = [SimpleSpanProcessor(exporter)]
            failing = _Raising(hook)
            for processor in [failing, *ours, *theirs] if is_first else [*ours, *theirs, failing]:
                provider.add_span_processor(processor)
            answers.append(_outcomes(provider, exporter))
        assert answers[0] == answers[1]
        assert world.engine.errors.counts == {}
        saw_it = not is_first or hook not in ("on_start", "_on_ending")
        world.engine.publish(final=True)
        if saw_it and hook != "on_start":
            assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)


def test_root_whose_end_another_processor_hides_is_settled_later_and_nothing_is_lost() -> None:
    with priced_provider(region=REGION, max_root_quiet_s=10.0) as world:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(_RaisingForRoots())
        provider.add_span_processor(CostSpanProcessor(world.engine))
        tracer = provider.get_tracer("app")
        root = tracer.start_span("GET", kind=SpanKind.SERVER, attributes=server())
        tracer.start_span("put", trace.set_span_in_context(root), SpanKind.CLIENT, put_item()).end()
        with pytest.raises(RuntimeError, match="hidden"):
            root.end()
        world.clock.advance(11.0)
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD)
        assert world.engine.evictions == 1


class _RaisingForRoots(SpanProcessor):
    def _on_ending(self, span: ReadableSpan) -> None:
        if span.name == "GET":
            raise RuntimeError("hidden")


def _refreshed(folder: Path, usd_factor: int) -> None:
    from dataclasses import replace
    from decimal import Decimal

    write = "aws.dynamodb.on_demand.write"
    records = [
        replace(
            record, usd=record.usd * Decimal(usd_factor), origin="aws-price-list", valid_from=None, valid_until=None
        )
        for record in PriceBook.shipped().records(write)
        if record.usd is not None and REGION in record.regions and record.valid_until is None
    ]
    write_file(folder / "aws.json", "aws", "2026-11-20T06:00:00Z", {write: records})


@pytest.mark.parametrize("broken", [b"", b"{", b'{"spancost_prices": 1, "kind": "aws"}', b"\x00" * 100])
def test_prices_that_break_on_disk_while_a_process_runs_leave_its_prices_alone(
    broken: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _refreshed(tmp_path, 3)
    with priced_provider(region=REGION, prices_cache=str(tmp_path)) as world:
        world.tracer.start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
        (tmp_path / "aws.json").write_bytes(broken)
        world.tracer.start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
        assert _booked(world) == pytest.approx(2 * 3 * PUT_USD)
    caplog.clear()
    for _ in range(2):  # the next processes take the shipped prices and say so, once each
        with priced_provider(region=REGION, prices_cache=str(tmp_path)) as world:
            world.tracer.start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
            assert _booked(world) == pytest.approx(PUT_USD)
    assert len([record for record in caplog.records if "refreshed prices are ignored" in record.message]) == 1
    assert price_book(Config(prices_cache="off")).price_ids()


def test_distinct_routes_tenants_models_and_operations_beyond_the_cap_go_to_other_and_sums_stay_whole() -> None:
    count, cap = 3_000, 50
    with priced_provider(region=REGION, max_values_per_label=cap, max_series_per_metric=4 * cap) as world:
        for number in range(count):
            with attribute(tenant=f"tenant {number}"):
                attributes = {**put_item(), "rpc.method": "PutItem", "http.route": f"/{number}"}
                start(world.tracer, f"entry {number}", kind=SpanKind.CLIENT, attributes=attributes).end()
                unknown = {"gen_ai.operation.name": f"operation {number}", "gen_ai.request.model": f"model {number}"}
                start(world.tracer, "llm", kind=SpanKind.CLIENT, attributes=unknown).end()
        assert _booked(world) == pytest.approx(count * PUT_USD)
        assert counted_usd(world, names.AWS) == pytest.approx(count * PUT_USD)
        for family in world.totals.families:
            assert len(family) <= 4 * cap + 20, family.name
        attributed = world.totals.read(world.totals.attributed)
        assert sum(reading.value for reading in attributed) == pytest.approx(count * PUT_USD)
        assert any(names.OTHER in reading.labels for reading in attributed)
        assert world.totals.folded()[names.METRIC_ATTRIBUTED] > count / 2


def test_engine_of_a_sqlite_that_refuses_everything_still_answers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    sqlite3.connect(path).close()
    path.write_bytes(b"no database" * 1000)
    engine = build_engine(Config(region=REGION, lease="off", detect=False, ledger=str(path)))
    engine.background = False
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(CostSpanProcessor(engine))
    try:
        for _ in range(5):
            provider.get_tracer("app").start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
            assert not engine.publish()
        assert engine.errors.counts == {"sink.ledger": 5}
        assert engine.waiting_batches <= 16
        assert sys.getsizeof(path.read_bytes()) > 10_000
    finally:
        provider.shutdown()
