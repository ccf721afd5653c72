# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Whose cost a live span is: span attribute, then `attribute()`, then baggage, then rules, label by label."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import Any

import flask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.trace import SpanKind

from spancost import attribute, names
from spancost.attribution_rules import AttributionRule, BoundRules
from spancost.capture import facts as capture_facts
from spancost.journal import merged_batches
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.testing import World, priced_provider
from spancost.window import Attribution, Batch, ChargeKey, ChargeSum, KeptTrace, Origin
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, put_item, server, start
from tests.test_guards import Witness

_HEADER = "http.request.header.x_tenant"
_BY_HEADER = AttributionRule(span=((_HEADER, "*"),), tenant=f"{{{_HEADER}}}")
_CHECKOUT = AttributionRule(route="/cart/*", feature="checkout", team="web", labels=(("cost_center", "4711"),))


def _whose(world: World, component: str = names.AWS) -> dict[Attribution, float]:
    """USD of a component by whose it is."""
    world.publish()
    found: dict[Attribution, float] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == component and sums.usd:
            found[key.attribution] = found.get(key.attribution, 0.0) + sums.usd
    return found


def _requests(world: World) -> dict[Attribution, int]:
    world.publish()
    found: dict[Attribution, int] = {}
    for batch in world.recorded.batches:
        for key, sums in batch.requests.items():
            found[key.attribution] = found.get(key.attribution, 0) + sums.count
    return found


def _put(world: World, **attributes: Any) -> None:
    with world.tracer.start_as_current_span("put", kind=SpanKind.CLIENT, attributes={**put_item(), **attributes}):
        pass


@contextlib.contextmanager
def _in_context(context: otel_context.Context) -> Generator[None]:
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


# --- free labels --------------------------------------------------------------------------------


def test_free_labels_travel_wherever_feature_tenant_and_team_do() -> None:
    with priced_provider(region=REGION, compute="36usd/h") as world:
        world.engine.keep_traces = True
        with attribute(plan="gold"), world.tracer.start_as_current_span("job"):
            world.clock.advance(1.0)
            with attribute(plan="silver", shard="7"):
                _put(world)
            _put(world, **{"spancost.label.shard": "9"})
        root = Attribution(labels=(("plan", "gold"), ("shard", "7")))
        assert _whose(world) == {
            Attribution(labels=(("plan", "silver"), ("shard", "7"))): pytest.approx(PUT_USD),
            Attribution(labels=(("plan", "gold"), ("shard", "9"))): pytest.approx(PUT_USD),
        }
        assert _whose(world, names.COMPUTE) == {root: pytest.approx(0.01)}
        assert _requests(world) == {root: 1}
        (kept,) = (trace for batch in world.recorded.batches for trace in batch.traces)
        assert kept.attribution == root
        assert world.attributes("job")["spancost.label.plan"] == "gold"


def test_free_labels_split_no_metric_and_are_keys_of_the_ledger(tmp_path: Any) -> None:
    with priced_provider(region=REGION) as world:
        for plan in ("gold", "silver"):
            with attribute(tenant="acme", plan=plan):
                _put(world)
        world.publish()
        rows = {r.labels: r.value for r in world.totals.read(world.totals.attributed) if r.labels[3] == names.AWS}
        assert rows == {("", "acme", "", names.AWS): pytest.approx(2 * PUT_USD)}
        ledger = Ledger(tmp_path / "ledger.db", Origin("shop"))
        for batch in world.recorded.batches:
            ledger.write(batch)
        with LedgerReader(tmp_path / "ledger.db") as reader:
            by_plan = {row.key: row.component_usd[names.AWS] for row in reader.rows(["tenant", "label.plan"])}
        assert by_plan == {("acme", "gold"): pytest.approx(PUT_USD), ("acme", "silver"): pytest.approx(PUT_USD)}


def test_folding_drops_free_labels_and_keeps_the_sum() -> None:
    with priced_provider(region=REGION) as world:
        with attribute(plan="gold"):
            _put(world)
        world.publish()
        key = next(key for key in world.recorded.charges if key.line.component == names.AWS)
        line = key.line
        keys = (
            ChargeKey(minute, line, key.labels, Attribution("f", labels=(("n", str(minute)),)), key.position)
            for minute in range(100_010)
        )
        charges = {one: ChargeSum(1.0, 1.0, 1.0, 1) for one in keys}
        merged = merged_batches([Batch(charges, {}, [])])
        assert sum(sums.usd for sums in merged.charges.values()) == len(charges)
        folded = [found for found in merged.charges if found.attribution.feature == names.OTHER]
        assert folded
        assert {found.attribution.labels for found in folded} == {()}


