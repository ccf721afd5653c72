"""`python -m tests.benchmarks.soak --minutes 15`: full speed of one core for a long time, with a flat memory.

Requests with calls of all kinds, for thousands of tenants and routes, from threads that come and go, some of them
never ended; ledger and both kinds of metrics are on, with exports, scrapes and flushes. Ends with 1 if memory grows in
the last two thirds, threads are left over, series exceed their caps, or the sinks do not have the money that was spent.
"""

from __future__ import annotations

import argparse
import atexit
import contextvars
import ctypes
import gc
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import prometheus_client
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

import spancost
from spancost import Config, add_usage, attribute, names
from spancost.engine import CostEngine
from spancost.sinks.ledger.schema import connect_to_read
from spancost.sinks.totals import MetricTotals
from tests.benchmarks.sides import DroppingExporter
from tests.spans import (
    EGRESS_USD_PER_GB,
    PUT_USD,
    REGION,
    SMS_USD,
    chat,
    chat_usd,
    put_item,
    server,
    sms,
)

MAX_REQUESTS: Final = 20_000_000
MAX_GROWTH_MIB: Final = 2.0
_SERIES_LIMIT: Final = 2000
"""Beyond it newer SDKs fold series themselves, without labels."""
_SAMPLES: Final = 30
_LONGEST_STEP_S: Final = 30.0
_TENANTS, _ROUTES, _FEATURES = 5000, 4000, 40
_BODY_BYTES: Final = 4096
_PAGE_USD: Final = 0.0001
_IN_THREAD_EVERY: Final = 16
_NEVER_ENDED_EVERY: Final = 64
_ABANDONED_EVERY: Final = 32
_SCRAPE_EVERY_S: Final = 5.0
_FLUSH_EVERY_S: Final = 20.0
_MAX_OPEN_ROOTS: Final = 300


class Sample(NamedTuple):
    """What the process looks like at one moment."""

    at_s: float
    """Since the start."""
    requests: int
    rss_mib: float
    blocks: int
    """Pieces of memory that Python objects occupy; tells a leak from memory that is kept for later use."""
    threads: int
    series: int
    """In the metric with the most."""
    open_roots: int


class _Discarding(MetricExporter):
    """Takes every export, as a collector would, and keeps nothing."""

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> MetricExportResult:
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        pass

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True


