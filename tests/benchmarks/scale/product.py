"""What spancost itself makes of a service of some size: series, bytes of an export and of a scrape, memory."""

from __future__ import annotations

import gc
import gzip
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

from spancost._install import constant_labels
from spancost.sinks.metrics import OtelMetrics
from spancost.sinks.prometheus import TotalsCollector
from spancost.testing import World, priced_provider
from tests.benchmarks.scale.fleet import Fleet, Worker
from tests.benchmarks.scale.profile import FEATURES, FRESH_BYTES, make_profile
from tests.benchmarks.scale.serving import MACHINE, serve
from tests.benchmarks.shop_requests import make_request

_RESOURCE: Final = Worker("service-00000", 0, 0).resource
_CALLS: Final = (
    "GetItem", "PutItem", "Query", "Scan", "UpdateItem", "DeleteItem", "BatchGetItem", "BatchWriteItem",
    "TransactGetItems", "TransactWriteItems",
)  # fmt: skip
_MODELS: Final = ("gpt-5-mini", "gpt-5", "gpt-5-nano", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "o3")
_GZIP: Final = 6
_HISTOGRAM: Final = 2
"""Series of a histogram beside its buckets: sum and count."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A service: each of its routes calls everything, each tenant uses one feature."""

    routes: int = 20
    tenants: int = 50
    features: int = FEATURES
    models: int = 1
    calls: int = 3
    """Operations of AWS."""

    @property
    def requests(self) -> int:
        """That show every route and every tenant."""
        return max(self.routes, self.tenants)


@dataclass(frozen=True, slots=True)
class Size:
    """What one process of such a service exports at a time."""

    shape: Shape
    points: dict[str, int]
    """By metric; a histogram is one."""
    prometheus_series: int
    """The same, each bucket a series."""
    folded: int
    """Additions that went to `other`."""
    export_bytes: int
    export_gzip_bytes: int
    scrape_bytes: int
    scrape_gzip_bytes: int

    @property
    def all_points(self) -> int:
        return sum(self.points.values())


@contextmanager
def _service(**settings: Any) -> Generator[tuple[World, InMemoryMetricReader]]:
    """A process with the metrics of spancost on a MeterProvider."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=Resource(_RESOURCE), shutdown_on_exit=False)
    with priced_provider(resource=_RESOURCE, **MACHINE, **settings) as world:
        world.engine.add_sink(OtelMetrics(world.engine, world.totals, provider))
        yield world, reader
    provider.shutdown()


def _serve(world: World, shape: Shape) -> None:
    """Serve every route and every tenant once."""
    draw = Fleet().draw(0)
    calls, models = _CALLS[: shape.calls], _MODELS[: shape.models]
    for number in range(shape.requests):
        tenant = number % shape.tenants
        route = f"/r{number % shape.routes}/{{id}}"
        spans = list(make_request(draw, "GET", route, calls=calls, models=models, sends_sms=True))
        serve(world, spans, draw, feature=f"f{tenant % shape.features}", tenant=f"t{tenant}", team="x")
    world.publish()


def size_of(shape: Shape) -> Size:
    """Serve every route and tenant of a service once, and measure what it then exports."""
    with _service() as (world, reader):
        _serve(world, shape)
        data = reader.get_metrics_data()
        assert data is not None
        registry = CollectorRegistry()
        registry.register(TotalsCollector(world.engine, world.totals, constant_labels(_RESOURCE)))  # type: ignore[arg-type]
        scrape = generate_latest(registry)
        points = _points(data)
        export = encode_metrics(data).SerializeToString()
        prometheus_series = sum(
            len(family) * (family.bucket_count + _HISTOGRAM if family.bucket_count else 1)
            for family in world.totals.families
        ) + sum(count for name, count in points.items() if name.startswith("spancost.internal."))
        return Size(
            shape,
            points,
            prometheus_series,
            sum(world.totals.folded().values()),
            len(export),
            len(gzip.compress(export, _GZIP)),
            len(scrape),
            len(gzip.compress(scrape, _GZIP)),
        )


def _points(data: MetricsData) -> dict[str, int]:
    return {
        metric.name: len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@dataclass(frozen=True, slots=True)
class SpanBytes:
    """What a span is on the wire, in exports of 512 spans."""

    attributes: str
    """`of spancost` or `none of spancost`."""
    spans: int
    bytes: float
    """A span, without compression."""
    gzip_bytes: float


def span_bytes() -> list[SpanBytes]:
    """Measure spans with and without what spancost writes on them."""
    found: list[SpanBytes] = []
    for priced, said in ((False, "none of spancost"), (True, "of spancost")):
        profile = make_profile(Fleet(requests=400), 0, priced=priced)
        draw = Fleet().draw(1)
        bodies = [body.under(draw.randbytes(FRESH_BYTES)) for body in profile.bodies]
        found.append(
            SpanBytes(
                said,
                profile.spans,
                sum(map(len, bodies)) / profile.spans,
                sum(len(gzip.compress(body, _GZIP)) for body in bodies) / profile.spans,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the metrics of one process, as Python's own allocator counts it."""

    what: str
    series: int
    """By which two services differ."""
    bytes_per_series: float


def memory() -> list[Memory]:
    """Measure what a series more takes, once all have been exported."""
    found: list[Memory] = []
    small, large = Shape(routes=20, tenants=20), Shape(routes=120, tenants=120)
    for collects, said in ((False, "spancost"), (True, "spancost and the SDK's reader")):
        held: list[tuple[int, int]] = []
        for shape in (small, small, large):  # the first one fills caches
            with _service() as (world, reader):
                _serve(world, replace(shape, tenants=1, features=1, routes=1))
                gc.collect()
                tracemalloc.start()
                _serve(world, shape)
                if collects:
                    for _ in range(2):
                        reader.get_metrics_data()
                gc.collect()
                held.append((tracemalloc.get_traced_memory()[0], _series(world)))
                tracemalloc.stop()
        _, (bytes_small, series_small), (bytes_large, series_large) = held
        more = series_large - series_small
        found.append(Memory(said, more, (bytes_large - bytes_small) / more))
    return found


def _series(world: World) -> int:
    return sum(len(family) for family in world.totals.families)
