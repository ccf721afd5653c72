"""The dashboards of `grafana/` are made by their code, and keep the rules that all of them share."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from grafana._make.__main__ import BOARDS, FOLDER, files
from grafana._make.queries import SCOPE
from spancost.dashboards.checking import read_expected_empty
from spancost.dashboards.model import COLUMNS, Dashboard, Panel
from spancost.dashboards.reading import read_dashboard

_ROOT: Final = FOLDER.parent
_FILES: Final = files()
_MADE: Final = {uid: FOLDER / "dashboards" / f"{uid}.json" for uid in BOARDS}
_RAW: Final[Mapping[str, dict[str, Any]]] = {uid: json.loads(file.read_text("utf-8")) for uid, file in _MADE.items()}
_READ: Final[Mapping[str, Dashboard]] = {uid: read_dashboard(file) for uid, file in _MADE.items()}
_EACH: Final = pytest.mark.parametrize("uid", list(BOARDS))

_METRIC: Final = re.compile(r"(?<![\w:])((?:\w+:)?spancost_\w+(?::\w+)?|ALERTS)(?![\w:])(\{[^}]*\})?")
_ROW: Final = re.compile(r"^\| `spancost\.[^|]*\| `(spancost_\w+)` \| (\w+) \|[^|]*\| ([^|]*)\|", re.MULTILINE)
_DERIVED: Final = "spancost_spans_cost_usd_total"
"""Worked out by a Collector: collector-config/no-sdk-metrics.yaml."""
_WORKED_OUT: Final = frozenset({"le", "aws_service", "version", "prices"})
"""Labels that are in no list of names."""
_BY: Final = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def _panels(uid: str) -> list[dict[str, Any]]:
    return [one for one in _RAW[uid]["panels"] if one["type"] != "row"]


def _queries(uid: str) -> Iterator[tuple[str, str]]:
    for panel in _READ[uid].panels:
        for target in panel.targets:
            yield f"{panel.title}: {target.ref_id}", target.expr
    for one in _READ[uid].annotations:
        yield f"annotation {one.name}", one.expr


def _known_metrics() -> set[str]:
    page = (_ROOT / "docs" / "reference" / "names.md").read_text("utf-8")
    listed = {name for name, _, _ in _ROW.findall(page)}
    histograms = {name.removesuffix("_bucket") for name in listed if name.endswith("_bucket")}
    recorded = {
        rule["record"]
        for file in sorted((FOLDER / "rules").glob("*.yaml"))
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    return listed | recorded | {f"{name}_{part}" for name in histograms for part in ("sum", "count")} | {_DERIVED}


@pytest.mark.parametrize("file", _FILES, ids=[file.name for file in _FILES])
def test_made_files_are_up_to_date(file: Path) -> None:
    assert file.read_text("utf-8") == _FILES[file], "run python -m grafana._make"


def test_there_is_no_dashboard_that_nobody_makes() -> None:
    assert {file.stem for file in (FOLDER / "dashboards").iterdir()} == set(BOARDS)
    assert list(BOARDS) == [board.uid for board in BOARDS.values()]
    assert len({board.title for board in BOARDS.values()}) == len(BOARDS)


@_EACH
def test_ids_and_titles_are_unique(uid: str) -> None:
    everything = _RAW[uid]["panels"]
    assert [number for number, count in Counter(one["id"] for one in everything).items() if count > 1] == []
    assert [title for title, count in Counter(one["title"] for one in _panels(uid)).items() if count > 1] == []
    assert _RAW[uid]["uid"] == uid


@_EACH
def test_panels_lie_in_the_grid_and_not_on_each_other(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for one in _RAW[uid]["panels"]:
        cell = one["gridPos"]
        assert cell["x"] + cell["w"] <= COLUMNS, one["title"]
        for x in range(cell["x"], cell["x"] + cell["w"]):
            for y in range(cell["y"], cell["y"] + cell["h"]):
                assert (x, y) not in taken, f"{one['title']} and {taken[x, y]}"
                taken[x, y] = one["title"]


@_EACH
def test_every_panel_says_what_it_is_and_in_which_unit(uid: str) -> None:
    for panel in _READ[uid].panels:
        assert len(panel.description) > 20, panel.title
        assert panel.description.endswith("."), panel.title
        assert panel.defaults.get("unit"), panel.title
        assert "decimals" not in panel.defaults, f"{panel.title}: fractions of a cent would be cut"
        if panel.kind == "table":
            named = {found["matcher"]["options"] for found in panel.overrides}
            assert _value_columns(panel) <= named, panel.title


def _value_columns(panel: Panel) -> set[str]:
    """Return the titles of the columns with values that are shown."""
    (options,) = [one["options"] for one in panel.transformations if one["id"] == "organize"]
    shown = {name for name in options["indexByName"] if name.startswith("Value")}
    return {options["renameByName"][name] for name in shown if not options["excludeByName"].get(name)}


@_EACH
def test_every_query_goes_to_the_data_source_that_is_chosen(uid: str) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    variables = {one["name"]: one for one in _RAW[uid]["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    sources = [one["datasource"] for one in _panels(uid)]
    sources += [target["datasource"] for one in _panels(uid) for target in one["targets"]]
    sources += [one["datasource"] for one in variables.values() if one["type"] == "query"]
    sources += [one["datasource"] for one in _RAW[uid]["annotations"]["list"]]
    assert [source for source in sources if source != chosen] == []


@_EACH
def test_a_choice_of_all_also_means_series_without_the_label(uid: str) -> None:
    variables = {one.name: one for one in _READ[uid].variables}
    assert set(SCOPE) <= set(variables)
    for one in variables.values():
        if one.kind == "query":
            found = (one.is_multi, one.include_all, one.all_value, one.current)
            assert found == (True, True, ".*", ("$__all",)), one.name
            assert one.label, one.name
            assert re.fullmatch(rf"label_values\(\S+, {one.name}\)", one.query), one.query


@_EACH
def test_every_selector_is_of_a_known_metric_and_filters_by_the_scope(uid: str) -> None:
    known = _known_metrics() | {"ALERTS"}
    variables = {one.name for one in _READ[uid].variables}
    for place, expr in _queries(uid):
        found = _METRIC.findall(expr)
        assert found, place
        for name, matchers in found:
            assert name in known, f"{place}: {name}"
            for label in SCOPE:
                assert f'{label}=~"${label}"' in matchers, f"{place}: {name} does not filter by {label}"
            for label, value in re.findall(r'(\w+)=~"\$(\w+)"', matchers):
                assert label == value, place
                assert label in variables, place


@_EACH
def test_every_label_that_is_asked_for_exists(uid: str) -> None:
    page = (_ROOT / "docs" / "reference" / "names.md").read_text("utf-8")
    known = {label for *_, labels in _ROW.findall(page) for label in re.findall(r"`(\w+)`", labels)}
    known |= {*SCOPE, *_WORKED_OUT}
    for place, expr in _queries(uid):
        for labels in _BY.findall(expr):
            assert {label for label in labels.split(", ") if label} <= known, f"{place}: {labels}"


@_EACH
def test_rates_follow_the_scrape_interval_and_sums_the_time_shown(uid: str) -> None:
    compared = {"Direct and total"}  # with a recorded rate, over the same window
    for panel in _READ[uid].panels:
        for target in panel.targets:
            windows = re.findall(r"\b(rate|increase)\([^[]*\[([^\]]+)\]", target.expr)
            wanted = {"rate": "$__rate_interval", "increase": "$__range"}
            for function, window in windows:
                fits = window == wanted[function] or (panel.title in compared and window == "5m")
                assert fits, f"{panel.title}: {function} over {window}"
                if function == "increase":
                    assert target.is_instant, panel.title
                    assert "xtrapolated" in panel.description, f"{panel.title}: increase extrapolates, and must say so"


@_EACH
def test_links_lead_somewhere(uid: str) -> None:
    for panel in _READ[uid].panels:
        for override in panel.overrides:
            for found in (one for one in override["properties"] if one["id"] == "links"):
                for link in found["value"]:
                    _check_link(uid, panel, link["url"])
    (link,) = _RAW[uid]["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == (
        "dashboards",
        ["spancost"],
        True,
        True,
    )
    assert "spancost" in _RAW[uid]["tags"]


def _check_link(uid: str, panel: Panel, url: str) -> None:
    found = re.fullmatch(r"/d/([\w-]+)\?(.*)", url)
    assert found is not None, url
    there = {one.name for one in _READ[found[1]].variables}
    here = {one.name for one in _READ[uid].variables}
    assert set(re.findall(r"\$\{(\w+):queryparam\}", url)) <= here & there, url
    assert set(re.findall(r"var-(\w+)=", url)) <= there, url
    titles = set(
        next(one["options"] for one in panel.transformations if one["id"] == "organize")["renameByName"].values()
    )
    assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= titles, url


@_EACH
def test_firing_alerts_of_spancost_are_marked(uid: str) -> None:
    (one,) = _RAW[uid]["annotations"]["list"]
    assert 'ALERTS{alertname=~"Spancost.*", alertstate="firing"' in one["expr"]
    assert "{{alertname}}" in one["titleFormat"]


def test_panels_that_may_be_empty_exist_and_have_a_reason() -> None:
    listed = read_expected_empty(FOLDER / "expected-empty.yaml", list(_READ.values()))
    assert set(listed) <= set(BOARDS)
    assert sum(map(len, listed.values())) < 10, "what is listed is not shown to work by any test"


def test_percentiles_lead_to_traces() -> None:
    (panel,) = [one for one in _READ["spancost-route"].panels if one.title == "Request cost"]
    assert [target.has_exemplars for target in panel.targets] == [False, True, False]
    sources = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "spancost.yaml").read_text("utf-8"))
    by_uid = {one["uid"]: one for one in sources["datasources"]}
    (destination,) = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"  # as the exemplars of OpenTelemetry arrive in Prometheus
    assert destination["datasourceUid"] in by_uid
