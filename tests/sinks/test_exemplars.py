# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""From a bucket of the request histogram to a trace: exemplars on a scrape in the format of OpenMetrics."""

from __future__ import annotations

import os

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, Tracer, format_span_id, format_trace_id
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

import spancost._install as spancost_install
from spancost.processor import CostSpanProcessor
from spancost.sampler import MeterAll
from spancost.sinks.exemplars import ALWAYS_ON as ALL_REQUESTS
from spancost.sinks.exemplars import ENV_FILTER, RequestExemplars
from spancost.sinks.prometheus import TotalsCollector
from spancost.testing import World, priced_provider
from tests.spans import EGRESS_USD_PER_GB, GB, REGION, server, start


def _scraped(world: World, which: str = "") -> tuple[CollectorRegistry, RequestExemplars]:
    """Scrape a world on a registry of its own."""
    exemplars = RequestExemplars(world.engine, world.totals, which)
    world.engine.add_sink(exemplars)
    registry = CollectorRegistry()
    registry.register(TotalsCollector(world.engine, world.totals, {"service_name": "shop"}, exemplars))  # type: ignore[arg-type]
    return registry, exemplars


def _tracer(world: World, sampler: Sampler) -> Tracer:
    provider = TracerProvider(sampler=MeterAll(sampler), shutdown_on_exit=False)
    provider.add_span_processor(CostSpanProcessor(world.engine))
    return provider.get_tracer("tests")


def _request(tracer: Tracer, gigabytes: float, *, end_ns: int | None = None) -> dict[str, str]:
    """Serve a request of so many gigabytes, and return what an exemplar says of it."""
    attributes = server(response_bytes=int(gigabytes * GB))
    span = start(tracer, "GET", None, SpanKind.SERVER, attributes, None if end_ns is None else end_ns - 10**9)
    span.end(end_ns)
    context = span.get_span_context()
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


def _buckets(registry: CollectorRegistry) -> dict[str, Sample]:
    """Return the buckets of the only series that have an exemplar, by their upper bound."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        sample.labels["le"]: sample
        for family in families
        for sample in family.samples
        if sample.name == "spancost_request_cost_usd_bucket" and sample.exemplar is not None
    }


def test_each_bucket_has_the_trace_of_its_newest_request() -> None:
    with priced_provider(region=REGION) as world:
        registry, _ = _scraped(world)
        _request(world.tracer, 1)
        newest = _request(world.tracer, 0.99)
        dear = _request(world.tracer, 20)
        found = _buckets(registry)
    # $0.0891 and $0.09 are at most 0.1, $1.80 at most 10.
    assert {bound: one.exemplar.labels for bound, one in found.items() if one.exemplar} == {"0.1": newest, "10.0": dear}
    assert found["0.1"].value == 2
    assert found["10.0"].exemplar is not None
    assert found["10.0"].exemplar.value == pytest.approx(20 * EGRESS_USD_PER_GB, rel=1e-9)
    assert found["0.1"].labels["service_name"] == "shop"


def test_an_older_request_does_not_take_the_place_of_a_newer_one() -> None:
    hour_ns = 3600 * 10**9
    with priced_provider(region=REGION) as world:
        registry, _ = _scraped(world)
        newer = _request(world.tracer, 1, end_ns=3 * hour_ns)
        _request(world.tracer, 1, end_ns=2 * hour_ns)
        shown = _buckets(registry)["0.1"].exemplar
    assert shown is not None
    assert shown.labels == newer
    assert shown.timestamp is not None
    assert float(shown.timestamp) == pytest.approx(3 * 3600)


def test_a_request_that_is_not_sampled_is_counted_but_leads_to_no_trace() -> None:
    with priced_provider(region=REGION) as world:
        registry, _ = _scraped(world)
        _request(_tracer(world, ALWAYS_OFF), 1)
        assert _buckets(registry) == {}
        sampled = _request(_tracer(world, ALWAYS_ON), 1)
        found = _buckets(registry)
    assert found["0.1"].value == 2
    assert found["0.1"].exemplar is not None
    assert found["0.1"].exemplar.labels == sampled


def test_always_on_takes_also_requests_that_are_not_sampled() -> None:
    with priced_provider(region=REGION) as world:
        registry, _ = _scraped(world, ALL_REQUESTS)
        request = _request(_tracer(world, ALWAYS_OFF), 1)
        shown = _buckets(registry)["0.1"].exemplar
    assert shown is not None
    assert shown.labels == request


def test_a_series_that_still_reads_0_shows_no_exemplar() -> None:
    with priced_provider(region=REGION, first_value_hold_s=3600.0) as world:
        registry, _ = _scraped(world)
        _request(world.tracer, 1)
        assert _buckets(registry) == {}
        world.publish()
        assert _buckets(registry).keys() == {"0.1"}


def test_requests_beyond_the_cap_share_the_exemplar_of_other() -> None:
    with priced_provider(region=REGION, max_values_per_label=1) as world:
        registry, _ = _scraped(world)
        _request(world.tracer, 1)
        span = start(world.tracer, "GET", None, SpanKind.SERVER, server("/other", response_bytes=20 * GB))
        span.end()
        found = _buckets(registry)
    assert found["10.0"].labels["http_route"] == "other"
    assert found["10.0"].exemplar is not None
    assert found["10.0"].exemplar.labels["span_id"] == format_span_id(span.get_span_context().span_id)


def test_a_forked_child_shows_no_trace_of_its_parent() -> None:
    with priced_provider(region=REGION) as world:
        registry, exemplars = _scraped(world)
        _request(world.tracer, 1)
        assert _buckets(registry)
        exemplars.after_fork_in_child()
        assert _buckets(registry) == {}


def test_without_a_scrape_none_are_kept() -> None:
    with priced_provider(region=REGION) as world:
        exemplars = RequestExemplars(world.engine, world.totals, "")
        world.engine.add_sink(exemplars)
        collector = TotalsCollector(world.engine, world.totals, {}, exemplars)
        collector.unregister(CollectorRegistry())
        _request(world.tracer, 1)
        world.publish()
        kept = [exemplars.of(reading.labels) for reading in world.totals.read(world.totals.request_cost)]
    assert kept == [{}]


@pytest.mark.parametrize(
    ("setting", "kept"), [("", True), ("trace_based", True), ("always_on", True), ("always_off", False)]
)
def test_the_filter_of_opentelemetry_is_obeyed(setting: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_FILTER, setting)
    assert os.environ[ENV_FILTER] == setting
    with priced_provider(region=REGION) as world:
        spancost_install._attach_what_is_there(world.engine)  # pyright: ignore[reportPrivateUsage]
        assert any(isinstance(sink, RequestExemplars) for sink in world.engine.sinks) == kept
        _request(world.tracer, 1)
        assert (generate_latest(REGISTRY).decode().count("trace_id=") == 1) == kept
