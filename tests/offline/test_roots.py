"""Whose cost it is: local roots found from parents that may stand anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spancost import names
from tests.offline.traces import Span, otlp_lines, otlp_span, priced, priced_spans
from tests.recorded import NOW_NS
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, SMS_USD, chat, chat_usd, put_item, server, sms

_CART = Span(1, 0, "GET", "SERVER", server("/carts/{id}"))


def _totals(rollup: Any) -> dict[tuple[str, ...], float]:
    return {row.key: row.usd for row in rollup.rows}


def test_a_charge_belongs_to_the_route_above_it_though_the_parent_comes_later(tmp_path: Path) -> None:
    spans = [Span(3, 2, "put", "CLIENT", put_item()), Span(2, 1), _CART]
    rollup = priced_spans(tmp_path, spans, ["route", "method", "position"])
    assert _totals(rollup) == {
        ("/carts/{id}", "GET", "inner"): pytest.approx(PUT_USD, rel=1e-12),
        ("/carts/{id}", "GET", "entry"): 0.0,
    }
    assert (rollup.requests, rollup.roots) == (1, 1)


def test_a_server_span_of_another_service_is_a_root_of_its_own(tmp_path: Path) -> None:
    called = server("/stock/{id}")
    spans = [
        _CART,
        Span(2, 1, "GET", "CLIENT"),
        Span(3, 2, "GET", "SERVER", called, service="stock"),
        Span(4, 3, "put", "CLIENT", put_item(), service="stock"),
    ]
    rollup = priced_spans(tmp_path, spans, ["service", "entrypoint"])
    assert _totals(rollup) == {("stock", "GET /stock/{id}"): pytest.approx(PUT_USD), ("shop", "GET /carts/{id}"): 0.0}
    assert [row.requests for row in rollup.rows] == [1, 1]


def test_a_service_that_calls_itself_has_two_requests(tmp_path: Path) -> None:
    spans = [_CART, Span(2, 1, "GET", "CLIENT"), Span(3, 2, "GET", "SERVER", server("/inner"))]
    assert priced_spans(tmp_path, spans).requests == 2


def test_a_server_span_inside_a_server_span_sends_its_bytes_only_once(tmp_path: Path) -> None:
    attributes = server(response_bytes=GB)
    spans = [Span(1, 0, "outer", "SERVER", attributes), Span(2, 1, "inner", "SERVER", attributes)]
    rollup = priced_spans(tmp_path, spans, egress_clients="internet")
    assert rollup.usd == pytest.approx(EGRESS_USD_PER_GB)
    assert rollup.requests == 1


def test_what_a_span_says_of_its_parent_counts_more_than_the_resources(tmp_path: Path) -> None:
    spans = [
        Span(1, 0, "job"),
        Span(2, 1, "step", service="other", parent_is_remote=False),
        Span(3, 1, "step", parent_is_remote=True),
    ]
    assert priced_spans(tmp_path, spans).roots == 2


def test_a_span_whose_parent_is_in_no_file_is_a_root_with_its_own_name(tmp_path: Path) -> None:
    spans = [Span(2, 99, "nightly import"), Span(3, 2, "put", "CLIENT", put_item())]
    assert _totals(priced_spans(tmp_path, spans)) == {("nightly import",): pytest.approx(PUT_USD)}


def test_a_consumer_is_named_by_operation_and_destination(tmp_path: Path) -> None:
    attributes = {"messaging.operation": "process", "messaging.destination.name": "orders"}
    spans = [Span(1, 77, "whatever", "CONSUMER", attributes), Span(2, 1, "put", "CLIENT", put_item())]
    rollup = priced_spans(tmp_path, spans)
    assert _totals(rollup) == {("process orders",): pytest.approx(PUT_USD)}
    assert rollup.requests == 1


@pytest.mark.parametrize("is_remote", [None, False])
def test_processing_of_a_message_is_a_root_though_it_starts_inside_the_receiving_span(
    tmp_path: Path, is_remote: bool | None
) -> None:
    attributes = {"messaging.system": "aws.sqs", "messaging.destination": "orders"}
    spans = [
        Span(1, 0, "orders receive", "CONSUMER", {**attributes, "messaging.operation": "receive"}),
        Span(
            2,
            1,
            "orders process",
            "CONSUMER",
            {**attributes, "messaging.operation": "process"},
            parent_is_remote=is_remote,
        ),
        Span(3, 2, "put", "CLIENT", put_item(), parent_is_remote=is_remote),
    ]
    rollup = priced_spans(tmp_path, spans, ["entrypoint"])
    assert {row.key[0]: (row.requests, row.usd) for row in rollup.rows} == {
        "receive orders": (1, 0.0),
        "process orders": (1, pytest.approx(PUT_USD)),
    }


def test_parents_that_form_a_ring_end_somewhere(tmp_path: Path) -> None:
    spans = [
        Span(1, 2, "a", "CLIENT", chat(10, 1), scope="x"),
        Span(2, 1, "b", "CLIENT", sms()),
        Span(3, 3, "self", "CLIENT", put_item()),
    ]
    rollup = priced_spans(tmp_path, spans)
    assert rollup.spans == 3
    assert rollup.usd == pytest.approx(chat_usd(10, 1) + SMS_USD + PUT_USD)


def test_a_span_read_twice_is_charged_once(tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text(otlp_lines([_CART, Span(2, 1, "put", "CLIENT", put_item())]), encoding="utf-8")
    rollup, _ = priced([path, path])
    assert (rollup.spans, rollup.repeated, rollup.requests) == (2, 2, 1)
    assert rollup.usd == pytest.approx(PUT_USD)


def test_two_sides_of_one_call_may_share_a_span_id_as_zipkin_has_it(tmp_path: Path) -> None:
    spans = [
        Span(1, 0, "call", "CLIENT", sms()),
        Span(1, 0, "call", "SERVER", server("/sms"), service="gateway"),
    ]
    rollup = priced_spans(tmp_path, spans)
    assert (rollup.spans, rollup.repeated) == (2, 0)
    assert rollup.usd == pytest.approx(SMS_USD)


def test_tenant_of_the_root_holds_for_its_charges_unless_they_say_otherwise(tmp_path: Path) -> None:
    own, others = {names.TENANT: "acme"}, {names.TENANT: "globex"}
    spans = [
        _CART._replace(attributes={**_CART.attributes, **own, names.TEAM: "web"}),
        Span(2, 1, "put", "CLIENT", put_item()),
        Span(3, 1, "put", "CLIENT", {**put_item(), **others}),
    ]
    rollup = priced_spans(tmp_path, spans, ["tenant", "team"])
    assert _totals(rollup) == {("acme", "web"): pytest.approx(PUT_USD), ("globex", "web"): pytest.approx(PUT_USD)}
    assert [row.requests for row in rollup.rows if row.key[0] == "acme"] == [1]


def test_rows_by_time_are_in_its_order_and_use_the_time_of_spans(tmp_path: Path) -> None:
    hour_ns = 3600 * 10**9
    spans = [
        Span(
            number,
            kind="SERVER",
            attributes=server(),
            trace=number,
            start_ns=NOW_NS + number * hour_ns,
            end_ns=NOW_NS + number * hour_ns + 1,
        )
        for number in (3, 1, 2)
    ]
    rollup = priced_spans(tmp_path, spans, ["hour"])
    assert [row.key[0] for row in rollup.rows] == ["2026-11-21T01:00Z", "2026-11-21T02:00Z", "2026-11-21T03:00Z"]
    assert [row.requests for row in rollup.rows] == [1, 1, 1]
    assert [row.key[0] for row in priced_spans(tmp_path, spans, ["day"]).rows] == ["2026-11-21"]


def test_prices_of_another_day_are_those_of_that_day(tmp_path: Path) -> None:
    spans = [Span(1, 0, "put", "CLIENT", put_item())]
    before_ns = 1_728_000_000 * 10**9  # 2024-10-04: a write unit cost twice as much until November
    assert priced_spans(tmp_path, spans, at_ns=before_ns).usd == pytest.approx(2 * PUT_USD)


def test_an_attribute_that_spancost_wrote_is_never_added(tmp_path: Path) -> None:
    written = {names.DIRECT_USD: 5.0, names.TOTAL_USD: 7.0, names.OPERATION_COST: 5.0, names.SOURCE: "spancost:2026"}
    spans = [Span(1, 0, "put", "CLIENT", {**put_item(), **written})]
    assert priced_spans(tmp_path, spans).usd == pytest.approx(PUT_USD)


def test_ids_in_base64_and_in_capitals_are_the_same_ids(tmp_path: Path) -> None:
    root, child = otlp_span(_CART._replace(trace=0xABCDEF, id=0xFEED)), otlp_span(Span(2, 0xFEED, trace=0xABCDEF))
    child |= {"traceId": f"{0xABCDEF:032X}", "parentSpanId": "AAAAAAAA/u0="}
    batch = {"scopeSpans": [{"spans": [child, root]}]}
    (tmp_path / "tempo.json").write_text(json.dumps({"batches": [batch]}), encoding="utf-8")
    rollup, problems = priced([tmp_path / "tempo.json"])
    assert (problems.first, rollup.spans, rollup.roots) == ([], 2, 1)


_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "put": put_item(),
    "chat": chat(100, 10),
    "sms": sms(),
    "plain": {"code.function.name": "load", "list": [1, "two", 3.5, True], "map": {"inner": {"deep": [1]}}},
}


@st.composite
def _forests(draw: st.DrawFn) -> list[Span]:
    spans: list[Span] = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        is_server = draw(st.booleans())
        start_ns = NOW_NS + draw(st.integers(0, 1000))
        spans.append(
            Span(
                number,
                draw(st.integers(0, number - 1)),
                f"span {number}",
                "SERVER" if is_server else draw(st.sampled_from(("INTERNAL", "CLIENT"))),
                server(f"/r{number % 3}") if is_server else _ATTRIBUTES[draw(st.sampled_from(sorted(_ATTRIBUTES)))],
                draw(st.sampled_from(("a", "b"))),
                draw(st.sampled_from(("shop", "stock"))),
                start_ns=start_ns,
                end_ns=start_ns + draw(st.integers(0, 1000)),
            )
        )
    return spans


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_forests(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_and_batches_never_change_the_money(tmp_path: Path, spans: list[Span], shuffle: Any, batch: int) -> None:
    by = ("service", "entrypoint", "component", "status", "reason")
    (tmp_path / "a.jsonl").write_text(otlp_lines(spans, batch=len(spans)), encoding="utf-8")
    expected, _ = priced([tmp_path / "a.jsonl"], by)
    shuffle.shuffle(spans)
    (tmp_path / "b.jsonl").write_text(otlp_lines(spans, batch=batch), encoding="utf-8")
    found, problems = priced([tmp_path / "b.jsonl"], by)
    assert problems.first == []
    assert {row.key: row.charge_count for row in found.rows} == {row.key: row.charge_count for row in expected.rows}
    assert _totals(found) == {key: pytest.approx(usd, rel=1e-9) for key, usd in _totals(expected).items()}
    assert sum(row.usd for row in found.rows) == pytest.approx(found.usd, rel=1e-12)
    assert sum(found.component_usd.values()) == pytest.approx(found.usd, rel=1e-9)
    assert (found.requests, found.roots, found.duplicates) == (expected.requests, expected.roots, expected.duplicates)
