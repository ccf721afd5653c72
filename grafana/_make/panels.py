"""Panels in the few forms that the dashboards need, so that the same thing looks the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

USD: Final = "currencyUSD"
"""Without fixed decimals Grafana shows as many as a value needs: fractions of a cent stay readable."""
SHARE: Final = "percentunit"
COUNT: Final = "short"
FACTOR: Final = "none"
PER_SECOND: Final = "cps"
SECONDS: Final = "s"
DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD: Final = "green"
NOTICE: Final = "yellow"
BAD: Final = "red"
PLAIN: Final = "text"

Steps = Sequence[tuple[float | None, str]]
"""From which value which colour holds; the first from None, everything below."""


class Placed(NamedTuple):
    """A panel and how much room it takes."""

    panel: models.Panel
    width: int
    """Of 24 columns."""
    height: int


class Query(NamedTuple):
    """One query of a panel."""

    expr: str
    legend: str = "__auto"
    exemplar: bool = False


class Column(NamedTuple):
    """How a column of a table looks."""

    name: str
    """Label, or `Value #A` for the values of query A."""
    title: str
    unit: str = ""
    link: str = ""
    steps: Steps = ()
    is_background: bool = False
    mappings: Mapping[str, tuple[str, str]] = {}
    """Text and colour by value."""


def plot(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    width: int = 12,
    height: int = 9,
    stacked: bool = False,
    as_share: bool = False,
    log: bool = False,
    maximum: float | None = None,
) -> Placed:
    """Return lines over time.

    Args:
        title: Unique in its dashboard.

        description: What it shows, and what it does not.

        queries: Over the range.

        unit: Of the values.

        width: Columns.

        height: Rows.

        stacked: Areas on top of each other.

        as_share: Stacked up to 100 %.

        log: Logarithmic axis.

        maximum: Upper end of the axis, if it is known.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .line_width(1)
        .fill_opacity(35 if stacked else 8)
        .show_points(common_models.VisibilityMode.AUTO)
        .axis_soft_min(0)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .sort_by("Last *")
            .sort_desc(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    if stacked or as_share:
        mode = common_models.StackingMode.PERCENT if as_share else common_models.StackingMode.NORMAL
        panel.stacking(common.StackingConfig().group("A").mode(mode))
    if log:
        panel.scale_distribution(common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LOG).log(10))
    if maximum is not None:
        panel.max(maximum)
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        target = _query(letter, query).range()
        panel.with_target(target.exemplar(True) if query.exemplar else target)
    return Placed(panel.build(), width, height)


def figure(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    width: int = 4,
    height: int = 4,
    steps: Steps = ((None, PLAIN),),
    over_time: bool = False,
    mappings: Mapping[str, tuple[str, str]] | None = None,
    nothing: str = "",
) -> Placed:
    """Return one number.

    Args:
        title: Unique in its dashboard.

        description: What it is, and how it is worked out.

        expr: Query with one series.

        unit: Of the value.

        width: Columns.

        height: Rows.

        steps: Colours.

        over_time: Also a small curve; the number is the last one then.

        mappings: Text and colour by value.

        nothing: What is shown where there is no data.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_mode(common_models.BigValueColorMode.VALUE)
        .text_mode(common_models.BigValueTextMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.AREA if over_time else common_models.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    if mappings:
        panel.mappings([_mapping(mappings)])
    if nothing:
        panel.no_value(nothing)
    target = _query("A", Query(expr))
    panel.with_target(target.range() if over_time else target.instant())
    return Placed(panel.build(), width, height)


def listing(
    title: str,
    description: str,
    queries: Sequence[str],
    columns: Sequence[Column],
    *,
    width: int = 24,
    height: int = 10,
    sort_by: str = "Value #A",
    limit: int = 25,
    hidden: Sequence[str] = (),
) -> Placed:
    """Return a table: one row for each set of labels, one column for each label and each query.

    Args:
        title: Unique in its dashboard.

        description: What it shows.

        queries: At one time; A, B, C in this order.

        columns: In their order.

        width: Columns of the grid.

        height: Rows of the grid.

        sort_by: Column, by its name in the answers; greatest first.

        limit: How many rows.

        hidden: Columns that only serve to sort.
    """
    sort = sort_by if len(queries) > 1 else sort_by.replace("Value #A", "Value")
    names = [one.name if len(queries) > 1 else one.name.replace("Value #A", "Value") for one in columns]
    panel = table.Panel().title(title).description(description).datasource(DATASOURCE)
    panel.unit(COUNT).cell_height(common_models.TableCellHeight.SM).show_header(True)
    for letter, expr in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(_query(letter, Query(expr)).instant().format(prometheus_models.PromQueryFormat.TABLE))
    if len(queries) > 1:
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(id_val="sortBy", options={"fields": {}, "sort": [{"field": sort, "desc": True}]})
    )
    panel.with_transformation(models.DataTransformerConfig(id_val="limit", options={"limitField": limit}))
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(("Time", *hidden), True),
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": {name: one.title for name, one in zip(names, columns, strict=True)},
            },
        )
    )
    for one in columns:
        properties = _properties(one)
        if properties:
            panel.override_by_name(one.title, properties)
    return Placed(panel.build(), width, height)


def bars(
    title: str, description: str, query: Query, *, unit: str, steps: Steps, width: int = 12, height: int = 9,
    maximum: float | None = None,
) -> Placed:  # fmt: skip
    """Return a bar for each series of an instant query.

    Args:
        title: Unique in its dashboard.

        description: What it shows.

        query: At one time.

        unit: Of the values.

        steps: Colours.

        width: Columns.

        height: Rows.

        maximum: Full length; that of the greatest value if not given.
    """
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .thresholds(_thresholds(steps))
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    if maximum is not None:
        panel.max(maximum)
    panel.with_target(_query("A", query).instant())
    return Placed(panel.build(), width, height)


def _query(letter: str, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(letter)
        .datasource(DATASOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .editor_mode(prometheus_models.QueryEditorMode.CODE)
    )


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def _mapping(mappings: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        {
            value: models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(mappings.items())
        }
    )


def _properties(column: Column) -> list[models.DynamicConfigValue]:
    properties: list[models.DynamicConfigValue] = []
    if column.unit:
        properties.append(models.DynamicConfigValue("unit", column.unit))
    if column.link:
        link = {"title": f"Open the Route dashboard of this {column.title.lower()}", "url": column.link}
        properties.append(models.DynamicConfigValue("links", [link]))
    if column.mappings:
        properties.append(models.DynamicConfigValue("mappings", [_mapping(column.mappings)]))
    if column.steps:
        steps = [{"value": value, "color": color} for value, color in column.steps]
        properties.append(models.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}))
    if column.steps or column.mappings:
        kind = "color-background" if column.is_background else "color-text"
        properties.append(models.DynamicConfigValue("custom.cellOptions", {"type": kind}))
    return properties