# --- rules --------------------------------------------------------------------------------------


def test_route_that_comes_late_decides_and_the_exported_local_root_says_whose_it_is() -> None:
    with priced_provider(region=REGION, compute="36usd/h", attribution_rules=(_CHECKOUT, _BY_HEADER)) as world:
        attributes = {**server("", response_bytes=GB), _HEADER: ("acme",)}
        with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=attributes) as span:
            world.clock.advance(1.0)
            _put(world)
            span.set_attribute("http.route", "/cart/<int:item>")  # as Django does, when the view is done
        whose = Attribution("checkout", "acme", "web", (("cost_center", "4711"),))
        assert _whose(world) == {whose: pytest.approx(PUT_USD)}
        assert _whose(world, names.EGRESS) == {whose: pytest.approx(EGRESS_USD_PER_GB)}
        assert _whose(world, names.COMPUTE) == {whose: pytest.approx(0.01)}
        assert _requests(world) == {whose: 1}
        said = world.attributes("GET")
        assert (said[names.FEATURE], said[names.TENANT], said[names.TEAM]) == ("checkout", "acme", "web")
        assert said["spancost.label.cost_center"] == "4711"


def test_charged_span_inside_with_an_attribute_of_a_rule_has_its_own_attribution() -> None:
    by_model = AttributionRule(span=(("app.customer", "*"),), tenant="c-{app.customer}")
    with priced_provider(region=REGION, compute="36usd/h", attribution_rules=(_CHECKOUT, by_model)) as world:
        with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server("/cart/1")):
            with world.tracer.start_as_current_span("put", attributes={**put_item(), "app.customer": "7"}):
                world.clock.advance(1.0)
            with world.tracer.start_as_current_span("not charged", attributes={"app.customer": "8"}):
                world.clock.advance(1.0)
            _put(world)
        root = Attribution("checkout", "", "web", (("cost_center", "4711"),))
        own = root._replace(tenant="c-7")
        assert _whose(world) == {own: pytest.approx(PUT_USD), root: pytest.approx(PUT_USD)}
        assert _whose(world, names.COMPUTE) == {own: pytest.approx(0.01), root: pytest.approx(0.01)}
        assert world.spans[0].attributes is not None
        assert world.spans[0].attributes[names.TENANT] == "c-7"


def test_partial_bookings_late_charges_and_given_up_roots_follow_the_rules() -> None:
    settings_ = {"attribution_rules": (_CHECKOUT,), "partial_cost_interval_s": 1.0, "max_root_quiet_s": 100.0}
    whose = Attribution("checkout", "", "web", (("cost_center", "4711"),))
    with priced_provider(region=REGION, **settings_) as world:  # pyright: ignore[reportArgumentType]
        world.engine.connect()
        request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server("/cart/1", response_bytes=None))
        start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
        world.clock.advance(5.0)
        assert _whose(world) == {whose: pytest.approx(PUT_USD)}  # partial: the request goes on
        request.end()
        start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
        capture_facts.report_late(request, {"response_bytes": GB})
        assert _whose(world) == {whose: pytest.approx(2 * PUT_USD)}
        assert _whose(world, names.EGRESS) == {whose: pytest.approx(EGRESS_USD_PER_GB)}
        endless = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server("/cart/2"))
        start(world.tracer, "put", endless, SpanKind.CLIENT, put_item()).end()
        world.clock.advance(1000.0)
        world.publish()
        start(world.tracer, "put", endless, SpanKind.CLIENT, put_item()).end()
        by_whose = _whose(world)
        assert sum(by_whose.values()) == pytest.approx(4 * PUT_USD)
        # After it was given up, a further span is a local root of its own, without a route.
        assert by_whose == {whose: pytest.approx(3 * PUT_USD), Attribution(): pytest.approx(PUT_USD)}


def test_calls_of_a_script_are_attributed_by_what_it_calls_itself() -> None:
    rules = (AttributionRule(entrypoint="nightly-*", feature="reporting"),)
    with priced_provider(region=REGION, entrypoint="nightly-import", attribution_rules=rules) as world:
        _put(world)
        assert _whose(world) == {Attribution("reporting"): pytest.approx(PUT_USD)}