class _Application:
    """Serves requests and counts what they use."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("soak")
        self._random = random.Random(6)
        self.requests = 0
        self.used: Counter[str] = Counter()
        """Calls made by kind, whatever became of their spans."""

    def serve(self) -> None:
        """Serve one request."""
        number = self.requests = self.requests + 1
        attributes = server(f"/r{self._one_of(_ROUTES)}/{{id}}", response_bytes=_BODY_BYTES)
        request = self._tracer.start_span("GET", Context(), SpanKind.SERVER, attributes)
        with (
            trace.use_span(request),
            attribute(tenant=f"tenant-{self._one_of(_TENANTS)}", feature=f"feature-{self._one_of(_FEATURES)}"),
        ):
            self._call("put", put_item())
            self._call("chat", chat(1200, 300, cached=1000, response_id=f"chatcmpl-{number}"))
            if number % 4 == 0:
                self._call("sms", sms())
                add_usage("pdf.render", 1, "page", usd=_PAGE_USD)
                self.used["page"] += 1
            if number % _IN_THREAD_EVERY == 0:
                context = contextvars.copy_context()
                thread = threading.Thread(target=context.run, args=(self._call, "put", put_item()))
                thread.start()
                thread.join()
            if number % _ABANDONED_EVERY == 0:
                next(self._stream())  # found by the garbage collector
        if number % _NEVER_ENDED_EVERY:
            request.end()
            self.used["answer"] += 1

    def _one_of(self, many: int) -> int:
        """Return a number below `many`: few of them often, all of them sometimes."""
        return int(self._random.random() ** 3 * many)

    def _call(self, name: str, attributes: dict[str, Any]) -> None:
        self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes).end()
        self.used[name] += 1

    def _stream(self) -> Generator[int]:
        context = trace.set_span_in_context(trace.get_current_span())
        cycle: list[Any] = []
        try:
            cycle.append(cycle)
            yield 1
        finally:
            self._tracer.start_span("put", context, SpanKind.CLIENT, put_item()).end()
            self.used["put"] += 1

    @property
    def usd(self) -> dict[str, float]:
        """What all of it costs, by component; without compute."""
        used = self.used
        return {
            names.AWS: used["put"] * PUT_USD,
            names.LLM: used["chat"] * chat_usd(1200, 300, cached=1000),
            names.HTTP: used["sms"] * SMS_USD,
            names.CUSTOM: used["page"] * _PAGE_USD,
            names.EGRESS: used["answer"] * _BODY_BYTES / 2**30 * EGRESS_USD_PER_GB,
        }


def rss_mib() -> float:
    """Return the resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _give_back() -> None:
    """Have the C library return freed memory to the system, where it can be asked to."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def growth_mib(samples: Sequence[Sample]) -> float:
    """Return by how much memory has grown in the last two thirds: medians of both ends, MiB."""
    rest = samples[len(samples) // 3 :]
    edge = max(1, len(rest) // 5)
    first, last = ([one.rss_mib for one in part] for part in (rest[:edge], rest[-edge:]))
    return statistics.median(last) - statistics.median(first)


def faults(samples: Sequence[Sample], max_growth_mib: float = MAX_GROWTH_MIB) -> list[str]:
    """Return what is wrong with the course of a process, for people; nothing if all is well."""
    found: list[str] = []
    grown = growth_mib(samples)
    if grown > max_growth_mib:
        found.append(f"memory has grown by {grown:.1f} MiB in the last two thirds (at most {max_growth_mib:g})")
    warm = samples[len(samples) // 3]
    if samples[-1].threads > warm.threads:
        found.append(f"{samples[-1].threads - warm.threads} threads are left over")
    most = max(one.series for one in samples)
    if most > _SERIES_LIMIT:
        found.append(f"{most} series in one metric (at most {_SERIES_LIMIT})")
    most = max(one.open_roots for one in samples)
    if most > 2 * _MAX_OPEN_ROOTS:
        found.append(f"{most} open requests are kept (at most {_MAX_OPEN_ROOTS}, settled at each flush)")
    return found


class _Soak:
    def __init__(self, directory: Path) -> None:
        self._ledger = directory / "ledger.sqlite"
        resource = Resource({"service.name": "soak"})
        self._meters = MeterProvider(
            [PeriodicExportingMetricReader(_Discarding(), export_interval_millis=3000)],
            resource=resource,
            shutdown_on_exit=False,
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(DroppingExporter()))
        self.engine: CostEngine = spancost.install(
            self._provider,
            self._meters,
            config=Config(
                region=REGION,
                compute="aws:m6i.large",
                compute_share=1.0,
                lease="off",
                detect=False,
                egress_clients="internet",
                ledger=str(self._ledger),
                first_value_hold_s=0.0,
                max_open_roots=_MAX_OPEN_ROOTS,
                prices_cache="off",
            ),
        )
        self._totals = next(sink for sink in self.engine.sinks if isinstance(sink, MetricTotals))
        self.application = _Application(self._provider)

    def run(self, seconds: float, max_requests: int) -> list[Sample]:
        """Serve at full speed, and say now and then what the process looks like."""
        samples: list[Sample] = []
        begun = time.monotonic()
        step_s = min(_LONGEST_STEP_S, seconds / _SAMPLES)
        next_sample, next_scrape, next_flush = step_s, _SCRAPE_EVERY_S, _FLUSH_EVERY_S
        heads = f"{'SECONDS':>8}{'REQUESTS':>11}{'PER S':>8}{'RSS MiB':>9}{'BLOCKS':>10}"
        print(f"{heads}{'THREADS':>9}{'SERIES':>8}{'OPEN':>7}")
        while self.application.requests < max_requests:
            for _ in range(50):
                self.application.serve()
            at_s = time.monotonic() - begun
            if at_s >= next_scrape:
                next_scrape = at_s + _SCRAPE_EVERY_S
                prometheus_client.generate_latest()
            if at_s >= next_flush:
                next_flush = at_s + _FLUSH_EVERY_S
                spancost.flush(30)
            if at_s >= next_sample:
                next_sample = at_s + step_s
                samples.append(self._sample(at_s))
                _print_sample(samples)
                if at_s >= seconds - step_s / 2:
                    break
        return samples

    def _sample(self, at_s: float) -> Sample:
        # What waits for the next flush, or as garbage for its collector, is no leak, nor is what was freed and is kept
        # for later.
        self._provider.force_flush()
        spancost.flush(30)
        gc.collect()
        _give_back()
        tree = self.engine.tree
        return Sample(
            at_s,
            self.application.requests,
            rss_mib(),
            sys.getallocatedblocks(),
            threading.active_count(),
            max(len(family) for family in self._totals.families),
            0 if tree is None else len(tree.open_roots),
        )

    def wrong_sums(self) -> list[str]:
        """Stop everything, and return what counters and ledger do not have of what was used."""
        gc.collect()
        if not spancost.shutdown(120):
            return ["the last flush did not go through"]
        self._provider.shutdown()
        counted: Counter[str] = Counter()
        for reading in self._totals.read(self._totals.cost):
            counted[reading.labels[0]] += reading.value  # type: ignore[assignment]
        with closing(connect_to_read(str(self._ledger))[0]) as connection:
            booked = dict(connection.execute("SELECT component, SUM(usd) FROM ledger_rows GROUP BY 1").fetchall())
        self._meters.shutdown()
        found = [f"{count} errors of {place}" for place, count in self.engine.errors.counts.items()]
        for component, usd in self.application.usd.items():
            for sink, sums in (("counters", counted), ("ledger", booked)):
                has = float(sums.get(component, 0.0))
                if abs(has - usd) > 1e-9 * usd:
                    found.append(f"{component}: {sink} have {has!r} USD, used {usd!r}")
        return found


def _print_sample(samples: Sequence[Sample]) -> None:
    one = samples[-1]
    before = samples[-2] if len(samples) > 1 else Sample(0.0, 0, 0.0, 0, 0, 0, 0)
    rate = (one.requests - before.requests) / (one.at_s - before.at_s)
    print(
        f"{one.at_s:>8.0f}{one.requests:>11}{rate:>8.0f}{one.rss_mib:>9.1f}{one.blocks:>10}{one.threads:>9}{one.series:>8}"
        f"{one.open_roots:>7}",
        flush=True,
    )


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print its course and its verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=_positive, default=15.0, help="how long it serves (default: 15)")
    parser.add_argument("--requests", type=int, default=MAX_REQUESTS, help=f"at most so many (default: {MAX_REQUESTS})")
    parser.add_argument(
        "--max-growth",
        type=_positive,
        default=MAX_GROWTH_MIB,
        metavar="MIB",
        help="in the last two thirds (default: 2)",
    )
    options = parser.parse_args(arguments)
    directory = tempfile.mkdtemp(prefix="spancost-soak-")
    # Registered before spancost's own last flush, so it runs after that.
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    soak = _Soak(Path(directory))
    samples = soak.run(options.minutes * 60, options.requests)
    if len(samples) < 6:
        print("too short for a verdict on memory", file=sys.stderr)
        return 1
    found = [*faults(samples, options.max_growth), *soak.wrong_sums()]
    print(
        f"\n{samples[-1].requests} requests in {samples[-1].at_s:.0f} s; memory {samples[-1].rss_mib:.1f} MiB, "
        f"{growth_mib(samples):+.2f} MiB in the last two thirds; {samples[-1].threads} threads; "
        f"{max(one.series for one in samples)} series at most"
    )
    for fault in found:
        print(f"FAULT: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
