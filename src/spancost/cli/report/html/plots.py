"""Plots as SVG inside the page; names and numbers around them are text, so that they stay readable at any width."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from spancost.cli._format import UNKNOWN, share, usd
from spancost.cli.html.parts import REGION, breakable, html_table, nice
from spancost.cli.report.html.figures import SERIES, Bar, TimePlot
from spancost.cli.report.wording import NOTHING

_HEIGHT: Final = 100.0
_BAR: Final = 0.84
"""Of the room that each time has."""


def time_plot(plot: TimePlot) -> str:
    """Return stacked bars over time, with axes, legend, and a table of the same numbers."""
    sums = [plot.sum_at(index) for index in range(len(plot.times))]
    top = nice(max(sums))
    groups: list[str] = []
    for index, time in enumerate(plot.times):
        if not sums[index]:
            continue
        at, parts = _HEIGHT, list[str]()
        for name, amounts in plot.usd.items():
            height = _HEIGHT * amounts[index] / top
            at -= height
            if height:
                parts.append(_rect(index + (1 - _BAR) / 2, at, _BAR, height, name))
        groups.append(f"<g><title>{escape(time)}: {usd(sums[index])}</title>{''.join(parts)}</g>")
    lines = "".join(f'<line class="grid" x1="0" x2="{len(plot.times)}" y1="{y}" y2="{y}"/>' for y in (0, 50, 100))
    label = f"Cost by {plot.key} and component, {plot.times[0]} to {plot.times[-1]}, at most {usd(max(sums))}"
    shown = [plot.times[0], *([plot.times[len(plot.times) // 2]] if len(plot.times) > 4 else []), plot.times[-1]]
    along = "".join(f"<li>{escape(time)}</li>" for time in dict.fromkeys(shown))
    return (
        f"{_legend(plot)}"
        '<div class="plot">'
        f'<ol class="up" aria-hidden="true"><li>{usd(top)}</li><li>{usd(top / 2)}</li><li>$0</li></ol>'
        f'<svg viewBox="0 0 {len(plot.times)} 100" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{lines}{''.join(groups)}</svg>"
        f'<ol class="along" aria-hidden="true">{along}</ol></div>'
        f"<details><summary>The same numbers as a table</summary>{_time_table(plot, sums)}</details>"
    )


def _legend(plot: TimePlot) -> str:
    items = (
        f'<li><svg viewBox="0 0 1 1" aria-hidden="true">{_rect(0, 0, 1, 1, name)}</svg>{name} {usd(sum(amounts))}</li>'
        for name, amounts in plot.usd.items()
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _time_table(plot: TimePlot, sums: Sequence[float]) -> str:
    rows = [
        [time, *(usd(amounts[index]) for amounts in plot.usd.values()), usd(sums[index])]
        for index, time in enumerate(plot.times)
    ]
    totals = ["total", *(usd(sum(amounts)) for amounts in plot.usd.values()), usd(sum(sums))]
    return html_table([plot.key, *plot.usd, "total"], rows, totals, keys=1)


def bar_table(what: str, bars: Sequence[Bar], whole_usd: float) -> str:
    """Return a table whose rows have bars, so that each is beside its number.

    Args:
        what: Title of the names.

        bars: Costliest first.

        whole_usd: Everything, for shares.
    """
    longest = max((bar.total_usd for bar in bars if bar.usd), default=0.0) or 1.0
    head = f'<th scope="col">{escape(what)}</th><td></td><th class="n" scope="col">USD</th>'
    rows = "".join(
        f'<tr><td class="k">{breakable(bar.name or NOTHING)}</td><td class="b">{_bar(bar, longest)}</td>'
        f'<td class="n">{_amount(bar)}</td><td class="n">{share(bar.total_usd, whole_usd)}</td></tr>'
        for bar in bars
    )
    return (
        f'{REGION}<table><thead><tr>{head}<th class="n" scope="col">share</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _amount(bar: Bar) -> str:
    return UNKNOWN if bar.unknown and not bar.total_usd else usd(bar.total_usd)


def _bar(bar: Bar, longest: float) -> str:
    at, parts = 0.0, list[str]()
    for name in SERIES:
        width = 100 * bar.usd.get(name, 0.0) / longest
        if width:
            parts.append(_rect(at, 0, width, 1, name))
        at += width
    return f'<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'


def _rect(x: float, y: float, width: float, height: float, name: str) -> str:
    return f'<rect class="{name}" x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"/>'
