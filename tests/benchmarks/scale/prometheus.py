"""What the series of a fleet take in Prometheus: memory of its head, bytes on disk, CPU.

A fleet's metrics for three hours, one export a minute with the time it would have had, are sent as fast as Prometheus
takes them. After two of these hours the head holds what it holds at most; after three the first two are a block.
"""

from __future__ import annotations

import json
import random
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep, time
from typing import Final

from examples.shop.processes import StackError
from examples.stack.servers import Prometheus
from tests.benchmarks.scale.fleet import Fleet
from tests.benchmarks.scale.otlp import export, metrics_part, resource_part
from tests.benchmarks.scale.processes import use_of, wait_until_quiet
from tests.benchmarks.scale.profile import Series, make_profile
from tests.benchmarks.scale.sending import Sender

_STEP_S: Final = 60
_BLOCK_S: Final = 7200
_ROUNDS_OF_A_BLOCK: Final = _BLOCK_S // _STEP_S
_ROUNDS: Final = 3 * 60 + 10
"""The head is written to disk once it spans one and a half blocks."""
_RULE: Final = "sum by (service_name, component) (rate(spancost_cost_usd_total[1h]))"
_RULE_SAMPLES: Final = 60
"""Of each series, that an evaluation reads."""
_EVALUATIONS: Final = 20
_COMPACTION_S: Final = 180.0
_CONFIG: Final = """\
global: {scrape_interval: 1m}
otlp:
  promote_resource_attributes:
    [service.name, deployment.environment.name, k8s.namespace.name, cloud.account.id, cloud.region]
"""


@dataclass(frozen=True, slots=True)
class SeriesInPrometheus:
    """Figures of one run."""

    processes: int
    series: int
    active_share: float
    """Of the series, how many change from one export to the next."""
    samples: int
    heap_bytes_per_series: float
    """Go's heap after a garbage collection, with two hours of samples, less what it was without any series."""
    resident_bytes_per_series: float
    """Resident memory at that time, less what it was without any series."""
    chunk_bytes_per_sample: float
    block_bytes_per_sample: float
    """With the index."""
    cpu_us_per_sample: float
    """To take it in."""
    cpu_us_per_sample_read: float
    """By a recording rule over an hour."""


class _Source:
    """The metrics of one profile as they grow."""

    def __init__(self, series: Sequence[Series], draw: random.Random, active_share: float) -> None:
        self._series = series
        self._draw = draw
        self._factors = [0.0] * len(series)
        self._is_active = [draw.random() < active_share for _ in series]

    def next(self, begun_ns: int, now_ns: int) -> bytes:
        draw = self._draw
        for position, is_active in enumerate(self._is_active):
            if is_active or not self._factors[position]:
                self._factors[position] += draw.uniform(0.5, 1.5)
        return metrics_part(self._series, self._factors, begun_ns, now_ns)


def measure(processes: int, active_share: float) -> SeriesInPrometheus:
    """Send three hours of metrics of so many processes.

    Args:
        processes: Of services of the default size.

        active_share: Which share of the series changes every minute.

    Raises:
        StackError: Prometheus is not there, or wrote no block.
    """
    fleet = Fleet(services=processes, workers=1)
    sources = [
        _Source(make_profile(fleet, number).series, fleet.draw(2, number), active_share)
        for number in range(fleet.kinds)
    ]
    resources = [(worker.profile, resource_part(worker.resource)) for worker in fleet.all_workers()]
    begun_s = int(time() - _ROUNDS * _STEP_S) // _BLOCK_S * _BLOCK_S
    with tempfile.TemporaryDirectory(prefix="spancost-scale-") as folder:
        config = Path(folder, "prometheus.yaml")
        config.write_text(_CONFIG)
        with Prometheus(Path(folder), config) as prometheus:
            empty_heap, empty_mib = _heap(prometheus), use_of(prometheus.process.pid).rss_mib
            cpu_s = use_of(prometheus.process.pid).cpu_s
            full_heap, full_mib, series = 0.0, 0.0, 0
            with Sender(prometheus.otlp_metrics_url.removesuffix("/v1/metrics")) as sender:
                for number in range(_ROUNDS):
                    now_ns = (begun_s + number * _STEP_S) * 10**9
                    parts = [source.next(begun_s * 10**9, now_ns) for source in sources]
                    for profile, resource in resources:
                        sender.metrics(export(resource, parts[profile]))
                    if number + 1 == _ROUNDS_OF_A_BLOCK:
                        full_mib = use_of(prometheus.process.pid).rss_mib
                        full_heap = _heap(prometheus)
                        series = int(_own(prometheus, "prometheus_tsdb_head_series"))
            samples = int(_own(prometheus, 'prometheus_tsdb_head_samples_appended_total{type="float"}'))
            cpu_s = use_of(prometheus.process.pid).cpu_s - cpu_s
            block = _first_block(prometheus)
            read_us = _cpu_us_per_sample_read(prometheus, begun_s + (_ROUNDS - 1) * _STEP_S)
            meta = json.loads((block / "meta.json").read_text())["stats"]
            on_disk = {path: path.stat().st_size for path in block.rglob("*") if path.is_file()}
            chunks = sum(size for path, size in on_disk.items() if path.parent.name == "chunks")
    return SeriesInPrometheus(
        processes,
        series,
        active_share,
        samples,
        (full_heap - empty_heap) / series,
        (full_mib - empty_mib) * 2**20 / series,
        chunks / meta["numSamples"],
        sum(on_disk.values()) / meta["numSamples"],
        cpu_s / samples * 1e6,
        read_us,
    )


def _cpu_us_per_sample_read(prometheus: Prometheus, at_s: float) -> float:
    (counted,) = prometheus.query("count(spancost_cost_usd_total)", at=at_s)
    before = wait_until_quiet(prometheus.process.pid).cpu_s
    for _ in range(_EVALUATIONS):
        prometheus.query(_RULE, at=at_s)
    spent_s = use_of(prometheus.process.pid).cpu_s - before
    return spent_s / (_EVALUATIONS * counted.value * _RULE_SAMPLES) * 1e6


def _heap(prometheus: Prometheus) -> float:
    with urllib.request.urlopen(f"{prometheus.url}/debug/pprof/heap?gc=1", timeout=60) as answer:
        answer.read()
    return _own(prometheus, "go_memstats_heap_alloc_bytes")


def _own(prometheus: Prometheus, series: str) -> float:
    """Return a figure of Prometheus about itself."""
    with urllib.request.urlopen(f"{prometheus.url}/metrics", timeout=60) as answer:
        for line in answer.read().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
    raise StackError(f"{prometheus.url}/metrics has no {series}")


def _first_block(prometheus: Prometheus) -> Path:
    ends = monotonic() + _COMPACTION_S
    while True:
        blocks = sorted((prometheus.folder / "data").glob("*/meta.json"))
        if blocks:
            return blocks[0].parent
        if monotonic() > ends:
            raise StackError(f"{prometheus.name}: no block after {_COMPACTION_S:g} s")
        sleep(1)
