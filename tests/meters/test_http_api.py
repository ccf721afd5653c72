from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spancost import names
from spancost.charge import CLIENT, INTERNAL, SERVER, Charge, SpanView
from spancost.meters.http_api import HTTP_QUANTITY, MAX_UNKNOWN_HOSTS, HttpApiMeter
from spancost.meters.http_parts import host_and_path
from spancost.prices.discounts import Discount, Discounts
from spancost.prices.http_rules import HttpRules, rules_from

RULES = HttpRules.shipped()
SPANS = Path(__file__).parents[1] / "data" / "spans"
MODES = ("default", "http", "http_dup", "http_headers")


def view(method: str, url: str, status: int | None = 200, kind: int = CLIENT) -> SpanView:
    attributes: dict[str, Any] = {"http.request.method": method, "url.full": url}
    if status is not None:
        attributes["http.response.status_code"] = status
    return SpanView(method, kind, "test", attributes, 0, 1)


def one(span: SpanView, meter: HttpApiMeter | None = None) -> Charge:
    (charge,) = (meter or HttpApiMeter(RULES)).measure(span)
    return charge


TWILIO_SMS = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"


@pytest.mark.parametrize(
    ("method", "url", "provider", "usd", "status", "basis"),
    [
        (
            "GET",
            "https://maps.googleapis.com/maps/api/geocode/json?address=x&key=y",
            "google-maps",
            5 / 1000,
            "priced",
            "",
        ),
        ("POST", "https://google.serper.dev/search", "serper", 1 / 1000, None, None),
        ("POST", TWILIO_SMS, "twilio", 0.0083, "estimated", "quantity:1_segment"),
        ("POST", "https://api.elevenlabs.io/v1/text-to-speech/voice7", "elevenlabs", 0.08, "estimated", None),
        ("GET", "https://api.github.com/repos/a/b", "github", 0.0, "free", ""),
        ("POST", "https://api.stripe.com/v1/charges", "stripe", 0.0, "free", ""),
    ],
)
def test_known_call_is_one_unit_of_its_vendors_price(
    method: str, url: str, provider: str, usd: float, status: str | None, basis: str | None
) -> None:
    charge = one(view(method, url))
    assert charge.quantity == 1
    assert charge.usd == pytest.approx(1 * usd, rel=1e-12)
    assert charge.list_usd == charge.usd
    assert (charge.line.component, charge.line.provider) == ("http", provider)
    assert charge.line.source.startswith("spancost:")
    if status is not None:
        assert charge.line.status == status
    if basis is not None:
        assert charge.line.basis == basis


def test_token_metered_call_is_unpriced_because_its_tokens_were_not_seen() -> None:
    charge = one(view("POST", "https://api.openai.com/v1/chat/completions"))
    assert (charge.line.provider, charge.line.status, charge.line.reason, charge.usd) == (
        "openai",
        names.UNPRICED,
        "tokens_not_seen",
        0,
    )


def test_call_whose_price_depends_on_the_plan_is_unpriced() -> None:
    charge = one(view("POST", "https://api.brevo.com/v3/smtp/email"))
    assert (charge.line.status, charge.line.reason, charge.usd) == (names.UNPRICED, "plan_price", 0)


@pytest.mark.parametrize(("status", "expected"), [("201", 0.0083), (201.0, 0.0083), ("429", 0.0), (429.0, 0.0)])
def test_status_that_was_stored_as_text_or_float_is_one(status: Any, expected: float) -> None:
    assert one(view("POST", TWILIO_SMS, status)).usd == pytest.approx(expected)


@pytest.mark.parametrize("status", ["", "OK", "20", "2000", "²⁰⁰", 0.5, math.nan, math.inf, [200], True, -200])
def test_call_with_an_impossible_status_was_not_answered(status: Any) -> None:
    assert not HttpApiMeter(RULES).measure(view("POST", TWILIO_SMS, status))


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "estimated"), (302, "estimated"), (399, "estimated"), (400, "free"), (429, "free"), (500, "free")],
)
def test_refused_call_is_free(status: int, expected: str) -> None:
    charge = one(view("POST", TWILIO_SMS, status))
    assert charge.line.status == expected
    assert (charge.usd > 0) == (expected == "estimated")


def test_refused_llm_call_is_free() -> None:
    assert one(view("POST", "https://api.openai.com/v1/chat/completions", 429)).line.status == names.FREE


