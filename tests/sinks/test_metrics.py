"""Metrics through the real MeterProvider, on whatever SDK is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind

from spancost import attribute, names
from spancost._version import spancost_version
from spancost.budgets.rules import BudgetRule
from spancost.budgets.windows import Window
from spancost.internals import gauges
from spancost.sinks.metrics import OtelMetrics
from spancost.testing import World, priced_provider
from spancost.window import Batch
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, put_item, server, start


def _reader(world: World) -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)
    world.engine.add_sink(OtelMetrics(world.engine, world.totals, provider))
    world.engine.on_flush.append(lambda seconds: bool(provider.force_flush(max(1.0, seconds * 1000))))
    return reader


def _points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    points: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points.setdefault(metric.name, []).extend(metric.data.data_points)
    return points


def _request(world: World, route: str = "/carts/{id}") -> None:
    request = start(world.tracer, "GET", None, SpanKind.SERVER, server(route, response_bytes=GB))
    start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
    request.end()


def test_where_the_metadata_of_the_package_is_left_out_all_is_counted_and_the_version_is_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    spancost_version.cache_clear()
    try:
        with priced_provider(region=REGION) as world:
            reader = _reader(world)
            _request(world)
            points = _points(reader)
            cost = {point.attributes["component"]: point.value for point in points[names.METRIC_COST]}
            assert cost["aws"] == pytest.approx(PUT_USD)
            assert points[names.METRIC_INTERNAL_BUILD][0].attributes["version"] == "0"
            assert dict(world.engine.errors.counts) == {}
    finally:
        spancost_version.cache_clear()


def test_collecting_shows_what_was_charged_up_to_now_by_component_and_route() -> None:
    with priced_provider(region=REGION) as world:
        reader = _reader(world)
        _request(world)
        cost = {point.attributes["component"]: point for point in _points(reader)[names.METRIC_COST]}
        assert cost["aws"].value == pytest.approx(PUT_USD)
        assert cost["egress"].value == pytest.approx(EGRESS_USD_PER_GB)
        assert dict(cost["aws"].attributes) == {
            "component": "aws",
            "provider": "aws",
            "operation": "dynamodb.PutItem",
            "model": "",
            "http_route": "/carts/{id}",
            "http_request_method": "GET",
            "entrypoint": "",
        }
        _request(world)
        again = {point.attributes["component"]: point.value for point in _points(reader)[names.METRIC_COST]}
        assert again["aws"] == pytest.approx(2 * PUT_USD)


def test_request_histogram_has_at_most_16_buckets_and_exemplars_that_lead_to_the_trace() -> None:
    with priced_provider(region=REGION) as world:
        reader = _reader(world)
        _request(world)
        (point,) = _points(reader)[names.METRIC_REQUEST_COST]
        assert point.count == 1
        assert point.sum == pytest.approx(EGRESS_USD_PER_GB + PUT_USD)
        assert tuple(point.explicit_bounds) == names.REQUEST_COST_BUCKETS_USD
        assert len(point.bucket_counts) == 16
        assert dict(point.attributes) == {
            "http_route": "/carts/{id}",
            "http_request_method": "GET",
            "entrypoint": "",
            "outcome": "ok",
        }
        root = next(span for span in world.spans if span.name == "GET")
        assert root.context is not None
        assert [exemplar.trace_id for exemplar in point.exemplars] == [root.context.trace_id]


def test_new_series_reads_zero_to_a_reader_until_the_hold_has_passed_or_a_flush() -> None:
    with priced_provider(region=REGION, first_value_hold_s=3600.0) as world:
        reader = _reader(world)
        _request(world)
        held = _points(reader)
        assert {point.value for point in (*held[names.METRIC_COST], *held[names.METRIC_REQUESTS])} == {0}
        assert world.engine.flush()
        shown = _points(reader)
        assert sum(point.value for point in shown[names.METRIC_COST]) == pytest.approx(EGRESS_USD_PER_GB + PUT_USD)
        assert [point.value for point in shown[names.METRIC_REQUESTS]] == [1]


def test_five_thousand_tenants_and_routes_fit_below_the_sdks_limit_and_keep_the_sum() -> None:
    with priced_provider(region=REGION) as world:
        reader = _reader(world)
        for tenant in range(5000):
            with attribute(tenant=f"t{tenant}"):
                _request(world, f"/r/{tenant}")
        points = _points(reader)
        for name in (names.METRIC_ATTRIBUTED, names.METRIC_COST):
            assert len(points[name]) < 2000
            assert not any("otel.metric.overflow" in point.attributes for point in points[name])
            total = sum(point.value for point in points[name])
            assert total == pytest.approx(5000 * (EGRESS_USD_PER_GB + PUT_USD), rel=1e-9)
            assert any(names.OTHER in point.attributes.values() for point in points[name])
        requests = points[names.METRIC_REQUEST_COST]
        assert sum(point.count for point in requests) == 5000
        assert len(requests) < 2000
        counted = {frozenset(point.attributes.items()): point.value for point in points[names.METRIC_REQUESTS]}
        assert counted == {frozenset(point.attributes.items()): point.count for point in requests}
        folded = {point.attributes["metric"]: point.value for point in points[names.METRIC_INTERNAL_OTHER]}
        assert folded[names.METRIC_ATTRIBUTED] > 0


def test_errors_of_our_own_are_counted_by_place() -> None:
    with priced_provider(reraise=False) as world:
        reader = _reader(world)

        class Broken:
            name = "broken"

            def write(self, batch: Batch, *, final: bool) -> None:
                raise OSError

            def close(self) -> None:
                return

        world.engine.add_sink(Broken())
        _request(world)
        world.engine.flush()
        (point,) = _points(reader)[names.METRIC_INTERNAL_ERRORS]
        assert (point.attributes, point.value) == ({"place": "sink.broken"}, 1)


def test_a_reader_may_collect_before_the_sink_that_made_the_instruments_is_added() -> None:
    with priced_provider(region=REGION) as world:
        reader = InMemoryMetricReader()
        sink = OtelMetrics(world.engine, world.totals, MeterProvider([reader]))
        _request(world)
        cost = {point.attributes["component"]: point.value for point in _points(reader)[names.METRIC_COST]}
        assert cost["aws"] == pytest.approx(PUT_USD)
        assert world.engine.errors.counts == {}
        world.engine.add_sink(sink)
        _request(world)
        (requests,) = _points(reader)[names.METRIC_REQUEST_COST]
        assert requests.count == 2  # the one before is not lost


def test_only_ratios_are_gauges_of_unit_1_since_prometheus_calls_them_so() -> None:
    rules = (BudgetRule(name="month", limit_usd=10.0, window=Window("month")),)
    with priced_provider(region=REGION, budget_rules=rules, budget_store="memory") as world:
        _request(world)
        found = {gauge.name: gauge.unit for gauge in gauges(world.engine, world.totals)}
    assert {name for name, unit in found.items() if unit in ("1", "")} == {names.METRIC_BUDGET_USED}
    assert names.METRIC_BUDGET_USED.endswith(".ratio")
