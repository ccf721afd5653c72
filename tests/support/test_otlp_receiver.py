"""The OTLP receiver gives back what the real exporters send."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from tests.support.otlp_receiver import OtlpReceiver, attribute_set


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_spans_of_the_real_exporter_arrive_decoded(compression: Compression) -> None:
    with OtlpReceiver() as receiver:
        provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
        exporter = OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces", compression=compression)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("a.scope")
        with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as root:
            root.set_attribute("spancost.total.nano_usd", 2**62)
            root.set_attribute("list", ["a", "b"])
            with tracer.start_as_current_span("inner") as inner:
                inner.set_status(Status(StatusCode.ERROR))
        provider.shutdown()

        spans = {span.name: span for span in receiver.spans}
        assert spans["GET /"].kind == 1
        assert spans["inner"].kind == 0
        assert spans["GET /"].attributes == {"spancost.total.nano_usd": 2**62, "list": ["a", "b"]}
        assert spans["GET /"].parent_id == ""
        assert spans["inner"].parent_id == spans["GET /"].span_id == f"{root.get_span_context().span_id:016x}"
        assert spans["inner"].trace_id == f"{root.get_span_context().trace_id:032x}"
        assert spans["inner"].failed
        assert not spans["GET /"].failed
        assert spans["GET /"].service == "shop"
        assert spans["GET /"].scope == "a.scope"


def test_latest_sum_takes_newest_point_of_each_process_and_adds_them_up() -> None:
    with OtlpReceiver() as receiver:
        for instance, amounts in (("one", (1.0, 2.0)), ("two", (10.0,))):
            with_instance = Resource({"service.name": "shop", "service.instance.id": instance})
            reader = _reader(receiver)
            provider = MeterProvider([reader], resource=with_instance)
            counter = provider.get_meter("m").create_counter("spancost.cost.usd", unit="{USD}")
            for amount in amounts:
                counter.add(amount, {"component": "aws", "provider": "aws"})
                reader.force_flush()
            counter.add(0.5, {"component": "llm"})
            provider.shutdown()

        assert receiver.latest_sum("spancost.cost.usd") == {
            attribute_set({"component": "aws", "provider": "aws"}): 13.0,
            attribute_set({"component": "llm"}): 1.0,
        }
        assert receiver.latest_sum_by("spancost.cost.usd", "provider") == {("aws",): 13.0, ("",): 1.0}
        assert {point.instance for point in receiver.points} == {"one", "two"}
        assert all(point.monotonic and point.unit == "{USD}" and point.start_ns > 0 for point in receiver.points)


def test_latest_sum_rejects_delta_points() -> None:
    with OtlpReceiver() as receiver:
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(
                endpoint=f"{receiver.url}/v1/metrics",
                preferred_temporality={counter_type: AggregationTemporality.DELTA for counter_type in _counter_types()},
            ),
            export_interval_millis=60_000,
        )
        provider = MeterProvider([reader])
        provider.get_meter("m").create_counter("n").add(1)
        provider.shutdown()

        with pytest.raises(ValueError, match="only cumulative"):
            receiver.latest_sum("n")


def test_histograms_and_gauges_arrive_with_sum_count_and_buckets() -> None:
    with OtlpReceiver() as receiver:
        provider = MeterProvider([_reader(receiver)])
        meter = provider.get_meter("m")
        histogram = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0, 2.0])
        histogram.record(0.5)
        histogram.record(3.0)
        meter.create_gauge("g").set(7)
        provider.shutdown()

        (of_histogram,) = receiver.newest("h")
        assert (of_histogram.value, of_histogram.count) == (3.5, 2)
        assert of_histogram.bucket_counts == (1, 0, 1)
        assert of_histogram.bounds == (1.0, 2.0)
        (of_gauge,) = receiver.newest("g")
        assert (of_gauge.value, of_gauge.temporality, of_gauge.monotonic) == (7.0, "", False)


def test_wait_for_says_what_was_received_when_time_is_up() -> None:
    with OtlpReceiver() as receiver, pytest.raises(TimeoutError, match="so far 0 spans"):
        receiver.wait_for(lambda got: bool(got.spans), timeout_s=0.05)


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/v1/traces", "application/json", b"{}", 415),
        ("/v1/traces", "application/x-protobuf", b"\xff\xff", 400),
        ("/v1/nothing", "application/x-protobuf", b"", 404),
    ],
)
def test_what_is_not_otlp_is_refused(path: str, content_type: str, body: bytes, status: int) -> None:
    with OtlpReceiver() as receiver:
        request = urllib.request.Request(receiver.url + path, body, {"Content-Type": content_type}, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        refused.value.close()
        assert refused.value.code == status
        assert receiver.requests == 0


def _reader(receiver: OtlpReceiver) -> PeriodicExportingMetricReader:
    return PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=f"{receiver.url}/v1/metrics"), export_interval_millis=60_000
    )


def _counter_types() -> list[type]:
    from opentelemetry.sdk.metrics import Counter, ObservableCounter

    return [Counter, ObservableCounter]