@pytest.mark.parametrize(
    "span",
    [
        view("POST", TWILIO_SMS, None),
        view("POST", TWILIO_SMS, kind=SERVER),
        view("POST", TWILIO_SMS, kind=INTERNAL),
        SpanView("chat", CLIENT, "test", {"gen_ai.system": "openai", "server.address": "api.openai.com"}, 0, 1),
        SpanView("GET", CLIENT, "test", {"http.request.method": "GET", "http.response.status_code": 200}, 0, 1),
        SpanView("GET", CLIENT, "test", {"http.request.method": 5, "http.response.status_code": 200}, 0, 1),
        SpanView("GET", CLIENT, "test", {"http.request.method": "GET", "http.response.status_code": "200"}, 0, 1),
    ],
)
def test_unanswered_calls_and_other_spans_give_no_charge(span: SpanView) -> None:
    assert HttpApiMeter(RULES).measure(span) == []


def test_unknown_host_is_unpriced_by_name_without_port_path_or_user() -> None:
    charge = one(view("get", "https://user:secret@Shop.Example.COM:8443/a/b?token=secret#x"))
    line = charge.line
    assert (line.provider, line.operation, line.status, line.reason) == (
        "shop.example.com",
        "GET",
        names.UNPRICED,
        "unknown_host",
    )
    assert "secret" not in repr(line)
    assert (charge.quantity, charge.usd) == (1, 0)


def test_unknown_call_of_a_known_host_says_so() -> None:
    assert one(view("DELETE", "https://api.resend.com/domains/7")).line.reason == "unknown_operation"


def test_made_up_method_is_folded() -> None:
    assert one(view("X-" + "Y" * 500, "https://shop.example/")).line.operation == "_OTHER"


def test_unknown_hosts_beyond_the_cap_are_other() -> None:
    meter = HttpApiMeter(RULES)
    providers = [one(view("GET", f"https://h{n}.example/"), meter).line.provider for n in range(MAX_UNKNOWN_HOSTS + 3)]
    assert providers[MAX_UNKNOWN_HOSTS - 1] == f"h{MAX_UNKNOWN_HOSTS - 1}.example"
    assert providers[MAX_UNKNOWN_HOSTS:] == ["other"] * 3
    assert one(view("GET", "https://h0.example/"), meter).line.provider == "h0.example"


