"""Metrics through prometheus_client: the application's own registry, and sums over worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

import spancost._install as spancost_install
from spancost import names
from spancost.sinks.prometheus import MultiprocessMetrics, TotalsCollector, serve
from spancost.testing import World, priced_provider
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, put_item, server, start

_ROOT = Path(__file__).parents[2]


def _samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sorted(f"{key}={value}" for key, value in sample.labels.items() if value))] = sample.value
    return found


def _request(world: World) -> None:
    request = start(world.tracer, "GET", None, SpanKind.SERVER, server(response_bytes=GB))
    start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
    request.end()


def test_scrape_shows_all_series_with_constant_labels_and_a_cumulative_histogram() -> None:
    with priced_provider(region=REGION) as world:
        registry = CollectorRegistry()
        registry.register(TotalsCollector(world.engine, world.totals, {"service_name": "shop"}))  # type: ignore[arg-type]
        for _ in range(3):
            _request(world)
        text = generate_latest(registry).decode()
        cost = _samples(text, "spancost_cost_usd_total")
        assert sum(cost.values()) == pytest.approx(3 * (EGRESS_USD_PER_GB + PUT_USD), rel=1e-9)
        assert all("service_name=shop" in labels for labels in cost)
        buckets = _samples(text, "spancost_request_cost_usd_bucket")
        assert len(buckets) == 16
        assert next(value for labels, value in buckets.items() if "le=+Inf" in labels) == 3
        assert next(value for labels, value in buckets.items() if "le=0.1" in labels) == 3
        assert next(value for labels, value in buckets.items() if "le=0.03" in labels) == 0
        assert list(_samples(text, "spancost_request_cost_usd_sum").values()) == [
            pytest.approx(3 * (EGRESS_USD_PER_GB + PUT_USD), rel=1e-9)
        ]


def test_new_series_is_scraped_as_zero_first() -> None:
    with priced_provider(region=REGION, first_value_hold_s=3600.0) as world:
        registry = CollectorRegistry()
        registry.register(TotalsCollector(world.engine, world.totals, {}))  # type: ignore[arg-type]
        _request(world)
        assert set(_samples(generate_latest(registry).decode(), "spancost_cost_usd_total").values()) == {0}
        world.publish()
        assert sum(_samples(generate_latest(registry).decode(), "spancost_cost_usd_total").values()) > 0


def test_collector_is_registered_once_however_often_the_engine_looks() -> None:
    with priced_provider(region=REGION) as world:
        _request(world)
        before = set(REGISTRY._collector_to_names)  # pyright: ignore[reportPrivateUsage]
        try:
            for _ in range(3):
                spancost_install._attach_what_is_there(world.engine)  # pyright: ignore[reportPrivateUsage]
            assert world.engine.prometheus == "registry"
            assert len(set(REGISTRY._collector_to_names) - before) == 1  # pyright: ignore[reportPrivateUsage]
        finally:
            for collector in set(REGISTRY._collector_to_names) - before:  # pyright: ignore[reportPrivateUsage]
                REGISTRY.unregister(collector)


def test_metrics_of_a_later_engine_take_the_place_of_unregistered_ones() -> None:
    registry = CollectorRegistry()
    for _ in range(2):
        with priced_provider(region=REGION) as world:
            sink = MultiprocessMetrics(world.engine, world.totals, {}, registry)
            world.engine.add_sink(sink)
            _request(world)
            world.publish()
            cost = _samples(generate_latest(registry).decode(), "spancost_cost_usd_total")
            assert sum(cost.values()) == pytest.approx(EGRESS_USD_PER_GB + PUT_USD, rel=1e-9)
            sink.unregister()
            sink.unregister()
    assert generate_latest(registry) == b""


def test_own_port_on_loopback_answers_this_machine_only() -> None:
    server_, thread = serve(0, "127.0.0.1", multiprocess=False)
    try:
        url = f"http://127.0.0.1:{server_.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
        rebound = urllib.request.Request(url, headers={"Host": "attacker.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(rebound, timeout=5)
        assert refused.value.code == 403
        refused.value.close()
    finally:
        server_.shutdown()
        thread.join(5)
        server_.server_close()


_WORKER = """
import os, sys
from spancost.testing import priced_provider
from spancost.sinks.prometheus import MultiprocessMetrics
from tests.sinks.test_prometheus import _request
from prometheus_client import CollectorRegistry

