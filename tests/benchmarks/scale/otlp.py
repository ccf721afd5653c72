"""OTLP messages put together from parts that are encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from spancost import names
from spancost.sinks.totals import label_dict
from tests.benchmarks.scale.profile import Series

_ONE_RESOURCE: Final = b"\x0a"
"""Field 1, length-delimited: `resource_spans` and `resource_metrics` of an export request."""


def resource_part(attributes: Mapping[str, str]) -> bytes:
    """Return the `resource` of a `ResourceSpans` or `ResourceMetrics`, where it is the same field."""
    return ResourceSpans(resource=Resource(attributes=_pairs(attributes))).SerializeToString()


def export(resource: bytes, rest: bytes) -> bytes:
    """Return an export request of one resource."""
    length = len(resource) + len(rest)
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return b"".join((_ONE_RESOURCE, varint, resource, rest))


def metrics_part(series: Sequence[Series], factors: Sequence[float] | float, begun_ns: int, now_ns: int) -> bytes:
    """Return the `scope_metrics` of a worker as spancost exports its metrics: cumulative sums and a histogram.

    Args:
        series: What a round adds to each.

        factors: How many rounds there have been: of each series, or of all.

        begun_ns: Unix nanoseconds from which on it is summed.

        now_ns: Unix nanoseconds of the export.
    """
    each = [factors] * len(series) if isinstance(factors, int | float) else factors
    metrics: dict[str, Metric] = {}
    for one, factor in zip(series, each, strict=True):
        family, reading = one.family, one.reading
        metric = metrics.get(family.name)
        if metric is None:
            metric = metrics[family.name] = Metric(name=family.name, unit=family.unit, description=family.description)
        attributes = _pairs(label_dict(family, reading.labels))
        if family.bucket_count:
            metric.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.histogram.data_points.append(
                HistogramDataPoint(
                    attributes=attributes,
                    start_time_unix_nano=begun_ns,
                    time_unix_nano=now_ns,
                    sum=reading.value * factor,
                    count=int(reading.observations * factor),
                    bucket_counts=[int(count * factor) for count in reading.buckets],
                    explicit_bounds=names.REQUEST_COST_BUCKETS_USD,
                )
            )
        else:
            metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.sum.is_monotonic = True
            metric.sum.data_points.append(
                NumberDataPoint(
                    attributes=attributes,
                    start_time_unix_nano=begun_ns,
                    time_unix_nano=now_ns,
                    as_double=reading.value * factor,
                )
            )
    scope = ScopeMetrics(scope=InstrumentationScope(name="spancost"), metrics=list(metrics.values()))
    return ResourceMetrics(scope_metrics=[scope]).SerializeToString()


def _pairs(attributes: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items()]