def test_free_hosts_win_over_rules() -> None:
    meter = HttpApiMeter(RULES, ["*.svc.cluster.local", "127.0.0.?", "API.twilio.com"])
    for url in ("http://cart.svc.cluster.local:8080/x", "http://127.0.0.1:5000/", TWILIO_SMS):
        charge = one(view("POST", url), meter)
        assert (charge.line.status, charge.usd) == (names.FREE, 0)
    assert one(view("GET", "http://127.0.0.10/"), meter).line.reason == "unknown_host"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"url.full": "https://a.example/p/q?x=/y"}, ("a.example", "/p/q")),
        ({"url.full": "https://a.example?x=1"}, ("a.example", "/")),
        ({"url.full": "https://a.example#f?x"}, ("a.example", "/")),
        ({"http.url": "http://A.Example.:80/p"}, ("a.example", "/p")),
        ({"http.url": "http://[2001:DB8::1]:80/p"}, ("2001:db8::1", "/p")),
        ({"http.url": "no url", "server.address": "b.example"}, ("b.example", "/")),
        ({"server.address": "b.example:443", "url.path": "/p"}, ("b.example", "/p")),
        ({"http.host": "b.example", "http.target": "/p?q"}, ("b.example", "/p?q")),
        ({"net.peer.name": "b.example"}, ("b.example", "/")),
        ({"server.address": "::1"}, ("::1", "/")),
        ({"url.full": 5, "server.address": ["x"]}, ("", "/")),
        ({}, ("", "/")),
    ],
)
def test_host_and_path_come_from_whatever_is_there(attributes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert host_and_path(attributes) == expected


def sms_with(quantity: Any) -> Charge:
    return one(view("POST", TWILIO_SMS)._replace(facts={HTTP_QUANTITY: quantity}))


def test_a_counted_quantity_is_priced_and_not_estimated() -> None:
    charge = sms_with(3.0)
    assert (charge.quantity, charge.line.unit, charge.line.status, charge.line.basis) == (3, "segment", "priced", "")
    assert charge.usd == charge.list_usd == pytest.approx(3 * 0.0083, rel=1e-12)
    assert sms_with(0.0).usd == 0


@pytest.mark.parametrize("quantity", [math.nan, math.inf, -1.0, 1e13, "3", True, 3])
def test_an_impossible_quantity_is_unpriced(quantity: Any) -> None:
    charge = sms_with(quantity)
    assert (charge.line.status, charge.line.reason) == (names.UNPRICED, "bad_usage")
    assert charge.usd == charge.list_usd == 0


def test_a_quantity_that_the_span_shows_needs_no_hook() -> None:
    url = "https://maps.googleapis.com/maps/api/distancematrix/json?origins=A|B&destinations=C|D|E&key=k"
    charge = one(view("GET", url))
    assert (charge.quantity, charge.line.unit, charge.line.status) == (6, "element", "priced")
    assert charge.usd == pytest.approx(6 * 0.005, rel=1e-12)
    assert one(view("GET", url.partition("?")[0])).line.basis == "quantity:1_element"


def test_a_quantity_that_is_no_exact_count_is_estimated_with_its_basis() -> None:
    span = view("POST", "https://i.svc.pinecone.io/vectors/upsert")
    assert one(span._replace(facts={HTTP_QUANTITY: 12.0})).line.basis == "size:vectors"
    sized = span._replace(attributes={**span.attributes, "http.request.body.size": 6 * 1024 + 1})
    assert one(sized).quantity == 7
    assert one(sized).line.basis == "size:vectors"
    assert one(span).line.basis == "quantity:1_write_unit"


def test_excluded_hosts_are_not_metered_at_all() -> None:
    meter = HttpApiMeter(RULES, ["*.internal.example"], ["API.internal.*", "127.0.0.1"])
    assert meter.measure(view("GET", "http://api.internal.example/x")) == []
    assert meter.measure(view("GET", "http://127.0.0.1:99/x")) == []
    assert one(view("GET", "http://www.internal.example/x"), meter).line.status == names.FREE
    assert one(view("GET", "http://[::1]:99/x"), meter).line.reason == "unknown_host"


def own(**entry: Any) -> HttpApiMeter:
    return HttpApiMeter(RULES.with_own(rules_from([entry], "prices.yaml")))


def test_an_own_price_is_what_you_pay_and_the_list_price_stays() -> None:
    meter = own(host="api.twilio.com", provider="twilio", operation="sms", unit="segment", usd="0.006")
    charge = one(view("POST", TWILIO_SMS)._replace(facts={HTTP_QUANTITY: 2.0}), meter)
    assert charge.usd == pytest.approx(2 * 0.006, rel=1e-12)
    assert charge.list_usd == pytest.approx(2 * 0.0083, rel=1e-12)
    assert (charge.line.source, charge.line.status) == ("override:prices.yaml", "priced")
    assert one(view("POST", TWILIO_SMS), meter).line.basis == "quantity:1_segment"


def test_an_own_price_per_request_keeps_the_list_price_of_one_unit() -> None:
    charge = one(view("POST", TWILIO_SMS), own(host="api.twilio.com", usd="0.02"))
    assert (charge.usd, charge.list_usd, charge.line.status, charge.line.unit) == (0.02, 0.0083, "priced", "request")


def test_an_own_price_of_nothing_is_a_price_where_the_vendor_has_one() -> None:
    charge = one(view("GET", "https://api.search.brave.com/res/v1/web/search"), own(host="api.search.brave.com", usd=0))
    assert (charge.usd, charge.list_usd, charge.line.status) == (0, 0.005, "priced")
    assert one(view("GET", "https://own.example/"), own(host="own.example", usd=0)).line.status == "free"


def test_an_own_price_answers_where_no_list_price_is_known() -> None:
    gateway = own(host="gw.corp.example", method="POST", path="/twilio/{account}/sms", usd="0.004", provider="twilio")
    charge = one(view("POST", "https://gw.corp.example:8443/twilio/AC1/sms"), gateway)
    assert (charge.usd, charge.list_usd, charge.line.provider, charge.line.operation) == (
        0.004,
        0.004,
        "twilio",
        "POST",
    )
    assert one(view("GET", "https://gw.corp.example/twilio/AC1/sms"), gateway).line.reason == "unknown_operation"
    plan = one(view("POST", "https://api.brevo.com/v3/smtp/email"), own(host="api.brevo.com", usd="0.001"))
    assert (plan.usd, plan.list_usd, plan.line.status) == (0.001, 0.001, "priced")


def test_an_own_price_with_its_own_quantity_is_counted_by_it() -> None:
    meter = own(host="own.example", usd="0.5", unit="credit", quantity='span["app.credits"]')
    span = view("GET", "https://own.example/x")
    charge = one(span._replace(attributes={**span.attributes, "app.credits": 4}), meter)
    assert (charge.quantity, charge.usd, charge.line.status) == (4, 2.0, "priced")
    assert one(span, meter).line.basis == "quantity:1_credit"


def ns(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000


def test_a_discount_changes_what_you_pay_in_its_days_and_never_the_list_price() -> None:
    discount = Discount("deal", Decimal(20), provider="twilio", valid_from=date(2026, 3, 1), valid_to=date(2026, 3, 31))
    meter = HttpApiMeter(RULES, discounts=Discounts([discount]))
    span = view("POST", TWILIO_SMS)._replace(facts={HTTP_QUANTITY: 2.0})
    for day, factor, source in (
        (date(2026, 2, 28), 1.0, "spancost:2026-10"),
        (date(2026, 3, 1), 0.8, "spancost:2026-10+discount:deal"),
        (date(2026, 3, 31), 0.8, "spancost:2026-10+discount:deal"),
        (date(2026, 4, 1), 1.0, "spancost:2026-10"),
        (date(2026, 3, 15), 0.8, "spancost:2026-10+discount:deal"),
    ):
        charge = one(span._replace(start_ns=ns(day)), meter)
        assert charge.usd == pytest.approx(2 * 0.0083 * factor, rel=1e-12)
        assert charge.list_usd == pytest.approx(2 * 0.0083, rel=1e-12)
        assert charge.line.source == source


def test_a_discount_leaves_own_and_free_prices_alone() -> None:
    rules = RULES.with_own(rules_from([{"host": "api.twilio.com", "usd": "0.006"}], "prices.yaml"))
    meter = HttpApiMeter(rules, discounts=Discounts([Discount("deal", Decimal(20))]))
    assert one(view("POST", TWILIO_SMS), meter).usd == 0.006
    assert one(view("POST", "https://api.stripe.com/v1/charges"), meter).line.source == "spancost:2026-05"


CLIENT_FILES = [f"{library}.{mode}" for library in ("requests", "httpx", "urllib3", "aiohttp") for mode in MODES]


@pytest.mark.parametrize("name", CLIENT_FILES)
@pytest.mark.parametrize("to", ["127.0.0.1", "api.search.brave.com"])
def test_every_recorded_client_span_is_listed_by_host_or_priced(name: str, to: str) -> None:
    meter = HttpApiMeter(RULES)
    answered = 0
    text = (SPANS / f"{name}.json").read_text()
    if to != "127.0.0.1":  # the same spans, as if sent to a vendor
        text = text.replace("http://127.0.0.1:18093/bytes/3000", f"https://{to}/res/v1/web/search")
        text = text.replace("http://127.0.0.1:18093", f"https://{to}").replace('"127.0.0.1"', f'"{to}"')
    priced = 0
    for span in json.loads(text)["spans"]:
        kind = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER").index(span["kind"])
        attributes = span["attributes"]
        charges = meter.measure(SpanView(span["name"], kind, span["scope"]["name"], attributes, 0, 1))
        status = attributes.get("http.response.status_code", attributes.get("http.status_code"))
        if kind != CLIENT or status is None:
            assert charges == []
            continue
        answered += 1
        (charge,) = charges
        if charge.line.status == names.PRICED:
            priced += 1
            assert (charge.line.provider, charge.line.operation) == ("brave", "search")
            assert charge.usd == pytest.approx(1 * 5 / 1000, rel=1e-12)
        else:
            assert charge.line.status == names.UNPRICED
            assert charge.line.provider == to
            assert charge.line.operation == attributes.get("http.request.method", attributes.get("http.method"))
            assert charge.usd == 0
    assert answered >= 4
    assert (priced > 0) == (to != "127.0.0.1")
