"""Answers as the rows that a table of Grafana shows, after the transformations that this knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from spancost.dashboards.asking import PanelAnswer

TIME: Final = "Time"
Row = dict[str, "str | float"]


class Rows(NamedTuple):
    """A table."""

    columns: list[str]
    rows: list[Row]
    numbers: frozenset[str]
    """Columns with values of queries."""
    left_out: list[str]
    """Transformations that are not known here."""


def rows_of(answer: PanelAnswer) -> Rows:
    """Return a panel's answers as one table: a row for each set of labels, a column for each label and each query.

    Args:
        answer: To its queries.
    """
    several = len(answer.answers) > 1
    merged: dict[frozenset[tuple[str, str]], Row] = {}
    labels: dict[str, None] = {TIME: None}
    values: list[str] = []
    for one in answer.answers:
        column = f"Value #{one.target.ref_id}" if several else "Value"
        values.append(column)
        for series in one.series:
            known = {label: value for label, value in series.labels.items() if value}
            labels.update(dict.fromkeys(known))
            row = merged.setdefault(frozenset(known.items()), {**known, TIME: series.points[-1][0]})
            row[column] = series.last
    table = Rows([*labels, *values], list(merged.values()), frozenset(values), [])
    for transformation in answer.panel.transformations:
        if transformation.get("disabled"):
            continue
        name = str(transformation.get("id"))
        step = _KNOWN.get(name)
        if step is None:
            table.left_out.append(name)
            continue
        given = transformation.get("options")
        table = step(table, cast("Mapping[str, Any]", given) if isinstance(given, dict) else {})
    return table


def _as_it_is(table: Rows, options: Mapping[str, Any]) -> Rows:
    return table


def _sorted(table: Rows, options: Mapping[str, Any]) -> Rows:
    """Sort; what has no value goes last, whichever way."""
    given = cast("Sequence[Mapping[str, Any]]", options.get("sort") or ())
    rows = list(table.rows)
    for one in reversed(given):
        name, falls = str(one.get("field")), bool(one.get("desc"))
        known = [row for row in rows if _is_known(row.get(name))]
        known.sort(key=lambda row: _order(row[name]), reverse=falls)
        rows = [*known, *(row for row in rows if not _is_known(row.get(name)))]
    return table._replace(rows=rows)


def _is_known(value: str | float | None) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _order(value: str | float) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def _limited(table: Rows, options: Mapping[str, Any]) -> Rows:
    limit = options.get("limitField")
    return table._replace(rows=table.rows[:limit]) if isinstance(limit, int) else table


def _organized(table: Rows, options: Mapping[str, Any]) -> Rows:
    hidden = cast("Mapping[str, Any]", options.get("excludeByName") or {})
    order = cast("Mapping[str, int]", options.get("indexByName") or {})
    titles = cast("Mapping[str, str]", options.get("renameByName") or {})
    kept = [name for name in table.columns if not hidden.get(name)]
    kept.sort(key=lambda name: order.get(name, len(order)))
    rows = [{titles.get(name, name): row[name] for name in kept if name in row} for row in table.rows]
    return table._replace(
        columns=[titles.get(name, name) for name in kept],
        rows=rows,
        numbers=frozenset(titles.get(name, name) for name in table.numbers),
    )


_KNOWN: Final[Mapping[str, Callable[[Rows, Mapping[str, Any]], Rows]]] = {
    "merge": _as_it_is,  # done from the beginning
    "sortBy": _sorted,
    "limit": _limited,
    "organize": _organized,
}
