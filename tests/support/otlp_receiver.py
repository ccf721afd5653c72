"""A real OTLP/HTTP receiver: takes protobuf over HTTP, plain or gzip, and gives it back as plain values.

with OtlpReceiver() as receiver:
    exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")
    ...
    receiver.wait_for(lambda got: len(got.spans) >= 3)
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

Attributes = Mapping[str, Any]
AttributeSet = frozenset[tuple[str, Any]]

_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span as it travelled."""

    name: str
    kind: int
    """OpenTelemetry API SpanKind: 0 internal, 1 server, 2 client, 3 producer, 4 consumer."""
    trace_id: str
    """32 hex digits."""
    span_id: str
    """16 hex digits."""
    parent_id: str
    """16 hex digits; empty for a root."""
    start_ns: int
    end_ns: int
    attributes: Attributes
    resource: Attributes
    scope: str
    failed: bool
    """The status is ERROR."""

    @property
    def service(self) -> str:
        return str(self.resource.get("service.name", ""))


@dataclass(frozen=True, slots=True)
class ReceivedPoint:
    """One point of a sum, gauge or histogram as it travelled."""

    metric: str
    unit: str
    attributes: Attributes
    value: float
    """Sum of the recorded values for a histogram."""
    count: int
    """Number of recorded values of a histogram; 0 for other kinds."""
    bucket_counts: tuple[int, ...]
    bounds: tuple[float, ...]
    resource: Attributes
    scope: str
    start_ns: int
    time_ns: int
    temporality: str
    """`cumulative`, `delta`, or empty for a gauge."""
    monotonic: bool

    @property
    def instance(self) -> str:
        """`service.instance.id`: new for every worker process."""
        return str(self.resource.get("service.instance.id", ""))


