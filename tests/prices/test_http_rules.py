"""Which third-party API a request goes to."""

from __future__ import annotations

import pytest

from spancost.prices.http_rules import HttpRule, HttpRules


def _rule(host: str, method: str, path: str, operation: str, variant: str = "") -> HttpRule:
    return HttpRule(
        host, method, path, "x", operation, "request", 1.0, "request", "", "spancost:2026", "single", variant
    )


def _find(host: str, method: str, path: str) -> HttpRule:
    found = HttpRules.shipped().find(host, method, path)
    assert found is not None
    return found


def test_sms_costs_its_price_per_segment() -> None:
    rule = _find("api.twilio.com", "POST", "/2010-04-01/Accounts/AC1/Messages.json")
    assert (rule.provider, rule.operation, rule.usd, rule.unit) == ("twilio", "sms.us.outbound", 0.0083, "segment")
    assert rule.basis == "quantity:1_segment"
    assert rule.source == "spancost:2026-10"


def test_llm_host_has_no_price_per_request() -> None:
    rule = _find("api.openai.com", "POST", "/v1/chat/completions")
    assert (rule.kind, rule.usd, rule.basis) == ("llm", None, "")


def test_free_api_costs_nothing() -> None:
    rule = _find("api.stripe.com", "GET", "/v1/customers/cus_1")
    assert (rule.kind, rule.usd) == ("free", 0.0)


def test_known_api_without_public_price_is_unpriced() -> None:
    rule = _find("graph.facebook.com", "POST", "/v20.0/1234/messages")
    assert (rule.kind, rule.usd) == ("unpriced", None)


@pytest.mark.parametrize(
    ("host", "operation"),
    [("my-index-abc.svc.us-east1-gcp.pinecone.io", "query"), ("MY-INDEX.PINECONE.IO:443", "query")],
)
def test_host_glob_matches_any_case_and_port(host: str, operation: str) -> None:
    assert _find(host, "post", "/query").operation == operation


@pytest.mark.parametrize(
    ("host", "method", "path"),
    [
        ("example.com", "GET", "/"),
        ("api.twilio.com.evil.com", "POST", "/2010-04-01/Accounts/AC1/Messages.json"),
        ("api.openai.com", "GET", "/v1/models"),
        ("api.openai.com", "GET", "/v1/chat/completions"),
        ("", "GET", "/"),
        ("[::1]:8080", "GET", "/"),
    ],
)
def test_unknown_request_is_none(host: str, method: str, path: str) -> None:
    assert HttpRules.shipped().find(host, method, path) is None


def test_query_string_and_trailing_slash_do_not_matter() -> None:
    rules = HttpRules.shipped()
    plain = rules.find("api.twilio.com", "POST", "/2010-04-01/Accounts/AC1/Messages.json")
    assert rules.find("api.twilio.com", "POST", "/2010-04-01/Accounts/AC1/Messages.json/?a=/b") is plain


def test_most_specific_rule_wins() -> None:
    rules = HttpRules(
        [
            _rule("api.x.com", "*", "/*", "any"),
            _rule("api.x.com", "*", "/v1/*", "v1"),
            _rule("api.x.com", "GET", "/v1/*", "get v1"),
            _rule("api.x.com", "GET", "/v1/things", "things"),
            _rule("*.x.com", "GET", "/v1/things", "glob"),
        ]
    )

    def found(host: str, method: str, path: str) -> str:
        rule = rules.find(host, method, path)
        return "" if rule is None else rule.operation

    assert found("api.x.com", "GET", "/v1/things") == "things"
    assert found("api.x.com", "GET", "/v1/other") == "get v1"
    assert found("api.x.com", "PUT", "/v1/other") == "v1"
    assert found("api.x.com", "PUT", "/v2") == "any"
    assert found("www.x.com", "GET", "/v1/things") == "glob"


def test_rule_with_a_variant_is_data_only() -> None:
    rules = HttpRules([_rule("a.com", "GET", "/", "tool", variant="web_search")])
    assert rules.find("a.com", "GET", "/") is None
    assert not rules.knows_host("a.com")
    assert len(rules.rules) == 1


def test_host_cache_is_bounded() -> None:
    rules = HttpRules([_rule("a.com", "GET", "/", "x")])
    for number in range(5000):
        rules.find(f"{number}.com", "GET", "/")
    assert len(rules._cache) <= 2048  # pyright: ignore[reportPrivateUsage]


def test_all_104_rules_are_shipped_and_each_is_found_by_its_own_pattern() -> None:
    rules = HttpRules.shipped()
    assert len(rules.rules) == 104
    for rule in rules.rules:
        if not rule.variant:
            method = "GET" if rule.method == "*" else rule.method
            found = rules.find(rule.host.replace("*", "a"), method, rule.path.replace("*", "a"))
            assert found is not None
            assert (found.provider, found.operation) == (rule.provider, rule.operation)
