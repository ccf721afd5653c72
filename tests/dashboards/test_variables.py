"""What is chosen in variables, asked of a server that answers as Prometheus does."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.dashboards.interpolation import Clock, interpolate
from spancost.dashboards.model import ALL, Variable
from spancost.dashboards.times import Span
from spancost.dashboards.variables import Settled, settle
from spancost.prometheus_server import PrometheusServer
from tests.dashboards.boards import instant
from tests.support.json_server import json_server

CLOCK = Clock(Span(0.0, 1000.0), 15.0, 60.0)
SERVICES = {"status": "success", "data": ["", "cart", "pay-1", "pay-2"]}


def _settled(variable: Variable, answer: Any = SERVICES, given: dict[str, list[str]] | None = None) -> Settled:
    with json_server([answer]) as server:
        (found,) = settle([variable], PrometheusServer(server.url), CLOCK, given or {})
    return found


def _query(**more: Any) -> Variable:
    return Variable("service", "query", query="label_values(cost, service)", **more)


def test_all_without_a_value_of_its_own_is_every_value() -> None:
    found = _settled(_query(include_all=True, current=(ALL,)))
    assert (found.chosen.is_all, found.offered) == (True, ("cart", "pay-1", "pay-2"))
    assert interpolate("$service", {"service": found.chosen}, CLOCK) == "(cart|pay-1|pay-2)"


def test_the_saved_value_is_kept_where_it_still_exists_and_the_first_taken_else() -> None:
    assert _settled(_query(current=("pay-2",))).chosen.values == ("pay-2",)
    assert _settled(_query(current=("gone",))).chosen.values == ("cart",)
    assert _settled(_query(current=("gone",), include_all=True)).chosen.is_all


def test_a_value_that_is_given_goes_before_all_others() -> None:
    assert _settled(_query(current=("cart",)), given={"service": ["pay-1", "x"]}).chosen.values == ("pay-1", "x")
    assert _settled(_query(include_all=True, all_value=".*"), given={"service": ["All"]}).chosen.all_value == ".*"


@pytest.mark.parametrize(
    ("regex", "offered"),
    [
        ("/pay.*/", ("pay-1", "pay-2")),
        ("/pay-(\\d)/", ("1", "2")),
        ("/(?<text>PAY)-(?<value>\\d)/i", ("1", "2")),
        ("pay", ("pay-1", "pay-2")),
    ],
)
def test_a_pattern_chooses_among_values_and_takes_its_group(regex: str, offered: tuple[str, ...]) -> None:
    assert _settled(_query(regex=regex)).offered == offered


def test_a_variable_may_use_those_before_it() -> None:
    second = Variable("pod", "query", query='label_values(up{service="$service"}, pod)')
    with json_server([SERVICES]) as server:
        settle([_query(), second], PrometheusServer(server.url), CLOCK, {})
    assert [one.path for one in server.asked] == ["/api/v1/label/service/values", "/api/v1/label/pod/values"]
    assert server.asked[1].query["match[]"] == ['up{service="cart"}']


def test_all_kinds_of_queries_are_asked() -> None:
    result = instant(({"__name__": "up", "job": "a"}, 1.0))
    assert _settled(Variable("m", "query", query="metrics(pay)")).offered == ("pay-1", "pay-2")
    assert _settled(Variable("l", "query", query="label_names()")).offered == ("cart", "pay-1", "pay-2")
    found = _settled(Variable("r", "query", query="query_result(up)"), result)
    assert found.offered == ('up{job="a"} 1.0 1000000',)


def test_values_that_need_no_server_are_known() -> None:
    custom = Variable("c", "custom", query="a : 1, 2", current=("1",))
    assert (_settled(custom).offered, _settled(custom).chosen.values) == (("1", "2"), ("1",))
    assert _settled(Variable("t", "textbox", query="typed")).chosen.values == ("typed",)
    auto = Variable("i", "interval", query="10s,1m,1h", current=("$__auto_interval_i",))
    assert _settled(auto).chosen.values == ("30s",)  # a thousand seconds in thirty steps


def test_a_query_that_is_none_is_an_error_of_its_variable() -> None:
    assert "label_values" in _settled(Variable("x", "query", query="SELECT 1")).error
    assert "no variable $other" in _settled(Variable("x", "query", query="label_values(up{a=$other}, b)")).error
