"""Finished spans wait for their local tree, within bounds, and cost what stored spans cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from itertools import permutations
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind

import spancost.finished as finished
from spancost import names
from spancost.attribution_rules import AttributionRule
from spancost.charge import Charge, SpanView
from spancost.config import Config
from spancost.meters import CustomUsage
from spancost.offline.otlp import OtlpReader
from spancost.offline.pricing import Pricing
from spancost.offline.rollup import Rollup, roll_up
from spancost.prices.book import PriceBook
from spancost.prices.custom_rates import CustomRate
from spancost.prices.own import OwnPrices
from spancost.testing import World, priced_provider
from spancost.window import ENTRY, INNER, LATE_INNER, Attribution, EntryLabels, KeptTrace
from tests.exporting import ExportingWorld, Sums, context_of, exporting_world, finished_spans, sums_by
from tests.offline.traces import Span, otlp
from tests.recorded import FOLDER, NOW_NS, recorded_spans, replay
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, SMS_USD, chat, chat_usd, put_item, server, sms

_MS = 1_000_000
_FILES = sorted(file.name for file in FOLDER.glob("*.json"))
_LINE = ("component", "provider", "operation", "model", "unit", "status", "reason", "basis")
_ALL = (*_LINE, "http_route", "http_request_method", "feature", "tenant", "team", "position", "minute")


def _assert_same(found: Sums, expected: Sums) -> None:
    assert set(found) == set(expected)
    for key, (calls, usd) in expected.items():
        assert found[key] == (calls, pytest.approx(usd, rel=1e-9, abs=1e-18)), key


# --- the same as live, and as stored ----------------------------------------------------------------


@pytest.mark.parametrize("file", _FILES)
def test_recorded_spans_cost_the_same_exported_as_live(file: str) -> None:
    with priced_provider(region=REGION, egress_proxy=True) as live:
        replay(live, recorded_spans(file))
        live.publish()
        expected = sums_by(live.recorded.charges, (*_LINE, "feature", "tenant", "minute"))
    with exporting_world() as world:
        replay(cast("World", world), recorded_spans(file))
        world.publish(final=True)
        found = sums_by(world.recorded.charges, (*_LINE, "feature", "tenant", "minute"))
    _assert_same(found, expected)


_SERVICE_KINDS = ("SERVER", "CONSUMER", "INTERNAL")
_WORK: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("INTERNAL", "app", {}),
    "langchain": ("INTERNAL", "langchain", chat(1200, 250)),
    "openai": ("CLIENT", "openai", chat(1200, 250, cached=1024)),
    "put": ("CLIENT", "botocore", put_item()),
    "sms": ("CLIENT", "requests", sms()),
    "transport": (
        "CLIENT",
        "httpx",
        {"http.request.method": "POST", "server.address": "api.openai.com", "http.response.status_code": 200},
    ),
    "nested server": ("SERVER", "asgi", server("/inner", response_bytes=1000)),
    "for acme": ("CLIENT", "botocore", {**put_item(), names.TENANT: "acme"}),
}


@st.composite
def _traces(draw: st.DrawFn) -> list[Span]:
    """Spans of one or two traces as one process makes them; children lie within their parents' time."""
    spans: list[Span] = []
    for trace in range(1, draw(st.integers(1, 2)) + 1):
        first = len(spans)
        for number in range(draw(st.integers(1, 12))):
            span_id = trace * 1000 + number
            is_root = number == 0 or draw(st.integers(0, 7)) == 0
            above = None if number == 0 else spans[first + draw(st.integers(0, number - 1))]
            start_ns = NOW_NS if above is None else above.start_ns + draw(st.integers(0, 3)) * _MS
            end_ns = (
                NOW_NS + 100 * _MS if above is None else max(start_ns, above.end_ns - draw(st.integers(0, 3)) * _MS)
            )
            if is_root:
                kind = draw(st.sampled_from(_SERVICE_KINDS))
                attributes = server("/carts/{id}", response_bytes=1000) if kind == "SERVER" else {}
                if draw(st.booleans()):
                    attributes = {**attributes, names.FEATURE: "carts"}
                scope, name = "flask", f"request {draw(st.integers(0, 1))}"
            else:
                name = draw(st.sampled_from(sorted(_WORK)))
                kind, scope, attributes = _WORK[name]
            parent = 0 if above is None else above.id
            remote = is_root if parent else None
            spans.append(
                Span(span_id, parent, name, kind, attributes, scope, "shop", trace, start_ns, end_ns,
                     draw(st.booleans()), remote)
            )  # fmt: skip
    return spans


