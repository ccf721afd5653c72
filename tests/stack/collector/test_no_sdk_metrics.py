"""Cost metrics from span attributes, for services that send no metrics of ours: the same money as in the SDK."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from examples.stack.servers import Collector, Prometheus
from spancost import names
from tests.e2e.zero_code import wait_until
from tests.spans import start
from tests.stack.collector.services import RELATIVE, Truth, Worker, worker
from tests.stack.collector.tiers import SCOPE, config, prometheus_config
from tests.support.processes import ReservedPort

pytestmark = pytest.mark.stack

_BY_ROUTE: Final = ("service_name", "component", "http_route", "http_request_method", "entrypoint")
_COST: Final = "spancost_spans_cost_usd_total"
_ATTRIBUTED: Final = "spancost_spans_attributed_cost_usd_total"
_FEATURES: Final = ("created-timestamp-zero-ingestion",)


class Deriving:
    """Two Collectors that derive, scraped by one Prometheus.

    Args:
        folder: For all files.

        **variables: For both Collectors.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self._ports = [ReservedPort() for _ in range(2)]
        targets = [f"127.0.0.1:{port.number}" for port in self._ports]
        self.pages = [f"http://{target}/metrics" for target in targets]
        self.prometheus = Prometheus(folder / "prometheus", prometheus_config(folder, *targets), features=_FEATURES)
        self.collectors = [
            Collector(
                folder / f"derive-{number}",
                [config("no-sdk-metrics")],
                {
                    "DERIVED_METRICS_ENDPOINT": target,
                    "DERIVE_INTERVAL": "200ms",
                    "COLLECTOR_INSTANCE": f"gateway-{number}",
                    **variables,
                },
                name=f"derive-{number}",
            )
            for number, target in enumerate(targets)
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Deriving:
        for port in self._ports:
            port.release()
        with ExitStack() as starting:
            for one in (*self.collectors, self.prometheus):
                starting.enter_context(one)
            self._stack = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def page(self, number: int = 0) -> str:
        """What a scrape of one of them finds."""
        with urllib.request.urlopen(self.pages[number], timeout=5) as answer:
            return answer.read().decode()

    def wait_for(self, selector: str, usd: float) -> None:
        """Return once Prometheus has so much in a sum."""
        self.prometheus.wait_for(
            f"sum({selector})", lambda found: bool(found) and found[0].value == pytest.approx(usd, rel=RELATIVE)
        )


@pytest.fixture(scope="module")
def deriving(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deriving]:
    with Deriving(tmp_path_factory.mktemp("derive"), DERIVE_NOT_SERVICES="^has-metrics$") as running:
        yield running


def _all_kinds_of_work(one: Worker) -> None:
    one.other("orders process", SpanKind.CONSUMER, {
        "messaging.operation.name": "process", "messaging.destination.name": "orders"
    }, "process orders")  # fmt: skip
    one.other("send", SpanKind.PRODUCER, {
        "messaging.operation": "publish", "messaging.destination": "amq.gen-Xa2"
    }, "publish (temporary)")  # fmt: skip
    one.other("receive", SpanKind.CONSUMER, {
        "messaging.operation.type": "receive", "messaging.destination.name": "replies",
        "messaging.destination.anonymous": True,
    }, "receive (anonymous)")  # fmt: skip
    one.other("/shop.Carts/Get", SpanKind.SERVER, {
        "rpc.system": "grpc", "rpc.service": "shop.Carts", "rpc.method": "Get"
    }, "shop.Carts/Get")  # fmt: skip
    one.other("Get", SpanKind.SERVER, {"rpc.system": "grpc", "rpc.method": "shop.Carts/Put"}, "shop.Carts/Put")
    one.other("run/tasks.mail", SpanKind.CONSUMER, {"celery.task_name": "tasks.mail"}, "tasks.mail")
    one.other("work", SpanKind.INTERNAL, {"rq.job.function": "jobs.clean"}, "jobs.clean")
    one.other("handler", SpanKind.INTERNAL, {"faas.name": "resize", "component": "an older name"}, "resize")
    one.other("nightly", SpanKind.INTERNAL, {"http.route": "/not-served", "entrypoint": "no"}, "nightly", "seen-once")


def test_derived_sums_are_those_of_the_sdk_by_component_route_entrypoint_and_tenant(deriving: Deriving) -> None:
    truth = Truth()
    first, second = (collector.otlp_http for collector in deriving.collectors)
    scope = {"k8s.namespace.name": "prod", "cloud.account.id": "123456789012", "cloud.region": "eu-west-1"}
    older = {"deployment.environment": "staging"}
    with (
        worker("alike", first, truth, instance="worker-1", metrics=False, resource=scope) as one,
        worker("alike", first, truth, instance="worker-2", metrics=False, resource=scope) as two,
        worker("alike", second, truth, instance="worker-3", metrics=False, resource=scope) as three,
        worker("alike", second, truth, instance="worker-1", metrics=False, environment="", resource=older) as staging,
    ):
        for turn in range(3):  # several batches: sums of sums
            for number in range(20):
                one.web("/carts/{id}", f"tenant-{number % 3}", seconds=0.001 * number)
                two.web("/carts/{id}", f"tenant-{turn}")
                three.web("/carts/{id}")
                staging.web("", failed=number == 0)
            _all_kinds_of_work((one, two, three)[turn])
            for each in (one, two, three, staging):
                each.send()
        three.web("/checkout", "seen-twice", messages=1)
        three.send()
        selected = '{service_name="alike"}'
        deriving.wait_for(_COST + selected, truth.usd())
        deriving.wait_for(_ATTRIBUTED + selected, truth.usd())
        counted = {
            (reading.labels[0], *reading.labels[4:]): reading.value
            for reading in one.world.totals.read(one.world.totals.cost)
        }
        requests: Counter[tuple[str, ...]] = Counter()
        for each in (one, two, three, staging):
            for reading in each.world.totals.read(each.world.totals.requests):
                requests[reading.labels] += int(reading.value)
    prometheus = deriving.prometheus
    assert prometheus.sums(_COST + selected, *_BY_ROUTE) == pytest.approx(dict(truth.by_route), rel=RELATIVE)
    tenants = prometheus.sums(_ATTRIBUTED + selected, "service_name", "tenant")
    assert tenants == pytest.approx(dict(truth.by_tenant), rel=RELATIVE)
    assert prometheus.sums(f"spancost_spans_requests_total{selected}", *names.REQUEST_LABELS) == requests
    assert ("(no route)", "POST", "", "error") in requests
    # The truth's labels are what the SDK itself counts under.
    assert {key for key in counted} <= {key[1:] for key in truth.by_route}
    scopes = set(prometheus.sums(_COST + selected, "job", "instance", *SCOPE))
    full = ("alike", "production", "prod", "123456789012", "eu-west-1")
    assert scopes == {
        ("alike", "gateway-0", *full),
        ("alike", "gateway-1", *full),
        ("alike", "gateway-1", "alike", "staging", "", "", ""),
    }
    labels = {name for sample in prometheus.query(_COST + selected) for name in sample.labels}
    assert labels == {"__name__", "job", "instance", *SCOPE, *_BY_ROUTE}


def test_increase_has_the_first_value_of_a_route_seen_once(deriving: Deriving) -> None:
    truth = Truth()
    with worker("once", deriving.collectors[0].otlp_http, truth, instance="one", metrics=False) as shop:
        shop.web("/once", messages=1)
        shop.send()
        selected = '{service_name="once"}'
        deriving.wait_for(_COST + selected, truth.usd())
        # Extrapolated, as increase() always is; without a zero before it, it would be 0.
        increase = f"sum(increase({_COST}{selected}[1m]))"
        deriving.prometheus.wait_for(increase, lambda found: bool(found) and found[0].value > 0.9 * truth.usd())
        (found,) = deriving.prometheus.query(increase)
        # At its end by 1.1 intervals at most, and there may be a single one so far.
        assert found.value <= 2.1 * truth.usd()


@pytest.mark.parametrize("bad", ["abc", "", True, -1.0, float("nan"), float("inf"), 1e9, ["0.5"]])
def test_span_whose_cost_is_no_amount_of_money_takes_nothing_of_its_batch_with_it(
    deriving: Deriving, bad: object
) -> None:
    service = f"bad-{re.sub('[^a-z0-9]', '', str(bad).lower())}"
    truth = Truth()
    with worker(service, deriving.collectors[0].otlp_http, truth, instance="one", metrics=False) as shop:
        shop.web("/good", "kept")
        # A span of somebody else's, on which spancost does not write: a second provider without it.
        _foreign_span(shop, deriving.collectors[0].otlp_http, bad)
        shop.web("/good", "kept")
        shop.send()
        selected = f'{{service_name="{service}"}}'
        deriving.wait_for(_COST + selected, truth.usd())
        deriving.wait_for(_ATTRIBUTED + selected, truth.usd())
        deriving.wait_for(f"spancost_spans_invalid_total{selected}", 1)
    for collector in deriving.collectors:
        assert "Dropping data" not in collector.log.read_text()


def _foreign_span(shop: Worker, url: str, cost: object) -> None:
    provider = TracerProvider(resource=shop.world.provider.resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    with provider.get_tracer("foreign").start_as_current_span("foreign") as span:
        span.set_attribute(names.DIRECT_USD, cost)  # pyright: ignore[reportArgumentType]
        span.set_attribute(names.TOTAL_NANO_USD, 1)
        span.set_attribute(names.COMPONENT_USD[names.AWS], cost)  # pyright: ignore[reportArgumentType]
    provider.shutdown()


def test_many_senders_at_once_lose_nothing(deriving: Deriving) -> None:
    senders, exports = 8, 40
    url = f"{deriving.collectors[0].otlp_http}/v1/traces"
    resource = Resource({"service.name": "at-once"})

    def send(_: int) -> None:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=url)))
        tracer = provider.get_tracer("at-once")
        for _ in range(exports):  # each is an export of its own
            span = tracer.start_span("work", trace.set_span_in_context(trace.INVALID_SPAN))
            span.set_attributes({names.DIRECT_USD: 0.001, names.TOTAL_NANO_USD: 10**6, "spancost.custom.usd": 0.001})
            span.end()
        provider.shutdown()

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, range(senders)))
    for name in (_COST, _ATTRIBUTED):
        deriving.wait_for(f'{name}{{service_name="at-once"}}', senders * exports * 0.001)