def test_rules_look_at_the_resource() -> None:
    rules = (AttributionRule(resource=(("service.name", "shop-*"),), team="shop"),)
    for service, team in (("shop-eu", "shop"), ("billing", "")):
        with priced_provider(resource={"service.name": service}, region=REGION, attribution_rules=rules) as world:
            _put(world)
            assert _whose(world) == {Attribution(team=team): pytest.approx(PUT_USD)}


def test_real_flask_request_is_attributed_by_its_route_a_captured_header_and_a_baggage_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "X-Tenant")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    settings_: dict[str, Any] = {
        "attribution_rules": (AttributionRule(route="/cart/*", method="POST", feature="checkout"), _BY_HEADER),
        "attribution_baggage": (("team-of", "team"),),
    }
    with priced_provider(region=REGION, **settings_) as world:
        app = flask.Flask("shop")
        FlaskInstrumentor().instrument_app(app, tracer_provider=world.provider)

        def buy(item: int) -> str:
            _put(world)
            return f"sold {item}"

        app.add_url_rule("/cart/<int:item>", view_func=buy, methods=["POST", "GET"])
        client = app.test_client()
        headers = {"X-Tenant": "acme", "baggage": "team-of=web,secret=42"}
        assert client.post("/cart/7", headers=headers).status_code == 200
        assert client.get("/cart/7", headers=headers).status_code == 200
        assert client.get("/nowhere").status_code == 404
        assert _whose(world) == {
            Attribution("checkout", "acme", "web"): pytest.approx(PUT_USD),
            Attribution("", "acme", "web"): pytest.approx(PUT_USD),
        }
        assert _requests(world)[Attribution()] == 1
        assert "42" not in str([dict(span.attributes or {}) for span in world.spans])


# --- baggage ------------------------------------------------------------------------------------

_KEYS = (("tenant", "tenant"), ("customer-id", "tenant"), ("plan", "plan"))


def test_nothing_is_read_from_baggage_unless_its_key_is_listed() -> None:
    carried = propagate.extract({"baggage": "tenant=acme,plan=gold"})
    for keys, expected in (((), Attribution()), ((("tenant", "tenant"),), Attribution(tenant="acme"))):
        with priced_provider(region=REGION, attribution_baggage=keys) as world, _in_context(carried):
            _put(world)
            assert _whose(world) == {expected: pytest.approx(PUT_USD)}


def test_of_two_keys_for_a_label_the_first_that_is_there_counts_and_values_are_cut() -> None:
    with priced_provider(region=REGION, attribution_baggage=_KEYS) as world:
        with _in_context(baggage.set_baggage("customer-id", "c7", baggage.set_baggage("plan", "x" * 1000))):
            _put(world)
        assert _whose(world) == {Attribution(tenant="c7", labels=(("plan", "x" * 200),)): pytest.approx(PUT_USD)}


def test_attribute_inside_a_view_goes_before_baggage_that_was_there_at_the_roots_start() -> None:
    with priced_provider(region=REGION, compute="36usd/h", attribution_baggage=_KEYS) as world:
        carried = _in_context(baggage.set_baggage("tenant", "carried"))
        with carried, world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()):
            world.clock.advance(1.0)
            with attribute(tenant="said"):
                _put(world)
            _put(world)  # carries the same baggage still, and follows the root
        said = Attribution(tenant="said")
        assert _whose(world) == {said: pytest.approx(2 * PUT_USD)}
        assert _whose(world, names.COMPUTE) == {said: pytest.approx(0.01)}
        assert world.attributes("GET")[names.TENANT] == "said"


def test_baggage_set_inside_a_request_is_that_of_the_spans_that_start_in_it() -> None:
    with priced_provider(region=REGION, attribution_baggage=_KEYS) as world:
        with _in_context(baggage.set_baggage("tenant", "outer")), world.tracer.start_as_current_span("batch"):
            with _in_context(baggage.set_baggage("tenant", "inner")):
                _put(world)
            _put(world)
        assert _whose(world) == {
            Attribution(tenant="inner"): pytest.approx(PUT_USD),
            Attribution(tenant="outer"): pytest.approx(PUT_USD),
        }


# --- precedence and conservation ----------------------------------------------------------------

_MAYBE = st.sampled_from(["", "", "a", "b"])
_SOURCES = st.fixed_dictionaries(
    {name: _MAYBE for name in ("span", "tag", "view", "carried", "rule", "own", "inner", "put_carried", "put_rule")}
)