def _stored(spans: Sequence[Span]) -> Rollup:
    pricing = Pricing(Config(region=REGION), PriceBook.shipped())
    OtlpReader(pricing, lambda: pytest.fail("bad span")).read(otlp(spans))
    return roll_up(pricing, [field for field in _ALL if field != "minute"])


def _requests(spans: Sequence[Span]) -> int:
    return sum(1 for span in spans if not span.parent or span.parent_is_remote)


@settings(max_examples=150, deadline=None)
@given(_traces(), st.randoms(use_true_random=False))
def test_a_trace_in_any_order_and_any_cut_costs_what_the_whole_costs_stored(
    spans: list[Span], chance: random.Random
) -> None:
    expected = {row.key: (float(row.charge_count), row.usd) for row in _stored(spans).rows}
    readable = list(finished_spans(spans).values())
    chance.shuffle(readable)
    with exporting_world() as world:
        while readable:
            size = chance.randint(1, len(readable))
            batch, readable = readable[:size], readable[size:]
            assert world.exporter.export(batch) is SpanExportResult.SUCCESS
            if chance.random() < 0.3:
                world.publish()
        world.publish(final=True)
        _assert_same(sums_by(world.recorded.charges, [field for field in _ALL if field != "minute"]), expected)
        roots = sum(record.count for record in world.requests().values())
        assert roots == world.calls(names.COMPUTE) == _requests(spans)
        total = sum(record.total_usd for record in world.requests().values())
        assert total == pytest.approx(world.usd(), rel=1e-9, abs=1e-18)
        assert world.recorded.late_usd() == 0


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_calls_of_exactly_the_same_time_are_told_apart_in_any_order(order: tuple[int, ...]) -> None:
    spans = [
        Span(1, 0, "GET /carts/{id}", "SERVER", server(response_bytes=0), end_ns=NOW_NS + 100 * _MS),
        Span(2, 1, "step", end_ns=NOW_NS + 100 * _MS, parent_is_remote=False),
        Span(3, 1, "chain", "INTERNAL", chat(100, 10), "langchain", parent_is_remote=False),
        Span(4, 2, "chat", "CLIENT", chat(100, 10), "openai", parent_is_remote=False),
    ]
    with exporting_world() as world:
        _export(world, *(spans[number] for number in order))
        world.publish(final=True)
        assert world.usd(names.LLM) == pytest.approx(chat_usd(100, 10))


@settings(max_examples=60, deadline=None)
@given(_traces(), st.randoms(use_true_random=False))
def test_flushed_at_any_moment_money_is_conserved(spans: list[Span], chance: random.Random) -> None:
    readable = list(finished_spans(spans).values())
    chance.shuffle(readable)
    with exporting_world() as world:
        for span in readable:
            world.exporter.export([span])
            if chance.random() < 0.4:
                world.clock.advance(chance.choice((1.0, 400.0)))
                world.publish(final=chance.random() < 0.5)
        assert world.engine.shutdown()
        total = sum(record.total_usd for record in world.requests().values())
        assert total + world.recorded.late_usd() == pytest.approx(world.usd(), rel=1e-9, abs=1e-18)
        assert sum(record.count for record in world.requests().values()) == _requests(spans)


# --- one tree ---------------------------------------------------------------------------------------


_ROOT = Span(1, 0, "GET /carts/{id}", "SERVER", server(response_bytes=GB), end_ns=NOW_NS + 100 * _MS)
_PUT = Span(2, 1, "put", "CLIENT", put_item(), parent_is_remote=False)
_SMS = Span(3, 1, "sms", "CLIENT", sms(), parent_is_remote=False)
_CHAT = Span(4, 1, "chat", "CLIENT", chat(100, 10), "openai", parent_is_remote=False)
_LABELS = EntryLabels("/carts/{id}", "GET", "")


