"""A simulated fleet against real Collectors with our configurations: the money at the far end is what it has sent."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import pytest

from examples.stack.servers import Collector, Prometheus
from spancost import names
from tests.benchmarks.scale.__main__ import main
from tests.benchmarks.scale.fleet import Fleet
from tests.benchmarks.scale.load import METRICS, TRACES, Limits, Load
from tests.e2e.exposition import samples, sums_by
from tests.support.processes import ReservedPort

pytestmark = pytest.mark.stack

_CONFIGS: Final = Path(__file__).parents[2] / "collector-config"
_FLEET: Final = Fleet(services=6, workers=2, routes=8, tenants=30, requests=60, profiles=3)
_RELATIVE: Final = 1e-9
_ARRIVED_S: Final = 60.0
_KEPT_FROM_NANO_USD: Final = 1_000_000

_WITHOUT_INSTANCE: Final = """
receivers:
  otlp: {protocols: {http: {endpoint: "${env:OTLP_HTTP_ENDPOINT}"}}}
processors:
  resource: {attributes: [{key: service.instance.id, action: delete}]}
exporters:
  otlp_http: {metrics_endpoint: "${env:TO}"}
extensions:
  health_check: {endpoint: "${env:HEALTH_ENDPOINT}"}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], processors: [resource], exporters: [otlp_http]}
"""
"""What the page on scale warns of."""

Money = Mapping[tuple[str, ...], float]


def _until(found: Callable[[], Any], wanted: Any) -> None:
    """Wait until something is there; the last look is compared, so that a failure shows the difference."""
    ends = monotonic() + _ARRIVED_S
    while found() != wanted and monotonic() < ends:
        sleep(0.2)
    assert found() == wanted


def _exact(money: Money) -> Any:
    return pytest.approx(money, rel=_RELATIVE, abs=1e-15)


def _page(url: str, metric: str, *labels: str) -> Money:
    """The samples of a page by labels, added up."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return sums_by(samples(answer.read().decode()), metric, *labels)


def test_money_that_a_collector_derives_is_what_a_fleet_has_sent(tmp_path: Path) -> None:
    by_route = ("service_name", "component", "http_route", "http_request_method")
    by_tenant = ("service_name", "feature", "tenant", "team")
    port = ReservedPort()
    variables = {
        "DERIVED_METRICS_ENDPOINT": f"127.0.0.1:{port.number}",
        "DERIVE_INTERVAL": "200ms",
        "QUEUE_DIRECTORY": str(tmp_path / "queue"),
    }
    port.release()
    with Collector(tmp_path, [_CONFIGS / "no-sdk-metrics.yaml"], variables) as collector:
        sent = Load(_FLEET, collector.otlp_http, signals=[TRACES]).run(Limits(rounds=4, seconds=60))
        assert sent.spans > 10_000
        page = f"{port.url}/metrics"
        _until(lambda: _page(page, "spancost_spans_cost_usd_total", *by_route), _exact(sent.totals(*by_route)))
        _until(
            lambda: _page(page, "spancost_spans_attributed_cost_usd_total", *by_tenant), _exact(sent.direct(*by_tenant))
        )
    assert sum(sent.direct().values()) == pytest.approx(sum(sent.totals().values()), rel=_RELATIVE)


