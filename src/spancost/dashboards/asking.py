"""Asks a Prometheus server what the panels of a dashboard ask, each as Grafana would."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from spancost.dashboards.interpolation import Chosen, Clock, UnknownVariableError, interpolate
from spancost.dashboards.model import COLUMNS, Annotation, Dashboard, Panel, Target
from spancost.dashboards.times import Span, duration_s, moment, panel_span, rate_interval_s, step_s
from spancost.dashboards.variables import Settled, settle
from spancost.prometheus_server import PrometheusServer, QueryRefusedError

_PIXELS: Final = 1500
"""Width of all columns: how many points Grafana asks for."""
_LABEL: Final = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_AUTO: Final = ("", "__auto")


class Series(NamedTuple):
    """One series of an answer."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Unix seconds and value; one point in an answer to an instant query."""

    @property
    def last(self) -> float:
        """The newest value that is a number; NaN if none is."""
        return next((value for _, value in reversed(self.points) if not math.isnan(value)), math.nan)


class Answer(NamedTuple):
    """What the server has said to one query."""

    target: Target
    query: str
    """As it was asked; as it stands in the file if it could not be."""
    series: tuple[Series, ...] = ()
    exemplars: tuple[tuple[float, float], ...] = ()
    """Unix seconds and value of those in the time shown."""
    error: str = ""

    @property
    def has_numbers(self) -> bool:
        """Whether there is anything to see: NaN is not."""
        return any(not math.isnan(value) for series in self.series for _, value in series.points)


class PanelAnswer(NamedTuple):
    """What the server has said to the queries of one panel."""

    panel: Panel
    span: Span
    step_s: float
    answers: tuple[Answer, ...]
    error: str = ""
    """Why none could be asked."""


class Event(NamedTuple):
    """Something that is marked in plots."""

    name: str
    at: float
    text: str


class DashboardAnswer(NamedTuple):
    """What the server has said to a dashboard."""

    dashboard: Dashboard
    span: Span
    variables: tuple[Settled, ...]
    panels: tuple[PanelAnswer, ...]
    annotations: tuple[tuple[Annotation, str], ...] = ()
    """With what is wrong with each; empty if nothing is."""
    events: tuple[Event, ...] = ()


class Question(NamedTuple):
    """When and how dashboards are asked."""

    end: float
    """Unix seconds of `now`."""
    range_s: float | None = None
    """What is shown up to there; None for what each dashboard says."""
    scrape_interval_s: float = 15.0
    """Of the data source: the shortest step."""
    given: Mapping[str, Sequence[str]] = {}
    """Values of variables by name."""


def ask(dashboard: Dashboard, server: PrometheusServer, question: Question) -> DashboardAnswer:
    """Ask everything that a dashboard asks.

    Args:
        dashboard: Which.

        server: Whom.

        question: When and how.

    Raises:

        PrometheusServerError: The server does not answer at all.

        ValueError: The dashboard's own time is none.
    """
    whole = _whole_span(dashboard, question)
    clock = _clock(whole, None, "", question.scrape_interval_s, COLUMNS)
    settled = settle(dashboard.variables, server, clock, question.given)
    chosen = {one.variable.name: one.chosen for one in settled}
    panels = tuple(_ask_panel(panel, server, whole, chosen, question) for panel in dashboard.panels if not panel.unread)
    marked = [_ask_annotation(one, server, chosen, clock) for one in dashboard.annotations]
    return DashboardAnswer(
        dashboard,
        whole,
        tuple(settled),
        panels,
        tuple((one, error) for one, error, _ in marked),
        tuple(event for _, _, events in marked for event in events),
    )


def legend_of(target: Target, labels: Mapping[str, str]) -> str:
    """Return the name of a series in a plot.

    Args:
        target: Its query.

        labels: Of the series.
    """
    if target.legend not in _AUTO:
        return _LABEL.sub(lambda found: labels.get(found[1], ""), target.legend).strip()
    name = labels.get("__name__", "")
    inside = ", ".join(f'{label}="{value}"' for label, value in labels.items() if label != "__name__" and value)
    return f"{name}{{{inside}}}" if inside else name or "Value"