def _export(world: ExportingWorld, *spans: Span) -> None:
    readable = finished_spans(spans)
    assert world.exporter.export([readable[span.id] for span in spans]) is SpanExportResult.SUCCESS


def _positions(world: ExportingWorld) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for key, sums in world.recorded.charges.items():
        place = (key.line.component, key.position)
        found[place] = found.get(place, 0.0) + sums.usd
    return found


def test_children_wait_for_their_local_root_and_are_booked_under_its_labels() -> None:
    with exporting_world() as world:
        _export(world, _PUT, _SMS)
        world.clock.advance(60.0)
        world.publish(final=True)
        assert world.recorded.charges == {}
        _export(world, _ROOT)
        world.publish()
        assert world.recorded.charges == {}
        world.clock.advance(5.0)
        world.publish()
        assert _positions(world) == {
            (names.COMPUTE, ENTRY): 0.0,
            (names.EGRESS, ENTRY): pytest.approx(EGRESS_USD_PER_GB),
            (names.AWS, INNER): pytest.approx(PUT_USD),
            (names.HTTP, INNER): pytest.approx(SMS_USD),
        }
        assert {key.labels for key in world.recorded.charges} == {_LABELS}
        assert world.engine.evictions == 0


def test_the_request_is_counted_with_the_sum_of_its_charges_and_its_compute_is_unpriced() -> None:
    with exporting_world() as world:
        queue = world.engine.open_request_queue()
        _export(world, _PUT, _ROOT._replace(failed=True))
        world.publish(final=True)
        ((key, record),) = world.requests().items()
        total = EGRESS_USD_PER_GB + PUT_USD
        assert (key.labels, key.outcome, key.served, record.count) == (_LABELS, "error", True, 1)
        assert record.total_usd == pytest.approx(total)
        (request,) = queue
        assert request.total_usd == pytest.approx(total)
        assert request.span.get_span_context() == context_of(1, 1)
        (unpriced,) = world.totals.read(world.totals.unpriced)
        assert unpriced.labels == (names.EXPORTER, names.COMPUTE, "", "instance")
        assert unpriced.value == 1
        histogram = world.totals.read(world.totals.request_cost)
        assert [(one.labels, one.observations) for one in histogram] == [((*_LABELS, "error"), 1)]


def test_late_spans_take_the_labels_of_the_local_root_that_was_booked_before() -> None:
    with exporting_world() as world:
        tenant = {names.TENANT: "acme"}
        _export(world, _ROOT._replace(attributes={**server(response_bytes=0), **tenant}))
        world.publish(final=True)
        background = Span(7, 1, "after the response", parent_is_remote=False)
        _export(world, _CHAT._replace(parent=7))
        world.clock.advance(10.0)
        world.publish(final=True)
        assert world.usd() == 0
        _export(world, background)
        world.clock.advance(20.0)
        world.publish()
        late = {key: sums for key, sums in world.recorded.charges.items() if key.position == LATE_INNER}
        assert sum(sums.usd for sums in late.values()) == pytest.approx(chat_usd(100, 10))
        assert {(key.labels, key.attribution) for key in late} == {(_LABELS, Attribution(tenant="acme"))}
        _export(world, _PUT)  # a child of the local root itself waits for nobody
        world.publish(final=True)
        assert world.usd() == pytest.approx(chat_usd(100, 10) + PUT_USD)
        assert len(world.requests()) == 1
        assert world.engine.evictions == 0


def test_late_spans_keep_what_their_own_attributes_and_rules_say_of_them() -> None:
    rules = (AttributionRule(span=(("app.customer", "*"),), tenant="{app.customer}"),)
    with exporting_world(attribution_rules=rules) as world:
        of_acme = {names.TENANT: "acme", names.FEATURE: "carts"}
        _export(world, _ROOT._replace(attributes={**server(response_bytes=0), **of_acme}))
        world.publish(final=True)
        _export(world, _PUT._replace(attributes={**put_item(), names.TENANT: "globex"}))
        _export(world, _SMS._replace(attributes={**sms(), "app.customer": "initech"}))
        world.publish(final=True)
        found = {(key.labels, key.attribution): sums.usd for key, sums in world.recorded.charges.items() if sums.usd}
        assert found == {
            (_LABELS, Attribution("carts", "globex")): pytest.approx(PUT_USD),
            (_LABELS, Attribution("carts", "initech")): pytest.approx(SMS_USD),
        }


