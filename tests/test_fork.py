"""A forked child starts at zero: it charges nothing of its parent, and both have exact totals."""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.trace import SpanKind

from spancost import add_usage, current_cost, names
from spancost.capture import facts as capture_facts
from spancost.sinks import sdk_after_fork
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.sinks.metrics import OtelMetrics
from spancost.sinks.sdk_after_fork import close_until_renewed, renew
from spancost.testing import SteppingClock, World, priced_provider
from spancost.window import UNATTRIBUTED, Batch, Origin
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, counted_usd, put_item, server, start

_ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


def _in_child(work: Callable[[], dict[str, Any]], fork: Callable[[], int] = os.fork) -> dict[str, Any]:
    """Fork, do `work` in the child, and return what it returned."""
    reading, writing = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            os.close(reading)
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    # A child that hangs fails its test instead of stopping the run.
    deadline = threading.Timer(30.0, os.kill, (pid, signal.SIGKILL))
    deadline.start()
    try:
        with os.fdopen(reading, "rb") as answer:
            content = answer.read()
    finally:
        deadline.cancel()
    os.waitpid(pid, 0)
    return json.loads(content)


def _put(world: World, times: int = 1) -> None:
    for _ in range(times):
        start(world.tracer, "put", kind=SpanKind.CLIENT, attributes=put_item()).end()


def _serve(world: World) -> None:
    request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
    start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
    request.end()


def test_child_charges_nothing_of_an_open_span_of_its_parent_and_roots_its_own_spans() -> None:
    with priced_provider(compute="36usd/h", region=REGION) as world:
        _put(world, 3)
        world.clock.advance(1.0)
        request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server(response_bytes=GB))

        def work() -> dict[str, Any]:
            world.recorded.charges.clear()
            world.exporter.clear()
            call = start(world.tracer, "put in child", request, SpanKind.CLIENT, put_item())
            world.clock.advance(2.0)
            call.end()
            request.end()
            capture_facts.report_late(request, {"response_bytes": GB})
            world.publish()
            own = world.attributes("put in child")
            return {
                "usd": world.recorded.usd(),
                "counted": {component: counted_usd(world, component) for component in names.COMPONENTS},
                "own_total": own[names.TOTAL_USD],
                "is_root": names.TOTAL_NANO_USD in own,
                "parent_attributes": [key for key in world.attributes("GET") if key.startswith("spancost.")],
            }

        world.engine.connect()
        child = _in_child(work)
        assert child["is_root"]
        assert child["own_total"] == pytest.approx(2.0 * 0.01 + PUT_USD, rel=1e-12)
        assert child["usd"] == pytest.approx(child["own_total"], rel=1e-12)
        assert child["counted"]["aws"] == pytest.approx(PUT_USD, rel=1e-12)
        assert child["counted"]["egress"] == 0
        assert child["parent_attributes"] == []

        call = start(world.tracer, "put in parent", request, SpanKind.CLIENT, put_item())
        call.end()
        request.end()
        world.publish()
        assert world.recorded.usd(names.AWS) == counted_usd(world, names.AWS) == pytest.approx(4 * PUT_USD, rel=1e-12)
        assert world.recorded.usd(names.EGRESS) == pytest.approx(EGRESS_USD_PER_GB, rel=1e-12)


class SlowSink:
    """A sink whose write takes as long as the test wants, as SQLite or an exporter does."""

    name = "slow"

    def __init__(self) -> None:
        self.writing = threading.Event()
        self.go_on = threading.Event()

    def write(self, batch: Batch, *, final: bool) -> None:
        self.writing.set()
        self.go_on.wait(10)

    def close(self) -> None:
        self.go_on.set()


@pytest.mark.parametrize("has_hooks", [True, False])
def test_process_that_was_forked_behind_pythons_back_says_what_its_server_must_set(
    caplog: pytest.LogCaptureFixture, has_hooks: bool
) -> None:
    # As uWSGI does by default: no hook of `os.register_at_fork` runs.
    fork = os.fork if has_hooks else ctypes.PyDLL(None).fork
    with priced_provider(region=REGION) as world:

        def work() -> dict[str, Any]:
            _put(world)
            _put(world)
            return {"said": [record.getMessage() for record in caplog.records]}

        said: list[str] = _in_child(work, fork)["said"]
    assert sum("py-call-uwsgi-fork-hooks = true" in message for message in said) == (0 if has_hooks else 1)