def _whole_span(dashboard: Dashboard, question: Question) -> Span:
    if question.range_s is not None:
        return Span(question.end - question.range_s, question.end)
    start = moment(dashboard.time_from, question.end)
    return Span(start, min(moment(dashboard.time_to, question.end, is_end=True), question.end))


def _clock(span: Span, points: int | None, interval: str, scrape_interval_s: float, width: int) -> Clock:
    shortest = duration_s(interval.lstrip(">")) if interval else scrape_interval_s
    step = step_s(span, points or max(100, _PIXELS * width // COLUMNS), shortest)
    return Clock(span, step, rate_interval_s(step, shortest))


def _ask_panel(
    panel: Panel, server: PrometheusServer, whole: Span, chosen: Mapping[str, Chosen], question: Question
) -> PanelAnswer:
    try:
        span = panel_span(whole, question.end, panel.time_from, panel.time_shift)
        clock = _clock(span, panel.max_data_points, panel.interval, question.scrape_interval_s, panel.cell.w)
    except ValueError as error:
        return PanelAnswer(panel, whole, 1.0, (), f"its time or interval is not accepted: {error}")
    answers: list[Answer] = []
    for target in panel.targets:
        own = clock
        if target.interval:
            try:
                interval = interpolate(target.interval, chosen, clock)
                own = _clock(span, panel.max_data_points, interval, question.scrape_interval_s, panel.cell.w)
            except ValueError as error:
                answers.append(Answer(target, target.expr, error=f"interval {target.interval!r}: {error}"))
                continue
        answers.append(_ask_target(target, server, chosen, own))
    return PanelAnswer(panel, span, clock.step_s, tuple(answers))


def _ask_target(target: Target, server: PrometheusServer, chosen: Mapping[str, Chosen], clock: Clock) -> Answer:
    try:
        query = interpolate(target.expr, chosen, clock)
    except UnknownVariableError as error:
        return Answer(target, target.expr, error=str(error))
    start, end = clock.span
    try:
        if target.is_instant:
            data = server.get("query", {"query": query, "time": repr(end)})
        else:
            start = start // clock.step_s * clock.step_s
            data = server.get(
                "query_range", {"query": query, "start": repr(start), "end": repr(end), "step": repr(clock.step_s)}
            )
        exemplars = _exemplars(query, server, clock.span) if target.has_exemplars else ()
    except QueryRefusedError as error:
        return Answer(target, query, error=str(error))
    try:
        return Answer(target, query, tuple(_series(data)), exemplars)
    except (KeyError, TypeError, ValueError):
        raise server.strange_answer() from None


def _series(data: Mapping[str, Any]) -> list[Series]:
    if data["resultType"] in ("scalar", "string"):
        at, value = data["result"]
        return [Series({}, ((float(at), float(value)),))]
    return [
        Series(
            dict(one["metric"]),
            tuple((float(at), float(value)) for at, value in one.get("values") or [one["value"]]),
        )
        for one in data["result"]
        if "values" in one or "value" in one  # the rest are native histograms, which these plots have no form for
    ]


def _exemplars(query: str, server: PrometheusServer, span: Span) -> tuple[tuple[float, float], ...]:
    data: Any = server.get("query_exemplars", {"query": query, "start": repr(span.start), "end": repr(span.end)})
    try:
        return tuple((float(one["timestamp"]), float(one["value"])) for series in data for one in series["exemplars"])
    except (KeyError, TypeError, ValueError):
        raise server.strange_answer() from None


def _ask_annotation(
    one: Annotation, server: PrometheusServer, chosen: Mapping[str, Chosen], clock: Clock
) -> tuple[Annotation, str, list[Event]]:
    answer = _ask_target(Target("annotation", one.expr), server, chosen, clock)
    events = [Event(one.name, series.points[0][0], legend_of(answer.target, series.labels)) for series in answer.series]
    return one, answer.error, events
