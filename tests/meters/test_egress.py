from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spancost import names
from spancost.charge import CLIENT, SERVER, Charge, SpanView
from spancost.config.values import EgressRule
from spancost.meters.egress import EgressMeter
from spancost.prices.book import PriceBook, PriceOverride

BOOK = PriceBook.shipped()
NOV_2026_NS = 1_793_500_000_000_000_000
GB = 2**30
PUBLIC = {"client_private": False}
SPANS = Path(__file__).parents[1] / "data" / "spans"
MODES = ("default", "http", "http_dup", "http_headers")


def view(
    facts: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
    *,
    kind: int = SERVER,
    start_ns: int = NOV_2026_NS,
) -> SpanView:
    method = {"http.request.method": "GET", "http.response.status_code": 200}
    return SpanView("GET /", kind, "test", method | (attributes or {}), start_ns, start_ns + 1, facts or {})


def one(meter: EgressMeter, span: SpanView) -> Charge:
    (charge,) = meter.measure(span)
    return charge


@pytest.mark.parametrize(
    ("provider", "region", "usd_per_gb"),
    [
        ("aws", "us-east-1", 0.09),
        ("aws", "eu-central-1", 0.09),
        ("aws", "ap-northeast-1", 0.114),
        ("aws", "sa-east-1", 0.15),
        ("gcp", "us-central1", 0.12),
        ("azure", "eastus", 0.087),
    ],
)
def test_bytes_cost_the_first_paid_tier_of_the_region(provider: str, region: str, usd_per_gb: float) -> None:
    charge = one(EgressMeter(BOOK, provider, region), view(PUBLIC | {"response_bytes": 5 * GB}))
    assert charge.quantity == 5
    assert charge.usd == pytest.approx(5 * usd_per_gb, rel=1e-12)
    assert charge.list_usd == charge.usd
    line = charge.line
    assert (line.component, line.provider, line.operation, line.unit) == ("egress", provider, "internet", "GB")
    assert (line.status, line.region, line.basis, line.reason) == (names.PRICED, region, "", "")
    assert line.sku
    assert line.source.startswith("spancost:20")


def test_a_gigabyte_has_2_to_the_30_bytes() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1")
    assert one(meter, view(PUBLIC | {"response_bytes": 48_213})).usd == pytest.approx(48_213 / 2**30 * 0.09, rel=1e-12)


@pytest.mark.parametrize(
    ("facts", "attributes", "size_bytes"),
    [
        ({"response_bytes": 7}, {"http.response.body.size": 8}, 7),
        ({}, {"http.response.body.size": 8, "http.response.header.content_length": ["9"]}, 8),
        ({}, {"http.response.header.content_length": ["9"]}, 9),
        ({}, {"http.response.header.content_length": ("9",)}, 9),
        ({}, {"http.response.header.content_length": "9"}, 9),
        ({}, {"http.response_content_length": 10}, 10),
        ({"response_streaming": True}, {"http.response.body.size": 8}, 8),
        ({"response_streaming": True, "response_bytes": 3000}, {}, 3000),
        ({"response_bytes": 0}, {}, 0),
        ({}, {"http.request.method": "HEAD", "http.response.header.content_length": ["9"]}, 0),
        ({}, {"http.response.status_code": 304, "http.response.header.content_length": ["9"]}, 0),
    ],
)
def test_size_is_taken_from_the_best_witness(
    facts: dict[str, Any], attributes: dict[str, Any], size_bytes: int
) -> None:
    charge = one(EgressMeter(BOOK, "aws", "us-east-1"), view(PUBLIC | facts, attributes))
    assert charge.quantity * GB == size_bytes
    assert charge.line.status == names.PRICED


def test_streamed_body_is_not_charged_before_its_bytes_are_known() -> None:
    assert EgressMeter(BOOK, "aws", "us-east-1").measure(view({"response_streaming": True})) == []


def test_unknown_size_is_unpriced() -> None:
    charge = one(EgressMeter(BOOK, "aws", "us-east-1"), view())
    assert (charge.line.status, charge.line.reason) == (names.UNPRICED, "response_size_unknown")
    assert (charge.quantity, charge.usd, charge.list_usd) == (0, 0, 0)


@pytest.mark.parametrize(
    ("facts", "attributes"),
    [
        ({"response_bytes": -1}, {}),
        ({"response_bytes": True}, {}),
        ({"response_bytes": "many"}, {}),
        ({"response_bytes": 2**63}, {}),
        ({}, {"http.response.body.size": float("nan")}),
        ({}, {"http.response.body.size": float("inf")}),
        ({}, {"http.response.body.size": -5}),
        ({}, {"http.response.body.size": "lots"}),
        ({}, {"http.response.header.content_length": ["-5"]}),
        ({}, {"http.response.header.content_length": ["9" * 400]}),
        ({}, {"http.response.header.content_length": ["x" * 10_000_000]}),
        ({}, {"http.response.header.content_length": []}),
        ({}, {"http.response.header.content_length": [["9"]]}),
    ],
)
def test_impossible_size_is_unpriced(facts: dict[str, Any], attributes: dict[str, Any]) -> None:
    charge = one(EgressMeter(BOOK, "aws", "us-east-1"), view(PUBLIC | facts, attributes))
    assert (charge.line.status, charge.line.reason, charge.usd) == (names.UNPRICED, "bad_size", 0)


