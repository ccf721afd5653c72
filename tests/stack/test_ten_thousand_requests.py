"""Ten thousand requests of the demo, and their money at the far end of every path: one and the same.

The truth is the ledger of the apps. Its LLM part is held against the bill of the LLM server, its requests against
what the clients have sent.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from genai_prices import Usage, calc_price

from examples.shop.load import PASSING_TENANT, LoadResult, run_load
from examples.shop.stack import APPS, ASSISTANT, OFFICE, STOREFRONT
from examples.stack.servers import Prometheus
from tests.stack.fleet import DELTA_COST, IN_TIME, SCOPE, Fleet, Money

pytestmark = pytest.mark.stack

_PER_ROUTE: Final = (312, 313)
"""In the first and in the second half."""
_KINDS: Final = 16
_PASSING: Final = 40
_EXACT: Final = 1e-9
_COST: Final = "spancost_cost_usd_total"
_ATTRIBUTED: Final = "spancost_attributed_cost_usd_total"
_SECONDS: Final = 3600
"""More than the run takes."""


@dataclass(frozen=True, slots=True)
class Run:
    """The fleet after its two halves of load, still running."""

    fleet: Fleet
    halves: tuple[LoadResult, LoadResult]
    between: float
    """Unix seconds: the first half had arrived everywhere, the second had not begun."""
    before: Money
    """What the ledger had then, by service, component and route."""
    end: float
    """Unix seconds: all had arrived everywhere."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        first = run_load(fleet.shop.urls, per_route=_PER_ROUTE[0])
        between = fleet.wait_settled()
        before = fleet.ledger("service", "component", "http_route")
        second = run_load(fleet.shop.urls, per_route=_PER_ROUTE[1], seed=8, passing_tenants=_PASSING)
        end = fleet.wait_settled()
        yield Run(fleet, (first, second), between, before, end)


def _money(server: Prometheus, expression: str, labels: tuple[str, ...], at: float) -> Money:
    found = server.sums(f"sum by (service_name, {', '.join(labels)}) ({expression})", "service_name", *labels, at=at)
    return {key: usd for key, usd in found.items() if usd}


def _counted(run: Run, expression: str, *labels: str) -> dict[str, Money]:
    """Ask every Prometheus that has the counters of the SDK."""
    return {server.name: _money(server, expression, labels, run.end) for server in run.fleet.servers}


def test_all_ten_thousand_requests_were_answered(run: Run) -> None:
    assert [half.failures for half in run.halves] == [(), ()]
    assert sum(half.sent for half in run.halves) == _KINDS * sum(_PER_ROUTE) == 10_000


def test_requests_are_counted_on_every_path_as_the_clients_sent_them(run: Run) -> None:
    sent = {app: 0 for app in APPS}
    for half in run.halves:
        for route, counts in half.routes.items():
            sent[route.app] += counts.answered
    # Each checkout asks the office and the assistant, each summary asks the office.
    among_themselves = sum(_PER_ROUTE)
    truth = {
        (STOREFRONT,): sent[STOREFRONT],
        (ASSISTANT,): sent[ASSISTANT] + among_themselves,
        (OFFICE,): sent[OFFICE] + 2 * among_themselves,
    }
    for server in run.fleet.servers:
        for counter in ("spancost_requests_total", "spancost_request_cost_usd_count"):
            found = server.sums(f"sum by (service_name) ({counter})", "service_name", at=run.end)
            assert found == truth, (server.name, counter)
    deltas = f"sum by (service_name) (sum_over_time(spancost_delta_requests_total[{_SECONDS}s]))"
    assert run.fleet.deltas.sums(deltas, "service_name", at=run.end) == truth


def test_every_route_is_in_the_increase_of_requests_within_its_extrapolation(run: Run) -> None:
    _assert_in_increase(run, "spancost_requests_total", ("http_route", "http_request_method", "outcome"))


