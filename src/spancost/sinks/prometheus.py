"""Metrics for Prometheus through prometheus_client.

In a single process a collector shows the running totals on whatever registry the application already serves. Under
`PROMETHEUS_MULTIPROC_DIR` collectors are not read, so the totals are added to native metrics on each flush instead:
prometheus_client then sums them over all workers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Exemplar

from spancost import names
from spancost.internals import Gauge as InternalGauge
from spancost.internals import gauges
from spancost.sinks.exemplars import RequestExemplars
from spancost.sinks.totals import Family, MetricTotals
from spancost.window import Batch

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_NEW_SERIES = "A new series reads 0 at first, so that increase() sees its first value."
_MAX_HELD_REQUESTS: Final = 65_536

_Mode = Literal["sum", "livesum", "mostrecent"]
_MODES: Final[Mapping[str, _Mode]] = {
    names.METRIC_INTERNAL_EVICTIONS: "sum",
    names.METRIC_INTERNAL_OTHER: "sum",
    names.METRIC_INTERNAL_ALERTS: "sum",
    names.METRIC_INTERNAL_QUEUE: "livesum",
    names.METRIC_INTERNAL_COMPUTE_DEBT: "livesum",
}
"""How the gauges of several workers become one where the one written last does not stand for them all."""


def prometheus_name(name: str, unit: str) -> str:
    """Return the Prometheus name of an OpenTelemetry metric, without `_total`."""
    base = name.replace(".", "_")
    return f"{base}_seconds" if unit == "s" else base


class TotalsCollector:
    """Collector of the running totals of one process; register it with a prometheus_client registry.

    Args:
        engine: Its sums are brought up to date by each scrape.

        totals: What is shown.

        constant_labels: Labels with one value in this process.

        exemplars: A sink of the same engine, for scrapes in the format of OpenMetrics; none if not given.
    """

    def __init__(
        self,
        engine: CostEngine,
        totals: MetricTotals,
        constant_labels: Mapping[str, str],
        exemplars: RequestExemplars | None = None,
    ) -> None:
        self._engine = engine
        self._totals = totals
        self._constant = dict(constant_labels)
        self._exemplars = exemplars
        self._refreshed = (totals,) if exemplars is None else (totals, exemplars)

    def unregister(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Take the collector off its registry, if it is still there."""
        if self._exemplars is not None:
            self._exemplars.stop()
        with suppress(KeyError):
            registry.unregister(self)  # type: ignore[arg-type]

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family; a failure of ours leaves the application's own metrics readable."""
        try:
            yield from self._collect()
        except Exception:
            self._engine.errors.caught("metrics.scrape")

    def _collect(self) -> list[Metric]:
        self._engine.refresh(*self._refreshed)
        found: list[Metric] = []
        fixed_names, fixed_values = list(self._constant), list(self._constant.values())
        for family in self._totals.counters:
            counter = CounterMetricFamily(
                prometheus_name(family.name, family.unit),
                f"{family.description}. {_NEW_SERIES}",
                labels=[*fixed_names, *family.labels],
            )
            for reading in self._totals.read(family):
                counter.add_metric([*fixed_values, *reading.labels], reading.value)
            found.append(counter)
        found.append(self._histogram(fixed_names, fixed_values))
        for gauge in gauges(self._engine, self._totals):
            metric = GaugeMetricFamily(
                prometheus_name(gauge.name, gauge.unit), gauge.description, labels=[*fixed_names, *gauge.labels]
            )
            for labels, value in gauge.values:
                metric.add_metric([*fixed_values, *(labels[name] for name in gauge.labels)], value)
            found.append(metric)
        errors = CounterMetricFamily(
            prometheus_name(names.METRIC_INTERNAL_ERRORS, ""),
            "Errors of spancost itself, by place",
            labels=[*fixed_names, "place"],
        )
        for place, count in dict(self._engine.errors.counts).items():
            errors.add_metric([*fixed_values, place], count)
        found.append(errors)
        return found

    def _histogram(self, fixed_names: list[str], fixed_values: list[str]) -> Metric:
        family = self._totals.request_cost
        histogram = HistogramMetricFamily(
            prometheus_name(family.name, family.unit), family.description, labels=[*fixed_names, *family.labels]
        )
        bounds = [*(repr(bound) for bound in names.REQUEST_COST_BUCKETS_USD), "+Inf"]
        for reading in self._totals.read(family):
            running = 0
            exemplars = None if self._exemplars is None else self._exemplars.of(reading.labels)
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for position, (bound, count) in enumerate(zip(bounds, reading.buckets, strict=True)):
                running += count
                # A series that still reads 0 has no example of what it counts.
                exemplar = exemplars.get(position) if exemplars and count else None
                if exemplar is None:
                    buckets.append((bound, float(running)))
                else:
                    shown = Exemplar(exemplar.labels(), exemplar.usd, exemplar.at_s)
                    buckets.append((bound, float(running), shown))
            histogram.add_metric([*fixed_values, *reading.labels], buckets, reading.value)
        return histogram


