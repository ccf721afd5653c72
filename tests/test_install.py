"""install(): ties an engine to providers, once, and says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind

import spancost._install as spancost_install
from spancost import Config, SpancostError, flush, install, names, shutdown
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


def test_assumed_machine_is_marked_estimated() -> None:
    with priced_provider(assume=frozenset({"compute", "region"})) as world:
        with world.tracer.start_as_current_span("work"):
            world.clock.advance(15.0)
        assert world.attributes("work")[names.TOTAL_USD] == pytest.approx(0.096 * 15 / 3600)
        assert world.attributes("work")[names.STATUS] == names.ESTIMATED
        assert "assumed_machine" in world.attributes("work")[names.BASIS]
