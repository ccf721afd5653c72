"""What Collectors lose: the shipped alerts read it from what real Collectors say of themselves."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import pytest
import yaml

from examples.stack.servers import Collector, Prometheus
from tests.e2e.zero_code import ROOT, wait_until
from tests.stack.collector.tiers import config, prometheus_config
from tests.support.processes import ReservedPort

pytestmark = pytest.mark.stack

_ALERTS: Final = ROOT / "grafana" / "rules" / "alerts.yaml"
_DELTA, _CUMULATIVE = 1, 2
_TOO_MANY: Final = 5


class _Loss(NamedTuple):
    """Which rule speaks, of which Collector, and of which of its exporters."""

    alert: str
    how: str
    collector: str
    exporter: str


_LOSSES: Final = (
    _Loss("SpancostCollectorDropsMetrics", "deltas", "remote write", "prometheus_remote_write"),
    _Loss("SpancostCollectorDropsMetrics", "queue_full", "full", "otlp_grpc/metrics"),
    _Loss("SpancostCollectorDropsMetrics", "gave_up", "refused", "otlp_http"),
    _Loss("SpancostCollectorDropsSpans", "queue_full", "full", "otlp_grpc/traces"),
    _Loss("SpancostCollectorDropsSpans", "gave_up", "refused", "otlp_http/traces"),
)


class Told(NamedTuple):
    """A Prometheus that scrapes Collectors, and where each of them is."""

    prometheus: Prometheus
    instances: Mapping[str, str]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Generator[Told]:
    folder = tmp_path_factory.mktemp("losses")
    with ExitStack() as stack:
        nobody = ReservedPort()
        stack.callback(nobody.release)
        unreachable = nobody.url.removeprefix("http://")
        settings = folder / "prometheus.yaml"
        prometheus = Prometheus(folder, settings)
        nowhere = f"{prometheus.url}/nowhere"  # 404 is an answer for good
        small: Mapping[str, Any] = {"sending_queue": {"queue_size": 2, "batch": {"min_size": 1, "max_size": 1}}}
        queues = folder / "queues.yaml"
        queues.write_text(yaml.safe_dump({"exporters": {"otlp_grpc/traces": small, "otlp_grpc/metrics": small}}))
        collectors = {
            "healthy": Collector(
                folder / "healthy", [config("gateway")], {"REMOTE_WRITE_URL": prometheus.remote_write_url}
            ),
            "remote write": Collector(
                folder / "write", [config("gateway")], {"REMOTE_WRITE_URL": prometheus.remote_write_url}
            ),
            "full": Collector(
                folder / "full",
                [config("agent"), queues],
                {"TRACES_ENDPOINT": unreachable, "METRICS_ENDPOINT": unreachable},
            ),
            "refused": Collector(
                folder / "refused",
                [config("gateway")],
                {
                    "METRICS_EXPORTER": "otlp_http",
                    "PROMETHEUS_OTLP_ENDPOINT": nowhere,
                    "KEPT_TRACES_EXPORTERS": "[otlp_http/traces]",
                    "KEEP_PERCENT": "100",
                    "DECISION_WAIT": "1s",
                    "TRACES_URL": nowhere,
                },
            ),
        }
        instances = {name: f"127.0.0.1:{one.metrics_port}" for name, one in collectors.items()}
        prometheus_config(folder, *instances.values())
        stack.enter_context(prometheus)
        for collector in collectors.values():
            stack.enter_context(collector)
        assert _send_metric(collectors["healthy"], _CUMULATIVE) == 200
        assert _send_metric(collectors["remote write"], _DELTA) == 200
        assert _send_metric(collectors["refused"], _CUMULATIVE) == 200
        assert _send_span(collectors["refused"]) == 200
        assert 503 in {_send_metric(collectors["full"], _CUMULATIVE) for _ in range(_TOO_MANY)}
        assert 503 in {_send_span(collectors["full"]) for _ in range(_TOO_MANY)}
        yield Told(prometheus, instances)


def _send_metric(collector: Collector, temporality: int) -> int:
    now = str(time.time_ns())
    point = {"asDouble": 1.0, "startTimeUnixNano": now, "timeUnixNano": now}
    total = {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": [point]}
    metrics = [{"name": "work", "sum": total}]
    return _post(f"{collector.otlp_http}/v1/metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})


def _send_span(collector: Collector) -> int:
    now = str(time.time_ns())
    span = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "work", "startTimeUnixNano": now, "endTimeUnixNano": now}
    return _post(f"{collector.otlp_http}/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


def _post(url: str, document: Mapping[str, Any]) -> int:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _rules() -> dict[tuple[str, str], str]:
    """Return the expressions of the alerts about Collectors, by name and kind of loss."""
    groups = yaml.safe_load(_ALERTS.read_text(encoding="utf-8"))["groups"]
    (rules,) = (group["rules"] for group in groups if group["name"] == "spancost.collectors")
    return {(rule["alert"], rule["labels"]["how"]): rule["expr"] for rule in rules}


@pytest.mark.parametrize("loss", _LOSSES, ids=lambda loss: f"{loss.alert} {loss.how}")
def test_alert_names_the_collector_that_loses_something_and_no_other(told: Told, loss: _Loss) -> None:
    expression = _rules()[loss.alert, loss.how]

    def found() -> set[tuple[str, str]]:
        samples = told.prometheus.query(expression)
        return {(sample.labels["instance"], sample.labels["exporter"]) for sample in samples}

    wait_until(lambda: bool(found()), f"{loss.alert} {loss.how} speaks", timeout_s=30)
    assert found() == {(told.instances[loss.collector], loss.exporter)}


def test_every_alert_about_collectors_was_seen_to_speak() -> None:
    assert set(_rules()) == {(loss.alert, loss.how) for loss in _LOSSES}
