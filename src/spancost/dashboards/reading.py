"""Reads dashboards as Grafana saves and exports them (schema version 1, which Grafana 12 still reads and writes)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from spancost.dashboards.model import (
    COLUMNS,
    Annotation,
    Cell,
    Dashboard,
    DashboardError,
    Panel,
    Row,
    Target,
    Variable,
)

_MAX_BYTES: Final = 16 * 1024 * 1024
_WITHOUT_QUERIES: Final = frozenset({"text", "dashlist", "news", "annolist", "alertlist", "welcome", "gettingstarted"})
_PROMETHEUS: Final = "prometheus"
_HIDDEN: Final = 2


def read_dashboards(paths: Sequence[Path]) -> list[Dashboard]:
    """Return the dashboards of files, and of all `*.json` files right in folders.

    Args:
        paths: Files and folders.

    Raises:

        DashboardError: One cannot be read, a folder has none, or two have the same uid.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob("*.json"))
            if not inside:
                raise DashboardError(str(path), "the folder", "no *.json", "a folder with dashboards")
            files.extend(inside)
        else:
            files.append(path)
    dashboards = [read_dashboard(file) for file in dict.fromkeys(files)]
    seen: dict[str, str] = {}
    for dashboard in dashboards:
        if dashboard.name in seen:
            raise DashboardError(
                dashboard.file, "uid", dashboard.name, f"one of its own; {seen[dashboard.name]} has it"
            )
        seen[dashboard.name] = dashboard.file
    return dashboards


def read_dashboard(file: Path) -> Dashboard:
    """Return the dashboard of one file.

    Args:
        file: JSON.

    Raises:

        DashboardError: It cannot be read, or is no dashboard.
    """
    name = str(file)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DashboardError(name, "the file", f"{file.stat().st_size} bytes", f"at most {_MAX_BYTES}")
        loaded: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8"
        raise DashboardError(name, "the file", said, "a readable UTF-8 file") from None
    except json.JSONDecodeError as error:
        raise DashboardError(name, f"line {error.lineno}", error.msg, "JSON") from None
    except (RecursionError, ValueError):
        raise DashboardError(name, "the file", "too deep or with too long numbers", "the JSON of a dashboard") from None
    return _Reader(name).dashboard(loaded)