def _expected(said: dict[str, str]) -> tuple[str, str]:
    """Return the label of the local root and of the call inside it, as the order of precedence has it."""
    # attribute() around the root, else the first one inside the view: both are attribute().
    root = said["span"] or said["tag"] or said["view"] or said["inner"] or said["carried"] or said["rule"]
    carried = said["put_carried"] or said["carried"]
    own = said["own"] or said["inner"] or said["tag"]
    own = own or (carried if carried != said["carried"] else "")
    own = own or (said["put_rule"] if not carried else "")
    return root, own or root


@settings(max_examples=150, deadline=None)
@given(tenant=_SOURCES, plan=_SOURCES)
def test_precedence_holds_label_by_label_for_every_mixture_of_sources(
    tenant: dict[str, str], plan: dict[str, str]
) -> None:
    rules = (
        AttributionRule(entrypoint="*", span=(("t.root", "*"),), tenant="{t.root}"),
        AttributionRule(entrypoint="*", span=(("p.root", "*"),), labels=(("plan", "{p.root}"),)),
        AttributionRule(span=(("t.put", "*"),), tenant="{t.put}"),
        AttributionRule(span=(("p.put", "*"),), labels=(("plan", "{p.put}"),)),
    )
    both = (("tenant", "t", names.TENANT, tenant), ("plan", "p", "spancost.label.plan", plan))

    def attributes(source: str, rule: str, suffix: str) -> dict[str, str]:
        found = {name: said[source] for _, _, name, said in both if said[source]}
        return found | {f"{short}.{suffix}": said[rule] for _, short, _, said in both if said[rule]}

    def carrying(source: str) -> otel_context.Context:
        context = otel_context.get_current()
        for key, _, _, said in both:
            if said[source]:
                context = baggage.set_baggage(key, said[source], context)
        return context

    def tags(source: str) -> dict[str, str]:
        return {key: said[source] for key, _, _, said in both if said[source]}

    with priced_provider(region=REGION, attribution_rules=rules, attribution_baggage=_KEYS) as world:
        job = attributes("span", "rule", "root")
        with (
            _in_context(carrying("carried")),
            attribute(**tags("tag")),
            world.tracer.start_as_current_span("job", attributes=job),
        ):
            with attribute(**tags("view")):
                pass
            with attribute(**tags("inner")), _in_context(carrying("put_carried")):
                _put(world, **attributes("own", "put_rule", "put"))
        of_root, of_put = map(_attribution, _expected(tenant), _expected(plan))
        assert list(_whose(world)) == [of_put]
        assert list(_requests(world)) == [of_root]
        assert world.attributes("job").get(names.TENANT, "") == of_root.tenant
        assert world.attributes("put").get(names.TENANT, "") in ("", of_put.tenant)


def _attribution(tenant: str, plan: str) -> Attribution:
    return Attribution(tenant=tenant, labels=(("plan", plan),) if plan else ())


_STEPS = st.lists(
    st.tuples(st.sampled_from(["root", "put", "put", "step", "end", "publish", "late"]), st.integers(0, 9)), max_size=40
)
_MANY_RULES = (
    _CHECKOUT,
    AttributionRule(route="/carts/*", tenant="{app.customer}", feature="cart"),
    AttributionRule(span=(("app.customer", "c[1-5]"),), tenant="{app.customer}", labels=(("tier", "gold"),)),
    AttributionRule(entrypoint="*", team="rest"),
)


def _play(world: World, steps: list[tuple[str, int]]) -> None:
    started: list[Any] = []
    for step, number in steps:
        world.clock.advance(0.25)
        parent = started[number % len(started)] if started else None
        customer = {"app.customer": f"c{number}"} if number % 2 else {}
        context = baggage.set_baggage("customer-id", f"b{number}") if number % 3 == 0 else otel_context.Context()
        if parent is not None:
            context = trace.set_span_in_context(parent, context)
        if step == "root" or parent is None:
            root = {**server(f"/carts/{number}", response_bytes=number * 1000), **customer}
            fresh = baggage.set_baggage("customer-id", f"b{number}", otel_context.Context())
            started.append(world.tracer.start_span("GET", fresh, SpanKind.SERVER, root))
        elif step in ("put", "late"):
            world.tracer.start_span("put", context, SpanKind.CLIENT, {**put_item(), **customer}).end()
        elif step == "step":
            started.append(world.tracer.start_span("step", context, attributes=customer))
        elif step == "end":
            parent.end()
        else:
            world.publish()
    for span in started:
        world.clock.advance(0.125)
        if span.is_recording():
            span.end()
    world.publish()