def test_fork_waits_for_a_publishing_thread_and_the_child_publishes_at_once() -> None:
    with priced_provider(region=REGION) as world:
        _put(world, 5)
        slow = SlowSink()
        world.engine.add_sink(slow)
        publisher = threading.Thread(target=world.engine.publish)
        publisher.start()
        assert slow.writing.wait(10)
        release = threading.Timer(0.2, slow.go_on.set)
        release.start()

        def work() -> dict[str, Any]:
            world.recorded.charges.clear()
            _put(world)
            return {"flushed": world.engine.flush(5.0), "usd": world.recorded.usd(names.AWS)}

        child = _in_child(work)
        publisher.join(10)
        release.join()
        assert child == {"flushed": True, "usd": pytest.approx(PUT_USD, rel=1e-12)}
        _put(world)
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(6 * PUT_USD, rel=1e-12)


@pytest.mark.parametrize("waits", [True, False], ids=["fork waits for it", "fork does not wait so long"])
def test_child_forked_while_another_thread_makes_the_meters_prices_its_spans(
    waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading prices takes a while, and the first span of a process waits for it."""
    ledger = tmp_path / "ledger.db"
    with priced_provider(region=REGION, ledger=str(ledger)) as world:
        engine = world.engine
        prepare = engine.prepare
        assert prepare is not None
        preparing, go_on = threading.Event(), threading.Event()

        def slowly(resource: Mapping[str, Any]) -> None:
            preparing.set()
            go_on.wait(10)
            prepare(resource)

        engine.prepare = slowly
        first = threading.Thread(target=_put, args=(world,))
        first.start()
        assert preparing.wait(10)
        if waits:
            release = threading.Timer(0.2, go_on.set)
            release.start()
        else:
            monkeypatch.setattr("spancost.engine._FORK_TIMEOUT_S", 0.1)
            release = None

        def work() -> dict[str, Any]:
            go_on.set()
            world.recorded.charges.clear()
            world.exporter.__init__()
            _put(world, 2)
            return {
                "flushed": engine.flush(5.0),
                "usd": world.recorded.usd(names.AWS),
                "ledgers": [sink.name for sink in engine.sinks].count("ledger"),
            }

        child = _in_child(work)
        go_on.set()
        first.join(10)
        if release is not None:
            release.join()
        assert child == {"flushed": True, "usd": pytest.approx(2 * PUT_USD, rel=1e-12), "ledgers": 1}
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(PUT_USD, rel=1e-12)
    with LedgerReader(ledger) as reader:
        assert reader.totals().usd == pytest.approx(3 * PUT_USD, rel=1e-9)


def test_ten_children_and_their_parent_add_up_in_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with priced_provider(region=REGION) as world:
        world.engine.add_sink(Ledger(path, Origin("shop")))
        _put(world, 2)
        for _ in range(10):

            def work() -> dict[str, Any]:
                _put(world, 3)
                return {"flushed": world.engine.flush(10.0)}

            assert _in_child(work) == {"flushed": True}
            _put(world)
        world.publish()
    with LedgerReader(path) as reader:
        totals = reader.totals()
    assert totals.usd == pytest.approx((2 + 10 * 3 + 10) * PUT_USD, rel=1e-9)
    assert totals.requests == 2 + 10 * 3 + 10


@pytest.mark.skipif(
    tuple(map(int, version("opentelemetry-sdk").split(".")[:2])) < (1, 43),
    reason="before 1.43 the SDK reads a tracer's own attributes under a lock, which a fork copies while it is held",
)
def test_fork_while_other_threads_serve_leaves_a_child_that_works() -> None:
    with priced_provider(region=REGION) as world:
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                _put(world)

        workers = [threading.Thread(target=serve) for _ in range(3)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(10):

                def work() -> dict[str, Any]:
                    world.recorded.charges.clear()
                    # The in-memory exporter's own lock may have been held by another thread: leave it aside.
                    world.exporter.__init__()
                    _put(world, 2)
                    return {"flushed": world.engine.flush(5.0), "usd": world.recorded.usd(names.AWS)}

                assert _in_child(work) == {"flushed": True, "usd": pytest.approx(2 * PUT_USD, rel=1e-12)}
        finally:
            stop.set()
            for worker in workers:
                worker.join(10)
        served = len(world.spans)
        world.publish()
        assert world.recorded.usd(names.AWS) == pytest.approx(served * PUT_USD, rel=1e-9)


class _SlowExporter(MetricExporter):
    """Takes as long as the test wants in the process that made it, as a collector far away does."""

    def __init__(self) -> None:
        super().__init__()
        self._home = os.getpid()
        self.exporting = threading.Event()
        self.go_on = threading.Event()
        self.newest: MetricsData | None = None

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        if os.getpid() == self._home:
            self.exporting.set()
            self.go_on.wait(10)
        self.newest = metrics_data
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        self.go_on.set()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def exported(self) -> dict[str, float]:
        """What was exported last: requests counted, AWS dollars, and what the application counts itself."""
        assert self.newest is not None
        metrics = {
            metric.name: metric.data.data_points
            for resource in self.newest.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
        return {
            "requests": sum(point.count for point in metrics[names.METRIC_REQUEST_COST]),  # type: ignore[union-attr]
            "usd": sum(
                point.value  # type: ignore[union-attr]
                for point in metrics[names.METRIC_COST]
                if (point.attributes or {})["component"] == names.AWS
            ),
            "own": sum(point.value for point in metrics.get("app.jobs", ())),  # type: ignore[union-attr]
        }


def test_child_forked_in_the_middle_of_an_export_exports_its_own_sums_and_nothing_of_its_parent() -> None:
    with priced_provider(region=REGION) as world:
        engine, exporter = world.engine, _SlowExporter()
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, math.inf)], shutdown_on_exit=False)
        jobs = provider.get_meter("app").create_counter("app.jobs")
        engine.add_sink(OtelMetrics(engine, world.totals, provider))
        engine.on_flush.append(lambda seconds: provider.force_flush(seconds * 1000))

        def serve(times: int) -> None:
            for _ in range(times):
                _serve(world)
                jobs.add(1)

        serve(3)
        world.publish()
        exporting = threading.Thread(target=provider.force_flush)
        exporting.start()
        assert exporter.exporting.wait(10)

        def work() -> dict[str, Any]:
            serve(1)
            return {"flushed": engine.flush(5.0), **exporter.exported()}

        child = _in_child(work)
        exporter.go_on.set()
        exporting.join(10)
        assert child.pop("own") >= 1  # the application's own counters are the SDK's affair
        assert child == {"flushed": True, "requests": 1, "usd": pytest.approx(PUT_USD, rel=1e-12)}
        serve(2)
        assert engine.flush(5.0)
        assert exporter.exported() == {"requests": 5, "usd": pytest.approx(5 * PUT_USD, rel=1e-12), "own": 5}
        provider.shutdown()


class _ExporterWithLibrary(_SlowExporter):
    """Holds what is not its own while it exports: as imports do, and the cookies of an HTTP client."""

    _library = threading.Lock()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        with self._library:
            return super().export(metrics_data, timeout_millis)


@pytest.fixture
def patient_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have forks wait for exports for as long as a busy machine may stop."""
    monkeypatch.setattr(sdk_after_fork, "_WAIT_S", 10.0)
    monkeypatch.setattr(sdk_after_fork, "_impatient_until", 0.0)


@pytest.mark.usefixtures("patient_fork")
def test_fork_waits_for_an_export_so_that_the_child_can_use_what_the_exporter_uses() -> None:
    with priced_provider(region=REGION) as world:
        engine, exporter = world.engine, _ExporterWithLibrary()
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, math.inf)], shutdown_on_exit=False)
        engine.add_sink(OtelMetrics(engine, world.totals, provider))
        engine.on_flush.append(lambda seconds: provider.force_flush(seconds * 1000))
        exporting = threading.Thread(target=provider.force_flush)
        exporting.start()
        assert exporter.exporting.wait(10)
        release = threading.Timer(0.2, exporter.go_on.set)
        release.start()

        def work() -> dict[str, Any]:
            _serve(world)
            return {"flushed": engine.flush(5.0), "usd": exporter.exported()["usd"]}

        assert _in_child(work) == {"flushed": True, "usd": pytest.approx(PUT_USD, rel=1e-12)}
        exporting.join(10)
        for _ in range(2):
            _serve(world)
            assert engine.flush(5.0)
        assert exporter.exported()["usd"] == pytest.approx(2 * PUT_USD, rel=1e-12)
        provider.shutdown()


