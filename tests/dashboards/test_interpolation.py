from __future__ import annotations

import pytest

from spancost.dashboards.interpolation import Chosen, Clock, UnknownVariableError, interpolate
from spancost.dashboards.times import Span

CLOCK = Clock(Span(1_763_683_200.0, 1_763_769_600.0), 60.0, 75.0)
ROUTES = Chosen(("/a.b", "/c+d"), True, name="route")
ALL = Chosen(("/a.b", "/c+d"), True, all_value=".*", is_all=True, name="route")
ONE = Chosen(('say "hi"\\',), False, name="one")


def test_several_values_are_parts_of_a_regular_expression_in_a_string_of_promql() -> None:
    # In the string of PromQL \\ is one backslash, so the server matches a dot by \.
    assert interpolate('x{route=~"$route"}', {"route": ROUTES}, CLOCK) == r'x{route=~"(/a\\.b|/c\\+d)"}'
    single = ROUTES._replace(values=("/a.b",))
    assert interpolate("[[route]] ${route}", {"route": single}, CLOCK) == r"/a\\.b /a\\.b"


def test_all_has_its_own_value_which_is_not_escaped() -> None:
    assert interpolate('x{route=~"$route"}', {"route": ALL}, CLOCK) == 'x{route=~".*"}'
    assert interpolate("${route:text}", {"route": ALL}, CLOCK) == "All"
    assert interpolate("${route:queryparam}", {"route": ALL}, CLOCK) == "var-route=%24__all"


def test_a_single_value_cannot_leave_the_quotes_of_its_matcher() -> None:
    assert interpolate('x{a="$one"}', {"one": ONE}, CLOCK) == 'x{a="say \\"hi\\"\\\\"}'


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("regex", r"(\/a\.b|\/c\+d)"),
        ("pipe", "/a.b|/c+d"),
        ("csv", "/a.b,/c+d"),
        ("raw", "{/a.b,/c+d}"),
        ("glob", "{/a.b,/c+d}"),
        ("json", '["/a.b", "/c+d"]'),
        ("doublequote", '"/a.b","/c+d"'),
        ("singlequote", "'/a.b','/c+d'"),
        ("sqlstring", "'/a.b','/c+d'"),
        ("percentencode", "%7B%2Fa.b%2C%2Fc%2Bd%7D"),
        ("lucene", r'("\/a.b" OR "\/c\+d")'),
        ("queryparam", "var-route=%2Fa.b&var-route=%2Fc%2Bd"),
        ("text", "/a.b + /c+d"),
    ],
)
def test_formats_are_those_of_grafana(shape: str, said: str) -> None:
    assert interpolate(f"${{route:{shape}}}", {"route": ROUTES}, CLOCK) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[$__interval]", "[1m]"),
        ("$__interval_ms", "60000"),
        ("[$__rate_interval]", "[75s]"),
        ("[$__range:1m] * $__range_s", "[86400s:1m] * 86400"),
        ("$__range_ms", "86400000"),
        ("$__from ${__to}", "1763683200000 1763769600000"),
        ("${__from:date}", "2025-11-21T00:00:00.000Z"),
        ("${__from:date:seconds}", "1763683200"),
        ("${__from:date:YYYY-MM-DD HH:mm:ss}", "2025-11-21 00:00:00"),
    ],
)
def test_variables_of_time_are_known(text: str, said: str) -> None:
    assert interpolate(text, {}, CLOCK) == said


def test_a_group_of_label_replace_and_the_end_of_a_pattern_are_no_variables() -> None:
    text = 'label_replace(x{a=~"b$"}, "c", "$1-${2}", "a", "(.)(.)$")'
    assert interpolate(text, {}, CLOCK) == text


@pytest.mark.parametrize(
    ("text", "said"), [("$nothing", r"no variable \$nothing"), ("${route:odd}", "no format 'odd'")]
)
def test_what_there_is_not_is_named(text: str, said: str) -> None:
    with pytest.raises(UnknownVariableError, match=said):
        interpolate(text, {"route": ROUTES}, CLOCK)
