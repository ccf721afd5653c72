"""The dashboards show services whose cost a Collector derives from spans, and tell of those that are counted twice."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from time import monotonic, time
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily
from typer.testing import CliRunner

from examples.stack.servers import Prometheus
from spancost.cli._app import application
from tests.stack.shop_in_prometheus import ROOT, rules_each_second, settings

pytestmark = pytest.mark.stack

_ENTRY: Final = ("component", "http_route", "http_request_method", "entrypoint")
_WHO: Final = ("feature", "tenant", "team")
_USD_PER_S: Final = 0.01
_FROM_RATES: Final = {
    "Spend per hour", "Today", "This month", "Month at this pace", "Cost by component", "Cost by service", "Top routes",
    "Biggest movers", "Cost by tenant", "Cost by feature", "Each tenant", "Each feature",
    "Cost per 1 000 requests", "Cost per 1 000 requests over time",
}  # fmt: skip
"""Panels that have to show a service without metrics of its own."""


class _Services:
    """Counters of `derived`, which a Collector alone knows, and of `both`, which sends metrics of its own as well."""

    def __init__(self) -> None:
        self._began = monotonic()

    def collect(self) -> Iterable[CounterMetricFamily]:
        usd = _USD_PER_S * (monotonic() - self._began)
        for name, services in (("spancost_spans_cost_usd", ("derived", "both")), ("spancost_cost_usd", ("both",))):
            family = CounterMetricFamily(name, "USD", labels=("service_name", *_ENTRY))
            for service in services:
                family.add_metric((service, "aws", "/orders", "POST", ""), usd)
            yield family
        family = CounterMetricFamily(
            "spancost_spans_requests", "Requests", labels=("service_name", *_ENTRY[1:], "outcome")
        )
        family.add_metric(("derived", "/orders", "POST", "", "ok"), usd)
        yield family
        family = CounterMetricFamily("spancost_spans_attributed_cost_usd", "USD", labels=("service_name", *_WHO))
        family.add_metric(("derived", "checkout", "acme", ""), usd)
        yield family


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("derived")
    registry = CollectorRegistry()
    registry.register(_Services())  # pyright: ignore[reportArgumentType] # any object that can collect
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    config = settings(rules_each_second(folder / "rules"))
    target = {"targets": [f"127.0.0.1:{server.server_port}"]}
    config["scrape_configs"] = [{"job_name": "services", "scrape_interval": "1s", "static_configs": [target]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), "utf-8")
    try:
        with Prometheus(folder / "prometheus", folder / "prometheus.yaml") as running:
            running.wait_for("service:spancost_cost_usd:projected_month > 0", lambda found: len(found) == 2)
            running.wait_for("tenant:spancost_attributed_cost_usd:rate5m > 0", lambda found: len(found) == 1)
            yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _panels(prometheus: Prometheus, uid: str) -> dict[str, dict[str, Any]]:
    end = str(math.ceil(time() / 60) * 60_000)
    command = ["dashboards", "check", str(ROOT / "grafana" / "dashboards" / f"{uid}.json"), "--prometheus"]
    command += [prometheus.url, "--range", "5m", "--end", end, "--scrape-interval", "1s", "--format", "json"]
    done = CliRunner().invoke(application("dashboards"), command)
    return {panel["title"]: panel for panel in json.loads(done.stdout)["dashboards"][0]["panels"]}


def test_a_service_without_metrics_of_its_own_is_in_the_panels_of_recorded_rates(prometheus: Prometheus) -> None:
    found: dict[str, dict[str, Any]] = {}
    for uid in ("overview", "route", "tenants"):
        found |= _panels(prometheus, f"spancost-{uid}")
    states = {title: found[title]["state"] for title in _FROM_RATES}
    assert {title: state for title, state in states.items() if state != "ok"} == {}
    assert found["Cost by service"]["queries"][0]["series"] == 2


def test_what_is_counted_twice_is_told_and_not_added(prometheus: Prometheus) -> None:
    found = _panels(prometheus, "spancost-data-quality")
    at = time()
    (count,) = prometheus.query(found["Services counted twice"]["queries"][0]["query"], at=at)
    (twice,) = prometheus.query(found["Counted twice"]["queries"][0]["query"], at=at)
    assert (count.value, twice.labels["service_name"]) == (1.0, "both")
    rates = prometheus.sums("service:spancost_cost_usd:rate5m", "service_name", at=at)
    assert rates["both",] == pytest.approx(rates["derived",], rel=0.2)  # the same dollars, once