@pytest.mark.usefixtures("patient_fork")
def test_fork_waits_for_a_reader_that_is_about_to_sleep() -> None:
    with priced_provider(region=REGION) as world:
        exporter = _SlowExporter()
        exporter.go_on.set()
        reader = PeriodicExportingMetricReader(exporter, 20)
        provider = MeterProvider([reader], shutdown_on_exit=False)
        world.engine.add_sink(OtelMetrics(world.engine, world.totals, provider))
        falling_asleep = threading.Event()
        sleeping: Any = reader.__dict__["_shutdown_event"]

        def fall_asleep() -> None:
            with sleeping._cond:
                falling_asleep.set()
                time.sleep(0.2)

        sleeper = threading.Thread(target=fall_asleep)
        sleeper.start()
        assert falling_asleep.wait(10)

        def work() -> dict[str, Any]:
            exporter.newest = None
            until = time.monotonic() + 5.0
            while exporter.newest is None and time.monotonic() < until:
                time.sleep(0.01)
            return {"exported": exporter.newest is not None}

        assert _in_child(work) == {"exported": True}
        sleeper.join(10)
        provider.shutdown()


class _BusyLock:
    """A lock that is never free, as the one of a reader is whose endpoint does not answer."""

    def __init__(self) -> None:
        self.waited: list[bool] = []

    def acquire(self, timeout: float) -> bool:
        self.waited.append(timeout > 0)
        return False

    def release(self) -> None:
        raise AssertionError("nobody holds it")

    _at_fork_reinit = release