@pytest.mark.parametrize(("provider", "region"), [("", ""), ("aws", ""), ("", "us-east-1")])
def test_unknown_region_is_unpriced_with_the_quantity(provider: str, region: str) -> None:
    charge = one(EgressMeter(BOOK, provider, region), view(PUBLIC | {"response_bytes": GB}))
    assert (charge.line.status, charge.line.reason) == (names.UNPRICED, "region_unknown")
    assert (charge.quantity, charge.usd, charge.list_usd) == (1, 0, 0)


def test_unknown_provider_is_unpriced() -> None:
    charge = one(EgressMeter(BOOK, "heroku", "eu"), view(PUBLIC | {"response_bytes": GB}))
    assert (charge.line.status, charge.line.reason, charge.usd) == (names.UNPRICED, "unknown_sku", 0)


def test_region_without_a_price_falls_back_and_is_marked() -> None:
    charge = one(EgressMeter(BOOK, "aws", "moon-north-1"), view(PUBLIC | {"response_bytes": GB}))
    assert (charge.line.status, charge.line.basis) == (names.ESTIMATED, "region_fallback")
    assert charge.usd == pytest.approx(0.09)
    charge = one(EgressMeter(BOOK, "aws", "moon-north-1"), view({"response_bytes": GB}))
    assert charge.line.basis == "client_assumed_internet,region_fallback"


INTERNET = (names.PRICED, "", 0.09)
ASSUMED = (names.ESTIMATED, "client_assumed_internet", 0.09)
FREE = (names.FREE, "", 0.0)
HEADER = "http.request.header."


def told(charge: Charge) -> tuple[str, str, float]:
    """What is said of one GB."""
    return charge.line.status, charge.line.basis, round(charge.usd, 12)


@pytest.mark.parametrize(
    ("facts", "attributes", "expected"),
    [
        ({"client_private": False}, {}, INTERNET),
        ({"client_private": False, "forwarded": True}, {}, INTERNET),
        ({"client_private": True}, {}, FREE),
        ({"client_private": True, "forwarded": True}, {}, ASSUMED),
        ({"client_private": True}, {HEADER + "x_forwarded_for": ["8.8.8.8"]}, ASSUMED),
        ({"client_private": True}, {"http.client_ip": "8.8.8.8"}, INTERNET),
        ({"client_private": True}, {"client.address": "2001:4860:4860::8888"}, INTERNET),
        ({"forwarded": True}, {}, ASSUMED),
        ({}, {}, ASSUMED),
        ({}, {"client.address": "8.8.8.8"}, INTERNET),
        ({}, {"client.address": "::ffff:8.8.8.8"}, INTERNET),
        ({}, {"client.address": "::ffff:10.0.0.1"}, FREE),
        ({}, {"net.peer.ip": "127.0.0.1"}, FREE),
        ({}, {"net.peer.ip": "172.31.4.4"}, FREE),
        ({}, {"net.peer.ip": "100.64.0.9"}, FREE),
        ({}, {"net.sock.peer.addr": "fd00::1"}, FREE),
        ({}, {"net.sock.peer.addr": "fd00::1", HEADER + "via": ["1.1 lb"]}, ASSUMED),
        ({}, {"net.peer.ip": "10.0.0.7", "http.client_ip": "8.8.8.8"}, INTERNET),
        ({}, {"client.address": "a-host-name"}, ASSUMED),
        ({}, {"client.address": "unix:"}, ASSUMED),
        ({}, {"client.address": 5}, ASSUMED),
    ],
)
def test_private_client_is_free_only_where_nothing_stands_between(
    facts: dict[str, Any], attributes: dict[str, Any], expected: tuple[str, str, float]
) -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1")
    assert told(one(meter, view({"response_bytes": GB} | facts, attributes))) == expected


def test_proxy_that_is_configured_makes_a_private_peer_say_nothing() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1", proxy=True)
    assert told(one(meter, view({"response_bytes": GB, "client_private": True}))) == ASSUMED
    assert told(one(meter, view({"response_bytes": GB, "client_private": False}))) == INTERNET


def test_internet_clients_need_no_peer_when_the_user_says_so() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1", clients="internet")
    for facts in ({}, {"client_private": True}, {"client_private": True, "forwarded": True}):
        assert told(one(meter, view({"response_bytes": GB} | facts))) == INTERNET


