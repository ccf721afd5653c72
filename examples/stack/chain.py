"""The demo's shop with everything behind it, each part as a process on loopback.

apps --OTLP--> agent --spans--> router --> gateway --> trace UI
                 \\--metrics---------------> gateway --remote write--> Prometheus --> Alertmanager
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self

from examples.shop.processes import StackError
from examples.shop.stack import ROOT, Stack
from examples.stack.servers import Alertmanager, Collector, Prometheus, Server
from examples.stack.trace_ui import TraceUi
from spancost.window import ENTRY, INNER, LATE_ENTRY, LATE_INNER, UNATTRIBUTED

DASHBOARDS: Final = ROOT / "grafana" / "dashboards"
EXPECTED_EMPTY: Final = ROOT / "grafana" / "expected-empty.yaml"
EXPORT_INTERVAL_S: Final = 2
"""Between two exports of an app's metrics."""
_COLLECTOR_CONFIG: Final = ROOT / "collector-config"
_PROMETHEUS_CONFIG: Final = ROOT / "grafana" / "prometheus"
_RULES: Final = ROOT / "grafana" / "rules"
_RESOURCE: Final = (
    "deployment.environment.name=demo,k8s.namespace.name=shops,cloud.account.id=123456789012,cloud.region=us-east-1"
)
_FIRST_VALUE_HOLD_S: Final = 6.0
_SETTLED_S: Final = 120.0
_LOOK_S: Final = 3.0
_EXACT: Final = 1e-9
_COST: Final = "spancost_cost_usd_total"
_ROUTE: Final = ("http_request_method", "http_route", "entrypoint")
"""Called so in Prometheus and in the ledger."""
_ON_SPANS: Final = (ENTRY, INNER, LATE_INNER)
"""Positions of charges that stand on a span of their own; what a root learns after its export does not."""
_NOT_IDLE: Final = (*_ON_SPANS, LATE_ENTRY, UNATTRIBUTED)

_SPANCOST_YAML: Final = """\
http:
  free_hosts: ["127.0.0.1"]   # the shop's own apps: what they cost is priced where they run
budgets:
  rules:
    - name: shop-monthly
      budget: {limit_usd: 100, window: month}
    - name: llm-daily
      budget: {limit_usd: 1, window: day}
      match: {component: llm}
    - name: llm-burn
      burn_rate: {budget: llm-daily}
    - name: llm-forecast
      forecast: {budget: llm-daily, over: 1h}
    - name: tenants-daily
      budget: {limit_usd: 0.05, window: day}
      per: tenant
"""

Routes = Mapping[tuple[str, str], float]
"""USD by service and route; routes that cost nothing are not there."""