with priced_provider(region="us-east-1") as world:
    world.engine.add_sink(MultiprocessMetrics(world.engine, world.totals, {"service_name": "shop"}))
    for _ in range(int(sys.argv[1])):
        _request(world)
        world.engine.publish()
    if os.fork() == 0:
        for _ in range(10):
            _request(world)
        os._exit(0 if world.engine.flush() else 1)
    assert os.wait()[1] == 0
    assert world.engine.flush()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_workers_and_their_forked_children_add_up_exactly_in_multiprocess_mode(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for requests in ("7", "11"):
        subprocess.run([sys.executable, "-c", _WORKER, requests], cwd=_ROOT, env=environment, check=True, timeout=60)
    reader = (
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "registry = CollectorRegistry(); MultiProcessCollector(registry)\n"
        "print(generate_latest(registry).decode())"
    )
    text = subprocess.run(
        [sys.executable, "-c", reader],
        cwd=_ROOT,
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    ).stdout
    requests = 7 + 11 + 2 * 10
    cost = _samples(text, "spancost_cost_usd_total")
    assert sum(cost.values()) == pytest.approx(requests * (EGRESS_USD_PER_GB + PUT_USD), rel=1e-9)
    assert sum(_samples(text, "spancost_requests_total").values()) == requests
    assert sum(_samples(text, "spancost_request_cost_usd_count").values()) == requests
    assert names.METRIC_COST == "spancost.cost.usd"


_HELD = """
import sys, time
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from spancost.testing import priced_provider
from spancost.sinks.prometheus import MultiprocessMetrics
from tests.sinks.test_prometheus import _request

def shown():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    text = generate_latest(registry).decode()
    return [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith("spancost_request_cost_usd_count")]

with priced_provider(region="us-east-1", first_value_hold_s=3600.0) as world:
    world.engine.add_sink(MultiprocessMetrics(world.engine, world.totals, {}))
    print(shown())
    _request(world)
    world.engine.publish()
    print(shown())
    _request(world)
    world.engine.publish(final=True)
    print(shown())
    _request(world)
    world.engine.publish()
    print(shown())
"""


def test_a_new_request_series_of_a_worker_reads_0_first_and_then_all_that_came_meanwhile(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HELD],
        cwd=_ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["[]", "['0.0']", "['2.0']", "['3.0']"]


_SELF = """
from spancost.testing import priced_provider
from spancost.sinks.prometheus import MultiprocessMetrics
from tests.sinks.test_prometheus import _request

with priced_provider(region="us-east-1", max_values_per_label=1) as world:
    world.engine.add_sink(MultiprocessMetrics(world.engine, world.totals, {"service_name": "shop"}))
    world.engine.meter_sampled_only("a test")
    _request(world)
    world.publish()
    world.engine.publish()
"""


def test_workers_tell_of_themselves_once_for_all_of_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", _SELF], cwd=_ROOT, env=environment, check=True, timeout=60)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    text = generate_latest(registry).decode()
    assert _samples(text, "spancost_internal_last_flush_success") == {("service_name=shop",): 1}
    assert _samples(text, "spancost_internal_sampled_only") == {("service_name=shop",): 1}
    # One of the two operations of each process has no place of its own on each of these metrics.
    folded = _samples(text, "spancost_internal_series_other")
    assert folded.keys() >= {("metric=spancost.cost.usd", "service_name=shop")}
    assert all(count % 2 == 0 and count > 0 for count in folded.values()), folded
    assert ("prices=book", "service_name=shop") in _samples(text, "spancost_internal_price_age_seconds")
