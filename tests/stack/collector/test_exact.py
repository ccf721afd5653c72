"""Native deltas into Prometheus: what was spent, to the last digit, also for what is seen once and over restarts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from examples.stack.servers import Collector, Prometheus
from tests.e2e.zero_code import wait_until
from tests.stack.collector.services import RELATIVE, Truth, worker
from tests.stack.collector.tiers import SCOPE, config, prometheus_config

pytestmark = pytest.mark.stack

_BY_ROUTE: Final = ("service_name", "component", "http_route", "http_request_method", "entrypoint")
_PREFERENCE: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_FEATURE: Final = "otlp-native-delta-ingestion"
_FROM_SDK: Final = "spancost_delta_cost_usd_total"
_FROM_SPANS: Final = "spancost_delta_spans_cost_usd_total"


def _prometheus(folder: Path) -> Prometheus:
    (folder / "prometheus").mkdir()
    return Prometheus(folder / "prometheus", prometheus_config(folder / "prometheus"), features=[_FEATURE])


def _exact(folder: Path, prometheus: Prometheus, *, more: Mapping[str, str] | None = None) -> Collector:
    variables = {
        "PROMETHEUS_OTLP_ENDPOINT": f"{prometheus.url}/api/v1/otlp",
        "DERIVE_INTERVAL": "200ms",
        "COLLECTOR_INSTANCE": "exact-1",
        **(more or {}),
    }
    return Collector(folder, [config("no-sdk-metrics"), config("exact")], variables, name="exact")


def _spent(prometheus: Prometheus, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    found = prometheus.sums(f"sum_over_time({name}[1h])", *labels)
    return {key: usd for key, usd in found.items() if usd}


def _wait(prometheus: Prometheus, name: str, usd: float) -> None:
    prometheus.wait_for(
        f"sum(sum_over_time({name}[1h]))",
        lambda found: bool(found) and math.isclose(found[0].value, usd, rel_tol=RELATIVE),
    )


def test_deltas_add_up_to_the_truth_when_prometheus_the_collector_and_a_worker_have_come_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_PREFERENCE, "delta")
    truth = Truth()
    prometheus = _prometheus(tmp_path)
    collector = _exact(tmp_path, prometheus)
    scope = {"k8s.namespace.name": "prod", "cloud.account.id": "123456789012", "cloud.region": "eu-west-1"}
    with prometheus, collector:
        with worker("shop", collector.otlp_http, truth, instance="one", resource=scope) as one:
            with worker("shop", collector.otlp_http, truth, instance="two", resource=scope) as two:
                for number in range(30):
                    one.web("/carts/{id}", f"tenant-{number % 3}", seconds=0.001 * number)
                    two.web("/carts/{id}", "tenant-0")
                two.web("/once", "seen-once", messages=1)
                one.send()
                two.send()
            one.web("/carts/{id}", "tenant-0")
            one.send()
            _wait(prometheus, _FROM_SDK, truth.usd())

            prometheus.stop()
            one.web("/while-prometheus-is-away", "seen-once-too")
            one.send()
            collector.stop()  # spans that wait for their batch are added up on the way out
            collector.start()
            one.web("/carts/{id}", "tenant-1")
            one.send()
            prometheus.start()
            _wait(prometheus, _FROM_SDK, truth.usd())
            _wait(prometheus, _FROM_SPANS, truth.usd())

            prometheus.kill()
            one.web("/carts/{id}", "tenant-2", puts=5)
            one.send()
            _wait_until_derived(collector)
            collector.kill()
            collector.start()
            prometheus.start()
        with worker("shop", collector.otlp_http, truth, instance="three", resource=scope) as three:
            three.web("/carts/{id}", "tenant-0")
            three.send()
            for name in (_FROM_SDK, _FROM_SPANS):
                _wait(prometheus, name, truth.usd())
                assert _spent(prometheus, name, *_BY_ROUTE) == pytest.approx(dict(truth.by_route), rel=RELATIVE)
                attributed = name.replace("cost_usd", "attributed_cost_usd")
                tenants = _spent(prometheus, attributed, "service_name", "tenant")
                assert tenants == pytest.approx(dict(truth.by_tenant), rel=RELATIVE)
                scopes = set(prometheus.sums(f"sum_over_time({name}[1h])", *SCOPE))
                assert scopes == {("shop", "production", "prod", "123456789012", "eu-west-1")}
            # Nothing goes by the names of the counters.
            assert prometheus.query('sum_over_time({__name__=~"spancost_(spans_)?cost_usd_total"}[1h])') == []
            requests = prometheus.query("sum(sum_over_time(spancost_delta_request_cost_usd_count[1h]))")
            assert [sample.value for sample in requests] == [len(truth.by_trace)]


def _wait_until_derived(collector: Collector) -> None:
    """Return once the deltas of spans are in the queue on disk, too."""

    def queued() -> float:
        lines = collector.own_metrics().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("otelcol_exporter_queue_size"))

    wait_until(lambda: queued() >= 2, "the deltas of the SDK and those of the spans wait")


def test_counters_become_deltas_where_that_is_asked_for(tmp_path: Path) -> None:
    truth = Truth()
    prometheus = _prometheus(tmp_path)
    collector = _exact(tmp_path, prometheus, more={"EXACT_FROM": "counters"})
    with (
        prometheus,
        collector,
        worker("shop", collector.otlp_http, truth, instance="one") as one,
        worker("shop", collector.otlp_http, truth, instance="two") as two,
    ):
        for turn in range(4):
            for number in range(10):
                one.web("/carts/{id}", f"tenant-{number % 3}", seconds=0.003 * turn)
                two.web(f"/turn/{turn}", f"seen-in-{turn}")
            one.send()
            two.send()
        for name in (_FROM_SDK, _FROM_SPANS):
            _wait(prometheus, name, truth.usd())
            assert _spent(prometheus, name, *_BY_ROUTE) == pytest.approx(dict(truth.by_route), rel=RELATIVE)
        assert prometheus.query("spancost_cost_usd_total") == []


def test_beside_a_gateway_deltas_and_all_other_metrics_take_their_own_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = Truth()
    prometheus = _prometheus(tmp_path)
    gateway = Collector(
        tmp_path,
        [config("no-sdk-metrics"), config("gateway"), config("exact")],
        {
            "PROMETHEUS_OTLP_ENDPOINT": f"{prometheus.url}/api/v1/otlp",
            "REMOTE_WRITE_URL": prometheus.remote_write_url,
            "DERIVE_INTERVAL": "200ms",
        },
        name="gateway",
    )
    with prometheus, gateway, worker("counters", gateway.otlp_http, truth, instance="one") as counters:
        monkeypatch.setenv(_PREFERENCE, "delta")
        with worker("deltas", gateway.otlp_http, truth, instance="one") as deltas:
            for one in (counters, deltas, counters, deltas):
                one.web("/carts/{id}", messages=1)
                one.send()
        _wait(prometheus, _FROM_SPANS, truth.usd())
        of_deltas = {key: usd for key, usd in truth.by_route.items() if key[0] == "deltas"}
        of_counters = {key: usd for key, usd in truth.by_route.items() if key[0] == "counters"}
        _wait(prometheus, _FROM_SDK, sum(of_deltas.values()))
        assert _spent(prometheus, _FROM_SDK, *_BY_ROUTE) == pytest.approx(of_deltas, rel=RELATIVE)
        prometheus.wait_for('spancost_internal_evictions{service_name="deltas"}', bool)  # a gauge has no temporality
        prometheus.wait_for("spancost_cost_usd_total", bool)
        assert prometheus.sums("spancost_cost_usd_total", *_BY_ROUTE) == pytest.approx(of_counters, rel=RELATIVE)
    said = [line for line in gateway.log.read_text().splitlines() if "otlp_grpc/traces" not in line]
    assert not any("Dropping data" in line for line in said)