def test_llm_money_is_what_the_provider_would_bill(run: Run) -> None:
    with urllib.request.urlopen(f"{run.fleet.shop.llm_url}/usage", timeout=10) as answer:
        tokens: dict[str, dict[str, int]] = json.load(answer)
    assert len(tokens) > 4
    billed = sum(_bill(model, counts) for model, counts in tokens.items())
    for server in run.fleet.servers:
        [found] = server.query(f'sum({_COST}{{component="llm"}})', at=run.end)
        assert found.value == pytest.approx(billed, rel=_EXACT), server.name


def _bill(model: str, counts: dict[str, int]) -> float:
    """Return the price of tokens by the price list of genai-prices; a thousand at a time, which no tier begins at."""
    plain = _rate(model, input_tokens=1000)
    cached = counts.get("cached", 0)
    written_1h = 2 * plain  # the list has the five minutes only; Anthropic bills the hour at twice the input
    parts = [
        ((counts.get("prompt", 0) - cached), plain),
        (cached, _rate(model, input_tokens=1000, cache_read_tokens=1000) if cached else 0.0),
        (counts.get("input", 0), plain),
        (counts.get("completion", 0) + counts.get("output", 0), _rate(model, output_tokens=1000)),
    ]
    if counts.get("cache_read"):
        parts.append((counts["cache_read"], _rate(model, input_tokens=1000, cache_read_tokens=1000)))
    if counts.get("cache_write_5m"):
        parts.append((counts["cache_write_5m"], _rate(model, input_tokens=1000, cache_write_tokens=1000)))
    parts.append((counts.get("cache_write_1h", 0), written_1h))
    return sum(number * rate for number, rate in parts)


def _rate(model: str, **tokens: int) -> float:
    provider = "anthropic" if model.startswith("claude") else "openai"
    return float(calc_price(Usage(**tokens), model, provider_id=provider).total_price) / 1000


def test_every_component_and_route_is_the_same_money_on_every_path(run: Run) -> None:
    truth = run.fleet.ledger("service", "component", "http_route")
    assert len(truth) > 40
    for path, found in _counted(run, _COST, "component", "http_route").items():
        assert found == pytest.approx(truth, rel=_EXACT), path


def test_every_tenant_and_feature_is_the_same_money_on_every_path(run: Run) -> None:
    truth = run.fleet.ledger("service", "tenant", "feature", "component")
    passing = {key[1] for key in truth if key[1].startswith(PASSING_TENANT)}
    assert len(passing) == _PASSING
    for path, found in _counted(run, _ATTRIBUTED, "tenant", "feature", "component").items():
        assert found == pytest.approx(truth, rel=_EXACT), path


def test_differences_of_counters_are_what_was_spent_in_between(run: Run) -> None:
    after = run.fleet.ledger("service", "component", "http_route")
    truth = {key: usd - run.before.get(key, 0.0) for key, usd in after.items()}
    for server in run.fleet.servers:
        now = _money(server, _COST, ("component", "http_route"), run.end)
        then = _money(server, _COST, ("component", "http_route"), run.between)
        found = {key: usd - then.get(key, 0.0) for key, usd in now.items()}
        assert found == pytest.approx(truth, rel=_EXACT, abs=1e-12), server.name


def test_native_deltas_add_up_to_the_last_digit(run: Run) -> None:
    by_route = ("component", "http_route")
    found = _money(run.fleet.deltas, f"sum_over_time({DELTA_COST}[{_SECONDS}s])", by_route, run.end)
    assert found == pytest.approx(run.fleet.ledger("service", *by_route), rel=_EXACT)
    by_tenant = ("tenant", "feature", "component")
    attributed = DELTA_COST.replace("delta_cost", "delta_attributed_cost")
    found = _money(run.fleet.deltas, f"sum_over_time({attributed}[{_SECONDS}s])", by_tenant, run.end)
    assert found == pytest.approx(run.fleet.ledger("service", *by_tenant), rel=_EXACT)


