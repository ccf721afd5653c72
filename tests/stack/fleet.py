"""The demo's three apps with every way that their money can take to a Prometheus, all at once.

apps --OTLP--> tee --> agent --> router (spans) --> gateway --> traces in a file
  |             |        \\--> gateway (metrics) --remote write--> `written`
  |             |--> no-sdk-metrics (spans) ----remote write--> `written`, under names of its own
  |             |--> exact ------native deltas over OTLP------> `deltas`
  |             \\--> OTLP straight into `pushed`
  \\--/metrics-----scrape--------------------------------------> `scraped`
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep, time
from types import TracebackType
from typing import Final, Self

import yaml

from examples.shop.processes import StackError
from examples.shop.stack import APPS, ROOT, Stack
from examples.stack.servers import Collector, Prometheus
from spancost.window import ENTRY, INNER, LATE_ENTRY, LATE_INNER, UNATTRIBUTED

CONFIGS: Final = ROOT / "collector-config"
RULES: Final = ROOT / "grafana" / "rules"
RESOURCE: Final = {
    "deployment.environment.name": "production",
    "k8s.namespace.name": "shops",
    "cloud.account.id": "123456789012",
    "cloud.region": "us-east-1",
}
SCOPE: Final = {key.replace(".", "_"): value for key, value in RESOURCE.items()}
"""Labels that every series has on every path, beside `service_name`."""
INTERVAL_S: Final = 1.0
"""Between two exports, scrapes and evaluations of rules."""
KEPT_FROM_NANO_USD: Final = 5_000_000
"""Traces of half a cent and more are kept, and failed ones."""
DELTA_COST: Final = "spancost_delta_cost_usd_total"
_HOLD_S: Final = 4.0
"""For which a new series reads 0: longer than any interval here and what comes on top."""
_SETTLED_S: Final = 120.0

IN_TIME: Final = (ENTRY, INNER)
"""Charges that the spans had when they were exported."""
EVERY_POSITION: Final = (*IN_TIME, LATE_ENTRY, LATE_INNER, UNATTRIBUTED)

Money = Mapping[tuple[str, ...], float]
"""USD by labels; nothing where there is none."""


class Fleet:
    """Starts everything, in order; a context manager. Stopping it stops what it has started.

    Args:
        folder: For files, logs and data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scraped = folder / "scraped.yaml"
        self._received = folder / "received.yaml"
        self._received.write_text(yaml.safe_dump(_received(with_rules=True)), encoding="utf-8")
        deltas = folder / "deltas.yaml"
        deltas.write_text(yaml.safe_dump(_received(with_rules=False)), encoding="utf-8")
        self.written = Prometheus(folder / "written", self._received, name="written")
        self.pushed = Prometheus(folder / "pushed", self._received, name="pushed", features=["exemplar-storage"])
        self.deltas = Prometheus(folder / "deltas", deltas, name="deltas", features=["otlp-native-delta-ingestion"])
        self.scraped = Prometheus(folder / "scraped", self._scraped, name="scraped", features=["exemplar-storage"])
        remote_write = {"REMOTE_WRITE_URL": self.written.remote_write_url}
        self.traces = folder / "gateway" / "traces.jsonl"
        self.gateway = self._collector(
            "gateway",
            {
                **remote_write,
                "TRACES_FILE": str(self.traces),
                "KEPT_TRACES_EXPORTERS": "[file]",
                "KEEP_FROM_NANO_USD": str(KEPT_FROM_NANO_USD),
                "KEEP_PERCENT": "0",
                "DECISION_WAIT": "5s",
            },
        )
        self.router = self._collector("router", {"GATEWAYS": f"[{self.gateway.otlp_grpc}]"}, binary="otelcol-router")
        self.agent = self._collector(
            "agent", {"TRACES_ENDPOINT": self.router.otlp_grpc, "METRICS_ENDPOINT": self.gateway.otlp_grpc}
        )
        self.derived = self._collector(
            "no-sdk-metrics", {**remote_write, "DERIVED_EXPORTER": "prometheus_remote_write", "DERIVE_INTERVAL": "1s"}
        )
        self.exact = self._collector(
            "no-sdk-metrics",
            {"PROMETHEUS_OTLP_ENDPOINT": f"{self.deltas.url}/api/v1/otlp", "EXACT_FROM": "counters"},
            on_top="exact",
        )
        self.tee = Collector(
            folder / "tee",
            [Path(__file__).with_name("tee.yaml")],
            {
                "AGENT": self.agent.otlp_grpc,
                "DERIVED": self.derived.otlp_grpc,
                "EXACT": self.exact.otlp_grpc,
                "PUSHED": self.pushed.otlp_metrics_url,
            },
            name="tee",
        )
        self.shop = Stack(
            folder / "shop",
            otlp_endpoint=self.tee.otlp_http,
            first_value_hold_s=_HOLD_S,
            export_interval_millis=int(INTERVAL_S * 1000),
            extra_environment={"OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={text}" for key, text in RESOURCE.items())},
        )
        self._running = ExitStack()

    def _collector(
        self, name: str, variables: Mapping[str, str], *, on_top: str = "", binary: str = "otelcol"
    ) -> Collector:
        configs = [CONFIGS / f"{one}.yaml" for one in (name, on_top) if one]
        folder = self.folder / (on_top or name)
        return Collector(folder, configs, variables, binary=binary, name=folder.name)

    def ledger(self, *columns: str, positions: Sequence[str] = EVERY_POSITION) -> Money:
        """Return what the ledger of all apps has, by some of its columns; without idle time.

        Args:
            columns: Of its table of rows.

            positions: Of charges in their trees, as `spancost.window` names them.
        """
        return self.shop.ledger_usd(columns, positions)

    def wait_settled(self) -> float:
        """Return the time, Unix seconds, when every Prometheus has all of the money, and a moment more changes nothing.

        Raises:
            StackError: That did not come to pass.
        """
        ends = monotonic() + _SETTLED_S
        last: dict[str, float] = {}
        while monotonic() < ends:
            found = self._arrived()
            usd = found["ledger"]
            if found == last and all(abs(found[server.name] - usd) <= 1e-9 * usd for server in self.servers):
                return time()
            last = found
            sleep(3 * INTERVAL_S)
        raise StackError(f"not settled within {_SETTLED_S:g} s: {last}")

    def _arrived(self) -> dict[str, float]:
        return {
            "ledger": sum(self.ledger("component").values()),
            **{server.name: _total(server, "spancost_cost_usd_total") for server in self.servers},
            "derived": _total(self.written, "spancost_spans_cost_usd_total"),
            "deltas": _total(self.deltas, f"sum_over_time({DELTA_COST}[1h])"),
        }

    @property
    def servers(self) -> tuple[Prometheus, ...]:
        """Those that keep the cumulative counters of the SDK."""
        return (self.scraped, self.pushed, self.written)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for server in (self.written, self.pushed, self.deltas):
                started.enter_context(server)
            for collector in (self.gateway, self.router, self.agent, self.derived, self.exact, self.tee):
                started.enter_context(collector)
            started.enter_context(self.shop)
            targets = {app: url.removeprefix("http://") for app, url in self.shop.urls.items()}
            self._scraped.write_text(json.dumps(_scraping(targets)), encoding="utf-8")
            started.enter_context(self.scraped)
            # It is ready seconds before it looks at its targets; a series must not have been there before.
            self.scraped.wait_for("up == 1", lambda found: len(found) == len(APPS))
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def _total(server: Prometheus, expression: str) -> float:
    return math.fsum(sample.value for sample in server.query(expression))


def _received(*, with_rules: bool) -> Mapping[str, object]:
    config: dict[str, object] = yaml.safe_load(
        (ROOT / "grafana" / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8")
    )
    kept: dict[str, object] = {"global": _every_moment(), "otlp": config["otlp"]}
    return {**kept, "rule_files": [str(RULES / "*.yaml")]} if with_rules else kept


def _scraping(targets: Mapping[str, str]) -> Mapping[str, object]:
    assert set(targets) == set(APPS)
    return {
        "global": _every_moment(),
        "rule_files": [str(RULES / "*.yaml")],
        "scrape_configs": [
            {"job_name": app, "static_configs": [{"targets": [target]}]} for app, target in targets.items()
        ],
    }


def _every_moment() -> dict[str, str]:
    return {"scrape_interval": f"{INTERVAL_S:g}s", "evaluation_interval": f"{5 * INTERVAL_S:g}s"}
