"""The gateway: metrics to Prometheus by remote write and OTLP, kept traces, files for `spancost price`, a crash."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from time import time

import pytest
from opentelemetry.trace import SpanKind
from typer.testing import CliRunner

from examples.stack.servers import Collector, Prometheus
from spancost.cli._app import application
from tests.e2e.zero_code import wait_until
from tests.stack.collector.services import RELATIVE, Truth, Worker, worker
from tests.stack.collector.tiers import SCOPE, config, flow, prometheus_config
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.stack

_BY_ROUTE = ("service_name", "component", "http_route", "http_request_method", "entrypoint")
_FAILED = "otelcol_exporter_prometheusremotewrite_failed_translations"
_SOON = {"DECISION_WAIT": "1s"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Generator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with Prometheus(folder, prometheus_config(folder), features=["exemplar-storage"]) as running:
        yield running


@pytest.fixture(scope="module")
def far_end() -> Generator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.mark.parametrize("exporter", ["prometheus_remote_write", "otlp_http"])
def test_each_route_tenant_and_worker_reaches_prometheus_with_its_money(
    tmp_path: Path, prometheus: Prometheus, exporter: str
) -> None:
    truth = Truth()
    of_path = f"shop-{exporter.replace('_', '-')}"
    variables = {
        "METRICS_EXPORTER": exporter,
        "REMOTE_WRITE_URL": prometheus.remote_write_url,
        "PROMETHEUS_OTLP_ENDPOINT": f"{prometheus.url}/api/v1/otlp",
    }
    scope = {"k8s.namespace.name": "prod", "cloud.account.id": "123456789012", "cloud.region": "eu-west-1"}
    with ExitStack() as stack:
        gateway = stack.enter_context(Collector(tmp_path, [config("gateway")], variables))

        def started(service: str, instance: str, environment: str = "production", **more: str) -> Worker:
            to, resource = gateway.otlp_http, {**more, "host.name": "one"}
            return stack.enter_context(
                worker(service, to, truth, instance=instance, environment=environment, resource=resource)
            )

        first = started(of_path, "worker-1", **scope)
        second = started(of_path, "worker-2", **scope)
        # The same service and instance in another environment: without the labels its series would collide.
        staging = started(of_path, "worker-1", "", **{"deployment.environment": "staging"})  # by its older name
        office = started(f"{of_path}-office", "worker-1")
        for number in range(30):
            first.web("/carts/{id}", f"tenant-{number % 3}", seconds=0.001 * number)
            second.web("/carts/{id}", f"tenant-{number % 2}")
            staging.web("/carts/{id}")
        second.web("/checkout", "seen-once", messages=1)
        first.web("")
        office.other("nightly", SpanKind.INTERNAL, {}, "nightly")
        for one in (first, second, staging, office):
            one.send()
            one.send()  # a second export: cumulative, so nothing is there twice
        mine = f'service_name=~"{of_path}.*"'
        prometheus.wait_for(
            f"sum(spancost_cost_usd_total{{{mine}}})",
            lambda found: bool(found) and found[0].value == pytest.approx(truth.usd(), rel=RELATIVE),
        )

        assert prometheus.sums(f"spancost_cost_usd_total{{{mine}}}", *_BY_ROUTE) == pytest.approx(
            dict(truth.by_route), rel=RELATIVE
        )
        assert prometheus.sums(
            f"spancost_attributed_cost_usd_total{{{mine}}}", "service_name", "tenant"
        ) == pytest.approx(dict(truth.by_tenant), rel=RELATIVE)
        assert set(prometheus.sums(f"spancost_cost_usd_total{{{mine}}}", "job", "instance", *SCOPE)) == {
            (of_path, "worker-1", of_path, "production", "prod", "123456789012", "eu-west-1"),
            (of_path, "worker-2", of_path, "production", "prod", "123456789012", "eu-west-1"),
            (of_path, "worker-1", of_path, "staging", "", "", ""),
            (f"{of_path}-office", "worker-1", f"{of_path}-office", "production", "", "", ""),
        }
        # Nothing else of the resource has become a label, and nothing of the scope.
        labels = {name for sample in prometheus.query(f"spancost_cost_usd_total{{{mine}}}") for name in sample.labels}
        assert labels == {"__name__", "job", "instance", "provider", "operation", *SCOPE, *_BY_ROUTE}
        requests = prometheus.sums(f"spancost_request_cost_usd_count{{{mine}}}", "http_route")
        assert requests == {("/carts/{id}",): 90, ("/checkout",): 1, ("(no route)",): 1}
        assert _exemplars(prometheus, f"spancost_request_cost_usd_bucket{{{mine}}}") <= truth.by_trace.keys()


def _exemplars(prometheus: Prometheus, selector: str) -> set[str]:
    """Return the traces that the exemplars of a histogram lead to."""
    now = time()
    found = prometheus.get("query_exemplars", query=selector, start=repr(now - 600), end=repr(now + 60))
    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert traces
    return traces


def test_deltas_that_come_by_mistake_are_told_of_and_take_no_counter_of_others_with_them(
    tmp_path: Path, prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = Truth()
    with ExitStack() as stack:
        gateway = stack.enter_context(
            Collector(tmp_path, [config("gateway")], {"REMOTE_WRITE_URL": prometheus.remote_write_url})
        )
        counters = stack.enter_context(worker("right", gateway.otlp_http, truth, instance="one"))
        with monkeypatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
            deltas = stack.enter_context(worker("mistaken", gateway.otlp_http, Truth(), instance="one"))
        for one in (deltas, counters):
            one.web("/carts/{id}")
            one.send()
        prometheus.wait_for('spancost_cost_usd_total{service_name="right"}', bool)
        found = prometheus.sums('spancost_cost_usd_total{service_name="right"}', *_BY_ROUTE)
        assert found == pytest.approx(dict(truth.by_route), rel=RELATIVE)
        assert prometheus.query('{service_name="mistaken",__name__=~"spancost_.*_total"}') == []
        told = next(line for line in gateway.own_metrics().splitlines() if line.startswith(_FAILED))
        assert float(told.rsplit(" ", 1)[1]) >= 1


@pytest.mark.parametrize("percent", [0, 50])
def test_all_costly_and_all_failed_traces_are_kept_and_the_wanted_share_of_the_rest(
    tmp_path: Path, far_end: OtlpReceiver, percent: int
) -> None:
    far_end.clear()
    truth = Truth()
    limit_usd = 0.002
    variables = {
        **_SOON,
        "KEEP_FROM_NANO_USD": str(round(limit_usd * 1e9)),
        "KEEP_PERCENT": str(percent),
        "KEPT_TRACES_EXPORTERS": "[otlp_http/traces]",
        "TRACES_URL": f"{far_end.url}/v1/traces",
    }
    with (
        Collector(tmp_path, [config("gateway")], variables) as gateway,
        worker("shop", gateway.otlp_http, truth, instance="one", metrics=False) as shop,
    ):
        for number in range(200):
            shop.web("/carts/{id}", seconds=0.01 * number)  # 0 to 0.002 USD, none at the limit
        for _ in range(20):
            shop.web("/checkout", messages=1)
        for _ in range(15):
            shop.web("/broken", failed=True)
        shop.send()
        costly = {one for one, usd in truth.by_trace.items() if usd >= limit_usd}
        assert len(costly) == 20
        assert len(truth.failed) == 15
        wanted = costly | truth.failed
        far_end.wait_for(lambda got: {span.trace_id for span in got.spans} >= wanted)
    kept = {span.trace_id for span in far_end.spans}  # the gateway has stopped: nothing is under way
    if not percent:
        assert kept == wanted
    else:
        share = len(kept - wanted) / (len(truth.by_trace) - len(wanted))
        assert 0.3 < share < 0.7  # 200 draws: five standard deviations around a half
    spans_of = defaultdict[str, int](int)
    for span in far_end.spans:
        spans_of[span.trace_id] += 1
    assert all(spans_of[one] == 3 for one in costly), "server, put, message"


def test_root_that_comes_within_the_wait_is_judged_with_its_trace_and_one_that_comes_after_it_is_not(
    tmp_path: Path, far_end: OtlpReceiver
) -> None:
    far_end.clear()
    truth = Truth()
    variables = {
        **_SOON,
        "KEEP_PERCENT": "0",
        "KEPT_TRACES_EXPORTERS": "[otlp_http/traces]",
        "TRACES_URL": f"{far_end.url}/v1/traces",
    }
    with (
        Collector(tmp_path, [config("gateway")], variables) as gateway,
        worker("shop", gateway.otlp_http, truth, instance="one", metrics=False) as shop,
        worker("other", gateway.otlp_http, truth, instance="two", metrics=False) as other,
    ):
        early, late = shop.begin("/early"), shop.begin("/late")
        shop.send()  # their children, without a cost that matters: the trace's time begins
        shop.finish(early, seconds=20)
        shop.send()
        far_end.wait_for(lambda got: any(span.name == "POST" for span in got.spans))
        # Another costly trace is decided after it: by then the decision on `/late` has been made, too.
        other.web("/decided", seconds=20)
        other.send()
        far_end.wait_for(lambda got: any(span.service == "other" for span in got.spans))
        shop.finish(late, seconds=20)
        shop.send()
    kept = {span.trace_id for span in far_end.spans if span.service == "shop"}
    assert kept == {early.trace_id}


def test_files_hold_every_span_and_spancost_price_finds_the_money_in_them(
    tmp_path: Path, far_end: OtlpReceiver
) -> None:
    truth = Truth()
    file = tmp_path / "spans" / "spans.jsonl"
    variables = {
        **_SOON,
        "KEEP_PERCENT": "0",
        "ALL_TRACES_EXPORTERS": flow(["forward/sampling", "file"]),
        "KEPT_TRACES_EXPORTERS": "[otlp_http/traces]",
        "TRACES_URL": f"{far_end.url}/v1/traces",
        "TRACES_FILE": str(file),
    }
    with (
        Collector(tmp_path, [config("gateway")], variables) as gateway,
        worker("shop", gateway.otlp_http, truth, instance="one", metrics=False) as shop,
    ):
        for number in range(50):
            shop.web("/carts/{id}", f"tenant-{number % 3}", messages=number % 2)
        shop.web("/once", "seen-once", puts=3)
        shop.send()
    arguments = ["price", str(file), "--by", "service,route,component,entrypoint", "--region", "us-east-1"]
    done = CliRunner().invoke(application(), [*arguments, "--format", "json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["spans"], document["requests"]) == (truth.spans, 51)
    found = {(row["service"], row["component"], row["route"]): row["total_usd"] for row in document["rows"]}
    # Stored traces do not say what else ran on the machine: compute is not priced.
    expected = {key[:3]: usd for key, usd in truth.by_route.items() if key[1] != "compute"}
    assert {key: usd for key, usd in found.items() if usd} == pytest.approx(expected, rel=RELATIVE)


def test_killed_gateway_delivers_what_it_had_taken_as_soon_as_it_and_its_far_ends_are_back(tmp_path: Path) -> None:
    truth = Truth()
    (tmp_path / "prometheus").mkdir()
    prometheus = Prometheus(tmp_path / "prometheus", prometheus_config(tmp_path / "prometheus"))
    with OtlpReceiver() as far_end:
        variables = {
            **_SOON,
            "KEEP_PERCENT": "100",
            "KEPT_TRACES_EXPORTERS": "[otlp_http/traces]",
            "METRICS_EXPORTER": "otlp_http",
            "PROMETHEUS_OTLP_ENDPOINT": f"{prometheus.url}/api/v1/otlp",
            "QUEUE_DIRECTORY": str(tmp_path / "queue"),
        }
        away = Collector(tmp_path, [config("gateway")], {**variables, "TRACES_URL": "http://127.0.0.1:9/v1/traces"})
        with away as gateway, worker("shop", gateway.otlp_http, truth, instance="one") as shop:
            for number in range(40):
                shop.web("/carts/{id}", f"tenant-{number}")
            shop.send()
            # Traces are in the queue once they are decided on; the far end of both signals is away.
            _wait_for_queue(gateway, {"otlp_http/traces": truth.spans, "otlp_http": 1})
            gateway.kill()
        assert far_end.spans == []
        with (
            prometheus,
            Collector(
                tmp_path, [config("gateway")], {**variables, "TRACES_URL": f"{far_end.url}/v1/traces"}, name="again"
            ),
        ):
            far_end.wait_for(lambda got: len({span.span_id for span in got.spans}) >= truth.spans)
            prometheus.wait_for("sum(spancost_cost_usd_total)", bool)
            assert prometheus.sums("spancost_cost_usd_total", *_BY_ROUTE) == pytest.approx(
                dict(truth.by_route), rel=RELATIVE
            )


def _wait_for_queue(gateway: Collector, at_least: dict[str, int]) -> None:
    def holds() -> bool:
        sizes = {
            exporter: float(line.rsplit(" ", 1)[1])
            for line in gateway.own_metrics().splitlines()
            for exporter in at_least
            if line.startswith("otelcol_exporter_queue_size") and f'exporter="{exporter}"' in line
        }
        return all(sizes.get(exporter, 0.0) >= wanted for exporter, wanted in at_least.items())

    wait_until(holds, f"{at_least} in the queues")
