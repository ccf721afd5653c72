"""Stored spans are attributed by the same rules as live ones, and what each rule catches adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.attribution_rules import AttributionRule, Piece, Ruled
from spancost.config import Config
from spancost.offline import labels as offline_labels
from spancost.offline.labels import Attributions, Whose
from spancost.offline.pricing import Pricing
from spancost.offline.reading import Problems, read_files
from spancost.offline.ruled import pieces
from spancost.prices.book import PriceBook
from spancost.testing import priced_provider
from spancost.window import Attribution
from tests.offline.traces import REGION, Span, otlp_lines, priced_spans
from tests.spans import PUT_USD, put_item, server, start

_HEADER = "http.request.header.x_tenant"
_RULES = (
    AttributionRule(route="/cart/*", feature="checkout", team="web"),
    AttributionRule(entrypoint="nightly-*", feature="reporting", labels=(("cost_center", "4711"),)),
    AttributionRule(span=((_HEADER, "*"),), tenant=f"{{{_HEADER}}}"),
    AttributionRule(span=(("app.customer", "*"),), tenant="c-{app.customer}"),
    AttributionRule(resource=(("service.name", "sh*"),), team="shop"),
)
_SPANS = [
    Span(1, 0, "POST", "SERVER", {**server("/cart/1", method="POST"), _HEADER: ("acme",)}),
    Span(2, 1, "put", "CLIENT", put_item()),
    Span(3, 1, "put", "CLIENT", {**put_item(), "app.customer": "7"}),
    Span(4, 1, "put", "CLIENT", {**put_item(), "app.customer": "8", names.TENANT: "said"}),
    Span(11, 0, "nightly-import", trace=2),
    Span(12, 11, "put", "CLIENT", put_item(), trace=2),
    Span(21, 0, "GET", "SERVER", {**server("/other"), names.TEAM: "said"}, trace=3, service="billing"),
    Span(22, 21, "put", "CLIENT", put_item(), trace=3, service="billing"),
]
_BY = ("feature", "tenant", "team")


def _aws(spans: list[Span], folder: Path, rules: tuple[AttributionRule, ...] = _RULES) -> dict[tuple[str, ...], float]:
    found = priced_spans(folder, spans, _BY, attribution_rules=rules)
    return {row.key: row.component_usd["aws"] for row in found.rows}


def test_rules_hold_for_stored_spans_and_what_a_span_says_goes_before_them(tmp_path: Path) -> None:
    put = pytest.approx(PUT_USD)
    assert _aws(_SPANS, tmp_path) == {
        ("checkout", "acme", "web"): put,
        ("checkout", "c-7", "web"): put,
        ("checkout", "said", "web"): put,
        ("reporting", "", "shop"): put,
        ("", "", "said"): put,
    }


def test_requests_are_counted_under_what_the_rules_say(tmp_path: Path) -> None:
    found = priced_spans(tmp_path, _SPANS, ("feature",), attribution_rules=_RULES)
    assert {row.key: row.requests for row in found.rows} == {("checkout",): 1, ("reporting",): 0, ("",): 1}


def test_stored_and_live_spans_are_split_alike(tmp_path: Path) -> None:
    with priced_provider(resource={"service.name": "shop"}, region=REGION, attribution_rules=_RULES) as world:
        live: dict[int, Any] = {}
        for span in _SPANS[:6]:
            live[span.id] = start(
                world.tracer, span.name, live.get(span.parent), SpanKind[span.kind], dict(span.attributes)
            )
        for span in reversed(live.values()):
            span.end()
        world.publish()
        expected: dict[tuple[str, ...], float] = {}
        for key, sums in world.recorded.charges.items():
            if key.line.component == names.AWS:
                expected[key.attribution[:3]] = expected.get(key.attribution[:3], 0.0) + sums.usd
    assert _aws(_SPANS[:6], tmp_path) == pytest.approx(expected)


def test_names_that_rules_use_make_a_span_wanted() -> None:
    pricing = Pricing(Config(attribution_rules=_RULES), PriceBook.shipped())
    assert pricing.is_wanted(("db.system", "app.customer"))
    assert pricing.is_wanted(("db.system", "spancost.label.plan"))
    assert not pricing.is_wanted(("db.system", "net.peer.name"))
    assert not Pricing(Config(), PriceBook.shipped()).is_wanted(("db.system", "app.customer"))


_ROUTES = st.sampled_from(["/cart/1", "/other", "/cart/2"])
_CALLS = st.lists(st.tuples(_ROUTES, st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(_CALLS)
def test_rules_change_no_sum_of_stored_spans_and_pieces_add_up_to_it(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("ruled")
    spans: list[Span] = []
    for trace, (route, tenant, customer, is_request) in enumerate(calls, 1):
        header = {_HEADER: (f"t{tenant}",)} if tenant else {}
        own = {"app.customer": f"{customer}"} if customer else {}
        root = Span(trace * 10, 0, "GET", "SERVER", {**server(route, response_bytes=1000), **header}, trace=trace)
        spans.append(root if is_request else Span(trace * 10, 0, "nightly-x", trace=trace))
        spans.append(Span(trace * 10 + 1, trace * 10, "put", "CLIENT", {**put_item(), **own}, trace=trace))
    plain, ruled = (priced_spans(folder, spans, _BY, attribution_rules=rules) for rules in ((), _RULES))
    assert ruled.usd == pytest.approx(plain.usd, rel=1e-9)
    assert ruled.component_usd == pytest.approx(plain.component_usd, rel=1e-9)
    assert (ruled.requests, ruled.roots, ruled.charge_count) == (plain.requests, plain.roots, plain.charge_count)
    found = _pieces(folder, spans)
    assert sum(piece.usd for piece in found) == pytest.approx(plain.usd, rel=1e-9)
    assert sum(piece.requests for piece in found) == plain.roots
    by_whose: dict[tuple[str, ...], float] = {}
    for piece in found:
        by_whose[piece.attribution[:3]] = by_whose.get(piece.attribution[:3], 0.0) + piece.usd
    shown = {row.key: row.usd for row in ruled.rows}
    assert {key: usd for key, usd in by_whose.items() if usd} == pytest.approx(
        {key: usd for key, usd in shown.items() if usd}
    )


def _pieces(folder: Path, spans: list[Span]) -> list[Piece]:
    path = folder / "pieces.jsonl"
    path.write_text(otlp_lines(spans, batch=2), encoding="utf-8")
    pricing = Pricing(replace(Config(region=REGION), attribution_rules=_RULES), PriceBook.shipped())
    assert read_files([str(path)], pricing, Problems()) == []
    return list(pieces(pricing))


def test_pieces_name_the_rule_behind_each_label(tmp_path: Path) -> None:
    found = _pieces(tmp_path, _SPANS)
    roots = {piece.labels.shown: dict(piece.ruled.rules) for piece in found if piece.requests}
    assert roots == {
        "POST /cart/1": {"feature": 0, "team": 0, "tenant": 2},
        "nightly-import": {"feature": 1, "label.cost_center": 1, "team": 4},
        "GET /other": {},
    }
    inside = [dict(piece.ruled.rules)["tenant"] for piece in found if piece.usd and "tenant" in dict(piece.ruled.rules)]
    assert sorted(inside) == [2, 3, 3]


def test_beyond_the_bound_every_label_that_is_set_becomes_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_labels, "MAX_LABELS", 2)
    known = Attributions()
    known.number(Whose(Attribution("a")))
    ruled = Ruled(Attribution(tenant="t", labels=(("plan", "gold"),)), (("tenant", 0),))
    number = known.number(Whose(Attribution("b", labels=(("x", "y"),)), ruled, ruled))
    folded = Ruled(Attribution(tenant=names.OTHER), (("tenant", 0),))
    assert known.values[number] == Whose(Attribution(names.OTHER), folded, folded)
    assert known.number(Whose(Attribution("c"), ruled, ruled)) == number
