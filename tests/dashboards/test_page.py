"""The page that shows dashboards without Grafana."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spancost.cli.dashboards.fields import in_unit
from spancost.cli.dashboards.page import Checked, html_page
from spancost.dashboards.asking import Question, ask
from spancost.dashboards.checking import findings
from spancost.dashboards.reading import read_dashboard
from spancost.prometheus_server import PrometheusServer
from tests.dashboards.boards import SOURCE, answer, instant, panel, write
from tests.support.html_page import Page, assert_asks_nobody
from tests.support.json_server import json_server

END = 1000.0
EVIL = "<script>alert('&')</script>"


def _page(folder: Path, panels: Sequence[dict[str, Any]], answers: Sequence[Any], **more: Any) -> str:
    board = read_dashboard(write(folder, *panels, **more))
    with json_server(answers) as server:
        asked = ask(board, PrometheusServer(server.url), Question(END, 600.0))
        return html_page([Checked(asked, findings(asked, {}))], server.url)


def _place(text: str, title: str) -> str:
    """Return the rule of the place of a panel."""
    found = re.search(rf'class="panel \S+ (at-[\d-]+)"><h4>{title}<', text)
    assert found is not None
    rule = re.search(rf"\.{found[1]} {{ (.*?) }}", text)
    assert rule is not None
    return rule[1]


def test_nothing_of_a_dashboard_or_an_answer_is_markup(tmp_path: Path) -> None:
    panels = [
        panel(EVIL, "a", description=EVIL),
        panel("Table", "b", kind="table", number=2),
        panel("Bars", "c", kind="bargauge", number=3),
        panel("Pie", "d", kind="piechart", number=4),
        panel("Number", "e", kind="stat", number=5),
        {"id": 6, "type": "text", "title": "Text", "options": {"content": EVIL}},
    ]
    labels = {"route": EVIL}
    one, now = answer((labels, [(900.0, 1.0), (915.0, 2.0)])), instant((labels, 1.0), ({"route": "b"}, 2.0))
    text = _page(tmp_path, panels, [one, now], title=EVIL, description=EVIL)
    assert "<script" not in text
    assert_asks_nobody(text.replace("http://127.0.0.1", ""))
    assert EVIL in Page(text).cells


def test_panels_stand_where_they_stand_in_grafana_each_row_below_its_title(tmp_path: Path) -> None:
    row = {"id": 9, "type": "row", "title": "Below", "gridPos": {"x": 0, "y": 8, "w": 24, "h": 1}}
    panels = [
        panel("Left", "a", gridPos={"x": 0, "y": 0, "w": 8, "h": 8}),
        panel("Right", "a", number=2, gridPos={"x": 8, "y": 0, "w": 16, "h": 4}),
        row,
        panel("Lower", "a", number=3, gridPos={"x": 12, "y": 13, "w": 12, "h": 6}),
        panel("Upper", "a", number=4, gridPos={"x": 0, "y": 9, "w": 12, "h": 4}),
    ]
    text = _page(tmp_path, panels, [answer(({}, [(900.0, 1.0)]))])
    assert _place(text, "Left") == "grid-column: 1 / span 8; grid-row: 1 / span 8;"
    assert _place(text, "Right") == "grid-column: 9 / span 16; grid-row: 1 / span 4;"
    assert _place(text, "Upper") == "grid-column: 1 / span 12; grid-row: 1 / span 4;"
    assert _place(text, "Lower") == "grid-column: 13 / span 12; grid-row: 5 / span 6;"
    assert text.index("<h3>Below</h3>") < text.index(">Lower<")


def test_a_line_is_drawn_from_its_points_and_broken_where_there_are_none(tmp_path: Path) -> None:
    points = [(400.0, 0.0), (415.0, 5.0), (430.0, 10.0), (700.0, 10.0), (715.0, 10.0)]
    text = _page(tmp_path, [panel("Plot", "a")], [answer(({"x": "y"}, points))])
    lines = re.findall(r'<polyline class="line s0" points="([^"]+)"', text)
    # 600 seconds are 1000 wide, the axis goes to 10: the first line rises over 30 seconds, the second is at the top.
    assert lines == ["0.0,100.00 25.0,50.00 50.0,0.00", "500.0,0.00 525.0,0.00"]


def test_stacked_areas_lie_on_each_other_the_greatest_below(tmp_path: Path) -> None:
    custom: dict[str, Any] = {"fieldConfig": {"defaults": {"custom": {"stacking": {"mode": "normal"}}}}}
    small = ({"n": "small"}, [(400.0, 2.0), (415.0, 2.0)])
    great = ({"n": "great"}, [(400.0, 6.0), (415.0, 8.0)])
    text = _page(tmp_path, [panel("Plot", "a", **custom)], [answer(small, great)])
    areas = re.findall(r'<polygon class="area s\d" points="([^"]+)"', text)
    assert areas == ["0.0,40.00 25.0,20.00 25.0,100.00 0.0,100.00", "0.0,20.00 25.0,0.00 25.0,20.00 0.0,40.00"]


def test_parts_of_a_whole_reach_the_top_of_the_axis(tmp_path: Path) -> None:
    custom: dict[str, Any] = {"fieldConfig": {"defaults": {"custom": {"stacking": {"mode": "percent"}}}}}
    series = [({"n": name}, [(400.0, value), (415.0, value)]) for name, value in (("a", 1.0), ("b", 3.0))]
    text = _page(tmp_path, [panel("Plot", "a", **custom)], [answer(*series)])
    areas = re.findall(r'<polygon class="area s\d" points="([^"]+)"', text)
    assert areas[0].startswith("0.0,25.00 25.0,25.00")  # b, three quarters
    assert areas[1].startswith("0.0,0.00 25.0,0.00")


def test_a_table_joins_queries_by_labels_and_is_sorted_cut_and_named_as_in_grafana(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "merge", "options": {}},
        {"id": "sortBy", "options": {"sort": [{"field": "Value #A", "desc": True}]}},
        {"id": "limit", "options": {"limitField": 2}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {"route": 0, "Value #B": 1, "Value #A": 2},
                "renameByName": {"route": "Route", "Value #A": "Cost", "Value #B": "Requests"},
            },
        },
    ]
    money = {"matcher": {"id": "byName", "options": "Cost"}, "properties": [{"id": "unit", "value": "currencyUSD"}]}
    table = panel("Table", "a", kind="table", transformations=steps, fieldConfig={"overrides": [money]})
    table["targets"].append({**table["targets"][0], "refId": "B"})
    cost = instant(({"route": "/a"}, 0.000125), ({"route": "/b"}, 3.0), ({"route": "/c"}, 2.0))
    requests = instant(({"route": "/b"}, 12.0))
    text = _page(tmp_path, [table], [cost, requests])
    assert re.findall(r"<th [^>]*>(\w+)</th>", text) == ["Route", "Requests", "Cost"]
    assert Page(text).cells == ["/b", "12", "$3.00", "/c", "", "$2.00"]


def test_numbers_have_the_colour_of_their_threshold_and_states_their_name(tmp_path: Path) -> None:
    look = {
        "unit": "percentunit",
        "thresholds": {"steps": [{"value": None, "color": "green"}, {"value": 0.8, "color": "dark-red"}]},
    }
    named = {"mappings": [{"type": "value", "options": {"2": {"text": "breached", "color": "red"}}}]}
    panels = [
        panel("Used", "a", kind="stat", fieldConfig={"defaults": look}),
        panel("State", "b", kind="stat", number=2, fieldConfig={"defaults": named}),
    ]
    text = _page(tmp_path, panels, [instant(({}, 0.8)), instant(({}, 2.0))])
    assert '<p class="figure c-red">80 %</p>' in text
    assert '<p class="figure c-red">breached</p>' in text


def test_alerts_and_requests_with_a_trace_are_marked_in_plots(tmp_path: Path) -> None:
    plot = panel("Plot", "a")
    plot["targets"][0]["exemplar"] = True
    alerts = {"name": "Alerts", "expr": "ALERTS", "enable": True, "datasource": SOURCE}
    exemplars = {"status": "success", "data": [{"exemplars": [
        {"timestamp": 700.0, "value": "5"}, {"timestamp": 9000.0, "value": "5"}, {"timestamp": 701.0, "value": "50"},
    ]}]}  # fmt: skip
    fired = answer(({"alertname": "SpancostDear"}, [(940.0, 1.0)]))
    answers = [answer(({}, [(400.0, 10.0), (415.0, 10.0)])), exemplars, fired]
    text = _page(tmp_path, [plot], answers, annotations={"list": [alerts]})
    assert re.findall(r'class="dot" d="M([\d.]+) ([\d.]+)h0"', text) == [("500.0", "50.00")]
    assert 'class="event" x1="900.0"' in text
    assert "SpancostDear" in text


def test_what_is_wrong_stands_in_the_panel_and_above(tmp_path: Path) -> None:
    text = _page(tmp_path, [panel("Odd", "$gone"), panel("None", "a", number=2)], [answer()])
    assert "error: A: no variable $gone" in text
    assert "empty: no query has an answer" in text
    assert "2 panels, 2 to look at" in text


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0000012345, "currencyUSD", "$0.00000123"),
        (1234.5, "currencyUSD", "$1,234.50"),
        (0.0, "currencyUSD", "$0"),
        (0.8461, "percentunit", "84.6 %"),
        (12.0, "percent", "12 %"),
        (45.0, "s", "45 s"),
        (600.0, "s", "10 min"),
        (90 * 86400.0, "s", "90 d"),
        (0.0021, "s", "2.1 ms"),
        (2048.0, "bytes", "2 KiB"),
        (1500.0, "decbytes", "1.5 kB"),
        (12.3456, "cps", "12.3/s"),
        (123456.7, "short", "123,457"),
        (-0.5, "none", "-0.5"),
        (float("nan"), "currencyUSD", "NaN"),
        (float("inf"), "short", "∞"),
    ],
)
def test_values_are_shown_in_their_unit(value: float, unit: str, said: str) -> None:
    assert in_unit(value, unit) == said
