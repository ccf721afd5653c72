"""Rules of Prometheus as values: what is recorded, what alerts, and in which order one evaluation works them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that is worked out at each evaluation."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """An alert for each series that an expression has."""

    alert: str
    expr: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    for_s: float = 0.0
    """How long the expression must hold before it fires, seconds."""
    keep_firing_for_s: float = 0.0
    """How long it goes on when the expression no longer holds, seconds."""


PrometheusRule: TypeAlias = "Recording | Alerting"


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, each seeing what those before it have recorded."""

    name: str
    interval_s: float
    rules: tuple[PrometheusRule, ...]
