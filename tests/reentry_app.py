"""A program whose hooks are re-entered at any bytecode; prints what was charged as JSON. Run by test_reentry.py."""

from __future__ import annotations

import faulthandler
import gc
import json
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import botocore  # pyright: ignore[reportUnusedImport] # noqa: F401 - so that AWS prices are loaded with the first span
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Tracer

from spancost import add_usage, attribute, current_cost, names, usage
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.config import Config
from spancost.engine import CostEngine
from spancost.processor import CostSpanProcessor
from spancost.sinks.metrics import OtelMetrics
from spancost.sinks.totals import MetricTotals
from spancost.testing import RecordingSink
from tests.spans import put_item, server, start

REQUESTS = 2000
USED_USD = 0.001
"""Amount of each reported usage."""
_HANGS_AFTER_S = 45


class Exported(SpanProcessor):
    """Keeps what a lock-free exporter would see."""

    def __init__(self) -> None:
        self.roots_usd: deque[float] = deque()
        self.count = 0
        self.kept: deque[ReadableSpan] = deque()
        """What a batch processor would export a little later."""

    def on_end(self, span: ReadableSpan) -> None:
        self.count += 1
        self.kept.append(span)
        attributes = span.attributes or {}
        if names.TOTAL_NANO_USD in attributes:
            self.roots_usd.append(float(attributes[names.TOTAL_USD]))  # type: ignore[arg-type]

    def batched_roots_usd(self) -> float:
        """Sum of the totals of local roots as they are by now: a hook that was re-entered writes them at its end."""
        kept = [span.attributes or {} for span in self.kept]
        return sum(float(said[names.TOTAL_USD]) for said in kept if names.TOTAL_NANO_USD in said)  # type: ignore[arg-type]


class CountingDeque(deque[Any]):
    """Counts how often a hook was re-entered."""

    appended = 0

    def append(self, item: Any, /) -> None:
        self.appended += 1
        super().append(item)


def _request(tracer: Tracer) -> None:
    root = start(tracer, "GET", kind=SpanKind.SERVER, attributes=server())
    call = start(tracer, "put", root, SpanKind.CLIENT, put_item())
    call.end()
    root.end()


def _stream(tracer: Tracer, parent: Span) -> Generator[int]:
    """A response body that nobody reads to its end: its span ends when the garbage collector finds it."""
    span = start(tracer, "stream", parent, SpanKind.CLIENT, put_item())
    try:
        yield 1
        yield 2
    finally:
        with trace.use_span(span):
            add_usage("stream", 1, "chunk", USED_USD)
        last = start(tracer, "last words", span, SpanKind.CLIENT, put_item())
        last.end()
        span.end()


