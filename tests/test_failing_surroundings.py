"""A full disk, a missing folder, a dead endpoint: the application goes on, errors are counted and logged once.

What could not be written waits, and is written once when that is possible again: at most 16 batches, then they are
added up into one of at most 100 000 keys, so that nothing is lost however long it takes.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from spancost import CostSpanProcessor
from spancost._install import build_engine
from spancost.config import Config
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.metrics import OtelMetrics
from spancost.sinks.totals import MetricTotals
from spancost.testing import priced_provider
from tests.spans import PUT_USD, REGION, put_item

_ROOT = Path(__file__).parent.parent
_REPEATS = 200

_FULL_DISK = """
import json, logging, resource, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from spancost import CostSpanProcessor
from spancost._install import build_engine
from spancost.config import Config
from tests.spans import put_item, REGION

lines = []
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("spancost").addHandler(Lines())
engine = build_engine(Config(region=REGION, lease="off", detect=False, ledger=sys.argv[1], ledger_costliest_traces=0,
                             ledger_sampled_traces=0))
engine.background = False
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(CostSpanProcessor(engine))
tracer = provider.get_tracer("app")
def work(number, count):
    for place in range(count):
        tracer.start_span(f"work {number} {place}", kind=SpanKind.CLIENT, attributes=put_item()).end()
work(0, 10)
before = engine.publish()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
failed = 0
for number in range(1, int(sys.argv[2]) + 1):
    work(number, 4)
    failed += not engine.publish()
waiting = engine.waiting_batches
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
after = engine.publish()
again = engine.flush()
provider.shutdown()
errors = dict(engine.errors.counts)
print(json.dumps(dict(before=before, failed=failed, waiting=waiting, after=after, again=again, errors=errors,
                      lines=[line for line in lines if "ledger" in line])))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_full_disk_is_told_once_and_when_there_is_room_again_nothing_is_lost_and_nothing_doubled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path), str(_REPEATS)],
        cwd=_ROOT,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["before"], said["failed"], said["after"], said["again"]) == (True, _REPEATS, True, True)
    assert said["errors"] == {"sink.ledger": _REPEATS}
    assert len(said["lines"]) == 1, said["lines"]
    assert said["waiting"] <= 17
    with LedgerReader(path) as reader:
        spans = 10 + 4 * _REPEATS
        assert reader.totals().usd == pytest.approx(spans * PUT_USD, rel=1e-9)
        (row,) = [row for row in reader.rows(["component"]) if row.usd]
        assert row.charge_count == spans
        assert reader.quality().health == {"error:sink.ledger": _REPEATS}


def test_ledger_whose_folder_is_missing_is_written_once_the_folder_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "ledger.sqlite"
    with priced_provider(region=REGION, reraise=False, ledger=str(path)) as world:
        for _ in range(_REPEATS):
            world.tracer.start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
            assert not world.engine.publish()
        assert world.engine.errors.counts == {"sink.ledger": _REPEATS}
        told = [record.getMessage() for record in caplog.records if "ledger" in record.getMessage()]
        assert len(told) == 1
        assert "folder is missing" in told[0]
        assert world.recorded.usd() == pytest.approx(_REPEATS * PUT_USD)  # the other sinks have it
        path.parent.mkdir()
        assert world.engine.publish()
        assert world.engine.publish()
    with LedgerReader(path) as reader:
        assert reader.totals().usd == pytest.approx(_REPEATS * PUT_USD, rel=1e-9)
        assert reader.totals().charge_count == 2 * _REPEATS  # with the seconds, which nothing prices


@contextmanager
def _server(*, hangs: bool) -> Generator[str]:
    """An endpoint that takes requests and never answers, or one that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        if not hangs:
            listening.close()
            yield url
            return
        listening.listen(64)
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield url
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_dead_endpoint_delays_no_span_and_takes_nothing_from_ledger_and_counters(
    hangs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "disabled", True)
    for name in ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    for name in (
        "opentelemetry.exporter.otlp.proto.http.metric_exporter",
        "opentelemetry.sdk.metrics._internal.export",
    ):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    path = tmp_path / "ledger.sqlite"
    with _server(hangs=hangs) as url:
        engine = build_engine(Config(region=REGION, lease="off", detect=False, ledger=str(path)))
        engine.background = False
        totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{url}/v1/metrics", timeout=1), export_interval_millis=3_600_000
        )
        meters = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
        engine.add_sink(OtelMetrics(engine, totals, meters))
        engine.on_flush.append(lambda left_s: bool(meters.force_flush(int(left_s * 1000))))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(CostSpanProcessor(engine))
        batches = BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces", timeout=1), max_queue_size=2048)
        provider.add_span_processor(batches)
        tracer = provider.get_tracer("app")
        slowest_s = 0.0
        for _ in range(300):
            started = time.perf_counter()
            tracer.start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
            slowest_s = max(slowest_s, time.perf_counter() - started)
        assert slowest_s < 1.0  # an export that is waited for takes that long
        started = time.perf_counter()
        engine.flush(timeout_s=3.0)  # the SDK's reader does not say whether its export arrived
        assert time.perf_counter() - started < 10.0
        assert engine.errors.counts.keys() <= {"flush"}
        booked = sum(reading.value for reading in totals.read(totals.cost))
        assert booked == pytest.approx(300 * PUT_USD)
        _stop(provider, meters)
    with LedgerReader(path) as ledger:
        assert ledger.totals().usd == pytest.approx(300 * PUT_USD, rel=1e-9)


def _stop(provider: TracerProvider, meters: Any) -> None:
    provider.shutdown()
    meters.shutdown(timeout_millis=2_000)
