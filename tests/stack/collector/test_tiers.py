"""Agent, router and gateways together: what is sent to an agent arrives, each trace whole at one gateway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from examples.stack.servers import Collector, Prometheus
from tests.e2e.zero_code import wait_until
from tests.stack.collector.services import RELATIVE, Truth, worker
from tests.stack.collector.tiers import SCOPE, config, flow, prometheus_config, relay
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import ReservedPort

pytestmark = pytest.mark.stack

_BY_ROUTE: Final = ("service_name", "component", "http_route", "http_request_method", "entrypoint")


def _gateway(folder: Path, name: str, far_end: OtlpReceiver, more: Mapping[str, str] | None = None) -> Collector:
    variables = {
        "DECISION_WAIT": "2s",
        "KEEP_PERCENT": "0",
        "KEEP_FROM_NANO_USD": "1000000",
        "KEPT_TRACES_EXPORTERS": "[otlp_http/traces]",
        "TRACES_URL": f"{far_end.url}/v1/traces",
        **(more or {}),
    }
    return Collector(folder / name, [config("gateway")], variables, name=name)


def _router(folder: Path, gateways: list[Collector], **more: str) -> Collector:
    targets = flow([one.otlp_grpc for one in gateways])
    return Collector(
        folder / "router", [config("router")], {"GATEWAYS": targets, **more}, binary="otelcol-router", name="router"
    )


def test_money_and_whole_traces_go_from_agents_over_a_router_and_two_gateways_to_their_far_ends(tmp_path: Path) -> None:
    truth = Truth()
    with ExitStack() as stack:
        far_ends = [stack.enter_context(OtlpReceiver()) for _ in range(2)]
        (tmp_path / "prometheus").mkdir()
        prometheus = stack.enter_context(
            Prometheus(tmp_path / "prometheus", prometheus_config(tmp_path / "prometheus"))
        )
        written = {"REMOTE_WRITE_URL": prometheus.remote_write_url}
        gateways = [
            stack.enter_context(_gateway(tmp_path, f"gateway-{number}", far_end, written))
            for number, far_end in enumerate(far_ends)
        ]
        router = stack.enter_context(_router(tmp_path, gateways))
        agents = [
            stack.enter_context(
                Collector(
                    tmp_path / f"agent-{number}",
                    [config("agent")],
                    {
                        "TRACES_ENDPOINT": router.otlp_grpc,
                        "METRICS_ENDPOINT": gateways[number].otlp_grpc,
                        "OTEL_RESOURCE_ATTRIBUTES": "cloud.account.id=123456789012,cloud.region=eu-west-1",
                    },
                    name=f"agent-{number}",
                )
            )
            for number in range(2)
        ]
        front = stack.enter_context(worker("front", agents[0].otlp_http, truth, instance="one"))
        # It says its own region, and no environment.
        back = stack.enter_context(
            worker(
                "back",
                agents[1].otlp_http,
                truth,
                instance="two",
                environment="",
                resource={"cloud.region": "us-east-1"},
            )
        )
        for number in range(60):
            # One half costs a cent and is kept, whoever of the two services has spent it.
            with front.calls("/checkout", seconds=10.0 if number % 4 == 0 else 0.0) as caller:
                tenant = "once" if number == 7 else "often"
                back.web("/stock", tenant, seconds=10.0 if number % 4 == 2 else 0.0, caller=caller)
        front.send()
        back.send()
        costly = {one for one, usd in truth.by_trace.items() if usd >= 0.001}
        assert (len(costly), len(truth.by_trace)) == (30, 60)
        wait_until(lambda: {span.trace_id for end in far_ends for span in end.spans} >= costly, "costly traces")
        prometheus.wait_for(
            "sum(spancost_cost_usd_total)",
            lambda found: bool(found) and found[0].value == pytest.approx(truth.usd(), rel=RELATIVE),
        )
        found = {key: usd for key, usd in prometheus.sums("spancost_cost_usd_total", *_BY_ROUTE).items() if usd}
        assert found == pytest.approx(dict(truth.by_route), rel=RELATIVE)
        # Filled in by the agent, and not written over.
        assert set(prometheus.sums("spancost_cost_usd_total", "instance", *SCOPE)) == {
            ("one", "front", "production", "", "123456789012", "eu-west-1"),
            ("two", "back", "", "", "123456789012", "us-east-1"),
        }
    at = [defaultdict[str, set[str]](set) for _ in far_ends]
    for of_gateway, far_end in zip(at, far_ends, strict=True):
        for span in far_end.spans:
            of_gateway[span.trace_id].add(span.span_id)
    assert at[0].keys() & at[1].keys() == set(), "no trace is at both"
    assert at[0].keys() | at[1].keys() == costly
    assert min(len(of_gateway) for of_gateway in at) > 0, "both have some"
    # Two servers and the call of each, though the two services sent them by different agents.
    assert {len(spans) for of_gateway in at for spans in of_gateway.values()} == {4}


@pytest.mark.parametrize("resolver", ["static", "dns"])
def test_router_holds_what_a_gateway_that_is_away_should_have_until_it_is_back(tmp_path: Path, resolver: str) -> None:
    truth = Truth()
    with OtlpReceiver() as far_end:
        gateway = _gateway(tmp_path, "gateway", far_end, {"KEEP_PERCENT": "100", "DECISION_WAIT": "1s"})
        router = _router(
            tmp_path,
            [gateway],
            ROUTER_RESOLVER=resolver,
            GATEWAY_HOSTNAME="127.0.0.1",
            GATEWAY_PORT=gateway.otlp_grpc.rpartition(":")[2],
        )
        with gateway, router, worker("shop", router.otlp_http, truth, instance="one", metrics=False) as shop:
            shop.web("/before")
            shop.send()
            far_end.wait_for(lambda got: len(got.spans) == truth.spans)
            gateway.kill()
            for _ in range(20):
                shop.web("/meanwhile")
            shop.send()
            gateway.start()
            far_end.wait_for(lambda got: len({span.span_id for span in got.spans}) == truth.spans)


def test_agent_delivers_what_it_had_taken_though_its_upstream_was_away_and_it_was_killed(tmp_path: Path) -> None:
    truth = Truth()
    with OtlpReceiver() as far_end:
        upstream = Collector(tmp_path / "upstream", [relay(tmp_path, far_end.url)], name="upstream")
        agent = Collector(
            tmp_path / "agent",
            [config("agent")],
            {"TRACES_ENDPOINT": upstream.otlp_grpc, "METRICS_ENDPOINT": upstream.otlp_grpc},
            name="agent",
        )
        with agent, worker("shop", agent.otlp_http, truth, instance="one") as shop:
            for number in range(30):
                shop.web("/carts/{id}", f"tenant-{number}")
            shop.send()
            agent.kill()
            agent.start()
            shop.web("/after")
            shop.send()
            with upstream:
                far_end.wait_for(lambda got: len({span.span_id for span in got.spans}) == truth.spans)
                far_end.wait_for(
                    lambda got: (
                        sum(got.latest_sum("spancost.cost.usd").values()) == pytest.approx(truth.usd(), rel=RELATIVE)
                    )
                )


def test_agent_gives_the_environment_its_newer_name_and_an_instance_to_a_process_that_names_none(
    tmp_path: Path,
) -> None:
    resource = {"service.name": "older", "deployment.environment": "staging", "process.pid": 41}
    with OtlpReceiver() as far_end:
        upstream = Collector(tmp_path / "upstream", [relay(tmp_path, far_end.url)], name="upstream")
        agent = Collector(
            tmp_path / "agent",
            [config("agent")],
            {"TRACES_ENDPOINT": upstream.otlp_grpc, "METRICS_ENDPOINT": upstream.otlp_grpc},
            name="agent",
        )
        with upstream, agent:
            for more in ({}, {"service.instance.id": "own", "deployment.environment.name": "newer"}):
                provider = TracerProvider(resource=Resource({**resource, **more}), shutdown_on_exit=False)
                exporter = OTLPSpanExporter(endpoint=f"{agent.otlp_http}/v1/traces")
                provider.add_span_processor(SimpleSpanProcessor(exporter))
                provider.get_tracer("older").start_span("work", trace.set_span_in_context(trace.INVALID_SPAN)).end()
                provider.shutdown()
            far_end.wait_for(lambda got: len(got.spans) == 2)
    found = {span.resource["service.instance.id"]: span.resource for span in far_end.spans}
    host = found["own"]["host.name"]
    assert {name: of["deployment.environment.name"] for name, of in found.items()} == {
        f"{host}:41": "staging",
        "own": "newer",
    }


def test_agent_starts_quietly_where_there_is_no_metadata_of_a_cloud(tmp_path: Path) -> None:
    port = ReservedPort()
    port.release()  # nobody answers there
    with Collector(
        tmp_path,
        [config("agent")],
        {
            "RESOURCE_DETECTORS": "[env, system, ecs, lambda, ec2]",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port.number}",
        },
    ) as agent:
        levels = {line.split("\t")[1] for line in agent.log.read_text().splitlines() if "\t" in line}
    assert "error" not in levels
