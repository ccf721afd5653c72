"""Plots over time as SVG; the numbers around them are text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final, NamedTuple, cast

from spancost import names
from spancost.cli.dashboards.fields import in_unit, look_of
from spancost.cli.html.parts import nice
from spancost.dashboards.asking import Event, PanelAnswer, legend_of
from spancost.dashboards.model import Panel
from spancost.dashboards.times import Span

PALETTE: Final = 10
"""Colours that series without one of their own take turns with."""
_HEIGHT: Final = 100.0
_WIDTH: Final = 1000.0
_SHOWN: Final = 10
"""Series in the legend."""
_DRAWN: Final = 60
_GAP: Final = 2.5
"""Steps without a value that are a gap in a line."""
_LONG_S: Final = 2 * 86400
_DECADES: Final = 9
_DOTS_ALONG: Final = 80
_DOTS_UP: Final = 12
"""Squares of a plot, each of which shows one exemplar: a busy route has thousands."""


class Line(NamedTuple):
    """One series to draw."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    """Class of its colour."""


def time_plot(answer: PanelAnswer, events: Sequence[Event]) -> str:
    """Return the plot of a panel with its legend.

    Args:
        answer: To its queries.

        events: To be marked.
    """
    panel = answer.panel
    custom = cast("dict[str, Any]", panel.defaults.get("custom") or {})
    mode = str(cast("dict[str, Any]", custom.get("stacking") or {}).get("mode") or "none")
    is_log = cast("dict[str, Any]", custom.get("scaleDistribution") or {}).get("type") == "log"
    lines = lines_of(answer)
    unit = "percentunit" if mode == "percent" else str(panel.defaults.get("unit") or "")
    drawn = _stacked(lines[:_DRAWN], mode == "percent") if mode != "none" else None
    exemplars = [one for found in answer.answers for one in found.exemplars]
    values = [value for line in drawn or lines for _, value in line.points if math.isfinite(value)]
    axis = _log_axis(values) if is_log else _axis(panel, values)

    def x(at: float) -> float:
        return _WIDTH * (at - answer.span.start) / max(answer.span.length_s, 1e-9)

    parts: list[str] = []
    if drawn is None:
        parts += [_line(line, x, axis.y, answer.step_s) for line in lines[:_DRAWN]]
    else:
        below = [[(at, 0.0) for at, _ in line.points] for line in drawn[:1]]
        for line in drawn:
            parts.append(_area(line, below[-1], x, axis.y, answer.step_s))
            below.append(list(line.points))
    parts += [
        f'<path class="dot" d="M{x(at):.1f} {axis.y(value):.2f}h0"><title>{escape(_when(at))}: '
        f"{escape(in_unit(value, unit))}, has a trace</title></path>"
        for at, value in _thinned(exemplars, x, axis.y)
    ]
    parts += [
        f'<line class="event" x1="{x(event.at):.1f}" x2="{x(event.at):.1f}" y1="0" y2="100">'
        f"<title>{escape(f'{event.name}: {event.text}')}</title></line>"
        for event in events
        if answer.span.start <= event.at <= answer.span.end
    ]
    grid = "".join(f'<line class="grid" x1="0" x2="1000" y1="{y}" y2="{y}"/>' for y in (0, 50, 100))
    marks = "".join(f"<li>{escape(in_unit(value, unit))}</li>" for value in axis.marks)
    label = f"{panel.title}: {len(lines)} series, {_when(answer.span.start)} to {_when(answer.span.end)}"
    return (
        f'<div class="plot"><ol class="up" aria-hidden="true">{marks}</ol>'
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{grid}{''.join(parts)}</svg>{_along(answer.span)}</div>{_legend(panel, lines)}"
    )


def spark(points: Sequence[tuple[float, float]], span: Span, color: str) -> str:
    """Return a small curve without axes.

    Args:
        points: Of one series.

        span: From left to right.

        color: Class of its colour.
    """
    known = [(at, value) for at, value in points if math.isfinite(value)]
    if len(known) < 2:
        return ""
    top = max(max(value for _, value in known), 0.0) or 1.0
    drawn = " ".join(
        f"{_WIDTH * (at - span.start) / max(span.length_s, 1e-9):.1f},{_HEIGHT - 96 * max(value, 0.0) / top:.2f}"
        for at, value in known
    )
    return (
        '<svg class="spark" viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline class="line {color}" points="{drawn}"/></svg>'
    )


def lines_of(answer: PanelAnswer) -> list[Line]:
    """Return the series of a panel, the greatest last value first; components keep their colours everywhere."""
    named = [(legend_of(one.target, series.labels), series) for one in answer.answers for series in one.series]
    turn = {name: index % PALETTE for index, name in enumerate(sorted({name for name, _ in named}))}
    lines = [
        Line(name, series.points, name if name in names.COMPONENTS else f"s{turn[name]}") for name, series in named
    ]
    return sorted(lines, key=lambda line: -_last(line) if not math.isnan(_last(line)) else math.inf)


class _Axis(NamedTuple):
    y: Callable[[float], float]
    marks: tuple[float, ...]
    """From the top down."""


def _axis(panel: Panel, values: Sequence[float]) -> _Axis:
    given = panel.defaults.get("max")
    greatest, least = max(values, default=0.0), min(values, default=0.0)
    top = float(given) if isinstance(given, int | float) else nice(greatest)
    bottom = -nice(-least) if least < 0 else 0.0

    def y(value: float) -> float:
        return _HEIGHT * (1 - (value - bottom) / (top - bottom))

    return _Axis(y, (top, (top + bottom) / 2, bottom))


def _log_axis(values: Sequence[float]) -> _Axis:
    known = [value for value in values if value > 0 and math.isfinite(value)]
    high = math.ceil(math.log10(max(known, default=1.0)) - 1e-9)
    low = math.floor(math.log10(min(known, default=0.1)) + 1e-9)
    low = max(min(low, high - 1), high - _DECADES)

    def y(value: float) -> float:
        return _HEIGHT if value <= 0 else _HEIGHT * (1 - (max(math.log10(value), low) - low) / (high - low))

    return _Axis(y, (10.0**high, 10.0 ** ((high + low) / 2), 10.0**low))


def _stacked(lines: Sequence[Line], as_share: bool) -> list[Line]:
    """Return each series on top of those before it, the greatest lowest."""
    times = sorted({at for line in lines for at, _ in line.points})
    below = dict.fromkeys(times, 0.0)
    whole = dict.fromkeys(times, 0.0)
    for line in lines:
        for at, value in line.points:
            whole[at] += value if math.isfinite(value) else 0.0
    stacked: list[Line] = []
    for line in lines:
        for at, value in line.points:
            if math.isfinite(value):
                below[at] += (value / whole[at] if whole[at] else 0.0) if as_share else value
        stacked.append(line._replace(points=sorted(below.items())))
    return stacked


def _runs(points: Sequence[tuple[float, float]], step_s: float) -> list[list[tuple[float, float]]]:
    """Return a line in the parts between its gaps."""
    runs: list[list[tuple[float, float]]] = []
    for at, value in points:
        if not math.isfinite(value):
            continue
        if not runs or at - runs[-1][-1][0] > _GAP * step_s:
            runs.append([])
        runs[-1].append((at, value))
    return runs


def _line(line: Line, x: Callable[[float], float], y: Callable[[float], float], step_s: float) -> str:
    drawn = ""
    for run in _runs(line.points, step_s):
        if len(run) == 1:  # a dot: a line of no length with round ends
            drawn += f'<path class="line dotted {line.color}" d="M{x(run[0][0]):.1f} {y(run[0][1]):.2f}h0"/>'
        else:
            points = " ".join(f"{x(at):.1f},{y(value):.2f}" for at, value in run)
            drawn += f'<polyline class="line {line.color}" points="{points}"/>'
    return f"<g><title>{escape(line.name)}</title>{drawn}</g>"


def _area(
    line: Line,
    below: Sequence[tuple[float, float]],
    x: Callable[[float], float],
    y: Callable[[float], float],
    step_s: float,
) -> str:
    under = dict(below)
    drawn = ""
    for run in _runs(line.points, step_s):
        if len(run) == 1:
            at = run[0][0]
            run = [(at, run[0][1]), (at + step_s / 2, run[0][1])]
            under[at + step_s / 2] = under.get(at, 0.0)
        there = " ".join(f"{x(at):.1f},{y(value):.2f}" for at, value in run)
        back = " ".join(f"{x(at):.1f},{y(under.get(at, 0.0)):.2f}" for at, _ in reversed(run))
        drawn += f'<polygon class="area {line.color}" points="{there} {back}"/>'
        drawn += f'<polyline class="line {line.color}" points="{there}"/>'
    return f"<g><title>{escape(line.name)}</title>{drawn}</g>"


def _thinned(
    exemplars: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]
) -> list[tuple[float, float]]:
    """Return those within the plot, of each small square of it one."""
    squares = {
        (int(_DOTS_ALONG * x(at) / _WIDTH), int(_DOTS_UP * y(value) / _HEIGHT)): (at, value)
        for at, value in exemplars
        if 0 <= x(at) <= _WIDTH and 0 < y(value) < _HEIGHT
    }
    return list(squares.values())


def _legend(panel: Panel, lines: Sequence[Line]) -> str:
    rows: list[str] = []
    for line in lines[:_SHOWN]:
        look = look_of(panel, line.name)
        known = [value for _, value in line.points if math.isfinite(value)]
        cells = (_last(line), max(known)) if known else (math.nan, math.nan)
        values = "".join(f'<td class="n">{escape(in_unit(value, look.unit))}</td>' for value in cells)
        rows.append(f'<tr><td class="k"><b class="{line.color}"></b>{escape(line.name or "(empty)")}</td>{values}</tr>')
    more = len(lines) - _SHOWN
    note = f'<p class="soft">and {more} more</p>' if more > 0 else ""
    head = '<tr><th scope="col">Name</th><th class="n" scope="col">Last</th><th class="n" scope="col">Max</th></tr>'
    return f'<table class="legend"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>{note}'


def _last(line: Line) -> float:
    return next((value for _, value in reversed(line.points) if math.isfinite(value)), math.nan)


def _along(span: Span) -> str:
    shown = (span.start, (span.start + span.end) / 2, span.end)
    form = "%m-%d %H:%M" if span.length_s > _LONG_S else "%H:%M" if span.length_s > 900 else "%H:%M:%S"
    marks = "".join(f"<li>{datetime.fromtimestamp(at, UTC).strftime(form)}</li>" for at in shown)
    return f'<ol class="along" aria-hidden="true">{marks}</ol>'


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
