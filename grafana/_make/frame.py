"""What all dashboards have in common: variables, alerts as annotations, links to each other, places of panels."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from grafana._make.panels import DATASOURCE, Placed
from grafana._make.queries import SCOPE, chosen

TAG: Final = "spancost"
ROUTE_UID: Final = "spancost-route"
SCOPE_METRIC: Final = "service:spancost_cost_usd:rate5m"
_COLUMNS: Final = 24
_ID_ROOM: Final = 1_000_000
_LABELS: Final = {
    "service_name": "Service",
    "deployment_environment_name": "Environment",
    "k8s_namespace_name": "Namespace",
    "cloud_account_id": "Account",
    "cloud_region": "Region",
    "http_route": "Route",
    "http_request_method": "Method",
    "entrypoint": "Entrypoint",
    "provider": "Provider",
    "model": "Model",
    "operation": "Operation",
    "tenant": "Tenant",
    "feature": "Feature",
    "team": "Team",
    "budget": "Budget",
    "key": "Key",
}


class Section(NamedTuple):
    """Panels below a title of their own."""

    title: str
    panels: Sequence[Placed]


class Board(NamedTuple):
    """One dashboard."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    labels: Sequence[tuple[str, str]] = ()
    """Further labels to choose by, each with the series that has its values."""
    time_from: str = "now-24h"


def route_link(label: str) -> str:
    """Return where a cell with a route or an entrypoint leads: to the Route dashboard, same time and scope.

    Args:
        label: Of the column: `http_route` or `entrypoint`.
    """
    scope = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", *SCOPE))
    title = {"http_route": "Route", "entrypoint": "Entrypoint"}[label]
    return f"/d/{ROUTE_UID}?${{__url_time_range}}&{scope}&var-{label}=${{__data.fields.{title}:percentencode}}"


def json_of(board: Board) -> str:
    """Return a dashboard as Grafana imports it; the same text for the same code."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG, "cost"])
        .timezone("utc")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time(board.time_from, "now")
        .refresh("1m")
        .variables(_variables(board))
        .link(
            dashboard.DashboardLink("Cost")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .icon("external link")
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .build()
    )
    built.annotations = models.AnnotationContainer([_Alerts()])
    built.panels = _placed(board)
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Alerts(models.AnnotationQuery):
    """Firing alerts of spancost in all plots."""

    def __init__(self) -> None:
        super().__init__(
            name="Alerts",
            datasource=DATASOURCE,
            enable=True,
            icon_color="red",
            expr=f'ALERTS{{alertname=~"Spancost.*", alertstate="firing", {chosen(*SCOPE)}}}',
        )

    def to_json(self) -> dict[str, object]:
        """Return it with the texts of an annotation, which the model has no fields for."""
        texts = {"titleFormat": "{{alertname}}", "textFormat": "{{service_name}} {{severity}}", "step": "60s"}
        return {**super().to_json(), **texts}


def _variables(board: Board) -> list[Builder[models.VariableModel]]:
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    labels = [*((label, SCOPE_METRIC) for label in SCOPE), *board.labels]
    return [source, *(_label(label, series) for label, series in labels)]


def _label(label: str, series: str) -> dashboard.QueryVariable:
    """Return a variable of a label. All of it is `.*`, which also matches series without the label."""
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    query = f"label_values({series}, {label})"
    return (
        dashboard.QueryVariable(label)
        .label(_LABELS[label])
        .datasource(DATASOURCE)
        .query({"query": query, "refId": f"variable-{label}"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _placed(board: Board) -> list[models.Panel | models.RowPanel]:
    """Put panels beside each other until a row is full; an id follows from the title and stays when others come."""
    placed: list[models.Panel | models.RowPanel] = []
    seen: dict[int, str] = {}
    top = 0

    def number(text: str) -> int:
        found = zlib.crc32(text.encode()) % _ID_ROOM + 1
        if found in seen:
            raise ValueError(f"{board.title}: {text!r} and {seen[found]!r} have the same id")
        seen[found] = text
        return found

    for section in board.sections:
        row = dashboard.Row(section.title).id(number(f"row {section.title}"))
        placed.append(row.grid_pos(models.GridPos(h=1, w=_COLUMNS, x=0, y=top)).build())
        left, top, tallest = 0, top + 1, 0
        for panel, width, height in section.panels:
            if left + width > _COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            panel.id_val = number(panel.title or "")
            panel.grid_pos = models.GridPos(h=height, w=width, x=left, y=top)
            placed.append(panel)
            left, tallest = left + width, max(tallest, height)
        top += tallest
    return placed
