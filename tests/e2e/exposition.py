# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What a Prometheus server would read from an answer of `/metrics`."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """One line of an exposition."""

    name: str
    labels: frozenset[tuple[str, str]]
    value: float


def samples(text: str) -> list[Sample]:
    """Return the series of spancost."""
    return [
        Sample(sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("spancost")
    ]


def from_files(directory: Path) -> list[Sample]:
    """Return the series of all workers that have written to a `PROMETHEUS_MULTIPROC_DIR`."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    return samples(generate_latest(registry).decode())


def repeated(found: list[Sample]) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    """Return the series that are there more than once."""
    counts = Counter((sample.name, sample.labels) for sample in found)
    return [series for series, count in counts.items() if count > 1]


def sums_by(found: list[Sample], name: str, *keys: str) -> dict[tuple[str, ...], float]:
    """Add one metric up by some labels; a missing one is empty."""
    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for sample in found:
        if sample.name == name:
            labels = dict(sample.labels)
            sums[tuple(labels.get(key, "") for key in keys)] += sample.value
    return dict(sums)


def by_component(found: list[Sample], name: str = "spancost_cost_usd_total") -> dict[str, float]:
    """Add one metric up per component."""
    return {component: usd for (component,), usd in sums_by(found, name, "component").items() if usd}


def total(found: list[Sample], name: str) -> float:
    """Add one metric up over all of its series."""
    return sum(sample.value for sample in found if sample.name == name)