def test_money_of_a_fleet_comes_through_agent_and_gateway_and_its_costly_traces_are_kept(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yaml"
    config.write_text("global: {scrape_interval: 1m}\n")
    kept = tmp_path / "kept.jsonl"
    with (
        Prometheus(tmp_path / "prometheus", config) as prometheus,
        Collector(
            tmp_path / "gateway",
            [_CONFIGS / "gateway.yaml"],
            {
                "REMOTE_WRITE_URL": prometheus.remote_write_url,
                "KEPT_TRACES_EXPORTERS": "[file]",
                "TRACES_FILE": str(kept),
                "KEEP_FROM_NANO_USD": str(_KEPT_FROM_NANO_USD),
                "KEEP_PERCENT": "0",
                "DECISION_WAIT": "2s",
                "QUEUE_DIRECTORY": str(tmp_path / "queue-gateway"),
            },
            name="gateway",
        ) as gateway,
        Collector(
            tmp_path / "agent",
            [_CONFIGS / "agent.yaml"],
            {
                "TRACES_ENDPOINT": gateway.otlp_grpc,
                "METRICS_ENDPOINT": gateway.otlp_grpc,
                "RESOURCE_DETECTORS": "[env]",
                "QUEUE_DIRECTORY": str(tmp_path / "queue-agent"),
            },
            name="agent",
        ) as agent,
    ):
        sent = Load(_FLEET, agent.otlp_http).run(Limits(rounds=3, seconds=60))
        for metric, labels in (
            (names.METRIC_COST, ("service_name", "component", "http_route")),
            (names.METRIC_ATTRIBUTED, ("service_name", "tenant", "team")),
        ):
            name = f"{metric.replace('.', '_')}_total"
            counted = sent.counted(metric, *labels)
            _until(lambda name=name, labels=labels: prometheus.sums(name, *labels), _exact(counted))
        costly = sent.costly(_KEPT_FROM_NANO_USD)
        assert 0 < costly < sent.traces
        _until(lambda: _traces(kept), costly)


def test_counters_of_processes_without_an_instance_are_one_series_with_the_money_of_one_process(tmp_path: Path) -> None:
    config, dropping = tmp_path / "prometheus.yaml", tmp_path / "dropping.yaml"
    config.write_text("otlp: {promote_resource_attributes: [service.name]}\n")
    dropping.write_text(_WITHOUT_INSTANCE)
    fleet = Fleet(services=2, workers=5, routes=4, tenants=4, requests=20, profiles=2)
    with (
        Prometheus(tmp_path / "prometheus", config) as prometheus,
        Collector(tmp_path, [dropping], {"TO": prometheus.otlp_metrics_url}) as collector,
    ):
        sent = Load(fleet, collector.otlp_http, signals=[METRICS]).run(Limits(rounds=2, seconds=60))
        # Its five processes do the same work, so each of them has a fifth.
        left = {of: usd / fleet.workers for of, usd in sent.counted(names.METRIC_COST, "service_name").items()}
        _until(lambda: prometheus.sums("spancost_cost_usd_total", "service_name"), _exact(left))


def _traces(path: Path) -> int:
    """Distinct traces in a file of the Collector."""
    if not path.exists():
        return 0
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return len(
        {
            span["traceId"]
            for line in lines
            for of_resource in line["resourceSpans"]
            for of_scope in of_resource["scopeSpans"]
            for span in of_scope["spans"]
        }
    )


def test_the_commands_of_the_page_on_scale_measure_what_they_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = "agent, traces"
    assert main(["collector", "--repeats", "1", "--share", "0.05", "--only", case, "--format", "json"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert (figures["case"], figures["refusals"]) == (case, 0)
    assert 10_000 < figures["items"] <= 15_000
    assert figures["least"] == figures["items_per_cpu_s"] == figures["most"] > 100
    assert 10 < figures["idle_mib"] <= figures["peak_mib"]


def test_what_is_sent_from_the_command_line_arrives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "prometheus.yaml"
    config.write_text("otlp: {promote_resource_attributes: [service.name]}\n")
    with Prometheus(tmp_path, config) as prometheus:
        endpoint = prometheus.otlp_metrics_url.removesuffix("/v1/metrics")
        command = ["load", "--endpoint", endpoint, "--signals", METRICS, "--rounds", "1", "--services", "3", "--gzip"]
        assert main(command) == 0
        assert "METRIC EXPORTS" in capsys.readouterr().out
        (services,) = prometheus.query("count(count by (service_name) (spancost_cost_usd_total))")
        assert services.value == 3
