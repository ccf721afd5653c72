"""Judges what a server has said to dashboards: which panels show something, and which should but do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, cast

from spancost.config.strict_yaml import read_mapping
from spancost.dashboards.asking import DashboardAnswer, PanelAnswer
from spancost.dashboards.model import Dashboard, Panel
from spancost.errors import ConfigError, suggest


class Status(StrEnum):
    """How a panel stands."""

    OK = "ok"
    EMPTY = "empty"
    """No query has an answer with a number, and nobody has said that this may be."""
    MAY_BE_EMPTY = "may be empty"
    """It is empty, and somebody has said why."""
    ERROR = "error"
    NOT_ASKED = "not asked"
    """It has no query that a Prometheus server could answer."""


class Finding(NamedTuple):
    """How one panel stands."""

    dashboard: Dashboard
    panel: Panel
    status: Status
    said: str
    """Why, for people; of a panel that is fine, how much it shows."""
    is_filled_though_listed: bool = False
    """It shows something although the list says that it may be empty."""
    answer: PanelAnswer | None = None


Listed = Mapping[str, Mapping[str, str]]
"""Reasons by dashboard and title of panel."""


def read_expected_empty(file: Path, dashboards: Sequence[Dashboard]) -> Listed:
    """Return which panels may be empty, and why.

    Args:
        file: YAML: for each dashboard by its uid, titles of panels with a reason.

        dashboards: Those that are checked; the file may name others.

    Raises:

        ConfigError: It cannot be read, or names a panel that a dashboard has not.
    """
    place = str(file)
    listed: dict[str, dict[str, str]] = {}
    by_name = {dashboard.name: dashboard for dashboard in dashboards}
    for name, panels in read_mapping(file).items():
        if not isinstance(panels, dict):
            raise ConfigError(place, str(name), panels, "titles of panels, each with the reason why it may be empty")
        reasons = cast("dict[object, object]", panels)
        for title, reason in reasons.items():
            if not isinstance(title, str) or not isinstance(reason, str) or not reason.strip():
                raise ConfigError(place, f"{name}.{title}", reason, "the reason why it may be empty")
            dashboard = by_name.get(str(name))
            titles = {panel.title for panel in dashboard.panels} if dashboard else set[str]()
            if dashboard and title not in titles:
                raise ConfigError(place, str(name), title, f"a panel of {dashboard.file}: {suggest(title, titles)}")
            listed.setdefault(str(name), {})[title] = reason.strip()
    return listed


def findings(answer: DashboardAnswer, listed: Listed) -> list[Finding]:
    """Return how each panel of a dashboard stands, in its order.

    Args:
        answer: What the server has said.

        listed: Panels that may be empty.
    """
    asked = {id(found.panel): found for found in answer.panels}
    reasons = listed.get(answer.dashboard.name, {})
    return [
        _finding(answer.dashboard, panel, asked.get(id(panel)), reasons.get(panel.title))
        for panel in answer.dashboard.panels
    ]


def _finding(dashboard: Dashboard, panel: Panel, found: PanelAnswer | None, reason: str | None) -> Finding:
    if found is None:
        return Finding(dashboard, panel, Status.NOT_ASKED, panel.unread)
    errors = (
        [found.error] if found.error else [f"{one.target.ref_id}: {one.error}" for one in found.answers if one.error]
    )
    if errors:
        return Finding(dashboard, panel, Status.ERROR, "; ".join(errors), answer=found)
    if any(one.has_numbers for one in found.answers):
        series = sum(len(one.series) for one in found.answers)
        said = f"{series} series"
        exemplars = sum(len(one.exemplars) for one in found.answers)
        said += f", {exemplars} exemplars" if exemplars else ""
        return Finding(dashboard, panel, Status.OK, said, reason is not None, found)
    if reason is not None:
        return Finding(dashboard, panel, Status.MAY_BE_EMPTY, reason, answer=found)
    return Finding(dashboard, panel, Status.EMPTY, "no query has an answer", answer=found)