class _Reader:
    """Reads one file; knows its name for errors."""

    def __init__(self, file: str) -> None:
        self._file = file

    def dashboard(self, loaded: object) -> Dashboard:
        found = self._mapping(loaded, "the file")
        if isinstance(found.get("dashboard"), dict):  # as the HTTP API wraps it
            found = self._mapping(found["dashboard"], "dashboard")
        if "elements" in found or "spec" in found:
            raise DashboardError(
                self._file, "the file", "schema version 2", "the classic JSON: export it with `Export as code`, Classic"
            )
        if "panels" not in found:
            raise DashboardError(self._file, "panels", None, "a list of panels")
        panels, rows = self._panels(found)
        time = self._mapping(found.get("time") or {}, "time")
        templating = self._mapping(found.get("templating") or {}, "templating")
        annotations = self._mapping(found.get("annotations") or {}, "annotations")
        return Dashboard(
            file=self._file,
            uid=self._text(found.get("uid"), "uid"),
            title=self._text(found.get("title"), "title"),
            description=self._text(found.get("description"), "description"),
            panels=tuple(panels),
            rows=tuple(rows),
            variables=tuple(self._variables(templating.get("list"))),
            annotations=tuple(self._annotations(annotations.get("list"))),
            time_from=self._text(time.get("from"), "time.from") or "now-6h",
            time_to=self._text(time.get("to"), "time.to") or "now",
        )

    def _panels(self, found: Mapping[str, Any]) -> tuple[list[Panel], list[Row]]:
        panels: list[Panel] = []
        rows: list[Row] = []
        title = ""
        for index, one in enumerate(self._list(found["panels"], "panels")):
            key = f"panels[{index}]"
            if one.get("type") != "row":
                panels.append(self._panel(one, key, title))
                continue
            title = self._text(one.get("title"), f"{key}.title")
            cell = self._cell(one.get("gridPos"), f"{key}.gridPos")
            rows.append(Row(title, cell.y))
            inside = self._list(one.get("panels") or [], f"{key}.panels")  # of a row that is collapsed
            panels.extend(self._panel(inner, f"{key}.panels[{at}]", title) for at, inner in enumerate(inside))
        return panels, rows

    def _panel(self, one: Mapping[str, Any], key: str, row: str) -> Panel:
        kind = self._text(one.get("type"), f"{key}.type")
        number = one.get("id")
        if not isinstance(number, int):
            raise DashboardError(self._file, f"{key}.id", number, "a whole number")
        config = self._mapping(one.get("fieldConfig") or {}, f"{key}.fieldConfig")
        targets, others = self._targets(one, key)
        unread = ""
        if "libraryPanel" in one:
            unread = "a library panel: its queries are not in this file"
        elif not targets and kind not in _WITHOUT_QUERIES:
            unread = "its queries are not for Prometheus" if others else "it has no query"
        elif not targets:
            unread = "it has no query"
        points = one.get("maxDataPoints")
        return Panel(
            id=number,
            title=self._text(one.get("title"), f"{key}.title"),
            description=self._text(one.get("description"), f"{key}.description"),
            kind=kind,
            cell=self._cell(one.get("gridPos"), f"{key}.gridPos"),
            row=row,
            targets=tuple(targets),
            unread=unread,
            max_data_points=points if isinstance(points, int) and points > 0 else None,
            interval=self._text(one.get("interval"), f"{key}.interval"),
            time_from=self._text(one.get("timeFrom"), f"{key}.timeFrom"),
            time_shift=self._text(one.get("timeShift"), f"{key}.timeShift"),
            options=self._mapping(one.get("options") or {}, f"{key}.options"),
            defaults=self._mapping(config.get("defaults") or {}, f"{key}.fieldConfig.defaults"),
            overrides=tuple(self._list(config.get("overrides") or [], f"{key}.fieldConfig.overrides")),
            transformations=tuple(self._list(one.get("transformations") or [], f"{key}.transformations")),
        )

    def _targets(self, one: Mapping[str, Any], key: str) -> tuple[list[Target], int]:
        """Return the queries that are shown, and how many there are for other data sources."""
        targets: list[Target] = []
        others = 0
        for index, found in enumerate(self._list(one.get("targets") or [], f"{key}.targets")):
            where = f"{key}.targets[{index}]"
            if found.get("hide"):
                continue
            if not _is_for_prometheus(found.get("datasource", one.get("datasource"))) or "expr" not in found:
                others += 1
                continue
            expr = self._text(found["expr"], f"{where}.expr")
            if not expr.strip():
                continue
            shape = self._text(found.get("format"), f"{where}.format")
            targets.append(
                Target(
                    ref_id=self._text(found.get("refId"), f"{where}.refId") or chr(ord("A") + index % 26),
                    expr=expr,
                    legend=self._text(found.get("legendFormat"), f"{where}.legendFormat"),
                    # Where both are asked for, Grafana asks both: the range has the instant in it.
                    is_instant=bool(found.get("instant")) and not found.get("range"),
                    is_heatmap=shape == "heatmap",
                    interval=self._text(found.get("interval"), f"{where}.interval"),
                    has_exemplars=bool(found.get("exemplar")),
                )
            )
        return targets, others

    def _cell(self, found: object, key: str) -> Cell:
        position = self._mapping(found or {}, key)
        numbers = [position.get(name, default) for name, default in (("x", 0), ("y", 0), ("w", COLUMNS), ("h", 8))]
        for name, number in zip("xywh", numbers, strict=True):
            if not isinstance(number, int) or number < 0:
                raise DashboardError(self._file, f"{key}.{name}", number, "a whole number from 0")
        return Cell(*numbers)

    def _variables(self, found: object) -> Iterable[Variable]:
        for index, one in enumerate(self._list(found or [], "templating.list")):
            key = f"templating.list[{index}]"
            query = one.get("query")
            if isinstance(query, dict):  # as Grafana's query editor saves it
                query = cast("dict[str, object]", query).get("query")
            current = self._mapping(one.get("current") or {}, f"{key}.current").get("value")
            name = self._text(one.get("name"), f"{key}.name")
            if not name:
                raise DashboardError(self._file, f"{key}.name", name, "the name of a variable")
            yield Variable(
                name=name,
                kind=self._text(one.get("type"), f"{key}.type"),
                label=self._text(one.get("label"), f"{key}.label"),
                query=self._text(query, f"{key}.query"),
                regex=self._text(one.get("regex"), f"{key}.regex"),
                is_multi=bool(one.get("multi")),
                include_all=bool(one.get("includeAll")),
                all_value=self._text(one.get("allValue"), f"{key}.allValue"),
                current=tuple(_values(current)),
                options=tuple(
                    value
                    for option in self._list(one.get("options") or [], f"{key}.options")
                    for value in _values(option.get("value"))
                ),
                is_hidden=one.get("hide") == _HIDDEN,
            )

    def _annotations(self, found: object) -> Iterable[Annotation]:
        for index, one in enumerate(self._list(found or [], "annotations.list")):
            key = f"annotations.list[{index}]"
            expr = one.get("expr")
            if isinstance(expr, str) and one.get("enable", True) and _is_for_prometheus(one.get("datasource")):
                yield Annotation(self._text(one.get("name"), f"{key}.name"), expr)

    def _text(self, found: object, key: str) -> str:
        if found is None:
            return ""
        if not isinstance(found, str):
            raise DashboardError(self._file, key, found, "a text")
        return found

    def _mapping(self, found: object, key: str) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise DashboardError(self._file, key, found, "an object")
        return cast("dict[str, Any]", found)

    def _list(self, found: object, key: str) -> list[dict[str, Any]]:
        if not isinstance(found, list):
            raise DashboardError(self._file, key, found, "a list")
        return [self._mapping(one, f"{key}[{index}]") for index, one in enumerate(cast("list[object]", found))]


def _values(found: object) -> Iterable[str]:
    if isinstance(found, list):
        return [str(one) for one in cast("list[object]", found)]
    return [] if found is None else [str(found)]


def _is_for_prometheus(source: object) -> bool:
    """Whether a query goes to Prometheus; a variable or nothing may stand for one."""
    if isinstance(source, dict):
        kind = cast("dict[str, object]", source).get("type")
        return kind in (None, "", _PROMETHEUS)
    return source is None or (isinstance(source, str) and not source.startswith("-- "))