class MultiprocessMetrics:
    """Sink that adds what the totals have gained to native metrics, for `PROMETHEUS_MULTIPROC_DIR`.

    Args:
        engine: Gives single requests for the histogram.

        totals: The totals whose gains are added.

        constant_labels: Labels with one value in this process.

        registry: Where the metrics are registered.
    """

    name = "prometheus_multiprocess"

    def __init__(
        self,
        engine: CostEngine,
        totals: MetricTotals,
        constant_labels: Mapping[str, str],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._totals = totals
        self._engine = engine
        self._registry = registry
        self._queue = engine.open_request_queue()
        self._fixed = tuple(constant_labels.values())
        fixed_names = self._fixed_names = tuple(constant_labels)
        self._gauges: dict[str, Gauge] = {}
        self._held_usd: dict[tuple[str, ...], list[float]] = {}
        """Requests of series that still read 0."""
        self._held = 0
        self._counters = {
            family.name: Counter(
                prometheus_name(family.name, family.unit),
                family.description,
                labelnames=(*fixed_names, *family.labels),
                registry=registry,
            )
            for family in totals.counters
        }
        self._histogram = Histogram(
            prometheus_name(totals.request_cost.name, totals.request_cost.unit),
            totals.request_cost.description,
            labelnames=(*fixed_names, *totals.request_cost.labels),
            buckets=names.REQUEST_COST_BUCKETS_USD,
            registry=registry,
        )
        self._errors = Counter(
            prometheus_name(names.METRIC_INTERNAL_ERRORS, ""),
            "Errors of spancost itself, by place",
            labelnames=(*fixed_names, "place"),
            registry=registry,
        )
        self._published: dict[tuple[str, tuple[str, ...]], float] = {}

    def write(self, batch: Batch, *, final: bool) -> None:
        """Add what the totals have gained and may show by now."""
        for family in self._totals.counters:
            for reading in self._totals.read(family):
                self._raise_to(family, reading.labels, reading.value)
        for place, count in dict(self._engine.errors.counts).items():
            self._raise(self._errors, ("errors", (place,)), (place,), float(count))
        for gauge in gauges(self._engine, self._totals):
            self._set(gauge)
        self._observe_requests()

    def _observe_requests(self) -> None:
        requests = self._totals.request_cost
        while self._queue:
            record = self._queue.popleft()
            labels = requests.label_values((*record.labels, record.outcome))
            if labels not in self._held_usd:
                self._child(self._histogram, labels)  # writes its zeros, which a scrape can see before the values come
            self._held_usd.setdefault(labels, []).append(record.total_usd)
            self._held += 1
        if not self._held:
            return
        too_many = self._held > _MAX_HELD_REQUESTS
        for reading in self._totals.read(requests):
            if (reading.observations or too_many) and reading.labels in self._held_usd:
                child = self._child(self._histogram, reading.labels)
                for usd in self._held_usd.pop(reading.labels):
                    self._held -= 1
                    child.observe(usd)

    def _set(self, gauge: InternalGauge) -> None:
        metric = self._gauges.get(gauge.name)
        if metric is None:
            metric = self._gauges[gauge.name] = Gauge(
                prometheus_name(gauge.name, gauge.unit),
                gauge.description,
                labelnames=(*self._fixed_names, *gauge.labels),
                registry=self._registry,
                multiprocess_mode=_MODES.get(gauge.name, "mostrecent"),
            )
        for labels, value in gauge.values:
            self._child(metric, tuple(labels[name] for name in gauge.labels)).set(value)

    def _raise_to(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        self._raise(self._counters[family.name], (family.name, labels), labels, value)

    def _raise(self, counter: Counter, key: tuple[str, tuple[str, ...]], labels: tuple[str, ...], value: float) -> None:
        before = self._published.get(key)
        if before is None:
            # Making the child writes its 0, which a scrape can see before the value comes.
            self._child(counter, labels)
            before = self._published[key] = 0.0
        if value > before:
            self._child(counter, labels).inc(value - before)
            self._published[key] = value

    def _child(self, metric: Any, labels: tuple[str, ...]) -> Any:
        values = (*self._fixed, *labels)
        return metric.labels(*values) if values else metric

    def close(self) -> None:
        """Nothing to release: the files belong to prometheus_client."""

    def unregister(self) -> None:
        """Make room for the metrics of a later engine, which go on from the values in this process's files."""
        for metric in (*self._counters.values(), *self._gauges.values(), self._histogram, self._errors):
            with suppress(KeyError):
                self._registry.unregister(metric)

    def after_fork_in_child(self) -> None:
        """The child's files start at zero, as its totals do."""
        self._published.clear()
        self._held_usd.clear()
        self._held = 0


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep scrapes out of the application's standard error."""


_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


def serve(port: int, host: str, *, multiprocess: bool) -> tuple[Any, threading.Thread]:
    """Serve `/metrics` on an own port, in a daemon thread.

    On loopback the Host header must name this machine, so that no web page can read the figures through a name that
    it points here (DNS rebinding).

    Raises:
        OSError: The port is taken.
    """
    registry: CollectorRegistry = REGISTRY
    if multiprocess:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    metrics_app = cast("Any", make_wsgi_app(registry))  # pyright: ignore[reportUnknownVariableType]
    only_local = host in _LOCAL_HOSTS

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        name = str(environ.get("HTTP_HOST", "")).lower()
        name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
        if only_local and (name not in _LOCAL_HOSTS or environ.get("HTTP_ORIGIN")):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"only for this machine\n"]
        return metrics_app(environ, start_response)

    server = make_server(host, port, app, handler_class=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, name="spancost-metrics", daemon=True)
    thread.start()
    return server, thread