class Chain:
    """Starts everything in order, far end first; a context manager. On the way out all of it is stopped.

    Args:
        directory: For data and logs; made if missing.

        trace_ui: Whether Phoenix gets the traces; else they stay in a file.

        on_progress: Called with one line for each step.
    """

    def __init__(self, directory: Path, *, trace_ui: bool, on_progress: Callable[[str], None]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._tell = on_progress
        self._config = directory / "config" / "prometheus"
        self.alertmanager = Alertmanager(directory / "alertmanager", _PROMETHEUS_CONFIG / "alertmanager.yaml")
        self.prometheus = Prometheus(
            directory / "prometheus", self._config / "prometheus.yaml", features=["exemplar-storage"]
        )
        self.trace_ui = TraceUi(directory / "trace-ui") if trace_ui else None
        gateway = {
            "REMOTE_WRITE_URL": self.prometheus.remote_write_url,
            "TRACES_FILE": str(directory / "gateway" / "traces.jsonl"),
            "DECISION_WAIT": "2s",
            "KEEP_PERCENT": "100",
        }
        if self.trace_ui is None:
            gateway["KEPT_TRACES_EXPORTERS"] = "[file]"
        else:
            gateway["TRACES_ENDPOINT"] = self.trace_ui.otlp_grpc
        self.gateway = _collector(directory, "gateway", gateway)
        self.router = _collector(
            directory, "router", {"GATEWAYS": f"[{self.gateway.otlp_grpc}]"}, binary="otelcol-router"
        )
        self.agent = _collector(
            directory, "agent", {"TRACES_ENDPOINT": self.router.otlp_grpc, "METRICS_ENDPOINT": self.gateway.otlp_grpc}
        )
        self._shop_config = directory / "spancost.yaml"
        self.shop = Stack(
            directory / "shop",
            otlp_endpoint=self.agent.otlp_http,
            first_value_hold_s=_FIRST_VALUE_HOLD_S,
            export_interval_millis=EXPORT_INTERVAL_S * 1000,
            extra_environment={
                "OTEL_RESOURCE_ATTRIBUTES": _RESOURCE,
                "SPANCOST_CONFIG": str(self._shop_config),
                "SPANCOST_BUDGET_STORE": f"sqlite:{directory / 'budgets.sqlite'}",
            },
            on_progress=on_progress,
        )
        self._running = ExitStack()

    def places(self) -> dict[str, str]:
        """What a person may open, by name, while it runs."""
        trace_ui = {} if self.trace_ui is None else {"trace UI": self.trace_ui.url}
        return {
            "Prometheus": f"{self.prometheus.url} (API; the built program has no pages)",
            "Alertmanager": f"{self.alertmanager.url}/api/v2/alerts",
            **trace_ui,
            "agent, OTLP/HTTP": self.agent.otlp_http,
            **self.shop.urls,
        }

    def spent(self) -> float:
        """USD of all apps in Prometheus, at rest not counted."""
        return math.fsum(sample.value for sample in self.prometheus.query(_COST))

    def by_route(self) -> Routes:
        """What Prometheus has."""
        labels = ("service_name", *_ROUTE)
        sums = self.prometheus.sums(f"sum by ({', '.join(labels)}) ({_COST})", *labels)
        return _named(sums)

    def ledger_by_route(self) -> Routes:
        """What the apps have written down themselves."""
        return _named(self.shop.ledger_usd(("service", *_ROUTE), _NOT_IDLE))

    def on_spans(self) -> tuple[int, float, float]:
        """Return spans in the trace UI, USD on them, and USD that the ledger says should be on them.

        Raises:
            StackError: There is no trace UI, or not all of it arrived in time.
        """
        if self.trace_ui is None:
            raise StackError("the demo runs without a trace UI")
        expected = math.fsum(self.shop.ledger_usd((), _ON_SPANS).values())
        ends = monotonic() + _SETTLED_S
        while True:
            spans = self.trace_ui.spans()
            usd = math.fsum(amount for span in spans if (amount := _attribute(span, "spancost.direct.usd")) is not None)
            if math.isclose(usd, expected, rel_tol=_EXACT) or monotonic() > ends:
                return len(spans), usd, expected
            sleep(_LOOK_S)

    def usd_per_day(self) -> dict[str, float]:
        """What the rule of the last five minutes says, by component, costliest first."""
        sums = self.prometheus.sums("sum by (component) (component:spancost_cost_usd:rate5m) * 86400", "component")
        return {component: usd for (component,), usd in sorted(sums.items(), key=lambda pair: -pair[1])}

    def alerts(self) -> list[tuple[str, str]]:
        """Name and state of what is firing or about to."""
        found: list[dict[str, Any]] = self.prometheus.get("alerts")["alerts"]
        return sorted({(alert["labels"]["alertname"], alert["state"]) for alert in found})

    def wait_settled(self) -> None:
        """Return when Prometheus has what the ledger has, and a moment later still.

        Raises:
            StackError: That did not come to pass.
        """
        self._tell("waiting until all has arrived")
        ends = monotonic() + _SETTLED_S
        before: tuple[float, float] | None = None
        while monotonic() < ends:
            now = (math.fsum(self.ledger_by_route().values()), self.spent())
            if now == before and math.isclose(*now, rel_tol=_EXACT):
                return
            before = now
            sleep(_LOOK_S)
        raise StackError(f"ledger and Prometheus did not meet within {_SETTLED_S:g} s: {before}")

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self._shop_config.write_text(_SPANCOST_YAML, encoding="utf-8")
            self._configure_prometheus()
            servers: list[Server] = [self.alertmanager, self.prometheus, self.gateway, self.router, self.agent]
            if self.trace_ui is not None:
                servers.insert(0, self.trace_ui)
            self._tell(f"starting {', '.join(server.name for server in servers)}")
            for server in servers:
                started.enter_context(server)
            started.enter_context(self.shop)
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def _configure_prometheus(self) -> None:
        """Take the shipped files as they are; what is of this run stands in the files of targets."""
        shutil.copytree(_PROMETHEUS_CONFIG, self._config, dirs_exist_ok=True)
        shutil.copytree(_RULES, self._config.parent / "rules", dirs_exist_ok=True)
        own_metrics = [f"127.0.0.1:{collector.metrics_port}" for collector in (self.agent, self.router, self.gateway)]
        targets: dict[str, list[str]] = {
            "alertmanagers": [self.alertmanager.url.removeprefix("http://")],
            "collectors": own_metrics,
            # They send their metrics to the agent, and would be counted twice.
            "apps": [],
        }
        for name, addresses in targets.items():
            path = self._config / "targets" / f"{name}.yaml"
            path.write_text(json.dumps([{"targets": addresses}]), encoding="utf-8")


def _collector(directory: Path, name: str, variables: Mapping[str, str], *, binary: str = "otelcol") -> Collector:
    config = _COLLECTOR_CONFIG / f"{name}.yaml"
    return Collector(directory / name, [config], variables, binary=binary, name=name)


def _named(sums: Mapping[tuple[str, ...], float]) -> Routes:
    named: dict[tuple[str, str], float] = {}
    for (service, method, route, entrypoint), usd in sums.items():
        if usd:
            name = (service, f"{method} {route}".strip() or entrypoint)
            named[name] = named.get(name, 0.0) + usd
    return named


def _attribute(span: Mapping[str, Any], key: str) -> float | None:
    """A number among the attributes of a span in OTLP's JSON."""
    for attribute in span.get("attributes") or ():
        if attribute["key"] == key:
            value: Mapping[str, Any] = attribute["value"]
            said = value.get("double_value", value.get("doubleValue", value.get("int_value", value.get("intValue"))))
            return None if said is None else float(said)
    return None
