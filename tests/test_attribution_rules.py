"""Attribution rules alone: which matches, which comes first, what a reference yields, and what is bounded."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from spancost.attribution_rules import (
    NOT_RULED,
    AttributionRule,
    AttributionRules,
    attribute_text,
    shadowed,
    value_of,
)
from spancost.window import MAX_FREE_LABELS, Attribution, EntryLabels, filled, free_labels

_CART = EntryLabels("/cart/<int:item>", "POST")
_NIGHTLY = EntryLabels(entrypoint="nightly-import")
_TENANT = "http.request.header.x_tenant"


def _of_root(
    *rules: AttributionRule,
    labels: EntryLabels = _CART,
    attributes: dict[str, Any] | None = None,
    resource: dict[str, Any] | None = None,
) -> Attribution:
    return AttributionRules(rules).bound(resource or {}).of_root(labels, attributes or {}).attribution


def _of_span(*rules: AttributionRule, service: str = "") -> Attribution:
    return AttributionRules(rules).bound({"service.name": service}).of_span({_TENANT: "acme"}).attribution


@pytest.mark.parametrize(
    ("rule", "labels", "matches"),
    [
        (AttributionRule(route="/cart/*", feature="x"), _CART, True),
        (AttributionRule(route="/cart/", feature="x"), _CART, False),
        (AttributionRule(route="/CART/*", feature="x"), _CART, False),
        (AttributionRule(route="*", feature="x"), _NIGHTLY, False),
        (AttributionRule(route="/cart/*", method="GET", feature="x"), _CART, False),
        (AttributionRule(route="/cart/*", method="P*", feature="x"), _CART, True),
        (AttributionRule(entrypoint="nightly-*", feature="x"), _NIGHTLY, True),
        (AttributionRule(entrypoint="POST /cart/*", feature="x"), _CART, True),
        (AttributionRule(entrypoint="*", feature="x"), EntryLabels(), False),
    ],
)
def test_rule_matches_by_glob_and_never_what_is_not_there(
    rule: AttributionRule, labels: EntryLabels, matches: bool
) -> None:
    assert _of_root(rule, labels=labels).feature == ("x" if matches else "")


def test_first_rule_that_gives_a_value_holds_for_each_label_on_its_own() -> None:
    rules = (
        AttributionRule(route="/cart/*", feature="checkout", tenant=f"{{{_TENANT}}}", labels=(("tier", "gold"),)),
        AttributionRule(entrypoint="*", feature="rest", tenant="all", team="web", labels=(("tier", "0"), ("a", "b"))),
    )
    assert _of_root(*rules) == Attribution("checkout", "all", "web", (("a", "b"), ("tier", "gold")))
    ruled = AttributionRules(rules).bound({}).of_root(_CART, {_TENANT: "acme"})
    assert ruled.attribution.tenant == "acme"
    assert dict(ruled.rules) == {"feature": 0, "tenant": 0, "team": 1, "label.tier": 0, "label.a": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("acme", "customer-acme-x"),
        (("acme", "other"), "customer-acme-x"),
        (["acme"], "customer-acme-x"),
        (7, "customer-7-x"),
        (True, "customer-true-x"),
        ("", ""),
        ((), ""),
        (None, ""),
    ],
)
def test_reference_yields_the_first_item_with_the_constant_around_it_or_nothing(value: Any, expected: str) -> None:
    rule = AttributionRule(span=((_TENANT, "*"),), tenant=f"customer-{{{_TENANT}}}-x")
    assert _of_root(rule, attributes={_TENANT: value}).tenant == expected


def test_resource_matches_once_and_may_be_referred_to() -> None:
    rule = AttributionRule(resource=(("service.name", "shop-*"),), team="{service.name}")
    assert _of_root(rule, resource={"service.name": "shop-eu"}).team == "shop-eu"
    assert _of_root(rule, resource={"service.name": "billing"}).team == ""


def test_rules_about_the_local_root_say_nothing_of_a_span_inside_it() -> None:
    rules = (
        AttributionRule(route="/cart/*", tenant="of-route"),
        AttributionRule(span=((_TENANT, "*"),), tenant=f"{{{_TENANT}}}"),
    )
    assert _of_root(*rules, attributes={_TENANT: "acme"}).tenant == "of-route"
    assert _of_span(*rules).tenant == "acme"


def test_label_that_a_rule_gives_by_the_resource_alone_is_left_to_the_local_root() -> None:
    rules = (
        AttributionRule(resource=(("service.name", "*"),), team="shop"),
        AttributionRule(span=((_TENANT, "*"),), tenant=f"{{{_TENANT}}}", team="span"),
    )
    assert _of_span(*rules, service="shop") == Attribution("", "acme", "")


def test_answers_are_remembered_and_bounded_and_stay_right() -> None:
    bound = AttributionRules([AttributionRule(span=((_TENANT, "*"),), tenant=f"{{{_TENANT}}}")]).bound({})
    for number in range(5000):
        assert bound.of_root(_CART, {_TENANT: f"t{number}"}).attribution.tenant == f"t{number}"
    assert len(bound._known) <= 1024  # pyright: ignore[reportPrivateUsage]
    assert bound.of_root(_CART, {}) is NOT_RULED


def test_long_value_is_cut_as_every_label_is() -> None:
    rule = AttributionRule(span=((_TENANT, "*"),), tenant=f"{{{_TENANT}}}", labels=(("copy", f"{{{_TENANT}}}"),))
    found = _of_root(rule, attributes={_TENANT: "x" * 100_000})
    assert (len(found.tenant), len(found.labels[0][1])) == (200, 200)
    assert len(attribute_text("x" * 100_000)) == 1000


@pytest.mark.parametrize(
    ("earlier", "later", "is_shadowed"),
    [
        ({"route": "/a/*", "feature": "a"}, {"route": "/a/*", "method": "GET", "feature": "b"}, True),
        ({"route": "*", "feature": "a"}, {"route": "/a/*", "feature": "b"}, True),
        ({"route": "/a/*", "feature": "a"}, {"route": "/a/*", "feature": "b", "team": "t"}, False),
        ({"route": "/a/*", "feature": "{x}"}, {"route": "/a/*", "feature": "b"}, False),
        ({"route": "/a/*", "method": "GET", "feature": "a"}, {"route": "/a/*", "feature": "b"}, False),
        ({"entrypoint": "*", "feature": "a"}, {"span": (("x", "*"),), "feature": "b"}, False),
    ],
)
def test_rule_that_never_comes_first_is_found(
    earlier: dict[str, Any], later: dict[str, Any], is_shadowed: bool
) -> None:
    rules = [AttributionRule(**earlier), AttributionRule(**later)]
    assert shadowed(rules) == ({1: 0} if is_shadowed else {})
    if is_shadowed:
        given = AttributionRules(rules).bound({}).of_root(EntryLabels("/a/b", "GET"), {})
        assert 1 not in dict(given.rules).values()


def test_free_labels_are_sorted_bounded_and_the_first_of_a_name_stands() -> None:
    assert free_labels([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]) == (("a", "2"), ("b", "1"))
    many = free_labels((f"n{number:02}", "v" * 300) for number in range(30))
    assert (len(many), {len(value) for _, value in many}) == (MAX_FREE_LABELS, {200})
    assert free_labels([("n" * 100, "v")]) == (("n" * 60, "v"),)


def test_inner_labels_go_before_outer_ones_name_by_name() -> None:
    inner = Attribution("f", "", "", (("plan", "gold"),))
    outer = Attribution("g", "t", "", (("plan", "silver"), ("shard", "7")))
    assert filled(inner, outer) == Attribution("f", "t", "", (("plan", "gold"), ("shard", "7")))
    assert filled(Attribution(), outer) == outer
    assert value_of(outer, "label.shard") == "7"


def test_rules_need_no_opentelemetry() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; "
        "from spancost.attribution_rules import AttributionRule, AttributionRules; "
        "from spancost.window import EntryLabels; "
        "rules = AttributionRules([AttributionRule(route='/a', feature='f')]); "
        "print(rules.bound({}).of_root(EntryLabels('/a', 'GET'), {}).attribution.feature)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "f\n"
