"""Priced services that send real OTLP to a Collector, and the money that they have really spent.

Each worker is a process of a service as a Collector sees it: an SDK pipeline with its own resource. Their clocks move
only when told, so that compute has a known cost, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, Tracer

from spancost import attribute
from spancost.sinks.metrics import OtelMetrics
from spancost.testing import World, priced_provider
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, SMS_USD, put_item, server, sms, start

USD_PER_S: Final = 0.001
_COMPUTE: Final = "3.6usd/h"
_NEVER_MILLIS: Final = 3_600_000
RELATIVE: Final = 1e-9
"""How near every sum at a far end must be to the truth."""

Key = tuple[str, ...]


@dataclass(slots=True)
class Truth:
    """What was spent, added up by the sender."""

    by_route: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))
    """USD by service, component, route, method and entrypoint."""
    by_tenant: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))
    """USD by service and tenant."""
    by_trace: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """USD of each trace, by its id."""
    failed: set[str] = field(default_factory=set[str])
    """Ids of traces with an error."""
    spans: int = 0

    def usd(self, component: str | None = None) -> float:
        """USD altogether, or of one component."""
        return sum(usd for key, usd in self.by_route.items() if component in (None, key[1]))


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request that is being served."""

    span: Span
    trace_id: str


class Worker:
    """One process of a service.

    Args:
        service: Its `service.name`.

        world: Its priced pipeline.

        meters: Its metrics; None if it sends none.

        truth: Where it writes what it has spent.
    """

    def __init__(self, service: str, world: World, meters: MeterProvider | None, truth: Truth) -> None:
        self.service = service
        self.world = world
        self._meters = meters
        self._truth = truth
        self.tracer: Tracer = world.provider.get_tracer("shop")

    def web(
        self,
        route: str,
        tenant: str = "",
        *,
        seconds: float = 0.01,
        puts: int = 1,
        messages: int = 0,
        failed: bool = False,
        caller: trace.Span | None = None,
    ) -> str:
        """Serve one HTTP request and return its trace id; an empty route is one that matched none."""
        size = 1000 * (1 + len(route))
        attributes = server(route, response_bytes=size, method="POST")
        context = trace.set_span_in_context(caller or trace.INVALID_SPAN)
        request = self.tracer.start_span("POST", context, SpanKind.SERVER, attributes)
        assert isinstance(request, Span)
        with self._work(request, (route or "(no route)", "POST", ""), tenant) as spent:
            spent["egress"] += size / GB * EGRESS_USD_PER_GB
            self._call(request, seconds, puts, messages, spent)
            if failed:
                request.set_status(StatusCode.ERROR)
        return self._note(request, failed)

    @contextmanager
    def calls(self, route: str, *, seconds: float) -> Generator[trace.Span]:
        """Serve an HTTP request; yields its span as a service finds it that is called meanwhile."""
        request = start(self.tracer, "POST", None, SpanKind.SERVER, server(route, response_bytes=0, method="POST"))
        with self._work(request, (route, "POST", ""), "") as spent:
            self._call(request, seconds, 1, 0, spent)
            yield NonRecordingSpan(_as_remote(request))

    def begin(self, route: str) -> Request:
        """Begin to serve an HTTP request that one call is made for."""
        root = start(self.tracer, "POST", None, SpanKind.SERVER, server(route, response_bytes=0, method="POST"))
        start(self.tracer, "call", root, SpanKind.CLIENT, put_item()).end()
        return Request(root, _trace_id(root))

    def finish(self, request: Request, *, seconds: float) -> None:
        """End it after so much work; what it has cost is not in the truth."""
        self.world.clock.advance(seconds)
        request.span.end()

    def other(self, name: str, kind: SpanKind, attributes: Mapping[str, Any], entrypoint: str, tenant: str = "") -> str:
        """Do work that no HTTP request has asked for, and return its trace id."""
        root = start(self.tracer, name, None, kind, dict(attributes))
        with self._work(root, ("", "", entrypoint), tenant) as spent:
            self._call(root, 0.02, 1, 0, spent)
        return self._note(root, failed=False)

    @contextmanager
    def _work(self, root: Span, labels: Key, tenant: str) -> Generator[dict[str, float]]:
        spent: defaultdict[str, float] = defaultdict(float)
        with trace.use_span(root, end_on_exit=True), attribute(**({"tenant": tenant} if tenant else {})):
            yield spent
        for component, usd in spent.items():
            self._truth.by_route[(self.service, component, *labels)] += usd
            self._truth.by_tenant[self.service, tenant] += usd
        self._truth.by_trace[_trace_id(root)] += sum(spent.values())
        self._truth.spans += 1

    def _call(self, root: Span, seconds: float, puts: int, messages: int, spent: dict[str, float]) -> None:
        self.world.clock.advance(seconds)
        spent["compute"] += seconds * USD_PER_S
        for component, attributes, count, usd in (
            ("aws", put_item(), puts, PUT_USD),
            ("http", sms(), messages, SMS_USD),
        ):
            for _ in range(count):
                start(self.tracer, "call", root, SpanKind.CLIENT, attributes).end()
            if count:
                spent[component] += count * usd
        self._truth.spans += puts + messages

    def _note(self, root: Span, failed: bool) -> str:
        trace_id = _trace_id(root)
        if failed:
            self._truth.failed.add(trace_id)
        return trace_id

    def send(self) -> None:
        """Send all spans and the present values of all metrics."""
        self.world.publish()
        assert self.world.provider.force_flush()
        if self._meters is not None:
            assert self._meters.force_flush()


def _as_remote(span: Span) -> SpanContext:
    """Return the context of a span as the service finds it that is called."""
    context = span.get_span_context()
    return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=context.trace_flags)


def _trace_id(span: Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


@contextmanager
def worker(
    service: str,
    collector: str,
    truth: Truth,
    *,
    instance: str,
    metrics: bool = True,
    environment: str = "production",
    resource: Mapping[str, str] | None = None,
) -> Generator[Worker]:
    """Make a worker whose spans, and metrics if asked for, go to a Collector.

    Args:
        service: Its `service.name`.

        collector: URL of OTLP/HTTP.

        truth: Where it writes what it has spent.

        instance: Its `service.instance.id`.

        metrics: Whether it sends metrics.

        environment: Its `deployment.environment.name`.

        resource: More attributes of its resource.
    """
    of = {
        "service.name": service,
        "service.instance.id": instance,
        "deployment.environment.name": environment,
        **(resource or {}),
    }
    with priced_provider(
        resource=of, region=REGION, compute=_COMPUTE, egress_clients="internet", prices_cache="off"
    ) as world:
        world.provider.id_generator = RandomIdGenerator()
        world.provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{collector}/v1/traces"), schedule_delay_millis=_NEVER_MILLIS)
        )
        meters: MeterProvider | None = None
        if metrics:
            reader = PeriodicExportingMetricReader(
                OTLPMetricExporter(endpoint=f"{collector}/v1/metrics"), export_interval_millis=_NEVER_MILLIS
            )
            meters = MeterProvider([reader], resource=Resource(of), shutdown_on_exit=False)
            world.engine.add_sink(OtelMetrics(world.engine, world.totals, meters))
        try:
            yield Worker(service, world, meters, truth)
        finally:
            if meters is not None:
                meters.shutdown()