class OtlpReceiver:
    """Receives traces and metrics on a free loopback port. A context manager; safe from any thread."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._spans: list[ReceivedSpan] = []
        self._points: list[ReceivedPoint] = []
        self._requests = 0
        self._server = _Server(("127.0.0.1", 0), _Handler, self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to."""
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), name="otlp-receiver", daemon=True)

    @property
    def spans(self) -> list[ReceivedSpan]:
        """All spans so far, in order of arrival."""
        with self._changed:
            return list(self._spans)

    @property
    def points(self) -> list[ReceivedPoint]:
        """All metric points so far, in order of arrival."""
        with self._changed:
            return list(self._points)

    @property
    def requests(self) -> int:
        """Exports received so far."""
        with self._changed:
            return self._requests

    def newest(self, metric: str) -> list[ReceivedPoint]:
        """The newest point of each series: one for each resource and set of attributes."""
        newest: dict[tuple[AttributeSet, AttributeSet], ReceivedPoint] = {}
        for point in self.points:
            if point.metric == metric:
                key = (attribute_set(point.resource), attribute_set(point.attributes))
                held = newest.get(key)
                if held is None or point.time_ns >= held.time_ns:
                    newest[key] = point
        return list(newest.values())

    def latest_sum(self, metric: str) -> dict[AttributeSet, float]:
        """Newest cumulative values added up over all processes, per set of attributes.

        Raises:
            ValueError: A point is not cumulative: adding newest points would lose the earlier ones.
        """
        sums: defaultdict[AttributeSet, float] = defaultdict(float)
        for point in self.newest(metric):
            if point.temporality != "cumulative":
                raise ValueError(f"{metric}: temporality {point.temporality!r}, only cumulative points can be summed")
            sums[attribute_set(point.attributes)] += point.value
        return dict(sums)

    def latest_sum_by(self, metric: str, *keys: str) -> dict[tuple[str, ...], float]:
        """`latest_sum` grouped by some attributes; a missing one is empty."""
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for attributes, value in self.latest_sum(metric).items():
            values = dict(attributes)
            sums[tuple(str(values.get(key, "")) for key in keys)] += value
        return dict(sums)

    def wait_for(self, condition: Callable[[OtlpReceiver], bool], *, timeout_s: float = _WAIT_S) -> None:
        """Return as soon as `condition` holds; looked at after each export.

        Raises:
            TimeoutError: It did not hold within `timeout_s` seconds.
        """
        ends = monotonic() + timeout_s
        while True:
            with self._changed:
                seen = self._requests
            if condition(self):
                return
            with self._changed:
                if not self._changed.wait_for(lambda seen=seen: self._requests != seen, ends - monotonic()):
                    raise TimeoutError(
                        f"not received within {timeout_s:g} s; so far {len(self._spans)} spans, "
                        f"{len(self._points)} points in {self._requests} exports"
                    )

    def clear(self) -> None:
        """Forget everything received."""
        with self._changed:
            self._spans.clear()
            self._points.clear()

    def take_traces(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of one export."""
        spans = [
            ReceivedSpan(
                name=span.name,
                # On the wire 0 is "unspecified" and internal is 1.
                kind=max(0, span.kind - 1),
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                start_ns=span.start_time_unix_nano,
                end_ns=span.end_time_unix_nano,
                attributes=_attributes(span.attributes),
                resource=resource,
                scope=of_scope.scope.name,
                failed=span.status.code == span.status.STATUS_CODE_ERROR,
            )
            for of_resource in request.resource_spans
            for resource in [_attributes(of_resource.resource.attributes)]
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        with self._changed:
            self._spans += spans
            self._requests += 1
            self._changed.notify_all()

    def take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        """Keep the points of one export."""
        points = [
            point
            for of_resource in request.resource_metrics
            for resource in [_attributes(of_resource.resource.attributes)]
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
            for point in _points(metric, resource, of_scope.scope.name)
        ]
        with self._changed:
            self._points += points
            self._requests += 1
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Exporters keep their connections: waiting for those threads would hold the test up.
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], receiver: OtlpReceiver) -> None:
        super().__init__(address, handler)
        self.receiver = receiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    timeout = 60

    def do_POST(self) -> None:
        receiver = cast(_Server, self.server).receiver
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Type", "") != "application/x-protobuf":
            self._answer(415, b"")
            return
        try:
            body = _unpacked(body, self.headers.get("Content-Encoding", "identity"))
            match self.path:
                case "/v1/traces":
                    receiver.take_traces(ExportTraceServiceRequest.FromString(body))
                    self._answer(200, ExportTraceServiceResponse().SerializeToString())
                case "/v1/metrics":
                    receiver.take_metrics(ExportMetricsServiceRequest.FromString(body))
                    self._answer(200, ExportMetricsServiceResponse().SerializeToString())
                case _:
                    self._answer(404, b"")
        except (DecodeError, OSError, EOFError, zlib.error):
            # What a receiver must say so that an exporter does not try again.
            self._answer(400, b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests show failures by themselves."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def attribute_set(attributes: Attributes) -> AttributeSet:
    """Attributes as a key of a mapping; lists become tuples."""
    return frozenset((key, _hashable(value)) for key, value in attributes.items())


def _hashable(value: object) -> object:
    if isinstance(value, list):
        return tuple(_hashable(item) for item in cast("list[object]", value))
    return attribute_set(cast(Attributes, value)) if isinstance(value, dict) else value


def _unpacked(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            return body


def _points(metric: Metric, resource: Attributes, scope: str) -> list[ReceivedPoint]:
    if metric.HasField("histogram"):
        return [
            ReceivedPoint(
                metric=metric.name,
                unit=metric.unit,
                attributes=_attributes(point.attributes),
                value=point.sum,
                count=point.count,
                bucket_counts=tuple(point.bucket_counts),
                bounds=tuple(point.explicit_bounds),
                resource=resource,
                scope=scope,
                start_ns=point.start_time_unix_nano,
                time_ns=point.time_unix_nano,
                temporality=_temporality(metric.histogram.aggregation_temporality),
                monotonic=True,
            )
            for point in metric.histogram.data_points
        ]
    is_sum = metric.HasField("sum")
    numbers = metric.sum.data_points if is_sum else metric.gauge.data_points
    return [
        ReceivedPoint(
            metric=metric.name,
            unit=metric.unit,
            attributes=_attributes(point.attributes),
            value=point.as_double if point.HasField("as_double") else float(point.as_int),
            count=0,
            bucket_counts=(),
            bounds=(),
            resource=resource,
            scope=scope,
            start_ns=point.start_time_unix_nano,
            time_ns=point.time_unix_nano,
            temporality=_temporality(metric.sum.aggregation_temporality) if is_sum else "",
            monotonic=is_sum and metric.sum.is_monotonic,
        )
        for point in numbers
    ]


def _temporality(value: AggregationTemporality.ValueType) -> str:
    match value:
        case AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE:
            return "cumulative"
        case AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA:
            return "delta"
        case _:
            return "unspecified"


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in cast("list[KeyValue]", pairs)}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case None:
            return None
        case kind:
            return getattr(value, kind)
