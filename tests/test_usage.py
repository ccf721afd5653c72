"""`add_usage` and `current_cost`: reported usage belongs to the current span, and is never lost nor counted twice."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

import spancost
from spancost import RequestCost, add_usage, attribute, current_cost, names, usage
from spancost.attribution_rules import AttributionRule
from spancost.config import Config
from spancost.prices.custom_rates import CustomRate
from spancost.prices.discounts import Discount
from spancost.prices.own import OwnPrices
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.testing import World, priced_provider
from spancost.window import ENTRY, INNER, LATE_ENTRY, LATE_INNER, UNATTRIBUTED, Attribution, Origin
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, chat, chat_usd, put_item, server, start

_USD_PER_S = 0.01
_PAGE_USD = 0.002
_RATES = OwnPrices(custom=(CustomRate("pdf.render", "page", Decimal("0.002"), "acme", place="spancost.yaml"),))


@contextmanager
def _world(**settings: Any) -> Generator[World]:
    given: dict[str, Any] = {"compute": "36usd/h", "region": REGION, "own": _RATES, **settings}
    with priced_provider(**given) as world:
        yield world


def _inside(span: Span, *arguments: Any, **keywords: Any) -> None:
    with trace.use_span(span):
        add_usage(*arguments, **keywords)


def _custom(world: World) -> dict[tuple[str, str], float]:
    """USD of reported usage by position and operation."""
    world.publish()
    return {
        (key.position, key.line.operation): sums.usd
        for key, sums in world.recorded.charges.items()
        if key.line.component == names.CUSTOM
    }


# --- whose it is --------------------------------------------------------------------------------


def test_usage_is_part_of_its_span_of_every_span_above_and_of_the_root() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server(response_bytes=GB))
        middle = start(world.tracer, "middle", root)
        inner = start(world.tracer, "inner", middle)
        _inside(inner, "pdf.render", 3, "page")
        _inside(inner, "pdf.render", 4, "page")
        _inside(root, "geo.lookup", 1, "request", usd=0.5)
        for span in (inner, middle, root):
            world.clock.advance(1.0)
            span.end()
        assert _custom(world) == {(INNER, "pdf.render"): pytest.approx(7 * _PAGE_USD), (ENTRY, "geo.lookup"): 0.5}
        of_inner, of_middle, of_root = (world.attributes(name) for name in ("inner", "middle", "GET"))
        assert of_inner[names.DIRECT_USD] == pytest.approx(7 * _PAGE_USD + _USD_PER_S, rel=1e-12)
        assert (of_inner[names.STATUS], of_inner[names.SOURCE]) == ("priced", "configured:spancost.yaml")
        assert of_inner[names.OPERATION_COST] == pytest.approx(7 * _PAGE_USD, rel=1e-12)
        assert of_middle[names.TOTAL_USD] == pytest.approx(7 * _PAGE_USD + 2 * _USD_PER_S, rel=1e-12)
        assert of_root[names.DIRECT_USD] == pytest.approx(0.5 + EGRESS_USD_PER_GB + _USD_PER_S, rel=1e-12)
        assert of_root["spancost.custom.usd"] == pytest.approx(0.5 + 7 * _PAGE_USD, rel=1e-12)
        total = 0.5 + 7 * _PAGE_USD + EGRESS_USD_PER_GB + 3 * _USD_PER_S
        assert of_root[names.TOTAL_USD] == pytest.approx(total, rel=1e-12)
        assert of_root[names.TOTAL_NANO_USD] == round(total * 1e9)
        assert of_root[names.STATUS] == "estimated"  # egress, which is the less sure part
        assert of_root[names.OPERATION_COST] == 0.5
        assert world.recorded.usd() == pytest.approx(total, rel=1e-12)


def test_an_empty_span_with_usage_is_priced_where_the_machine_is_not_known() -> None:
    with _world(compute="") as world:
        root = start(world.tracer, "job")
        inner = start(world.tracer, "inner", root)
        _inside(inner, "pdf.render", 3, "page")
        inner.end()
        root.end()
        assert world.attributes("inner")[names.DIRECT_USD] == pytest.approx(3 * _PAGE_USD, rel=1e-12)
        assert world.attributes("inner")[names.TOTAL_USD] == pytest.approx(3 * _PAGE_USD, rel=1e-12)
        assert world.attributes("job")[names.TOTAL_USD] == pytest.approx(3 * _PAGE_USD, rel=1e-12)


def test_unpriced_usage_is_said_on_its_span_and_is_never_zero_dollars_of_certainty() -> None:
    with _world(compute="") as world:
        span = start(world.tracer, "put", kind=SpanKind.CLIENT, attributes=put_item())
        _inside(span, "pdf.merge", 2, "page")
        span.end()
        told = world.attributes("put")
        assert (told[names.STATUS], told[names.REASON]) == ("unpriced", "no_rate")
        assert names.SOURCE not in told
        alone = start(world.tracer, "alone")
        _inside(alone, "pdf.merge", 2, "page")
        alone.end()
        assert names.DIRECT_USD not in world.attributes("alone")
        world.publish()
        unpriced = {r.labels[0]: r.value for r in world.totals.read(world.totals.unpriced)}
        assert unpriced == {"no_rate": 2, "compute_rate_unknown": 2}


def test_usage_beside_an_aws_or_llm_call_is_added_to_it() -> None:
    with _world() as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        for name, attributes in (("put", put_item()), ("chat", chat(1000, 10))):
            call = start(world.tracer, name, request, SpanKind.CLIENT, attributes)
            _inside(call, "pdf.render", 1, "page")
            call.end()
        request.end()
        assert world.attributes("put")[names.DIRECT_USD] == pytest.approx(PUT_USD + _PAGE_USD, rel=1e-12)
        assert world.attributes("put")[names.OPERATION_COST] == pytest.approx(PUT_USD, rel=1e-12)
        assert world.attributes("chat")[names.DIRECT_USD] == pytest.approx(chat_usd(1000, 10) + _PAGE_USD, rel=1e-12)
        assert world.attributes("chat")[names.GEN_AI_USAGE_COST] == pytest.approx(chat_usd(1000, 10), rel=1e-12)
        assert world.attributes("GET")["spancost.custom.usd"] == pytest.approx(2 * _PAGE_USD, rel=1e-12)


def test_usage_of_an_ended_span_below_an_open_root_is_in_the_totals_above() -> None:
    with _world(compute="") as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        middle = start(world.tracer, "middle", root)
        inner = start(world.tracer, "inner", middle)
        inner.end()
        _inside(inner, "pdf.render", 5, "page")
        middle.end()
        root.end()
        assert _custom(world) == {(INNER, "pdf.render"): pytest.approx(5 * _PAGE_USD)}
        for name in ("middle", "GET"):
            assert world.attributes(name)[names.TOTAL_USD] == pytest.approx(5 * _PAGE_USD, rel=1e-12)


def test_usage_after_the_root_is_late_at_the_span_it_belongs_to() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        inner = start(world.tracer, "inner", root)
        root.end()
        exported = world.attributes("GET")[names.TOTAL_USD]
        _inside(root, "pdf.render", 1, "page")
        _inside(inner, "pdf.render", 2, "page")
        inner.end()
        _inside(inner, "pdf.render", 4, "page")
        assert _custom(world) == {
            (LATE_ENTRY, "pdf.render"): pytest.approx(_PAGE_USD),
            (LATE_INNER, "pdf.render"): pytest.approx(6 * _PAGE_USD),
        }
        assert world.attributes("GET")[names.TOTAL_USD] == exported
        assert world.attributes("inner")[names.DIRECT_USD] == pytest.approx(2 * _PAGE_USD, rel=1e-12)
        late = [key for key in world.recorded.charges if key.position in (LATE_ENTRY, LATE_INNER)]
        assert {key.labels.http_route for key in late} == {"/carts/{id}"}


def test_usage_without_a_span_is_unattributed_and_keeps_who_it_is_for() -> None:
    with _world() as world:
        add_usage("pdf.render", 1, "page")
        with attribute(tenant="acme"):
            add_usage("pdf.render", 2, "page")
        world.publish()
        found = {
            key.attribution: sums.usd for key, sums in world.recorded.charges.items() if key.position == UNATTRIBUTED
        }
        assert found == {Attribution(): _PAGE_USD, Attribution("", "acme", ""): 2 * _PAGE_USD}


def test_spans_of_somebody_else_leave_usage_unattributed() -> None:
    context = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(1))
    plain = TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("x")
    with _world() as world, priced_provider(region=REGION) as other, _connected(world):
        _inside(cast("Span", NonRecordingSpan(context)), "pdf.render", 1, "page")
        _inside(cast("Span", plain), "pdf.render", 2, "page")
        _inside(start(other.tracer, "other"), "pdf.render", 4, "page")
        assert _custom(world) == {(UNATTRIBUTED, "pdf.render"): pytest.approx(7 * _PAGE_USD)}
        assert _custom(other) == {}


@contextmanager
def _connected(world: World) -> Generator[None]:
    before = usage.connect(world.engine)
    yield
    usage.connect(before)


def test_attribution_is_that_of_the_call_then_of_the_span_then_of_the_request() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server() | {names.TEAM: "web"})
        with (
            attribute(tenant="span", feature="cart"),
            world.tracer.start_as_current_span("inner", trace.set_span_in_context(root)),
        ):
            add_usage("a", 1, "u", usd=1.0)
            with attribute(tenant="call"):
                add_usage("b", 1, "u", usd=1.0)
        with (
            trace.use_span(start(world.tracer, "said", root, attributes={names.TENANT: "attribute"})),
            attribute(tenant="call", feature="pay"),
        ):
            add_usage("c", 1, "u", usd=1.0)
        _inside(root, "d", 1, "u", usd=1.0)
        root.end()
        world.publish()
        found = {
            key.line.operation: key.attribution for key in world.recorded.charges if key.line.component == "custom"
        }
        assert found["a"] == Attribution("cart", "span", "web")
        assert found["b"] == Attribution("cart", "call", "web")
        assert found["c"] == Attribution("pay", "attribute", "web")
        assert found["d"].team == "web"


def test_a_million_small_reports_are_one_charge_that_counts_them() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        with trace.use_span(root):
            for _ in range(2000):
                add_usage("pdf.render", 0.5, "page")
        node = cast("Any", root)._spancost_node
        charges = cast("list[Any]", node.root.charges)
        assert len(charges) <= 2  # two where a minute ends meanwhile
        root.end()
        world.publish()
        (sums,) = (sums for key, sums in world.recorded.charges.items() if key.line.component == names.CUSTOM)
        assert (sums.quantity, sums.count) == (1000.0, 2000)
        assert sums.usd == pytest.approx(1000 * _PAGE_USD, rel=1e-9)


# --- requests that go on, roots that are given up, kept traces ------------------------------------


def test_a_long_request_books_usage_before_its_end_and_only_once() -> None:
    with _world(partial_cost_interval_s=10.0) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        for _ in range(3):
            _inside(root, "pdf.render", 1, "page")
            world.clock.advance(20.0)
            world.publish()
        assert _custom(world) == {(ENTRY, "pdf.render"): pytest.approx(3 * _PAGE_USD)}
        _inside(root, "pdf.render", 1, "page")
        root.end()
        assert _custom(world) == {(ENTRY, "pdf.render"): pytest.approx(4 * _PAGE_USD)}
        assert world.attributes("GET")["spancost.custom.usd"] == pytest.approx(4 * _PAGE_USD, rel=1e-12)
        assert world.attributes("GET")[names.DIRECT_USD] == pytest.approx(4 * _PAGE_USD + 30 * _USD_PER_S, rel=1e-12)


def test_usage_of_a_root_that_is_given_up_is_booked_and_what_follows_is_late() -> None:
    with _world(max_root_quiet_s=5.0) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        inner = start(world.tracer, "inner", root)
        _inside(inner, "pdf.render", 1, "page")
        world.clock.advance(60.0)
        world.publish()
        assert world.engine.evicted_usd[names.CUSTOM] == pytest.approx(_PAGE_USD)
        _inside(root, "pdf.render", 2, "page")
        inner.end()
        root.end()
        assert _custom(world) == {
            (INNER, "pdf.render"): pytest.approx(_PAGE_USD),
            (LATE_ENTRY, "pdf.render"): pytest.approx(2 * _PAGE_USD),
        }


def test_a_kept_trace_shows_usage_at_its_span(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with _world(ledger=str(path)) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        inner = start(world.tracer, "inner", root)
        _inside(inner, "pdf.render", 3, "page")
        inner.end()
        root.end()
        world.publish()
        (kept,) = (kept for batch in world.recorded.batches for kept in batch.traces)
        of_inner = next(node for node in kept.nodes if node.name == "inner")
        assert [(one.line.operation, one.quantity) for one in of_inner.charges[1:]] == [("pdf.render", 3.0)]
        assert sum(node.direct_usd for node in kept.nodes) == pytest.approx(kept.total_usd, rel=1e-12)


# --- where there is nothing, and where values are wrong -------------------------------------------


def test_without_an_engine_nothing_happens() -> None:
    usage.connect(None)
    add_usage("pdf.render", 3, "page")
    assert current_cost() is None


def test_a_switched_off_engine_books_nothing() -> None:
    with _world(enabled=False) as world:
        add_usage("pdf.render", 3, "page")
        assert current_cost() is None
        assert _custom(world) == {}


@pytest.mark.parametrize("arguments", [(None, 1, "page"), ("a", 1, None), (b"a", 1, "page"), (3, 1, "page")])
def test_a_name_or_a_unit_that_is_no_text_is_a_mistake_seen_at_the_first_call(arguments: Any) -> None:
    usage.connect(None)
    with pytest.raises(TypeError, match="name and unit are texts"):
        add_usage(*arguments)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, None, "3", object()])
def test_an_impossible_value_changes_nothing_for_the_application_and_is_counted(value: Any) -> None:
    with _world(reraise=False) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        _inside(root, "pdf.render", value, "page")
        root.end()
        world.publish()
        (key,) = (key for key in world.recorded.charges if key.line.component == names.CUSTOM)
        assert (key.line.status, key.line.reason, key.position) == ("unpriced", "bad_usage", ENTRY)
        assert world.engine.errors.counts == {}


def test_an_error_of_ours_is_counted_and_does_not_reach_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    with _world(reraise=False) as world:

        def fail(*_: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(world.engine, "alone", fail)
        monkeypatch.setattr(world.engine, "monotonic", fail)
        root = start(world.tracer, "GET")
        _inside(root, "pdf.render", 1, "page")
        assert world.engine.errors.counts["add_usage"] == 1
        world.engine.tree = cast("Any", object())
        root._spancost_node.root = object()  # type: ignore[attr-defined]
        with trace.use_span(root):
            assert current_cost() is None


def test_a_discount_of_the_component_reaches_the_ledger_beside_the_list_price(tmp_path: Path) -> None:
    own = OwnPrices(custom=_RATES.custom, discounts=(Discount("edp", Decimal(25), component="custom"),))
    path = tmp_path / "ledger.db"
    with _world(own=own) as world:
        world.engine.add_sink(Ledger(path, Origin("shop")))
        span = start(world.tracer, "job")
        _inside(span, "pdf.render", 100, "page")
        span.end()
        world.publish()
    with LedgerReader(path) as reader:
        (row,) = (row for row in reader.rows(["component", "unit", "source"]) if row.key[0] == "custom")
    assert row.key == ("custom", "page", "configured:spancost.yaml+discount:edp")
    assert (row.usd, row.list_usd) == (pytest.approx(0.15), pytest.approx(0.2))


def test_a_rate_holds_from_its_day() -> None:
    never = CustomRate("pdf.render", "page", Decimal(1), valid_from=date(2199, 1, 1))
    with _world(own=OwnPrices(custom=(never,))) as world:
        add_usage("pdf.render", 1, "page")
        world.publish()
        (key,) = (key for key in world.recorded.charges if key.line.component == names.CUSTOM)
        assert key.line.reason == "no_rate"


# --- threads, processes without spans -------------------------------------------------------------


def test_eight_threads_that_report_on_one_span_lose_nothing() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())

        def work() -> None:
            with trace.use_span(root):
                for _ in range(500):
                    add_usage("pdf.render", 1, "page")

        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        root.end()
        assert _custom(world) == {(ENTRY, "pdf.render"): pytest.approx(4000 * _PAGE_USD, rel=1e-9)}
        assert world.attributes("GET")["spancost.custom.usd"] == pytest.approx(4000 * _PAGE_USD, rel=1e-9)


def test_a_hook_that_was_interrupted_books_the_usage_of_its_interruption() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        engine = world.engine
        with engine.lock, trace.use_span(root):
            engine.busy = True  # as if a signal handler had cut into a hook of this thread
            add_usage("pdf.render", 1, "page")
            cost = current_cost()
            engine.run_deferred()
            engine.busy = False
        assert cost is not None
        assert names.CUSTOM not in cost.component_usd
        root.end()
        assert _custom(world) == {(ENTRY, "pdf.render"): pytest.approx(_PAGE_USD)}


def test_usage_alone_starts_the_publishing_and_reaches_the_ledger_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    provider = TracerProvider(shutdown_on_exit=False)
    config = Config(ledger=str(path), lease="off", detect=False, region=REGION, own=_RATES)
    engine = spancost.install(provider, config=config)
    try:
        add_usage("pdf.render", 3, "page")
        assert engine.tree is not None
        assert spancost.flush()
    finally:
        provider.shutdown()
    with LedgerReader(path) as reader:
        assert reader.totals().component_usd[names.CUSTOM] == pytest.approx(3 * _PAGE_USD)


# --- current_cost ---------------------------------------------------------------------------------


def _cost_in(span: Span) -> RequestCost:
    with trace.use_span(span):
        cost = current_cost()
    assert cost is not None
    return cost


def test_current_cost_has_the_machine_until_now_ended_calls_and_reported_usage() -> None:
    with _world() as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        world.clock.advance(1.0)
        put = start(world.tracer, "put", root, SpanKind.CLIENT, put_item())
        world.clock.advance(2.0)
        put.end()
        _inside(root, "pdf.render", 3, "page")
        world.clock.advance(4.0)
        cost = _cost_in(root)
        assert cost.component_usd == {
            "compute": pytest.approx(7 * _USD_PER_S),
            "aws": pytest.approx(PUT_USD),
            "custom": pytest.approx(3 * _PAGE_USD),
        }
        assert cost.total_usd == pytest.approx(7 * _USD_PER_S + PUT_USD + 3 * _PAGE_USD, rel=1e-12)
        assert cost.direct_usd == pytest.approx(5 * _USD_PER_S + 3 * _PAGE_USD, rel=1e-12)
        assert cost.is_complete
        root.end()
        assert _cost_in(root) == RequestCost(
            world.attributes("GET")[names.TOTAL_USD], cost.direct_usd, {**cost.component_usd, "egress": 0.0}
        )


def test_current_cost_splits_the_machine_with_other_requests_and_open_siblings() -> None:
    with _world() as world:
        root, other = start(world.tracer, "GET"), start(world.tracer, "other")
        one, two = start(world.tracer, "one", root), start(world.tracer, "two", root)
        world.clock.advance(8.0)
        assert _cost_in(one).direct_usd == pytest.approx(8.0 / 2 / 2 * _USD_PER_S, rel=1e-12)
        assert _cost_in(one).total_usd == pytest.approx(8.0 / 2 * _USD_PER_S, rel=1e-12)
        assert _cost_in(root).direct_usd == 0.0
        one.end()
        world.clock.advance(2.0)
        assert _cost_in(two).direct_usd == pytest.approx((2.0 + 1.0) * _USD_PER_S, rel=1e-12)
        assert _cost_in(one).direct_usd == pytest.approx(2.0 * _USD_PER_S, rel=1e-12)
        for span in (two, root, other):
            span.end()
        world.publish()
        assert world.recorded.usd() == pytest.approx(10.0 * _USD_PER_S, rel=1e-12)


def test_current_cost_names_what_has_no_price_also_after_a_partial_booking_and_after_the_end() -> None:
    with _world(compute="", partial_cost_interval_s=1.0) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server(response_bytes=None))
        _inside(root, "pdf.merge", 1, "page")
        assert _cost_in(root).unpriced == ("compute", "custom")
        world.clock.advance(5.0)
        world.publish()
        assert _cost_in(root).unpriced == ("compute", "custom")
        assert not _cost_in(root).is_complete
        inner = start(world.tracer, "inner", root)
        root.end()
        for _ in range(2):
            assert _cost_in(root).unpriced == _cost_in(inner).unpriced == ("compute", "egress", "custom")
            world.publish()


def test_current_cost_is_none_without_a_span_and_in_spans_of_somebody_else() -> None:
    with _world() as world, priced_provider(region=REGION) as other, _connected(world):
        assert current_cost() is None
        with trace.use_span(start(other.tracer, "other")):
            assert current_cost() is None
        with trace.use_span(TracerProvider(shutdown_on_exit=False).get_tracer("x").start_span("x")):
            assert current_cost() is None


def test_current_cost_of_a_long_request_keeps_what_was_booked_before() -> None:
    with _world(partial_cost_interval_s=1.0) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        for number in range(1, 4):
            put = start(world.tracer, "put", root, SpanKind.CLIENT, put_item())
            _inside(put, "pdf.render", 1, "page")
            world.clock.advance(5.0)
            put.end()
            world.publish()
            assert _cost_in(root).component_usd == {
                "compute": pytest.approx(number * 5 * _USD_PER_S, rel=1e-12),
                "aws": pytest.approx(number * PUT_USD, rel=1e-12),
                "custom": pytest.approx(number * _PAGE_USD, rel=1e-12),
            }
        before = _cost_in(root)
        root.end()
        assert _cost_in(root).total_usd == world.attributes("GET")[names.TOTAL_USD]
        assert _cost_in(root).total_usd == pytest.approx(before.total_usd, rel=1e-12)


def test_the_mapping_of_current_cost_cannot_be_changed() -> None:
    with _world() as world:
        cost = _cost_in(start(world.tracer, "GET"))
        with pytest.raises(TypeError):
            cast("Any", cost.component_usd)["aws"] = 1.0


_TREE_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["root", "child", "child", "end", "use"]), st.integers(0, 30), st.sampled_from([0, 1, 4])
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_TREE_STEPS)
def test_costs_so_far_of_open_requests_and_totals_of_ended_ones_are_all_that_the_machine_did(
    steps: list[tuple[str, int, int]],
) -> None:
    with _world() as world:
        is_open: list[Span] = []
        children: dict[Span, int] = {}
        parents: dict[Span, Span] = {}
        used = 0.0
        for step, number, seconds in [*steps, ("end", 0, 1)]:
            world.clock.advance(float(seconds))
            some = is_open[number % len(is_open)] if is_open else None
            if step == "root" or (step == "child" and some is None):
                is_open.append(start(world.tracer, "root"))
            elif step == "child" and some is not None:
                child = start(world.tracer, "child", some)
                is_open.append(child)
                parents[child] = some
                children[some] = children.get(some, 0) + 1
            elif step == "use" and some is not None:
                _inside(some, f"u{number}", 1, "u", usd=number * 0.001)
                used += number * 0.001
            elif step == "end" and some is not None and not children.get(some):
                before = _cost_in(some)
                some.end()
                assert world.spans[-1].attributes is not None
                assert world.spans[-1].attributes[names.DIRECT_USD] == pytest.approx(before.direct_usd, rel=1e-9)
                is_open.remove(some)
                if some in parents:
                    children[parents[some]] -= 1
                else:
                    assert world.spans[-1].attributes[names.TOTAL_USD] == pytest.approx(before.total_usd, rel=1e-9)
                    assert _cost_in(some).total_usd == world.spans[-1].attributes[names.TOTAL_USD]
            so_far = sum(_cost_in(span).total_usd for span in is_open if span not in parents)
            tree = world.engine.tree
            busy_s = 0.0 if tree is None else tree.busy_s
            assert so_far + world.root_totals_usd() == pytest.approx(busy_s * _USD_PER_S + used, rel=1e-9, abs=1e-12)


# --- baggage and rules ----------------------------------------------------------------------------


def test_usage_follows_baggage_and_the_rules_of_its_span_and_of_its_request() -> None:
    ocr = AttributionRule(span=(("ocr.mode", "exact"),), feature="ocr")
    route = AttributionRule(route="/carts/*", team="web")
    with _world(attribution_baggage=(("tenant", "tenant"),), attribution_rules=(ocr, route)) as world:
        carried = baggage.set_baggage("tenant", "acme")
        root = world.tracer.start_span("GET", carried, SpanKind.SERVER, server())
        inner = world.tracer.start_span(
            "ocr", trace.set_span_in_context(root, carried), attributes={"ocr.mode": "exact"}
        )
        with trace.use_span(inner):
            add_usage("a", 1, "u", usd=1.0)
            with attribute(feature="pay"):
                add_usage("b", 1, "u", usd=1.0)
        inner.end()
        root.end()
        token = otel_context.attach(carried)
        add_usage("c", 1, "u", usd=1.0)
        otel_context.detach(token)
        world.publish()
        found = {
            key.line.operation: key.attribution for key in world.recorded.charges if key.line.component == "custom"
        }
        assert found == {
            "a": Attribution("ocr", "acme", "web"),
            "b": Attribution("pay", "acme", "web"),
            "c": Attribution("", "acme", ""),
        }
        assert world.attributes("ocr")[names.FEATURE] == "ocr"  # the span says what its usage says
