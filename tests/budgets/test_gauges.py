from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from spancost import add_usage, attribute
from spancost.budgets.gauges import gauges_of
from spancost.budgets.rules import BudgetRule, BurnRateRule, ForecastRule
from spancost.budgets.windows import Window
from spancost.sinks.metrics import OtelMetrics
from spancost.sinks.prometheus import TotalsCollector
from spancost.testing import World, priced_provider
from tests.budgets.books import Books

_RULES = (
    BudgetRule(name="month", limit_usd=10.0, window=Window("month")),
    BudgetRule(name="tenants", limit_usd=1.0, window=Window("rolling", 86_400), per=("tenant",)),
    BurnRateRule(name="burn", budget="tenants"),
    ForecastRule(name="forecast", budget="month"),
)


def _spend(world: World) -> None:
    with world.tracer.start_as_current_span("request"), attribute(tenant="acme"):
        add_usage("work", 1, "unit", 6.0)
    world.engine.flush()


def test_budgets_are_gauges_of_a_meter_provider_though_they_come_after_its_instruments() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    with priced_provider(budget_rules=_RULES, budget_store="memory") as world:
        world.engine.add_sink(OtelMetrics(world.engine, world.totals, provider))
        _spend(world)
        found: dict[str, dict[tuple[str, str], Any]] = {}
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:  # type: ignore[union-attr]
            for point in metric.data.data_points:
                labels = dict(point.attributes or {})
                if "budget" in labels:
                    key = str(labels["budget"]), str(labels.get("pair", labels["key"]))
                    found.setdefault(metric.name, {})[key] = getattr(point, "value", None)
    provider.shutdown()
    assert found["spancost.budget.spend.usd"]["month", ""] == 6.0
    assert found["spancost.budget.spend.usd"]["tenants", "acme"] == 6.0
    assert found["spancost.budget.limit.usd"]["tenants", "acme"] == 1.0
    assert found["spancost.budget.used.ratio"]["month", ""] == 0.6
    assert found["spancost.budget.state"] == {
        ("month", ""): 1.0, ("tenants", "acme"): 2.0, ("burn", "acme"): 2.0, ("forecast", ""): 0.0,
    }  # fmt: skip
    assert found["spancost.budget.burn.rate"]["burn", "1h/5m"] == pytest.approx(144.0, rel=1e-9)
    assert ("forecast", "") in found["spancost.budget.forecast.usd"]


def test_budgets_are_gauges_on_a_scrape() -> None:
    registry = CollectorRegistry()
    with priced_provider(budget_rules=_RULES, budget_store="memory") as world:
        registry.register(TotalsCollector(world.engine, world.totals, {"service_name": "shop"}))  # type: ignore[arg-type]
        _spend(world)
        text = generate_latest(registry).decode()
    assert 'spancost_budget_spend_usd{budget="month",key="",service_name="shop"} 6.0' in text
    assert 'spancost_budget_state{budget="tenants",key="acme",service_name="shop"} 2.0' in text


_WORKER = """
import sys
from spancost import add_usage
from spancost.budgets.rules import BudgetRule
from spancost.budgets.windows import Window
from spancost.sinks.prometheus import MultiprocessMetrics
from spancost.testing import priced_provider

rules = (BudgetRule(name="month", limit_usd=10.0, window=Window("month")),)
with priced_provider(budget_rules=rules, budget_store=sys.argv[1]) as world:
    world.engine.add_sink(MultiprocessMetrics(world.engine, world.totals, {}))
    with world.tracer.start_as_current_span("request"):
        add_usage("work", 1, "unit", 3.0)
    world.engine.flush()
"""


def test_several_processes_show_the_sum_that_they_share_once(tmp_path: Path) -> None:
    files = tmp_path / "metrics"
    files.mkdir()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(files)}
    for _ in range(3):
        command = [sys.executable, "-c", _WORKER, f"sqlite:{tmp_path / 'budgets.sqlite'}"]
        subprocess.run(command, env=environment, check=True, timeout=60)
    show = (
        "from prometheus_client import CollectorRegistry, generate_latest, multiprocess as m\n"
        "r = CollectorRegistry(); m.MultiProcessCollector(r); print(generate_latest(r).decode())"
    )
    text = subprocess.run(
        [sys.executable, "-c", show], env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert 'spancost_budget_spend_usd{budget="month",key=""} 9.0' in text
    assert text.count("spancost_budget_spend_usd{") == 1


def test_of_very_many_keys_those_stay_that_are_nearest_to_their_limit() -> None:
    shop = Books([BudgetRule(name="tenants", limit_usd=100.0, window=Window("day"), per=("tenant",))])
    for number in range(30):
        shop.spend(float(number), tenant=f"t{number}")
    shown = gauges_of(shop.book, 5)[0].values
    assert sorted(labels["key"] for labels, _ in shown) == ["t25", "t26", "t27", "t28", "t29"]


def test_a_new_day_shows_nothing_spent_though_nobody_has_spent_since() -> None:
    shop = Books([BudgetRule(name="day", limit_usd=10.0, window=Window("day"))])
    shop.spend(4.0)
    shop.wait(43_200)
    (_, spent), = gauges_of(shop.book, 5)[0].values  # fmt: skip
    assert spent == 0.0