_OTHER = Span(11, 99, "GET /orders", "SERVER", server("/orders", response_bytes=0), end_ns=NOW_NS + 100 * _MS,
              parent_is_remote=True)  # fmt: skip
_OTHER_PUT = _PUT._replace(id=12, parent=11)


def test_spans_of_a_second_request_of_the_trace_wait_for_their_own_local_root() -> None:
    with exporting_world() as world:
        first = {**server(response_bytes=0), names.TENANT: "acme"}
        second = {**server("/orders", response_bytes=0), names.TENANT: "globex"}
        _export(world, _ROOT._replace(attributes=first))
        world.publish(final=True)
        _export(world, _OTHER_PUT)
        world.clock.advance(299.0)
        world.publish(final=True)
        assert world.usd() == 0
        _export(world, _OTHER._replace(attributes=second))
        world.publish(final=True)
        totals = {(key.labels.http_route, key.attribution.tenant): r.total_usd for key, r in world.requests().items()}
        assert totals == {("/carts/{id}", "acme"): 0, ("/orders", "globex"): pytest.approx(PUT_USD)}
        assert world.recorded.late_usd() == 0
        assert world.engine.evictions == 0
        # Late spans find the request that they are of, also below a span that was late itself.
        step = Span(13, 1, "after the response", parent_is_remote=False)
        for late in (_SMS._replace(parent=12), step, _CHAT._replace(parent=13)):
            _export(world, late)
            world.clock.advance(5.0)
            world.publish()
        late = {key: sums for key, sums in world.recorded.charges.items() if key.position == LATE_INNER}
        found = sums_by(late, ("http_route", "tenant", "component"))
        assert found == {
            ("/orders", "globex", names.HTTP): (1, pytest.approx(SMS_USD)),
            ("/carts/{id}", "acme", names.LLM): (1, pytest.approx(chat_usd(100, 10))),
        }


def test_spans_below_none_that_was_booked_are_late_under_their_own_name() -> None:
    with exporting_world() as world:
        _export(world, _ROOT._replace(attributes={**server(response_bytes=0), names.TENANT: "acme"}))
        world.publish(final=True)
        _export(world, _OTHER_PUT)
        world.clock.advance(300.0)
        world.publish()
        ((key, sums),) = [(key, sums) for key, sums in world.recorded.charges.items() if sums.usd]
        assert (key.labels, key.attribution) == (EntryLabels("", "", "put"), Attribution())
        assert (key.position, sums.usd) == (LATE_INNER, pytest.approx(PUT_USD))
        assert world.engine.evictions == 1


def test_spans_that_late_ones_are_known_by_are_forgotten_with_the_oldest_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finished, "_MAX_REMEMBERED", 4)
    with exporting_world() as world:
        root = _ROOT._replace(attributes=server(response_bytes=0))
        for trace in (1, 2, 3):  # two spans of each
            _export(world, _PUT._replace(trace=trace), root._replace(trace=trace))
            world.publish(final=True)
        for trace in (1, 2, 3):
            _export(world, _SMS._replace(trace=trace, parent=2))
        world.publish(final=True)
        assert world.usd(names.HTTP) == pytest.approx(2 * SMS_USD)
        world.clock.advance(300.0)
        world.publish()
        assert world.usd(names.HTTP) == pytest.approx(3 * SMS_USD)
        late = {key.labels: sums.usd for key, sums in world.recorded.charges.items() if key.position == LATE_INNER}
        assert late == {_LABELS: pytest.approx(2 * SMS_USD), EntryLabels("", "", "sms"): pytest.approx(SMS_USD)}


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_call_that_was_charged_before_its_outer_span_came_is_charged_once(steps: int) -> None:
    outer = Span(20, 1, "ChatOpenAI", "INTERNAL", chat(100, 10), "langchain", parent_is_remote=False)
    between = [Span(21 + number, 20 + number, "step", parent_is_remote=False) for number in range(steps)]
    with exporting_world() as world:
        _export(world, _CHAT._replace(parent=20 + steps))
        world.clock.advance(300.0)
        world.publish()
        assert world.usd(names.LLM) == pytest.approx(chat_usd(100, 10))
        for step in reversed(between[1:]):  # cut once more
            _export(world, step)
            world.clock.advance(300.0)
            world.publish()
        _export(world, *between[:1], outer, _ROOT)
        world.publish(final=True)
        assert world.usd(names.LLM) == pytest.approx(chat_usd(100, 10))
        duplicates = [key for key in world.recorded.charges if key.line.status == names.DUPLICATE]
        assert [key.labels for key in duplicates] == [_LABELS]
        assert world.recorded.late_usd() == pytest.approx(chat_usd(100, 10))