def test_fork_does_not_wait_again_at_once_for_exports_that_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SteppingClock()
    clock.advance(100.0)
    monkeypatch.setattr("spancost.sinks.sdk_after_fork.time.monotonic", clock)
    monkeypatch.setattr(sdk_after_fork, "_impatient_until", 0.0)
    reader = PeriodicExportingMetricReader(_SlowExporter(), math.inf)
    busy = _BusyLock()
    vars(reader)["_export_lock"] = busy
    provider = MeterProvider([reader], shutdown_on_exit=False)
    close_until_renewed(provider)
    for _ in range(3):
        assert _in_child(lambda: {"alive": True}) == {"alive": True}
    assert busy.waited == [True, False, False]
    clock.advance(11.0)
    _in_child(lambda: {"alive": True})
    assert busy.waited == [True, False, False, True]


_EAGER_READER = """
import json, os, sys, threading, time
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.trace import SpanKind

class Kept(MetricExporter):
    def __init__(self):
        super().__init__()
        self.usd, self.exported = [], threading.Event()

    def export(self, data, timeout_millis=10_000, **_):
        points = [point for resource in data.resource_metrics for scope in resource.scope_metrics
                  for metric in scope.metrics if metric.name in ("spancost.cost.usd", "spancost.request.cost.usd")
                  for point in metric.data.data_points]
        self.usd += [(os.getpid(), getattr(point, "value", None) or getattr(point, "sum", None)) for point in points]
        self.exported.set()
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis=30_000, **_):
        pass

    def force_flush(self, timeout_millis=10_000):
        return True

exporter = Kept()
reader = PeriodicExportingMetricReader(exporter, 20)  # its hook is the first in a child
os.register_at_fork(after_in_child=lambda: time.sleep(0.5))  # and what a busy machine does before ours
provider = MeterProvider([reader])

from spancost.sinks.metrics import OtelMetrics
from spancost.testing import priced_provider
from tests.spans import REGION, put_item, server, start

with priced_provider(region=REGION) as world:
    world.engine.add_sink(OtelMetrics(world.engine, world.totals, provider))
    request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
    start(world.tracer, "put", request, SpanKind.CLIENT, put_item()).end()
    request.end()
    world.publish()
    while not any(usd for _, usd in exporter.usd):
        time.sleep(0.01)
    inside, outside = os.pipe()
    pid = os.fork()
    if pid == 0:
        exporter.exported.clear()
        exported = exporter.exported.wait(10)  # the first after the hooks
        usd = sum(usd or 0 for process, usd in exporter.usd if process == os.getpid())
        os.write(outside, json.dumps([exported, usd]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    print(os.read(inside, 1000).decode())
"""


def test_a_reader_that_collects_in_the_child_before_our_hooks_exports_nothing_of_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EAGER_READER], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [True, 0]


def test_readers_collect_in_a_child_that_nobody_renews_as_they_would_without_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("app").create_counter("app.jobs").add(1)
    close_until_renewed(provider)
    close_until_renewed(provider)  # once is enough
    assert reader.get_metrics_data() is not None
    sdk_after_fork._close_all()  # pyright: ignore[reportPrivateUsage] # as before a fork
    assert reader.get_metrics_data() is not None
    clock = SteppingClock()
    monkeypatch.setattr("spancost.sinks.sdk_after_fork.time.monotonic", clock)
    monkeypatch.setattr("spancost.sinks.sdk_after_fork.os.getpid", lambda: -1)
    assert reader.get_metrics_data() is None
    clock.advance(10.0)
    assert reader.get_metrics_data() is not None
    clock.now = 0.0
    assert reader.get_metrics_data() is None
    renew(provider, "spancost")
    assert reader.get_metrics_data() is not None


def test_usage_reported_in_a_child_is_not_charged_to_an_open_span_of_its_parent() -> None:
    with priced_provider(region=REGION) as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())

        def work() -> dict[str, Any]:
            world.recorded.charges.clear()
            with trace.use_span(request):
                add_usage("pdf.render", 1, "page", usd=0.25)
                cost = current_cost()
            world.publish()
            return {
                "unattributed": world.recorded.usd(names.CUSTOM, UNATTRIBUTED),
                "usd": world.recorded.usd(names.CUSTOM),
                "cost": cost,
                "started": world.engine.tree is not None,
            }

        assert _in_child(work) == {"unattributed": 0.25, "usd": 0.25, "cost": None, "started": True}
        with trace.use_span(request):
            add_usage("pdf.render", 1, "page", usd=0.5)
        request.end()
        world.publish()
        assert world.attributes("GET")["spancost.custom.usd"] == 0.5
        assert world.recorded.usd(names.CUSTOM) == 0.5