def test_what_the_collector_derives_from_spans_is_all_but_late_and_unattributed_money(run: Run) -> None:
    truth = run.fleet.ledger("service", "component", "http_route", positions=IN_TIME)
    found = _money(run.fleet.written, "spancost_spans_cost_usd_total", ("component", "http_route"), run.end)
    assert found == pytest.approx(truth, rel=_EXACT)
    everything = run.fleet.ledger("service", "component", "http_route")
    assert sum(found.values()) < sum(everything.values()), "streamed bodies of WSGI apps are metered late"


def test_tenants_seen_once_are_in_increase_within_its_extrapolation(run: Run) -> None:
    tenants = _assert_in_increase(run, f'{_ATTRIBUTED}{{tenant=~"{PASSING_TENANT}.*"}}', ("tenant", "component"))
    assert [len(found) for found in tenants] == [_PASSING] * len(run.fleet.servers)


def _assert_in_increase(run: Run, selected: str, by: tuple[str, ...]) -> list[set[str]]:
    """Compare each series with its increase; return, of each Prometheus, the values of the first label."""
    labels = ("service_name", *by, "instance")
    values: list[set[str]] = []
    for server in run.fleet.servers:
        truth = server.sums(selected, *labels, at=run.end)
        gained = server.sums(f"increase({selected}[{_SECONDS}s])", *labels, at=run.end)
        samples = server.sums(f"count_over_time({selected}[{_SECONDS}s])", *labels, at=run.end)
        assert truth, server.name
        assert gained.keys() == truth.keys(), server.name
        for key, value in truth.items():
            # Begins at 0, so that nothing is added at its beginning; at its end one interval and a tenth at most.
            at_most = value * (1 + 1.1 / (samples[key] - 1)) if samples[key] > 1 else 0.0
            assert value * (1 - _EXACT) <= gained[key] <= at_most * (1 + _EXACT), (server.name, key)
        values.append({key[1] for key in truth})
    return values


def test_every_series_can_be_split_by_service_environment_namespace_account_and_region(run: Run) -> None:
    for server in run.fleet.servers:
        series = server.get("series", **{"match[]": '{__name__=~"spancost_.+"}'})
        assert {one["service_name"] for one in series} == set(APPS)
        assert all(one.get(label) == text for one in series for label, text in SCOPE.items()), server.name
    derived = run.fleet.written.get("series", **{"match[]": '{__name__=~"spancost_spans_.*usd_total"}'})
    exact = run.fleet.deltas.get("series", **{"match[]": '{__name__=~"spancost_delta_.+"}'})
    assert derived
    assert exact
    assert all(one.get(label) == text for one in [*derived, *exact] for label, text in SCOPE.items())


def test_recorded_rates_take_the_counters_of_a_service_that_has_them_and_say_that_it_is_there_twice(run: Run) -> None:
    recorded = {
        server.name: server.sums("service:spancost_cost_usd:rate1h", "service_name", at=run.end)
        for server in run.fleet.servers
    }
    # The same counters, read at other moments of a run of minutes; added twice they would be the double.
    for path, found in recorded.items():
        assert found == pytest.approx(recorded["pushed"], rel=0.3), path
    twice = {server.name: _pending_or_firing(server, "SpancostServiceCountedTwice") for server in run.fleet.servers}
    assert twice == {"scraped": set(), "pushed": set(), "written": set(APPS)}


def _pending_or_firing(server: Prometheus, alert: str) -> set[str]:
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"] if rule["name"] == alert]
    assert rules, f"{alert} is no rule of {server.name}"
    return {one["labels"]["service_name"] for rule in rules for one in rule["alerts"]}


def test_collectors_have_dropped_nothing(run: Run) -> None:
    fleet = run.fleet
    for collector in (fleet.tee, fleet.agent, fleet.router, fleet.gateway, fleet.derived, fleet.exact):
        said = collector.log.read_text(encoding="utf-8")
        assert not re.search(r"(?i)dropp|refused|\berror\b.*export|out of order", said), said[-3000:]
