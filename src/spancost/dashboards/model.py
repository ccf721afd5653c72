"""What is read of a dashboard: the part of its JSON that says which queries are asked and how their answers look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from spancost.errors import SpancostError

COLUMNS: Final = 24
"""Of Grafana's grid."""
ALL: Final = "$__all"
"""What Grafana keeps as the value of a variable where all values are chosen."""


class DashboardError(SpancostError):
    """A file is no dashboard that can be read; the message names file, key, value and what is accepted."""

    def __init__(self, file: str, key: str, value: object, accepted: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        super().__init__(f"{file}: {key}: {shown} is not accepted: {accepted}")


class Cell(NamedTuple):
    """Place of a panel in the grid: columns, and rows of 30 pixels."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    ref_id: str
    expr: str
    legend: str = ""
    """With `{{label}}`; empty or `__auto` for all labels."""
    is_instant: bool = False
    is_heatmap: bool = False
    interval: str = ""
    """Its shortest step, such as `1m`; empty for none of its own."""
    has_exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, rows excepted."""

    id: int
    title: str
    description: str
    kind: str
    """Name of Grafana's panel plugin: `timeseries`, `stat`, `table`, ..."""
    cell: Cell
    row: str = ""
    """Title of the row that it is in."""
    targets: tuple[Target, ...] = ()
    unread: str = ""
    """Why it has nothing that a Prometheus server could be asked; empty if it has."""
    max_data_points: int | None = None
    interval: str = ""
    time_from: str = ""
    time_shift: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """How fields look: `fieldConfig.defaults`."""
    overrides: Sequence[Mapping[str, Any]] = ()
    transformations: Sequence[Mapping[str, Any]] = ()


class Row(NamedTuple):
    """Title over the panels below it."""

    title: str
    y: int


@dataclass(frozen=True, slots=True)
class Variable:
    """What can be chosen above the panels."""

    name: str
    kind: str
    """`query`, `custom`, `datasource`, `textbox`, `constant`, `interval` or `adhoc`."""
    label: str = ""
    query: str = ""
    regex: str = ""
    is_multi: bool = False
    include_all: bool = False
    all_value: str = ""
    current: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """A query whose answers are marked in all plots."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard."""

    file: str
    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    """Those of collapsed rows too, in the order of the file."""
    rows: tuple[Row, ...] = ()
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    time_from: str = "now-6h"
    time_to: str = "now"

    @property
    def name(self) -> str:
        """By which it is told from others: its uid, else its title."""
        return self.uid or self.title
