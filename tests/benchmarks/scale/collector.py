"""What a Collector takes with the configurations of `collector-config/`: CPU time and memory of its process.

CPU time is that of the Collector's process alone, from /proc, until it has nothing left to do: what else runs on the
machine, the generator and the receiver at the far end among it, does not count.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from examples.stack.servers import Collector, Prometheus
from tests.benchmarks.scale.fleet import Fleet
from tests.benchmarks.scale.load import METRICS, TRACES, Limits, Load, Sent
from tests.benchmarks.scale.processes import use_of, wait_until_quiet

_CONFIGS: Final = Path(__file__).parents[3] / "collector-config"
_MEMORY: Final = {"MEMORY_LIMIT_MIB": "8000", "MEMORY_SPIKE_MIB": "1000"}
"""Far from what is used: how much that is, is the question."""
_PROMETHEUS: Final = "global: {scrape_interval: 1m}\n"
_HEAD: Final = """\
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "${env:OTLP_GRPC_ENDPOINT}"}
      http: {endpoint: "${env:OTLP_HTTP_ENDPOINT}"}
extensions:
  health_check: {endpoint: "${env:HEALTH_ENDPOINT}"}
exporters:
  debug: {verbosity: basic, sampling_initial: 1, sampling_thereafter: 1000000}
"""
_SINK: Final = f"""\
{_HEAD}service:
  extensions: [health_check]
  telemetry:
    metrics: {{level: none}}
    logs: {{level: error}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"""
"""Takes everything and keeps nothing."""


_MANY: Final = Limits(spans=300_000, seconds=120)
_POINTS: Final = Limits(spans=1_000_000, seconds=120)
_EVEN: Final = Limits(spans=300_000, seconds=120, rate=10_000)


@dataclass(frozen=True, slots=True)
class Case:
    """A Collector, and what it is sent."""

    name: str
    configs: tuple[str, ...]
    """Of `collector-config/`; none for a Collector that takes everything and does nothing."""
    fleet: Fleet
    signal: str = TRACES
    limits: Limits = _MANY
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    binary: str = "otelcol"
    compressed: bool = True
    """As one tier sends to the next; applications send without compression unless told so."""
    waits_s: float = 0.0
    """How long it holds what it has."""


_SHOPS: Final = Fleet(services=20, workers=2, requests=200)
_MANY_TENANTS: Final = Fleet(services=20, workers=1, tenants=2000, requests=2000, profiles=2)


def _sampling(wait_s: int) -> Case:
    return Case(
        f"gateway, traces, decision_wait {wait_s} s",
        ("gateway.yaml",),
        _SHOPS,
        limits=_EVEN,
        variables={"DECISION_WAIT": f"{wait_s}s", "TRACES_IN_MEMORY": "100000"},
        waits_s=wait_s + 2,
    )


CASES: Final = (
    Case("takes and drops", (), _SHOPS),
    Case("agent, traces", ("agent.yaml",), _SHOPS, compressed=False),
    Case("agent, metrics", ("agent.yaml",), _SHOPS, METRICS, _POINTS, compressed=False),
    Case("router, traces", ("router.yaml",), _SHOPS, binary="otelcol-router"),
    _sampling(5),
    _sampling(10),
    _sampling(30),
    Case(
        "gateway, traces, num_traces too small",
        ("gateway.yaml",),
        _SHOPS,
        limits=_EVEN,
        variables={"DECISION_WAIT": "10s", "TRACES_IN_MEMORY": "5000"},
        waits_s=12,
    ),
    Case("gateway, metrics, remote write", ("gateway.yaml",), _SHOPS, METRICS, _POINTS),
    Case(
        "gateway, metrics, OTLP",
        ("gateway.yaml",),
        _SHOPS,
        METRICS,
        _POINTS,
        variables={"METRICS_EXPORTER": "otlp_http"},
    ),
    Case("no-sdk-metrics, 50 tenants", ("no-sdk-metrics.yaml",), _SHOPS, waits_s=6),
    Case("no-sdk-metrics, 2000 tenants", ("no-sdk-metrics.yaml",), _MANY_TENANTS, waits_s=6),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one case; medians over its measurements."""

    case: str
    items: int
    """Spans or metric points of one measurement."""
    items_per_cpu_s: int
    """Spans or points for a second of CPU time."""
    least: int
    most: int
    traces_per_s: int
    """As sent."""
    idle_mib: int
    """Resident before anything was sent."""
    peak_mib: int
    """Most that was ever resident."""
    refusals: int


def measure(case: Case, *, repeats: int = 3, share: float = 1.0) -> Figures:
    """Start the Collector of a case anew for each measurement and send it its load.

    Args:
        case: What is measured.

        repeats: How often.

        share: Of the load: less for a quick look.

    Raises:
        StackError: A program is missing, or something did not start.
    """
    load_of = Load(case.fleet, "http://127.0.0.1:1", signals=(case.signal,), compressed=case.compressed)
    limits = Limits(max(1, int(case.limits.spans * share)), case.limits.seconds, case.limits.rate)
    rates: list[float] = []
    idle: list[float] = []
    peaks: list[float] = []
    sent = Sent(load_of.profiles)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="spancost-scale-") as folder, ExitStack() as servers:
            collector = _start(case, Path(folder), servers)
            load_of.send_to(collector.otlp_http)
            load_of.run(Limits(max(1000, int(20_000 * share)), 20.0))  # it has all its threads and buffers then
            before = wait_until_quiet(collector.process.pid, after_s=case.waits_s)
            sent = load_of.run(limits)
            after = wait_until_quiet(collector.process.pid, after_s=case.waits_s)
            rates.append(_items(case, sent) / (after.cpu_s - before.cpu_s))
            idle.append(before.rss_mib)
            peaks.append(use_of(collector.process.pid).peak_mib)
    return Figures(
        case.name,
        _items(case, sent),
        round(statistics.median(rates)),
        round(min(rates)),
        round(max(rates)),
        round(sent.traces / sent.seconds),
        round(statistics.median(idle)),
        round(statistics.median(peaks)),
        sent.refusals,
    )


def _items(case: Case, sent: Sent) -> int:
    return sent.spans if case.signal == TRACES else sent.points


def _start(case: Case, folder: Path, servers: ExitStack) -> Collector:
    sink_config = folder / "sink.yaml"
    sink_config.write_text(_SINK)
    if not case.configs:
        return servers.enter_context(Collector(folder / "measured", [sink_config]))
    sink = servers.enter_context(Collector(folder / "sink", [sink_config], name="sink"))
    variables = {
        **_MEMORY,
        "TRACES_ENDPOINT": sink.otlp_grpc,
        "METRICS_ENDPOINT": sink.otlp_grpc,
        "GATEWAYS": f"[{sink.otlp_grpc}]",
        "OTLP_METRICS_URL": f"{sink.otlp_http}/v1/metrics",
        "QUEUE_DIRECTORY": str(folder / "queue"),
        "RESOURCE_DETECTORS": "[env]",
        "DERIVED_METRICS_ENDPOINT": "127.0.0.1:0",
        **case.variables,
    }
    if "gateway.yaml" in case.configs and case.signal == METRICS and "METRICS_EXPORTER" not in case.variables:
        config = folder / "prometheus.yaml"
        config.write_text(_PROMETHEUS)
        prometheus = servers.enter_context(Prometheus(folder / "prometheus", config))
        variables["REMOTE_WRITE_URL"] = prometheus.remote_write_url
    return servers.enter_context(
        Collector(folder / "measured", [_CONFIGS / name for name in case.configs], variables, binary=case.binary)
    )