def test_another_call_above_one_that_was_charged_before_is_charged_too() -> None:
    outer = Span(20, 1, "ChatOpenAI", "INTERNAL", chat(300, 30), "langchain", parent_is_remote=False)
    ids = {"gen_ai.response.id": "resp-2"}
    with exporting_world() as world:
        _export(world, _CHAT._replace(parent=20, attributes={**chat(100, 10), "gen_ai.response.id": "resp-1"}))
        world.clock.advance(300.0)
        world.publish()
        _export(world, outer._replace(attributes={**chat(300, 30), **ids}), _ROOT)
        world.publish(final=True)
        assert world.usd(names.LLM) == pytest.approx(chat_usd(100, 10) + chat_usd(300, 30))


def test_calls_that_were_charged_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "_MAX_REMEMBERED_CALLS", 2)
    outer = Span(20, 1, "ChatOpenAI", "INTERNAL", chat(100, 10), "langchain", parent_is_remote=False)
    with exporting_world() as world:
        for trace in (1, 2, 3):
            _export(world, _CHAT._replace(trace=trace, parent=20))
        world.clock.advance(300.0)
        world.publish()
        for trace in (1, 2, 3):
            _export(world, outer._replace(trace=trace), _ROOT._replace(trace=trace))
        world.publish(final=True)
        assert world.usd(names.LLM) == pytest.approx((3 + 1) * chat_usd(100, 10))  # the oldest is forgotten


def test_a_trace_whose_root_does_not_come_is_priced_as_it_is_and_counted() -> None:
    with exporting_world() as world:
        _export(world, _PUT)
        world.clock.advance(299.0)
        world.publish()
        assert world.usd() == 0
        world.clock.advance(1.0)
        world.publish()
        assert _positions(world) == {(names.AWS, LATE_INNER): pytest.approx(PUT_USD)}
        assert world.engine.evictions == 1
        _export(world, _ROOT)
        world.publish(final=True)
        assert world.usd() == pytest.approx(PUT_USD + EGRESS_USD_PER_GB)
        ((_, record),) = world.requests().items()
        assert record.total_usd == pytest.approx(EGRESS_USD_PER_GB)


@pytest.mark.parametrize(
    ("bound", "value"), [("_MAX_HELD_SPANS", 5), ("_MAX_HELD_TRACES", 3), ("_MAX_SPANS_OF_TRACE", 1)]
)
def test_beyond_the_bounds_the_oldest_trace_is_priced_as_it_is(
    bound: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, bound, value)
    with exporting_world() as world:
        for trace in range(1, 21):
            _export(world, _PUT._replace(trace=trace))
        world.publish()
        cut = {"_MAX_HELD_SPANS": 15, "_MAX_HELD_TRACES": 17, "_MAX_SPANS_OF_TRACE": 20}[bound]
        assert world.usd() == pytest.approx(cut * PUT_USD)
        assert world.engine.evictions == cut
        for trace in range(1, 21):
            _export(world, _ROOT._replace(trace=trace))
        world.publish(final=True)
        assert world.usd(names.AWS) == pytest.approx(20 * PUT_USD)
        assert world.usd(names.EGRESS) == pytest.approx(20 * EGRESS_USD_PER_GB)


