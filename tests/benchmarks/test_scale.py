"""The load generator: it sends what spancost writes, knows the money in it, and ends where it was told to."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import process_time
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from spancost import names
from spancost.sinks.metrics import OtelMetrics
from spancost.testing import priced_provider
from tests.benchmarks.scale import report
from tests.benchmarks.scale.__main__ import main
from tests.benchmarks.scale.fleet import Fleet
from tests.benchmarks.scale.load import METRICS, TRACES, Limits, Load, Sent
from tests.benchmarks.scale.otlp import export, metrics_part, resource_part
from tests.benchmarks.scale.processes import use_of
from tests.benchmarks.scale.product import Shape, size_of
from tests.benchmarks.scale.profile import Profile, is_ours, make_profile
from tests.benchmarks.scale.sending import LoadError, address_of
from tests.benchmarks.scale.serving import MACHINE, serve
from tests.benchmarks.shop_requests import make_request
from tests.spans import PUT_USD, SMS_USD
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan

_SMALL: Final = Fleet(services=3, workers=2, routes=3, tenants=4, requests=12, profiles=2)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return make_profile(_SMALL, 0)


@pytest.fixture(scope="module")
def received() -> tuple[Sent, OtlpReceiver]:
    """Two rounds of a small fleet."""
    with OtlpReceiver() as receiver:
        sent = Load(_SMALL, receiver.url).run(Limits(rounds=2))
        return sent, receiver


def _usd(span: ReceivedSpan, name: str) -> float:
    return span.attributes.get(name, 0.0)


def test_every_local_root_says_what_its_spans_cost_together(received: tuple[Sent, OtlpReceiver]) -> None:
    spans: dict[str, list[ReceivedSpan]] = {}
    for span in received[1].spans:
        spans.setdefault(span.trace_id, []).append(span)
    assert len(spans) == received[0].traces == 6 * 2 * 12
    for trace in spans.values():
        (root,) = [span for span in trace if not span.parent_id]
        assert {span.parent_id for span in trace if span is not root} == {root.span_id}
        assert len({span.span_id for span in trace}) == len(trace)
        total = sum(_usd(span, names.DIRECT_USD) for span in trace)
        assert _usd(root, names.TOTAL_USD) == pytest.approx(total, rel=1e-9)
        components = sum(_usd(root, name) for name in names.COMPONENT_USD.values())
        assert components == pytest.approx(total, rel=1e-9)
        assert root.attributes[names.TOTAL_NANO_USD] == round(total * 1e9)


def test_what_was_sent_is_what_the_generator_says_it_has_sent(received: tuple[Sent, OtlpReceiver]) -> None:
    sent, receiver = received
    spans = receiver.spans
    assert sent.spans == len(spans)
    roots = [span for span in spans if names.TOTAL_NANO_USD in span.attributes]
    for (service, component, route), usd in sent.totals("service_name", "component", "http_route").items():
        of_route = [span for span in roots if (span.service, span.attributes["http.route"]) == (service, route)]
        assert sum(_usd(span, names.COMPONENT_USD[component]) for span in of_route) == pytest.approx(usd, rel=1e-9)
    for (tenant,), usd in sent.direct("tenant").items():
        said = [span for span in spans if span.attributes.get(names.TENANT, "") == tenant]
        assert sum(_usd(span, names.DIRECT_USD) for span in said) == pytest.approx(usd, rel=1e-9)
    assert sum(sent.totals("component").values()) == pytest.approx(sum(sent.direct().values()), rel=1e-9)
    at_least = 1_000_000
    costly = sum(span.attributes[names.TOTAL_NANO_USD] >= at_least for span in roots)
    assert 0 < sent.costly(at_least) == costly < sent.traces


def test_counters_of_the_fleet_are_what_its_spans_cost(received: tuple[Sent, OtlpReceiver]) -> None:
    sent, receiver = received
    in_spans = sent.totals("service_name", "component", "http_route")
    in_counters = sent.counted(names.METRIC_COST, "service_name", "component", "http_route")
    assert in_counters == pytest.approx(in_spans, rel=1e-9)
    assert receiver.latest_sum_by(names.METRIC_COST, "component") == pytest.approx(
        sent.counted(names.METRIC_COST, "component"), rel=1e-9
    )
    by_tenant = sent.counted(names.METRIC_ATTRIBUTED, "tenant")
    assert receiver.latest_sum_by(names.METRIC_ATTRIBUTED, "tenant") == pytest.approx(by_tenant, rel=1e-9)
    assert sum(by_tenant.values()) == pytest.approx(sum(in_spans.values()), rel=1e-9)
    newest = receiver.newest(names.METRIC_REQUEST_COST)
    assert sum(point.count for point in newest) == sent.traces
    assert sum(point.value for point in newest) == pytest.approx(sum(in_spans.values()), rel=1e-9)


def test_calls_cost_what_the_price_book_says(received: tuple[Sent, OtlpReceiver]) -> None:
    calls = Counter(span.attributes.get("rpc.method") for span in received[1].spans)
    sms = sum(span.attributes.get("server.address") == "api.twilio.com" for span in received[1].spans)
    # A read unit costs a fifth of a write unit, and an eventually consistent read takes half of one.
    aws = calls["PutItem"] * PUT_USD + (calls["GetItem"] + calls["Query"]) * PUT_USD / 10
    by_component = received[0].totals("component")
    assert by_component["aws",] == pytest.approx(aws, rel=1e-9)
    assert by_component["http",] == pytest.approx(sms * SMS_USD, rel=1e-9)


def test_every_process_has_traces_and_series_of_its_own(received: tuple[Sent, OtlpReceiver]) -> None:
    sent, receiver = received
    instances: dict[str, set[str]] = {}
    for span in receiver.spans:
        instances.setdefault(span.trace_id, set()).add(str(span.resource["service.instance.id"]))
    assert all(len(of_trace) == 1 for of_trace in instances.values())
    assert len({trace_id[16:] for trace_id in instances}) == len(instances), "the half that tail sampling remembers"
    assert len({name for of_trace in instances.values() for name in of_trace}) == _SMALL.services * _SMALL.workers
    newest = sum(len(receiver.newest(metric)) for metric in {point.metric for point in receiver.points})
    assert newest == sent.series
    assert sent.metric_exports == 2 * _SMALL.services * _SMALL.workers


def _sent_by(fleet: Fleet) -> Sent:
    with OtlpReceiver() as receiver:
        return Load(fleet, receiver.url, signals=[TRACES], connections=1).run(Limits(rounds=1))


def test_the_same_seed_sends_the_same_money_and_another_one_does_not() -> None:
    fleet = Fleet(services=1, workers=1, routes=2, tenants=2, requests=6)
    first, again = _sent_by(fleet), _sent_by(fleet)
    assert (first.spans, first.totals("component", "http_route")) == (
        again.spans,
        again.totals("component", "http_route"),
    )
    other = _sent_by(Fleet(services=1, workers=1, routes=2, tenants=2, requests=6, seed=9))
    assert other.totals("component") != first.totals("component")


def test_metrics_have_the_names_units_and_labels_that_the_sdk_exports(profile: Profile) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with priced_provider(**MACHINE) as world:
        world.engine.add_sink(OtelMetrics(world.engine, world.totals, provider))
        draw = _SMALL.draw(0)
        for _ in range(6):
            spans = list(make_request(draw, "GET", "/r0/{id}", sends_sms=True, models=("gpt-5-mini",)))
            serve(world, spans, draw, feature="f", tenant="t", team="x")
        world.publish()
        data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    real = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    request = ExportMetricsServiceRequest.FromString(
        export(resource_part({"service.name": "shop"}), metrics_part(profile.series, 3, 1, 2))
    )
    (scope,) = request.resource_metrics[0].scope_metrics
    assert scope.scope.name == "spancost"
    assert {metric.name for metric in scope.metrics} >= {names.METRIC_COST, names.METRIC_ATTRIBUTED}
    for metric in scope.metrics:
        made: Any = metric.histogram if metric.HasField("histogram") else metric.sum
        shown: Any = real[metric.name].data
        assert metric.unit == real[metric.name].unit
        assert made.aggregation_temporality == shown.aggregation_temporality.value
        keys = {pair.key for pair in made.data_points[0].attributes}
        assert keys == set(shown.data_points[0].attributes)
        if metric.HasField("histogram"):
            assert tuple(made.data_points[0].explicit_bounds) == tuple(shown.data_points[0].explicit_bounds)
        else:
            assert made.is_monotonic is shown.is_monotonic is True


def test_spans_without_our_attributes_are_the_same_spans() -> None:
    bare = make_profile(_SMALL, 0, priced=False)
    priced = make_profile(_SMALL, 0)
    assert bare.spans == priced.spans
    with_cost, without = (
        [
            {pair.key for pair in span.attributes}
            for body in profile.bodies
            for of_resource in ExportTraceServiceRequest.FromString(export(b"", body.under(b"123456"))).resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        for profile in (priced, bare)
    )
    assert [{name for name in said if not is_ours(name)} for said in with_cost] == without
    assert all(names.DIRECT_USD in said for said in with_cost)


@pytest.mark.parametrize(
    ("limits", "most"),
    [(Limits(spans=200), 200), (Limits(seconds=0.05, spans=10_000_000), None)],
    ids=["spans", "time"],
)
def test_it_ends_at_the_limit_that_is_reached_first(limits: Limits, most: int | None) -> None:
    with OtlpReceiver() as receiver:
        load = Load(Fleet(services=2, workers=1, routes=2, tenants=2, requests=8), receiver.url, signals=[TRACES])
        sent = load.run(limits)
        assert sent.spans == len(receiver.spans)
    if most is None:
        assert sent.seconds < 5
    else:
        assert most - 100 < sent.spans <= most


def test_a_rate_is_not_exceeded() -> None:
    with OtlpReceiver() as receiver:
        fleet = Fleet(services=1, workers=1, routes=1, tenants=1, requests=4)
        sent = Load(fleet, receiver.url, signals=[TRACES]).run(Limits(spans=120, rate=400))
    assert sent.spans / sent.seconds < 500


@pytest.mark.parametrize(
    "endpoint", ["http://collector.example:4318", "http://10.0.0.7:4318", "http://0.0.0.0:4318"], ids=str
)
def test_nothing_leaves_this_machine_unless_it_is_told_to(endpoint: str) -> None:
    with pytest.raises(LoadError, match="is not this machine; --anywhere"):
        address_of(endpoint)
    assert address_of(endpoint, anywhere=True).port == 4318


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4318", "https://127.0.0.1:1", "http://127.0.0.1", "http://localhost:x"]
)
def test_an_endpoint_that_is_none_is_named(endpoint: str) -> None:
    with pytest.raises(LoadError, match=r"--endpoint .*: not http://HOST:PORT"):
        address_of(endpoint)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4318", "http://localhost:4318", "http://[::1]:4318/otlp/"])
def test_this_machine_is_known_by_its_names(endpoint: str) -> None:
    assert address_of(endpoint).port == 4318


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"services": 0}, "services: 0 is not between 1 and"),
        ({"requests": 1_000_000}, "requests: 1000000 is not between"),
        ({"services": 1000, "workers": 1000}, "services x workers: 1,000,000 is more than"),
    ],
    ids=str,
)
def test_a_fleet_beyond_its_bounds_is_refused(values: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fleet(**values)


@pytest.mark.parametrize("values", [{"spans": 0}, {"seconds": 1e9}, {"rate": -1.0}], ids=str)
def test_a_load_without_end_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"spans|seconds|rate"):
        Limits(**values)


class _Refusing(BaseHTTPRequestHandler):
    """Answers 503 to the first request, and `then` to the others."""

    protocol_version = "HTTP/1.1"
    first = True
    then = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        cls = type(self)
        status = 503 if cls.first else cls.then
        cls.first = False
        answer = b"not of this kind"
        if status == 200:
            answer = b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize("status", [200, 400])
def test_a_busy_receiver_is_asked_again_and_a_refusal_ends_the_load(status: int) -> None:
    handler = type("Handler", (_Refusing,), {"first": True, "then": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        fleet = Fleet(services=1, workers=1, routes=1, tenants=1, requests=2)
        load = Load(fleet, f"http://127.0.0.1:{server.server_port}", signals=[TRACES])
        try:
            if status == 200:
                sent = load.run(Limits(rounds=1))
                assert (sent.refusals, sent.spans) == (1, load.profiles[0].spans)
            else:
                with pytest.raises(LoadError, match="400 not of this kind"):
                    load.run(Limits(rounds=1))
        finally:
            server.shutdown()
            thread.join()


def test_a_case_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collector", "--only", "agent"]) == 1
    assert "--only agent: not one of takes and drops; agent, traces" in capsys.readouterr().err


def test_a_receiver_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--endpoint", "http://127.0.0.1:9", "--services", "1", "--requests", "1"]) == 1
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_the_command_says_what_it_has_sent_and_what_that_costs(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--services", "1", "--workers", "1", "--requests", "5", "--rounds", "1"]
    with OtlpReceiver() as receiver:
        assert main(["load", "--endpoint", receiver.url, *small, "--gzip"]) == 0
        table = capsys.readouterr().out
        assert f" {len(receiver.spans)} " in f" {table.splitlines()[1]} "
        assert "compute" in table
        assert main(["load", "--endpoint", receiver.url, *small, "--signals", METRICS, "--format", "json"]) == 0
        (said,) = json.loads(capsys.readouterr().out)
        counted = receiver.latest_sum_by(names.METRIC_COST, "component")
    assert (said["spans"], said["metric_exports"]) == (0, 1)
    assert {(component,): usd for component, usd in said["usd"].items()} == pytest.approx(counted, rel=1e-9)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with report.progress("sending") as tell:
        assert tell is None
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with report.progress("sending") as tell:
        assert tell is not None
        tell(1234, 0.5)
    assert "1,234 spans" in terminal.getvalue()


def test_series_of_a_service_are_what_its_routes_and_tenants_make() -> None:
    size = size_of(Shape(routes=3, tenants=2, features=1, models=1, calls=2))
    # Each route: compute, egress, two calls of AWS, an LLM's tokens and an SMS; each tenant: the five components of it.
    per_route = size.points[names.METRIC_COST] / 3
    assert per_route == int(per_route)
    assert size.points[names.METRIC_REQUEST_COST] == 3
    assert size.points[names.METRIC_ATTRIBUTED] == 2 * 5
    assert size.folded == 0
    assert size.prometheus_series == size.all_points - 3 + 3 * 18
    assert size.export_gzip_bytes < size.export_bytes < size.scrape_bytes


def test_cpu_time_and_memory_of_a_process_are_read() -> None:
    before, begun = use_of(os.getpid()), process_time()
    while process_time() - begun < 0.03:
        pass
    after = use_of(os.getpid())
    assert after.cpu_s > before.cpu_s
    assert 5 < after.rss_mib <= after.peak_mib
