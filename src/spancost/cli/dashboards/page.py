"""One page with dashboards as they are now, for people without a Grafana at hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from typing import Final, NamedTuple

from spancost.cli.dashboards.fields import Look, look_of
from spancost.cli.dashboards.plots import lines_of, spark, time_plot
from spancost.cli.dashboards.style import place, style
from spancost.cli.dashboards.tables import rows_of
from spancost.cli.html.document import document, made_by
from spancost.cli.html.parts import REGION, breakable
from spancost.dashboards.asking import DashboardAnswer, Event, PanelAnswer, legend_of
from spancost.dashboards.checking import Finding, Status
from spancost.dashboards.model import Cell

_SHOWN_ROWS: Final = 100
_SHOWN_VALUES: Final = 40
_SHOWN_FIGURES: Final = 12
_LONG_FIGURE: Final = 9
_SAID: Final = {Status.OK, Status.NOT_ASKED}


class Checked(NamedTuple):
    """A dashboard with all that was found out."""

    answer: DashboardAnswer
    findings: Sequence[Finding]


def html_page(checked: Sequence[Checked], server: str) -> str:
    """Return the page.

    Args:
        checked: Dashboards, in their order.

        server: Where the answers are from, without user and password.
    """
    cells: list[Cell] = []
    boards = [_board(one, number, cells) for number, one in enumerate(checked)]
    links = "".join(
        f'<li><a href="#board-{number}">{escape(one.answer.dashboard.title)}</a> {_count(one)}</li>'
        for number, one in enumerate(checked)
    )
    head = (
        f'<header><h1>Dashboards</h1><p class="soft">Answers of {escape(server)}. Laid out as in Grafana; times in '
        f"UTC.</p></header><nav><ul>{links}</ul></nav>"
    )
    return document("Dashboards", style(cells), [head, *boards, made_by()])


def _wrong(error: str) -> str:
    return f' <span class="c-red">{escape(error)}</span>' if error else ""


def _count(checked: Checked) -> str:
    bad = sum(one.status in (Status.ERROR, Status.EMPTY) for one in checked.findings)
    text = f"{len(checked.findings)} panels" + (f", {bad} to look at" if bad else "")
    return f'<span class="{"c-red" if bad else "soft"}">{text}</span>'


def _board(checked: Checked, number: int, cells: list[Cell]) -> str:
    answer, dashboard = checked.answer, checked.answer.dashboard
    chosen = "".join(
        f'<span><span class="soft">{escape(one.variable.label or one.variable.name)}</span> '
        f"{escape('All' if one.chosen.is_all else ', '.join(one.chosen.values) or '(nothing)')}"
        f"{_wrong(one.error)}</span>"
        for one in answer.variables
        if one.variable.kind == "query" and not one.variable.is_hidden
    )
    wrong = "".join(
        f'<p class="c-red">Annotation {escape(one.name)}: {escape(error)}</p>'
        for one, error in answer.annotations
        if error
    )
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") for at in answer.span)
    parts = [
        f'<section class="board" id="board-{number}"><h2>{escape(dashboard.title)}</h2>',
        f'<p class="soft">{escape(dashboard.description)}</p>' if dashboard.description else "",
        f'<p class="soft">{start} to {end}</p><p class="variables">{chosen}</p>{wrong}',
    ]
    for title, group in groupby(checked.findings, key=lambda one: one.panel.row):
        found = list(group)
        top = min(one.panel.cell.y for one in found)
        parts.append(f"<h3>{escape(title)}</h3>" if title else "")
        parts.append('<div class="panels">')
        for one in found:
            cell = one.panel.cell._replace(y=one.panel.cell.y - top)
            cells.append(cell)
            parts.append(_panel(one, cell, answer.events))
        parts.append("</div>")
    return "\n".join([*filter(None, parts), "</section>"])


def _panel(finding: Finding, cell: Cell, events: Sequence[Event]) -> str:
    panel = finding.panel
    kind = finding.status.value.replace(" ", "-")
    said = "" if finding.status in _SAID else f'<p class="said">{escape(f"{finding.status}: {finding.said}")}</p>'
    body = ""
    if finding.status is Status.OK and finding.answer is not None:
        body = _content(finding.answer, events)
    elif finding.status is Status.NOT_ASKED:
        text = panel.options.get("content")
        body = f'<p class="said">{escape(text if isinstance(text, str) else finding.said)}</p>'
    return (
        f'<article class="panel {kind} {place(cell)}"><h4>{escape(panel.title)}</h4>'
        f"{said}{body}{_about(finding)}</article>"
    )


def _about(finding: Finding) -> str:
    queries = "".join(
        f"<pre>{escape(one.target.ref_id)}: {escape(one.query)}</pre>"
        for one in (finding.answer.answers if finding.answer else ())
    )
    text = f"<p>{escape(finding.panel.description)}</p>" if finding.panel.description else ""
    return f"<details><summary>About</summary>{text}{queries}</details>" if text or queries else ""


def _content(answer: PanelAnswer, events: Sequence[Event]) -> str:
    kind = answer.panel.kind
    if kind in ("stat", "gauge"):
        return _figures(answer)
    if kind == "bargauge":
        return _bars(answer)
    if kind in ("timeseries", "graph", "barchart", "trend"):
        return time_plot(answer, events)
    if kind == "table":
        return _table(answer)
    note = f'<p class="soft">Newest values; the form {escape(kind)!r} is Grafana\'s.</p>'
    return note + _values(answer)


def _figures(answer: PanelAnswer) -> str:
    look = look_of(answer.panel)
    shown: list[str] = []
    series = [(legend_of(one.target, found.labels), found) for one in answer.answers for found in one.series]
    for name, found in series[:_SHOWN_FIGURES]:
        value = look.show(found.last)
        title = f"<small>{escape(name)}</small>" if len(series) > 1 else ""
        color = f" c-{value.color}" if value.color else ""
        size = " long" if len(value.text) > _LONG_FIGURE else ""
        shown.append(f'<p class="figure{color}{size}">{title}{escape(value.text)}</p>')
        if len(series) == 1:
            shown.append(spark(found.points, answer.span, "s0"))
    if len(series) > _SHOWN_FIGURES:
        shown.append(f'<p class="soft">and {len(series) - _SHOWN_FIGURES} more</p>')
    return "".join(shown)


def _bars(answer: PanelAnswer) -> str:
    look = look_of(answer.panel)
    lines = [(line.name, line.points[-1][1]) for line in lines_of(answer)]
    given = answer.panel.defaults.get("max")
    longest = float(given) if isinstance(given, int | float) else max((value for _, value in lines), default=1.0)
    rows = "".join(
        f'<tr><td class="k">{breakable(name)}</td><td class="bar">{_bar(value, longest, look)}</td>'
        f'<td class="n">{escape(look.show(value).text)}</td></tr>'
        for name, value in lines[:_SHOWN_VALUES]
    )
    return f"{REGION}<table><tbody>{rows}</tbody></table></div>"


def _bar(value: float, longest: float, look: Look) -> str:
    width = 100 * min(1.0, max(0.0, value / longest)) if longest > 0 else 0.0
    return (
        '<svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="f-{look.color(value)}" x="0" y="0" width="{width:.4g}" height="1"/></svg>'
    )


def _table(answer: PanelAnswer) -> str:
    table = rows_of(answer)
    looks = {name: look_of(answer.panel, name) for name in table.columns}
    head = "".join(
        f'<th class="{"n" if name in table.numbers else ""}" scope="col">{escape(name)}</th>' for name in table.columns
    )
    rows = (
        "".join(_cell(row.get(name), looks[name], is_number=name in table.numbers) for name in table.columns)
        for row in table.rows[:_SHOWN_ROWS]
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = len(table.rows) - _SHOWN_ROWS
    notes = [f"and {more} more"] if more > 0 else []
    notes += [f"without the transformation {name}" for name in table.left_out]
    note = f'<p class="soft">{escape("; ".join(notes))}</p>' if notes else ""
    return f"{REGION}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"


def _cell(value: str | float | None, look: Look, *, is_number: bool) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, str):
        return f'<td class="k">{breakable(value)}</td>'
    shown = look.show(value)
    text = escape(shown.text)
    if look.cell.startswith("color-") and shown.color:
        badge = " badge" if look.cell == "color-background" else ""
        text = f'<span class="c-{shown.color}{badge}">{text}</span>'
    return f'<td class="{"n" if is_number else "k"}">{text}</td>'


def _values(answer: PanelAnswer) -> str:
    look: Look = look_of(answer.panel)
    rows = "".join(
        f"<tr>{_cell(line.name, look, is_number=False)}{_cell(line.points[-1][1], look, is_number=True)}</tr>"
        for line in lines_of(answer)[:_SHOWN_VALUES]
    )
    return f"{REGION}<table><tbody>{rows}</tbody></table></div>"
