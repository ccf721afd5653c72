"""install(): ties an engine to providers, once, and says what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind
from prometheus_client import REGISTRY

import spancost._install as spancost_install
from spancost import Config, CostSpanProcessor, SpancostError, flush, install, names, shutdown
from spancost.lease import Lease
from spancost.testing import priced_provider
from tests.spans import PUT_USD, REGION, put_item, start


def _ignored(*_: object) -> None:
    """Tests shut their engine down themselves."""


@pytest.fixture(autouse=True)
def _own_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(spancost_install, "_default", None)
    monkeypatch.setattr("atexit.register", _ignored)
    yield
    shutdown(5.0)


_CONFIG = Config(region=REGION, lease="off", compute_share=1.0, first_value_hold_s=0.0)


def test_spans_of_the_provider_are_priced_whatever_is_sampled_and_installing_again_changes_nothing() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    engine = install(provider, config=_CONFIG)
    assert install(provider) is engine
    start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item()).end()
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})[names.TOTAL_USD] == PUT_USD
    assert not engine.sampled_only


def test_metrics_go_to_the_given_provider_and_flush_pushes_them() -> None:
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    install(provider, meter_provider, config=_CONFIG)
    start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item()).end()
    assert flush(10.0)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    (point,) = metrics[names.METRIC_COST].data.data_points
    assert getattr(point, "value", None) == pytest.approx(PUT_USD)


class _KeptMetrics(MetricExporter):
    """Keeps what was exported last."""

    last: MetricsData | None = None

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: object) -> MetricExportResult:
        self.last = metrics_data
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        """Nothing to release."""


def test_last_export_has_all_charges_though_its_collection_takes_longer_than_the_export_interval() -> None:
    exporter = _KeptMetrics()
    interval_ms, collection_s = 150, 0.2
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval_ms)
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    provider = TracerProvider(shutdown_on_exit=False)
    engine = install(provider, meter_provider, config=_CONFIG)

    def is_slow(_: CallbackOptions) -> Iterable[Observation]:
        time.sleep(collection_s)  # a machine that is busy
        return []

    meter_provider.get_meter("app").create_observable_gauge("slow", callbacks=[is_slow])
    puts = 40
    for _ in range(puts):  # for longer than several intervals: the reader is collecting, or will have to
        start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item()).end()
        time.sleep(0.01)
    spancost_install.leave(engine)
    meter_provider.shutdown()  # as the SDK does at the end of the process
    assert exporter.last is not None
    metrics = {m.name: m for r in exporter.last.resource_metrics for s in r.scope_metrics for m in s.metrics}
    (point,) = metrics[names.METRIC_COST].data.data_points
    assert getattr(point, "value", None) == pytest.approx(puts * PUT_USD, rel=1e-9)


def test_without_meter_all_only_sampled_spans_are_seen_and_a_gauge_says_so() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    engine = install(provider, config=Config(lease="off", meter_all=False))
    assert engine.sampled_only
    assert provider.sampler is ALWAYS_OFF


def test_provider_that_is_no_sdk_provider_is_refused_with_what_to_do() -> None:
    with pytest.raises(SpancostError, match=r"present one is a NoOpTracerProvider: call trace\.set_tracer_provider"):
        install(NoOpTracerProvider(), config=_CONFIG)


def test_flush_and_shutdown_without_an_engine_have_nothing_to_do() -> None:
    assert flush()
    assert shutdown()


def test_machine_and_region_come_from_the_resource_where_the_configuration_is_silent() -> None:
    resource = {
        "cloud.provider": "aws",
        "host.type": "m6i.large",
        "cloud.region": "us-east-1",
        "service.name": "shop",
        "cloud.account.id": "1",
    }
    with priced_provider(resource=resource) as world:
        with world.tracer.start_as_current_span("work"):
            world.clock.advance(15.0)
        assert world.attributes("work")[names.TOTAL_USD] == pytest.approx(0.096 * 15 / 3600)
    assert spancost_install.constant_labels(Resource(resource).attributes) == {
        "service_name": "shop",
        "cloud_account_id": "1",
        "cloud_region": "us-east-1",
    }


@pytest.mark.parametrize(
    ("resource", "environment"),
    [
        ({"deployment.environment": "old"}, "old"),
        ({"deployment.environment.name": "new"}, "new"),
        ({"deployment.environment": "old", "deployment.environment.name": "new"}, "new"),
    ],
)
def test_environment_is_a_constant_label_under_its_new_name_whatever_the_resource_calls_it(
    resource: dict[str, str], environment: str
) -> None:
    labels = spancost_install.constant_labels(resource)
    assert labels == {"deployment_environment_name": environment}


def test_all_that_a_fleet_is_split_by_is_a_constant_label() -> None:
    resource = {
        "service.name": "shop",
        "deployment.environment.name": "prod",
        "k8s.namespace.name": "sales",
        "cloud.account.id": "1",
        "cloud.region": "us-east-1",
        "host.name": "i-1",
    }
    assert spancost_install.constant_labels(resource) == {
        "service_name": "shop",
        "deployment_environment_name": "prod",
        "k8s_namespace_name": "sales",
        "cloud_account_id": "1",
        "cloud_region": "us-east-1",
    }


def test_assumed_machine_is_marked_estimated() -> None:
    with priced_provider(assume=frozenset({"compute", "region"})) as world:
        with world.tracer.start_as_current_span("work"):
            world.clock.advance(15.0)
        assert world.attributes("work")[names.TOTAL_USD] == pytest.approx(0.096 * 15 / 3600)
        assert world.attributes("work")[names.STATUS] == names.ESTIMATED
        assert "assumed_machine" in world.attributes("work")[names.BASIS]


def _put(provider: TracerProvider) -> None:
    start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item()).end()


def _cost_usd(reader: InMemoryMetricReader) -> list[float]:
    data = reader.get_metrics_data()
    assert data is not None
    found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    return [point.value for m in found if m.name == names.METRIC_COST for point in m.data.data_points]  # type: ignore[union-attr]


def test_engine_stops_with_the_last_of_its_providers() -> None:
    first, second = TracerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    engine = install(first, config=_CONFIG)
    assert install(second) is engine
    first.shutdown()
    assert not engine.is_stopped
    second.shutdown()
    assert engine.is_stopped


def test_installing_after_a_shutdown_prices_again_and_the_counters_of_the_meter_provider_go_on() -> None:
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    engines: set[int] = set()
    for round_ in range(1, 4):
        provider = TracerProvider(shutdown_on_exit=False)
        engine = install(provider, meter_provider, config=_CONFIG)
        engines.add(engine.epoch)
        _put(provider)
        provider.shutdown()
        assert _cost_usd(reader) == [pytest.approx(round_ * PUT_USD)]  # also the collection after our shutdown
        assert engine.errors.counts == {}
    assert len(engines) == 3


def test_collector_of_a_stopped_engine_makes_room_for_the_next_one() -> None:
    for _ in range(2):
        provider = TracerProvider(shutdown_on_exit=False)
        engine = install(provider, config=_CONFIG)
        _put(provider)
        provider.shutdown()
        assert engine.prometheus == "registry"
        assert _scraped("spancost_cost_usd_total") == [pytest.approx(PUT_USD)]


def test_same_provider_is_priced_again_after_a_shutdown_and_spans_begun_before_it_are_left_alone() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    old = install(provider, config=_CONFIG)
    before = start(provider.get_tracer("app"), "before", None, SpanKind.CLIENT, put_item())
    shutdown()
    engine = install(provider, config=_CONFIG)
    assert engine is not old
    start(provider.get_tracer("app"), "below", before, SpanKind.CLIENT, put_item()).end()
    before.end()
    below, begun = exporter.get_finished_spans()
    assert (below.attributes or {})[names.TOTAL_USD] == PUT_USD
    assert names.TOTAL_USD not in (begun.attributes or {})
    assert engine.errors.counts == old.errors.counts == {}


def test_switched_off_a_bare_processor_prices_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANCOST_ENABLED", "false")
    provider = TracerProvider(shutdown_on_exit=False)
    processor = CostSpanProcessor()
    provider.add_span_processor(processor)
    span = start(provider.get_tracer("app"), "put", None, SpanKind.CLIENT, put_item())
    span.end()
    assert isinstance(span, ReadableSpan)
    assert not any(name.startswith("spancost") for name in span.attributes or {})
    assert not hasattr(span, "_spancost_node")
    assert processor.engine.tree is None


def _scraped(name: str) -> list[float]:
    return [sample.value for family in REGISTRY.collect() for sample in family.samples if sample.name == name]


@pytest.fixture
def otel_prometheus() -> Iterator[tuple[PrometheusMetricReader, MeterProvider]]:
    reader = PrometheusMetricReader()
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    yield reader, meter_provider
    meter_provider.shutdown()


def test_given_provider_with_an_otel_prometheus_reader_shows_each_series_once(
    otel_prometheus: tuple[PrometheusMetricReader, MeterProvider],
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    engine = install(provider, otel_prometheus[1], config=_CONFIG)
    _put(provider)
    assert flush()
    assert engine.prometheus == "otel"
    assert _scraped("spancost_cost_usd_total") == [pytest.approx(PUT_USD)]


def test_otel_prometheus_reader_that_appears_late_takes_the_series_over(
    otel_prometheus: tuple[PrometheusMetricReader, MeterProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    engine = install(provider, config=_CONFIG)
    _put(provider)
    assert engine.prometheus == "registry"

    def late() -> MeterProvider:
        return otel_prometheus[1]

    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", late)
    for call in engine.upkeep:
        call()
    assert engine.prometheus == "otel"
    assert _scraped("spancost_cost_usd_total") == [pytest.approx(PUT_USD)]


def test_flushing_leaves_a_prometheus_reader_to_its_scrapes_and_pushes_the_others(
    otel_prometheus: tuple[PrometheusMetricReader, MeterProvider],
) -> None:
    meter_provider = otel_prometheus[1]
    other = InMemoryMetricReader()
    meter_provider.add_metric_reader(other)
    counter = meter_provider.get_meter("app").create_counter("app_own")
    provider = TracerProvider(shutdown_on_exit=False)
    install(provider, meter_provider, config=_CONFIG)
    _put(provider)
    counter.add(1)
    assert flush()
    counter.add(1)
    assert provider.force_flush()
    assert _scraped("app_own_total") == [2]
    assert other._metrics_data is not None  # pyright: ignore[reportPrivateUsage]


def test_force_flush_of_the_tracer_provider_pushes_no_meter_provider() -> None:
    reader = InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    install(provider, MeterProvider([reader], shutdown_on_exit=False), config=_CONFIG)
    _put(provider)
    assert provider.force_flush()
    assert reader._metrics_data is None  # pyright: ignore[reportPrivateUsage]
    assert flush()
    assert reader._metrics_data is not None  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("leaves_during", [False, True])
def test_engine_that_is_stopped_before_it_has_joined_the_lease_does_not_stay_a_member(
    leaves_during: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "lease.json")
    engine = spancost_install.build_engine(Config(lease=path))
    engine.background = False
    engine.begin(0.0)
    join = Lease.join

    def stopped_meanwhile(lease: Lease, since: float) -> None:
        engine.shutdown(0.1)
        join(lease, since)

    if leaves_during:
        monkeypatch.setattr("spancost.engine._PUBLISH_TIMEOUT_S", 0.1)  # for what is under way, here in vain
        monkeypatch.setattr(Lease, "join", stopped_meanwhile)
    else:
        engine.shutdown()
    engine._join_lease()  # pyright: ignore[reportPrivateUsage]
    assert not Lease(path).others_live()