def test_more_spans_than_can_wait_are_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "_MAX_WAITING", 3)
    with exporting_world() as world:
        readable = finished_spans(_PUT._replace(id=number, parent=0) for number in range(1, 6))
        assert world.exporter.export(list(readable.values())) is SpanExportResult.FAILURE
        world.publish(final=True)
        assert world.usd() == pytest.approx(3 * PUT_USD)
        assert world.engine.errors.counts == {"exporter.dropped": 2}


def test_many_waiting_spans_are_measured_by_the_exporter_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "_BUSY", 10)
    monkeypatch.setattr(finished, "_MAX_SPANS_OF_TRACE", 1)
    monkeypatch.setattr(finished, "_MAX_READY", 10)
    with exporting_world() as world:
        for trace in range(1, 31):
            _export(world, _PUT._replace(trace=trace, parent=0))
        (held,) = world.engine.sources
        assert isinstance(held, finished.FinishedSpans)
        assert world.recorded.charges == {}  # folded, not yet written
        assert len(held.collect(flushed=False, everything=False)) == 0
        world.publish()
        assert world.usd() == pytest.approx(30 * PUT_USD)


def test_a_process_that_calls_itself_has_two_requests_in_one_trace() -> None:
    inner = Span(5, 2, "GET /inner", "SERVER", server("/inner", response_bytes=GB), parent_is_remote=True)
    call = Span(2, 1, "call", "CLIENT", parent_is_remote=False)
    with exporting_world() as world:
        _export(world, _PUT._replace(id=6, parent=5), inner, call, _SMS, _ROOT)
        world.publish(final=True)
        totals = {key.labels.http_route: record.total_usd for key, record in world.requests().items()}
        assert totals == {
            "/inner": pytest.approx(EGRESS_USD_PER_GB + PUT_USD),
            "/carts/{id}": pytest.approx(EGRESS_USD_PER_GB + SMS_USD),
        }


class Pages:
    """Charges what the attribute `ocr.pages` says."""

    keys = frozenset({"ocr.pages"})

    def measure(self, view: SpanView) -> list[CustomUsage]:
        return [CustomUsage("ocr", view.attributes["ocr.pages"], "page")]


def test_rules_and_meters_of_third_parties_hold_as_they_do_for_live_spans() -> None:
    rules = (
        AttributionRule(route="/carts/*", feature="carts"),
        AttributionRule(span=(("app.customer", "*"),), tenant="{app.customer}"),
    )
    own = OwnPrices(custom=(CustomRate("ocr", "page", Decimal("0.002"), place="spancost.yaml"),))
    scan = Span(9, 1, "scan", "INTERNAL", {"ocr.pages": 4, "app.customer": "acme"}, parent_is_remote=False)
    with exporting_world(attribution_rules=rules, own=own, usage_meters=[Pages()]) as world:
        _export(world, _PUT, scan, _ROOT._replace(attributes=server(response_bytes=0)))
        world.publish(final=True)
        found = {
            (key.line.component, key.attribution): sums.usd for key, sums in world.recorded.charges.items() if sums.usd
        }
        assert found == {
            (names.AWS, Attribution(feature="carts")): pytest.approx(PUT_USD),
            (names.CUSTOM, Attribution(feature="carts", tenant="acme")): pytest.approx(4 * 0.002),
        }
        ((key, record),) = world.requests().items()
        assert (key.attribution, record.total_usd) == (Attribution("carts"), pytest.approx(PUT_USD + 0.008))


def test_each_message_is_a_request_of_its_own_below_what_has_received_it() -> None:
    receive = Span(1, 0, "orders receive", "CONSUMER", {"messaging.operation.type": "receive"})
    first, second = (
        Span(number, 1, "orders process", "CONSUMER", {"messaging.operation.type": "process"}, parent_is_remote=False)
        for number in (10, 20)
    )
    with exporting_world() as world:
        _export(world, receive, _PUT._replace(parent=10), first, _PUT._replace(id=3, parent=20), second)
        world.publish(final=True)
        counts = {key.labels.entrypoint: (record.count, record.total_usd) for key, record in world.requests().items()}
        assert counts == {"orders receive": (1, 0), "orders process": (2, pytest.approx(2 * PUT_USD))}
        assert world.recorded.late_usd() == 0