def test_cdn_clients_cost_what_cloudfront_charges_for_the_bytes_once() -> None:
    charge = one(EgressMeter(BOOK, "aws", "us-east-1", clients="cdn"), view(PUBLIC | {"response_bytes": 2 * GB}))
    assert charge.usd == pytest.approx(2 * 0.085)
    assert (charge.line.operation, charge.line.status) == ("cdn", names.ESTIMATED)
    assert charge.line.basis == "cdn_cache_not_seen"


def test_cdn_of_a_cloud_without_a_price_is_unpriced() -> None:
    charge = one(EgressMeter(BOOK, "gcp", "us-central1", clients="cdn"), view(PUBLIC | {"response_bytes": GB}))
    assert (charge.line.status, charge.line.reason, charge.usd) == (names.UNPRICED, "no_cdn_price", 0)


RULES = (
    EgressRule("private", service="admin-*"),
    EgressRule("cdn", route="/static/*"),
    EgressRule("internet", route="/api/*"),
)


@pytest.mark.parametrize(
    ("service", "route", "operation", "status"),
    [
        ("shop", "/static/{file}", "cdn", names.ESTIMATED),
        ("shop", "/api/carts", "internet", names.PRICED),
        ("shop", "/health", "private", names.FREE),
        ("shop", None, "private", names.FREE),
        ("admin-eu", "/api/carts", "private", names.FREE),
    ],
)
def test_first_rule_that_matches_service_and_route_wins(
    service: str, route: str | None, operation: str, status: str
) -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1", rules=RULES, service=service)
    attributes = {} if route is None else {"http.route": route}
    for _ in range(2):
        line = one(meter, view({"response_bytes": GB, "client_private": True}, attributes)).line
        assert (line.operation, line.status) == (operation, status)


def test_routes_that_are_remembered_are_bounded() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1", rules=RULES, service="shop")
    for number in range(5000):
        charge = one(meter, view({"response_bytes": 1}, {"http.route": f"/api/{number}"}))
        assert charge.line.operation == "internet"
    assert len(meter._of_route) <= 1024  # pyright: ignore[reportPrivateUsage]


def test_private_clients_are_free_when_the_user_says_so() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1", clients="private")
    charge = one(meter, view(PUBLIC | {"response_bytes": 3 * GB}))
    assert (charge.line.status, charge.quantity, charge.usd, charge.list_usd) == (names.FREE, 3, 0, 0)
    assert one(meter, view()).line.status == names.FREE


@pytest.mark.parametrize(
    "span",
    [
        view({"response_bytes": 5}, kind=CLIENT),
        SpanView("grpc", SERVER, "test", {"rpc.system": "grpc"}, 0, 1),
    ],
)
def test_other_spans_are_none_of_its_business(span: SpanView) -> None:
    assert EgressMeter(BOOK, "aws", "us-east-1").measure(span) == []


def test_override_changes_what_it_costs_you_and_not_the_list_price() -> None:
    override = PriceOverride("aws.egress.internet", Decimal("0.05"), "GB", place="spancost.yaml")
    charge = one(
        EgressMeter(BOOK.with_overrides([override]), "aws", "us-east-1"), view(PUBLIC | {"response_bytes": 2 * GB})
    )
    assert charge.usd == pytest.approx(2 * 0.05)
    assert charge.list_usd == pytest.approx(2 * 0.09)
    assert charge.line.source == "override:spancost.yaml"


def test_lines_are_shared_between_spans() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1")
    first, second = (one(meter, view(PUBLIC | {"response_bytes": n})) for n in (1, 2))
    assert first.line is second.line


SERVER_FILES = [f"{framework}.{mode}" for framework in ("flask", "django", "fastapi") for mode in MODES]


@pytest.mark.parametrize("name", SERVER_FILES)
def test_every_recorded_server_span_is_charged_by_its_header_or_says_that_the_size_is_unknown(name: str) -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1")
    servers = sized = 0
    for span in json.loads((SPANS / f"{name}.json").read_text())["spans"]:
        kind = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER").index(span["kind"])
        recorded = SpanView(span["name"], kind, span["scope"]["name"], span["attributes"], NOV_2026_NS, NOV_2026_NS)
        charges = meter.measure(recorded)
        if kind != SERVER:
            assert charges == []
            continue
        servers += 1
        (charge,) = charges
        header = span["attributes"].get("http.response.header.content_length")
        if header is None:
            assert charge.line.reason == "response_size_unknown"
        else:
            sized += 1
            assert charge.quantity == int(header[0]) / GB
            assert (charge.line.status, charge.usd) == (names.FREE, 0)  # recorded with clients on 127.0.0.1
    assert servers >= 8
    assert (sized > 0) == (name.endswith("http_headers") and not name.startswith("django"))
