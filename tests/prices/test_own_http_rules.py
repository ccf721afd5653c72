"""Rules of the configuration: how they are read, and how they come before the shipped ones."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from spancost.errors import ConfigError, PriceBookError
from spancost.prices.http_rules import HttpRule, HttpRules, rule_from_data, rules_from

PLACE = "spancost.yaml"
SMS = ("api.twilio.com", "POST", "/2010-04-01/Accounts/AC1/Messages.json")


def own(**entry: Any) -> HttpRule:
    (rule,) = rules_from([{"host": "api.x.example", "usd": "0.01", **entry}], PLACE)
    return rule


def ns(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[misc] # year, month, day


def test_a_rule_needs_a_host_and_a_price_only() -> None:
    rule = own()
    assert (rule.method, rule.path, rule.provider, rule.operation) == ("*", "/*", "api.x.example", "any")
    assert (rule.kind, rule.usd, rule.unit, rule.quantity) == ("request", 0.01, "request", None)
    assert (rule.source, rule.basis) == ("override:spancost.yaml", "")


def test_all_keys_are_read() -> None:
    rule = own(
        method="post",
        path="/v1/messages/{id}",
        provider="x",
        operation="messages.send",
        unit="credit",
        quantity="response.json.credits or 1",
        valid_from=date(2026, 3, 1),
        note="contract of March",
    )
    assert (rule.method, rule.provider, rule.operation, rule.unit) == ("POST", "x", "messages.send", "credit")
    assert rule.quantity is not None
    assert rule.quantity.text == "response.json.credits or 1"
    assert (rule.from_ns, rule.note) == (ns(2026, 3, 1), "contract of March")
    assert own(valid_from="2026-03-01").from_ns == rule.from_ns
    assert own(usd=0).kind == "free"
    assert own(usd=0.25).usd == 0.25


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"host": "x"}, "http_rules: {'host': 'x'} is not accepted: a list of rules"),
        (["x"], "http_rules[0]: 'x' is not accepted: a mapping with host and usd"),
        ([{"usd": 1}], "http_rules[0].host: it is required"),
        ([{"host": "x"}], "http_rules[0].usd: it is required"),
        ([{"host": "x", "usd": 1}, {"host": "x", "usd": -1}], "http_rules[1].usd: -1 is not accepted: USD per unit"),
        ([{"host": "x", "usd": "NaN"}], "http_rules[0].usd: 'NaN'"),
        ([{"host": "x", "usd": float("inf")}], "http_rules[0].usd: inf"),
        ([{"host": "x", "usd": "cheap"}], "http_rules[0].usd: 'cheap'"),
        ([{"host": "x", "usd": True}], "http_rules[0].usd: True"),
        ([{"host": "x", "usd": None}], "http_rules[0].usd: None"),
        ([{"host": "x", "usd": 10**9}], "http_rules[0].usd: 1000000000"),
        ([{"host": "https://x/", "usd": 1}], "http_rules[0].host: 'https://x/' is not accepted: a host without scheme"),
        ([{"host": "x:80", "usd": 1}], "http_rules[0].host: 'x:80'"),
        ([{"host": 7, "usd": 1}], "http_rules[0].host: 7 is not accepted: text"),
        (
            [{"host": "x", "usd": 1, "method": "POTS"}],
            "http_rules[0].method: 'POTS' is not accepted: did you mean 'POST'",
        ),
        (
            [{"host": "x", "usd": 1, "path": "v1"}],
            "http_rules[0].path: 'v1' is not accepted: a path that begins with /",
        ),
        ([{"host": "x", "usd": 1, "path": "/v1?a=b"}], "http_rules[0].path: '/v1?a=b'"),
        ([{"host": "x", "usd": 1, "path": "/v1/{"}], "http_rules[0].path: '/v1/{'"),
        ([{"host": "x", "usd": 1, "path": "/v1/{a/b}"}], "http_rules[0].path: '/v1/{a/b}'"),
        ([{"host": "x", "usd": 1, "provider": "p" * 101}], "http_rules[0].provider"),
        ([{"host": "x", "usd": 1, "operation": ""}], "http_rules[0].operation: ''"),
        ([{"host": "x", "usd": 1, "valid_from": "soon"}], "http_rules[0].valid_from: 'soon' is not accepted: a date"),
        ([{"host": "x", "usd": 1, "prise": 1}], "http_rules[0].prise: 1 is not accepted: unknown key: did you mean"),
        (
            [{"host": "x", "usd": 1, "quantity": "count(request.body)"}],
            "http_rules[0].quantity: 'count(request.body)' is not accepted: "
            "request has json, form, query, path, header, bytes (at character 7)",
        ),
        ([{"host": "x", "usd": 1, "quantity": ""}], "it is empty (at character 1)"),
    ],
)
def test_a_wrong_rule_names_file_key_value_and_what_is_accepted(raw: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rules_from(raw, PLACE)
    assert str(caught.value).startswith(f"{PLACE}: ")
    assert message in str(caught.value)


def test_a_shipped_rule_with_a_wrong_quantity_is_a_price_book_error() -> None:
    data = {"host": "x", "method": "GET", "path": "/", "provider": "x", "operation": "y", "usd": "1", "as_of": "2026"}
    with pytest.raises(PriceBookError, match=r"x GET /: quantity 'count\(': it is no expression \(at character"):
        rule_from_data({**data, "confidence": "single", "quantity": "count("})


@pytest.mark.parametrize(
    ("path", "fits", "does_not"),
    [
        ("/v1/messages/{id}", ["/v1/messages/7", "/v1/messages/7/"], ["/v1/messages", "/v1/messages/7/parts"]),
        ("/v1/{kind}/x.{format}", ["/v1/a/x.json"], ["/v1/a/b/x.json", "/v1/a/x."]),
        ("/v1/*", ["/v1/a", "/v1/a/b"], ["/v2/a"]),
        ("*", ["/", "/a/b"], []),
    ],
)
def test_a_template_part_stands_for_one_part_of_a_path(path: str, fits: list[str], does_not: list[str]) -> None:
    rules = HttpRules([own(path=path)])
    for asked in fits:
        assert rules.find("api.x.example", "GET", asked) is not None
    for asked in does_not:
        assert rules.find("api.x.example", "GET", asked) is None


def test_an_exact_path_comes_before_a_template_and_that_before_a_glob() -> None:
    rules = HttpRules([own(path=path, operation=path) for path in ("/v1/*", "/v1/{id}", "/v1/me")])
    found = [rules.find("api.x.example", "GET", path) for path in ("/v1/me", "/v1/7", "/v1/7/x")]
    assert [rule.operation for rule in found if rule is not None] == ["/v1/me", "/v1/{id}", "/v1/*"]


def test_own_rules_come_first_and_know_the_shipped_one() -> None:
    rules = HttpRules.shipped().with_own([own(host="api.twilio.com", unit="segment", usd="0.007", provider="twilio")])
    match = rules.match(*SMS)
    assert match is not None
    assert match.is_own
    assert (match.rule.usd, match.listed.usd) == (0.007, 0.0083)
    assert match.rule.quantity is match.listed.quantity  # the same unit is counted in the same way
    assert rules.match(*SMS) is match
    other = rules.match("api.search.brave.com", "GET", "/res/v1/web/search")
    assert other is not None
    assert not other.is_own


def test_an_own_rule_of_another_unit_is_counted_by_its_own_quantity_alone() -> None:
    match = HttpRules.shipped().with_own([own(host="api.twilio.com")]).match(*SMS)
    assert match is not None
    assert match.rule.quantity is None


def test_an_own_host_is_known_and_measured() -> None:
    shipped = HttpRules.shipped()
    rules = shipped.with_own([own(host="*.corp.example", quantity="response.json.units")])
    assert rules.knows_host("gw.corp.example")
    assert rules.measures("gw.corp.example")
    assert not shipped.knows_host("gw.corp.example")
    assert rules.measures("api.twilio.com")
    assert not rules.measures("api.search.brave.com")
    assert shipped.with_own([]) is shipped


def test_a_rule_holds_from_its_first_day() -> None:
    rules = HttpRules([own(usd="1"), own(usd="2", valid_from="2026-03-01")])
    first = ns(2026, 3, 1)

    def usd(at_ns: int) -> float | None:
        rule = rules.find("api.x.example", "GET", "/", at_ns)
        assert rule is not None
        return rule.usd

    assert (usd(first - 1), usd(first)) == (1, 2)


def test_a_shipped_rule_ends_before_its_last_day() -> None:
    data: dict[str, Any] = {
        "host": "x",
        "method": "GET",
        "path": "/",
        "provider": "x",
        "operation": "y",
        "as_of": "2026",
    }
    old = rule_from_data({**data, "confidence": "single", "usd": "1", "valid_until": "2026-03-01"})
    rules = HttpRules([old, rule_from_data({**data, "confidence": "single", "usd": "2", "valid_from": "2026-03-01"})])
    found = [rules.find("x", "GET", "/", ns(2026, 3, 1) - 1), rules.find("x", "GET", "/", ns(2026, 3, 1))]
    assert [rule.usd for rule in found if rule is not None] == [1, 2]


def test_an_own_rule_that_does_not_hold_yet_leaves_the_shipped_price() -> None:
    rules = HttpRules.shipped().with_own([own(host="api.twilio.com", valid_from="2030-01-01")])
    match = rules.match(*SMS, ns(2026, 11, 1))
    assert match is not None
    assert not match.is_own