def test_a_message_whose_receiving_span_does_not_come_is_late() -> None:
    message = Span(10, 1, "orders process", "CONSUMER", {"messaging.operation.type": "process"}, parent_is_remote=False)
    with exporting_world() as world:
        _export(world, _PUT._replace(parent=10), message)
        world.exporter.shutdown()
        assert world.recorded.late_usd() == pytest.approx(PUT_USD)
        assert world.requests() == {}


def test_calls_of_a_process_with_a_name_are_one_request_at_its_end() -> None:
    with exporting_world(entrypoint="nightly") as world:
        for trace in (1, 2):
            _export(world, _PUT._replace(trace=trace, parent=0))
        world.publish(final=True)
        assert {key.labels.entrypoint for key in world.recorded.charges} == {"nightly"}
        assert sum(record.count for record in world.requests().values()) == 0
        world.exporter.shutdown()
        records = world.requests().values()  # the run is counted in the minute of its end
        assert sum(record.count for record in records) == 1
        assert sum(record.total_usd for record in records) == pytest.approx(2 * PUT_USD)


def test_costly_traces_are_kept_whole_for_the_ledger() -> None:
    with exporting_world() as world:
        world.engine.keep_traces = True
        step = Span(8, 1, "step", parent_is_remote=False)
        _export(world, _PUT._replace(parent=8), step, _SMS, _ROOT)
        world.publish(final=True)
        (kept,) = [trace for batch in world.recorded.batches for trace in batch.traces]
        assert isinstance(kept, KeptTrace)
        assert (kept.trace_id, kept.labels, kept.total_usd) == (
            1, _LABELS, pytest.approx(PUT_USD + SMS_USD + EGRESS_USD_PER_GB),
        )  # fmt: skip
        nodes = {node.name: (node.parent_span_id, node.direct_usd, node.total_usd) for node in kept.nodes}
        assert nodes == {
            "put": (8, pytest.approx(PUT_USD), pytest.approx(PUT_USD)),
            "step": (1, 0, pytest.approx(PUT_USD)),
            "sms": (1, pytest.approx(SMS_USD), pytest.approx(SMS_USD)),
            "GET /carts/{id}": (0, pytest.approx(EGRESS_USD_PER_GB), pytest.approx(kept.total_usd)),
        }
        assert kept.nodes[-1].name == "GET /carts/{id}"


def test_a_parent_that_a_processor_prices_is_not_waited_for() -> None:
    with exporting_world() as world, priced_provider(region=REGION) as other:
        outer = other.tracer.start_span("request", kind=SpanKind.SERVER)
        context = outer.get_span_context()
        readable = finished_spans([_PUT._replace(trace=context.trace_id, parent=context.span_id)])[_PUT.id]
        readable._parent = context  # type: ignore[attr-defined]
        world.exporter.export([readable])
        world.clock.advance(10.0)
        world.publish()
        assert world.usd() == 0
        outer.end()
        world.publish()
        assert world.usd() == pytest.approx(PUT_USD)
        assert world.engine.evictions == 0


def test_a_tree_that_cannot_be_settled_is_counted_and_the_others_are_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = finished.local_trees
    seen: list[int] = []

    def breaking(*args: Any) -> Any:
        seen.append(1)
        if len(seen) == 1:
            raise RuntimeError("broken")
        return settle(*args)

    monkeypatch.setattr(finished, "local_trees", breaking)
    with exporting_world(reraise=False) as world:
        for trace in (1, 2, 3):
            _export(world, _PUT._replace(trace=trace, parent=0))
        world.publish(final=True)
        assert world.usd() == pytest.approx(2 * PUT_USD)
        assert world.engine.errors.counts == {"exporter": 1}


def test_charges_are_what_meters_made() -> None:
    with exporting_world() as world:
        _export(world, _PUT._replace(parent=0))
        world.publish(final=True)
        ((key, sums),) = [(key, sums) for key, sums in world.recorded.charges.items() if key.line.unit == "WRU"]
        assert Charge(key.line, sums.quantity, sums.usd, sums.list_usd)[1:] == (1.0, PUT_USD, PUT_USD)