def test_service_that_is_left_out_is_not_derived(deriving: Deriving) -> None:
    truth = Truth()
    url = deriving.collectors[0].otlp_http
    with (
        worker("has-metrics", url, truth, instance="one", metrics=False) as left_out,
        worker("has-no-metrics", url, Truth(), instance="one", metrics=False) as derived,
    ):
        left_out.web("/carts/{id}")
        left_out.send()
        derived.web("/carts/{id}")
        derived.send()
        wait_until(lambda: 'service_name="has-no-metrics"' in deriving.page(), "the later service is derived")
        assert "has-metrics" not in deriving.page()


def test_tenants_that_differ_in_type_alone_are_one_series_and_empty_ones_are_none(deriving: Deriving) -> None:
    truth = Truth()
    with worker("typed", deriving.collectors[0].otlp_http, truth, instance="one", metrics=False) as shop:
        for tenant in (7, "7", "", None):
            root = start(shop.tracer, "job", None, SpanKind.INTERNAL)
            if tenant is not None:
                root.set_attribute(names.TENANT, tenant)
            shop.world.clock.advance(1.0)
            root.end()
        shop.send()
        deriving.wait_for(f'{_ATTRIBUTED}{{service_name="typed"}}', 0.004)
    tenants = deriving.prometheus.query(f'{_ATTRIBUTED}{{service_name="typed"}}')
    assert {sample.labels.get("tenant"): sample.value for sample in tenants} == pytest.approx({"7": 0.002, None: 0.002})