def _sums(world: World) -> dict[tuple[Any, ...], tuple[float, ...]]:
    """Everything booked, by everything but whose it is and when."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for key, sums in world.recorded.charges.items():
        added = found.setdefault((key.line, key.labels, key.position), [0.0] * 4)
        for place, amount in enumerate((sums.quantity, sums.list_usd, sums.usd, float(sums.count))):
            added[place] += amount
    return {key: tuple(amounts) for key, amounts in found.items()}


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_rules_and_baggage_change_no_sum_only_whose_it_is(steps: list[tuple[str, int]]) -> None:
    ruled: dict[str, Any] = {"attribution_rules": _MANY_RULES, "attribution_baggage": _KEYS}
    with (
        priced_provider(region=REGION, compute="36usd/h") as plain,
        priced_provider(region=REGION, compute="36usd/h", **ruled) as world,
    ):
        for one in (plain, world):
            _play(one, steps)
        expected = _sums(plain)
        found = _sums(world)
        assert found.keys() == expected.keys()
        for key, amounts in expected.items():
            assert found[key] == pytest.approx(amounts, rel=1e-9, abs=1e-18)
        assert sum(_requests(world).values()) == sum(_requests(plain).values())
        totals = [
            [
                dict(span.attributes or {}).get(name)
                for span in one.spans
                for name in (names.TOTAL_USD, names.DIRECT_USD)
            ]
            for one in (plain, world)
        ]
        assert totals[0] == pytest.approx(totals[1])


# --- guards and fork ----------------------------------------------------------------------------


class _Broken(Exception):
    pass


@pytest.mark.parametrize("broken", ["of_root", "of_span"])
def test_failing_rule_leaves_span_and_application_untouched_and_is_counted(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise _Broken

    monkeypatch.setattr(BoundRules, broken, fail)
    rules = (AttributionRule(span=(("app.customer", "*"),), tenant="{app.customer}"),)
    with priced_provider(reraise=False, region=REGION, compute="36usd/h", attribution_rules=rules) as world:
        witness = Witness()
        world.provider.add_span_processor(witness)
        with attribute(feature="f"), world.tracer.start_as_current_span("job"):
            world.clock.advance(1.0)
            _put(world, **{"app.customer": "7"})
        assert witness.ended == ["put", "job"]
        assert world.engine.errors.counts == {"attribution": 1}
        assert world.attributes("job")[names.TOTAL_USD] == pytest.approx(0.01 + PUT_USD)
        assert sum(_whose(world).values()) == pytest.approx(PUT_USD)
        assert {whose.feature for whose in _whose(world)} == {"f"}


def test_baggage_value_that_cannot_be_read_leaves_the_span_priced_and_is_counted() -> None:
    class Odd:
        def __str__(self) -> str:
            raise _Broken

    with priced_provider(reraise=False, region=REGION, attribution_baggage=_KEYS) as world:
        with _in_context(baggage.set_baggage("tenant", Odd())):
            _put(world)
        assert world.engine.errors.counts == {"attribution": 1}
        assert _whose(world) == {Attribution(): pytest.approx(PUT_USD)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_rules_hold_in_a_forked_child() -> None:
    with priced_provider(region=REGION, attribution_rules=(_CHECKOUT,)) as world:
        world.tracer.start_span("GET", kind=SpanKind.SERVER, attributes=server("/cart/1")).end()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                world.tracer.start_span("child", kind=SpanKind.SERVER, attributes=server("/cart/2")).end()
                os.write(write, str(world.attributes("child").get(names.FEATURE)).encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        assert os.read(read, 100) == b"checkout"
        os.close(read)
        assert world.attributes("GET")[names.FEATURE] == "checkout"


def test_kept_trace_has_the_attribution_that_rules_give() -> None:
    with priced_provider(region=REGION, attribution_rules=(_CHECKOUT,)) as world:
        world.engine.keep_traces = True
        with world.tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server("/cart/1")):
            _put(world)
        world.publish()
        kept: list[KeptTrace] = [one for batch in world.recorded.batches for one in batch.traces]
        assert [one.attribution.feature for one in kept] == ["checkout"]