def _abandoned(tracer: Tracer) -> tuple[int, int]:
    """Serve requests whose streams end inside our hooks, wherever the collector happens to run."""
    pick = random.Random(6).randrange

    def collect_now_and_then(frame: FrameType, event: str, _: object) -> None:
        # Not every eleventh call: a request may make 33, and then it would always be the same ones.
        if event == "call" and "spancost" in frame.f_code.co_filename and pick(11) == 0:
            gc.collect(0)

    gc.disable()
    sys.setprofile(collect_now_and_then)  # the collector may run at any bytecode: here it does at our calls
    for _ in range(REQUESTS):
        root = start(tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        body = _stream(tracer, root)
        next(body)
        cycle: list[Any] = [body]
        cycle.append(cycle)
        del body, cycle
        call = start(tracer, "put", root, SpanKind.CLIENT, put_item())
        with trace.use_span(root), trace.use_span(call):
            call.end()
        root.end()
    sys.setprofile(None)
    gc.collect()
    return 3 * REQUESTS, REQUESTS


def _signals(tracer: Tracer, engine: CostEngine) -> tuple[int, int]:
    """Serve requests while a signal handler flushes every other millisecond, and the application now and then."""
    flushes = 0

    def flush(*_: object) -> None:
        nonlocal flushes
        flushes += 1
        add_usage("signal", 1, "signal", USED_USD)
        engine.flush(0.2)
        signal.setitimer(signal.ITIMER_REAL, 0.002)  # the next one only now: handlers must not pile up

    signal.signal(signal.SIGALRM, flush)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    other = threading.Thread(target=lambda: [_request(tracer) for _ in range(REQUESTS)])
    other.start()
    for number in range(REQUESTS):
        _request(tracer)
        if number % 20 == 0:
            engine.flush(1.0)
    deadline = time.monotonic() + 20
    while flushes < 50 and time.monotonic() < deadline:
        engine.flush(1.0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    other.join()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    return 2 * REQUESTS, flushes


def _handlers(tracer: Tracer, engine: CostEngine, *, stops: bool) -> tuple[int, int]:
    """Serve requests while a signal handler works itself: it attributes, makes spans, and ends those of others.

    With `stops` it also shuts the engine down once, in the middle of everything.
    """
    handled, is_stopped = 0, False
    opened: list[Span] = []
    """For the handler to end: ending one that is just being ended would hang in the SDK itself."""

    def work(*_: object) -> None:
        nonlocal handled, is_stopped
        handled += 1
        with attribute(tenant="signal"):
            add_usage("signal", 1, "signal", USED_USD)
            _request(tracer)
        current_cost()
        if opened:
            opened.pop().end()
        if stops and not is_stopped and handled > 20:
            is_stopped = engine.shutdown(2.0)
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    signal.signal(signal.SIGALRM, work)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    number = 0
    while number < REQUESTS or handled < 50 or (stops and not is_stopped):
        number += 1
        request = start(tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        if number % 10 == 0:
            opened.append(start(tracer, "put", request, SpanKind.CLIENT, put_item()))
        else:
            start(tracer, "put", request, SpanKind.CLIENT, put_item()).end()
        with trace.use_span(request):
            current_cost()
        request.end()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    for call in opened:
        call.end()
    return number + handled, handled


def main(mode: str, model: str) -> None:
    faulthandler.dump_traceback_later(_HANGS_AFTER_S, exit=True)
    config = Config(
        region="us-east-1",
        compute="36usd/h",
        compute_share=1.0,
        compute_model=model,
        lease="off",
        flush_interval_s=0.01,
    )
    engine = build_engine(config)
    engine.errors = ErrorLog()
    engine.upkeep.clear()
    recorded, exported = RecordingSink(), Exported()
    engine.add_sink(recorded)
    totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    engine.add_sink(OtelMetrics(engine, totals, meter_provider))
    engine.on_flush.append(lambda seconds: bool(meter_provider.force_flush(max(1.0, seconds * 1000))))
    counting = engine.deferred = CountingDeque()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(exported)
    provider.add_span_processor(CostSpanProcessor(engine))
    tracer = provider.get_tracer("app")
    usage.connect(engine)
    modes: dict[str, Callable[[], tuple[int, int]]] = {
        "abandoned": lambda: _abandoned(tracer),
        "signals": lambda: _signals(tracer, engine),
        "handlers": lambda: _handlers(tracer, engine, stops=False),
        "shutdown": lambda: _handlers(tracer, engine, stops=True),
    }
    calls, used = modes[mode]()
    flushed = engine.flush(10.0)
    json.dump(
        {
            "calls": calls,
            "flushed": flushed,
            "used": used,
            "custom_usd": recorded.usd(names.CUSTOM),
            "aws_usd": recorded.usd(names.AWS),
            "charged_usd": recorded.usd(),
            "roots_usd": sum(exported.roots_usd),
            "batched_roots_usd": exported.batched_roots_usd(),
            "late_usd": recorded.late_usd(),
            "spans": exported.count,
            "reentered": counting.appended,
            "errors": engine.errors.counts,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
