from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from spancost.dashboards.model import DashboardError
from spancost.dashboards.reading import read_dashboard, read_dashboards
from tests.dashboards.boards import panel, write

_WRONG: Final[list[tuple[Any, str]]] = [
    ("{", r"board.json: line 1: 'Expecting property name"),
    ("[]", r"board.json: the file: \[\] is not accepted: an object"),
    ({"title": "x"}, r"board.json: panels: None is not accepted: a list of panels"),
    ({"panels": {}}, r"panels: \{\} is not accepted: a list"),
    ({"panels": [{"type": "stat"}]}, r"panels\[0\].id: None is not accepted: a whole number"),
    ({"panels": [{"id": 1, "title": 5}]}, r"panels\[0\].title: 5 is not accepted: a text"),
    ({"panels": [{"id": 1, "gridPos": {"x": -1}}]}, r"panels\[0\].gridPos.x: -1 is not accepted"),
    ({"panels": [], "templating": {"list": [{}]}}, r"templating.list\[0\].name: '' is not accepted"),
    ({"elements": {}}, "schema version 2"),
    ({"panels": [{"id": 1, "targets": ["up"]}]}, r"panels\[0\].targets\[0\]: 'up' is not accepted: an object"),
]


def _read(folder: Path, document: Any) -> Any:
    file = folder / "board.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return read_dashboard(file)


def test_panels_in_rows_are_found_whether_these_are_open_or_collapsed(tmp_path: Path) -> None:
    closed = {"id": 7, "type": "row", "title": "Closed", "collapsed": True, "panels": [panel("c", "c", number=8)]}
    opened: dict[str, Any] = {
        "id": 5,
        "type": "row",
        "title": "Open",
        "panels": [],
        "gridPos": {"x": 0, "y": 9, "w": 24, "h": 1},
    }
    board = read_dashboard(write(tmp_path, panel("a", "a"), opened, panel("b", "b", number=6), closed))
    assert [(one.title, one.row) for one in board.panels] == [("a", ""), ("b", "Open"), ("c", "Closed")]
    assert [row.title for row in board.rows] == ["Open", "Closed"]


def test_an_export_of_the_http_api_is_read(tmp_path: Path) -> None:
    found = _read(tmp_path, {"meta": {}, "dashboard": {"uid": "x", "title": "X", "panels": []}})
    assert (found.uid, found.title, found.time_from) == ("x", "X", "now-6h")


def test_what_prometheus_cannot_be_asked_is_left_out_with_a_reason(tmp_path: Path) -> None:
    loki: dict[str, Any] = panel("logs", "{}", number=2) | {"datasource": {"type": "loki", "uid": "l"}}
    loki["targets"][0]["datasource"] = {"type": "loki", "uid": "l"}
    library: dict[str, Any] = {"id": 4, "type": "stat", "title": "lib", "libraryPanel": {"uid": "u", "name": "n"}}
    hidden = panel("hidden", "up", number=5)
    hidden["targets"][0]["hide"] = True
    text = {"id": 3, "type": "text", "title": "words", "options": {"content": "hello"}}
    board = read_dashboard(write(tmp_path, loki, text, library, hidden))
    assert [one.unread for one in board.panels] == [
        "its queries are not for Prometheus",
        "it has no query",
        "a library panel: its queries are not in this file",
        "it has no query",
    ]


def test_a_query_variable_of_any_age_is_read(tmp_path: Path) -> None:
    old = {"name": "job", "type": "query", "query": "label_values(job)", "current": {"value": "a"}}
    new = {"name": "inst", "type": "query", "query": {"query": "label_values(up, instance)"}, "includeAll": True}
    board = read_dashboard(write(tmp_path, templating={"list": [old, new]}))
    assert [(one.query, one.current, one.include_all) for one in board.variables] == [
        ("label_values(job)", ("a",), False),
        ("label_values(up, instance)", (), True),
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    _WRONG,
)
def test_a_file_that_is_no_dashboard_is_refused_with_file_key_and_value(
    tmp_path: Path, document: Any, said: str
) -> None:
    with pytest.raises(DashboardError, match=said):
        _read(tmp_path, document)


def test_a_missing_file_an_empty_folder_and_a_uid_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DashboardError, match=r"gone\.json: the file: 'No such file"):
        read_dashboards([tmp_path / "gone.json"])
    with pytest.raises(DashboardError, match=r"no \*\.json"):
        read_dashboards([tmp_path])
    first = write(tmp_path, name="shop")
    second = tmp_path / "copy.json"
    second.write_bytes(first.read_bytes())
    with pytest.raises(DashboardError, match="uid: 'shop' is not accepted: one of its own"):
        read_dashboards([tmp_path])