def test_quiet_series_stay_for_a_month_and_the_time_is_a_setting(tmp_path: Path) -> None:
    for name in ("max_stale", "metric_expiration"):
        assert f"{name}: ${{env:DERIVED_KEPT_FOR:-720h}}" in config("no-sdk-metrics").read_text()
    with Deriving(tmp_path, DERIVED_KEPT_FOR="2s") as deriving:
        with worker("quiet", deriving.collectors[0].otlp_http, Truth(), instance="one", metrics=False) as shop:
            shop.web("/carts/{id}")
            shop.send()
        wait_until(lambda: 'service_name="quiet"' in deriving.page(), "there")
        wait_until(lambda: "spancost" not in deriving.page(), "gone after two seconds, as five minutes would have it")


def test_restarted_collector_goes_on_as_the_same_writer_and_its_reset_loses_nothing(tmp_path: Path) -> None:
    truth = Truth()
    selected = f'{_COST}{{service_name="reset"}}'
    with Deriving(tmp_path) as deriving:
        collector = deriving.collectors[0]
        with worker("reset", collector.otlp_http, truth, instance="one", metrics=False) as shop:
            shop.web("/carts/{id}", seconds=3)
            shop.send()
            before = truth.usd()
            deriving.wait_for(selected, before)
            collector.stop()
            collector.start()
            shop.web("/carts/{id}", seconds=1)
            shop.send()
            after = truth.usd() - before
            deriving.wait_for(selected, after)
        prometheus = deriving.prometheus
        assert [sample.value for sample in prometheus.query(f"sum(resets({selected}[5m]))")] == [3.0]
        assert set(prometheus.sums(selected, "instance")) == {("gateway-0",)}
        # The peak before the reset and what has come since are all there was.
        peak = sum(sample.value for sample in prometheus.query(f"max_over_time({selected}[5m])"))
        assert peak + after == pytest.approx(truth.usd(), rel=RELATIVE)


def test_pushed_derived_metrics_are_the_same_sums(tmp_path: Path) -> None:
    truth = Truth()
    with (
        Prometheus(tmp_path / "prometheus", prometheus_config(tmp_path)) as prometheus,
        Collector(
            tmp_path,
            [config("no-sdk-metrics"), config("gateway")],
            {
                "DERIVED_EXPORTER": "prometheus_remote_write",
                "REMOTE_WRITE_URL": prometheus.remote_write_url,
                "DERIVE_INTERVAL": "200ms",
                "DECISION_WAIT": "1s",
                "KEEP_PERCENT": "0",
            },
        ) as gateway,
        worker("pushed", gateway.otlp_http, truth, instance="one") as shop,
    ):
        for turn in range(3):
            for number in range(20):
                shop.web("/carts/{id}", f"tenant-{number % 3}", seconds=0.001 * turn)
            shop.send()
        for name in (_COST, "spancost_cost_usd_total"):  # derived before sampling, and beside the SDK's own
            prometheus.wait_for(
                f"sum({name})", lambda found: bool(found) and found[0].value == pytest.approx(truth.usd(), rel=RELATIVE)
            )
            assert prometheus.sums(name, *_BY_ROUTE) == pytest.approx(dict(truth.by_route), rel=RELATIVE)
