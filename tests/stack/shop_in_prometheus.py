"""The demo shop's metrics in a real Prometheus, with the rules of `grafana/rules` evaluated over them."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import yaml

from examples.shop.load import run_load
from examples.shop.stack import Stack
from examples.stack.servers import Prometheus

ROOT: Final = Path(__file__).resolve().parents[2]
SHIPPED: Final = ROOT / "grafana" / "prometheus" / "prometheus.yaml"
RULES: Final = ROOT / "grafana" / "rules"
_HOLD_S: Final = 2.0
_LOAD_S: Final = 20.0
_BUDGETS: Final = """\
http:
  free_hosts: ["127.0.0.1"]
budgets:
  rules:
    - name: llm-daily
      budget: {limit_usd: 0.1, window: day}
      match: {component: llm}
      thresholds: [50%, 80%, 100%]
      owner: assistant-team
    - name: tenants
      budget: {limit_usd: 0.07, window: rolling 24h}
      per: tenant
    - name: everything
      budget: {limit_usd: 1000, window: month}
    - name: llm-burn
      burn_rate: {budget: llm-daily, min_usd_per_hour: 0.0001}
    - name: llm-forecast
      forecast: {budget: llm-daily, over: 24h}
"""


@contextmanager
def shop_in_prometheus(folder: Path, *, load_s: float = _LOAD_S) -> Generator[Prometheus]:
    """Run the shop under load with its metrics pushed to Prometheus; gives the server when all of it is there.

    Args:
        folder: For data, logs and settings.

        load_s: Seconds of load, at least.
    """
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump(settings(rules_each_second(folder / "rules"))), encoding="utf-8")
    budgets = folder / "budgets.yaml"
    budgets.write_text(_BUDGETS, encoding="utf-8")
    environment = {
        "SPANCOST_CONFIG": str(budgets),
        "SPANCOST_BUDGET_STORE": f"sqlite:{folder / 'budgets.sqlite'}",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=demo,cloud.region=us-east-1",
    }
    with Prometheus(folder / "prometheus", config, features=["exemplar-storage"]) as prometheus:
        shop = Stack(
            folder / "shop",
            otlp_endpoint=f"{prometheus.url}/api/v1/otlp",
            first_value_hold_s=_HOLD_S,
            export_interval_millis=500,
            extra_environment=environment,
        )
        with shop:
            ends = monotonic() + load_s
            while monotonic() < ends:
                done = run_load(shop.urls, per_route=3)
                assert not done.failures
            _wait_until_settled(prometheus)
            yield prometheus


def rules_each_second(folder: Path) -> Path:
    """Write the rules of `grafana/rules` into a new folder, only sooner: a run of seconds has no minutes to wait."""
    folder.mkdir(parents=True)
    for file in sorted(RULES.glob("*.yaml")):
        text = re.sub(r"(?m)^(\s+)interval: \w+$", r"\1interval: 1s", file.read_text(encoding="utf-8"))
        (folder / file.name).write_text(text, encoding="utf-8")
    return folder


def settings(rules: Path) -> dict[str, Any]:
    """Return the configuration of Prometheus that is shipped, without targets and Alertmanagers.

    Args:
        rules: Folder of the rules.
    """
    shipped: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    kept = {key: shipped[key] for key in ("otlp", "storage")}
    return {**kept, "global": {"evaluation_interval": "1s"}, "rule_files": [f"{rules}/*.yaml"]}


def _wait_until_settled(prometheus: Prometheus) -> None:
    """Return when no counter of money has moved for longer than new series are held, and the rules have seen it."""
    ends, still_since, before = monotonic() + 60.0, monotonic(), ""
    while monotonic() - still_since < _HOLD_S + 2.0:
        now = repr(prometheus.query("sum(spancost_request_cost_usd_count) + count(spancost_usage_total)"))
        if now != before:
            before, still_since = now, monotonic()
        assert monotonic() < ends
        sleep(0.2)
    prometheus.wait_for("count(service:spancost_cost_usd:projected_month)", lambda found: bool(found))
