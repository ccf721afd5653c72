"""The page of every attribute, metric, label, key and environment variable, from the code that has them."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import Any, Final

from spancost import names
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.budgets.book import BudgetBook
from spancost.budgets.gauges import gauges_of
from spancost.budgets.stores.memory import MemoryStore
from spancost.config import Config
from spancost.internals import Gauge, gauges
from spancost.prices.docs import table
from spancost.sinks.ledger.query import LEDGER_KEYS
from spancost.sinks.prometheus import prometheus_name
from spancost.sinks.totals import MetricTotals
from spancost.window import Origin

_GAUGES: Final = ("OpenTelemetry", "Prometheus", "Kind", "Unit", "Labels", "Meaning")
_TEXT: Final = """\
# Names

Every name that spancost writes or reads, from `spancost/names.py`.

## Span attributes

Written when a span ends, on the span itself. An exporter sees them like any other attribute.

{written}

Read, too: they say whose cost a span is, without an import of spancost. `attribute()` writes them.

{attribution}

## Statuses

Values of `spancost.status`, of the label `status`, and of the key `status` of reports.

{statuses}

What reasons and assumptions mean is on a [page of their own](reasons.md).

## Components

Every cost belongs to one of these: values of the label `component` and of the key `component` of reports.

{components}

## Metrics

Each is there twice: through an OpenTelemetry MeterProvider under its OpenTelemetry name, and through
`prometheus_client` under its Prometheus name. Amounts are USD. All counters only ever grow.

{metrics}

Buckets of `{request}`, USD: {buckets}.

On a scrape every series also carries what is known of `service_name`, `deployment_environment_name`,
`k8s_namespace_name`, `cloud_account_id` and `cloud_region`; through OTLP the resource has them.

The label values `{other}` and `{no_route}` are ours: what is beyond a cap of series, and HTTP requests that matched no
route (a raw path is never kept).

### How budgets stand

Where `spancost.yaml` has [budget rules](../budgets.md). Every process that shares a store shows the same: take
the maximum by `budget` and `key`.

{budgets}

### What spancost says of itself

{internals}

## Keys of reports

For `--by`, `--pivot` and `--where` of `spancost report`: {keys}, and
`label.NAME` for a free label. `entrypoint` is method and route where a request has them, else its entrypoint. `route`
and `method` are short for the two of HTTP, and a dash may stand for an underscore.

## Environment variables

They win over `spancost.yaml`. Which key of the file each belongs to, and its default, is in the
[configuration](configuration.md).

{environment}
"""


def page() -> str:
    """Return the text of the page."""
    said = docstrings()
    written = ("DIRECT_USD", "TOTAL_USD", "TOTAL_NANO_USD", "STATUS", "REASON", "SOURCE", "BASIS")
    written = (*written, "GEN_AI_USAGE_COST", "OPERATION_COST", "BUDGETS")
    written = (*written, "GUARD_ACTION", "GUARD_RULE", "GUARD_REASON")
    rows = [(f"`{getattr(names, name)}`", *said[name].split(". ", 1)) for name in written]
    for attribute in names.COMPONENT_USD.values():
        rows.append((f"`{attribute}`", *said["COMPONENT_USD"].split(". ", 1)))
    attribution = [
        (f"`{getattr(names, name)}{'NAME' if name == 'LABEL_PREFIX' else ''}`", *said[name].split(". ", 1))
        for name in ("FEATURE", "TENANT", "TEAM", "LABEL_PREFIX")
    ]
    return _TEXT.format(
        written=_table(("Attribute", "Type, unit", "Meaning"), rows),
        attribution=_table(("Attribute", "Type", "Meaning"), attribution),
        statuses=_table(("Status", "Meaning"), _values(names.STATUSES, said)),
        components=_table(("Component", "Meaning"), _values(names.COMPONENTS, said)),
        metrics=_table(("OpenTelemetry", "Prometheus", "Kind", "Unit", "Labels", "Meaning"), _metrics()),
        request=names.METRIC_REQUEST_COST,
        buckets=", ".join(f"{bound:g}" for bound in names.REQUEST_COST_BUCKETS_USD),
        other=names.OTHER,
        no_route=names.NO_ROUTE,
        budgets=_table(_GAUGES, _gauge_rows(gauges_of(_no_budgets(), 0))),
        internals=_table(("OpenTelemetry", "Prometheus", "Kind", "Unit", "Labels", "Meaning"), _internals()),
        keys=", ".join(f"`{key}`" for key in LEDGER_KEYS),
        environment=_table(("Variable", "Meaning"), _environment(said)),
    )


def docstrings() -> dict[str, str]:
    """Return the docstring below each constant of `spancost.names`, as one line, without the full stop."""
    found: dict[str, str] = {}
    body = ast.parse(inspect.getsource(names)).body
    for statement, after in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = _docstring(after)
    return found


def _docstring(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split()).removesuffix(".")
    return ""


def _values(values: tuple[str, ...], said: dict[str, str]) -> list[tuple[str, str]]:
    meaning = {str(getattr(names, name)): text for name, text in said.items() if isinstance(_constant(name), str)}
    return [(f"`{value}`", meaning[value]) for value in values]


def _constant(name: str) -> Any:
    return getattr(names, name)


def _metrics() -> list[tuple[str, ...]]:
    totals = MetricTotals()
    return [
        (
            f"`{family.name}`",
            f"`{prometheus_name(family.name, family.unit)}{'_bucket' if family.bucket_count else '_total'}`",
            "histogram" if family.bucket_count else "counter",
            _unit(family.unit),
            _labels(family.labels),
            family.description,
        )
        for family in totals.families
    ]


def _internals() -> list[tuple[str, ...]]:
    engine = build_engine(Config(detect=False, lease="off"))
    totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))
    errors = names.METRIC_INTERNAL_ERRORS
    text = "Errors of spancost itself, by place; each is logged, at most once in five minutes"
    rows = [(f"`{errors}`", f"`{prometheus_name(errors, '')}_total`", "counter", "errors", "`place`", text)]
    return rows + _gauge_rows(gauges(engine, totals))


def _gauge_rows(found: list[Gauge]) -> list[tuple[str, ...]]:
    return [
        (
            f"`{gauge.name}`",
            f"`{prometheus_name(gauge.name, gauge.unit)}`",
            "gauge",
            _unit(gauge.unit),
            _labels(gauge.labels),
            gauge.description,
        )
        for gauge in found
    ]


def _no_budgets() -> BudgetBook:
    return BudgetBook((), Origin(), MemoryStore(), channels=(), errors=ErrorLog())


def _unit(unit: str) -> str:
    """Return a unit for people: `{USD}` is USD, `1` is a number without a unit."""
    bare = unit.strip("{}")
    return {"1": "", "s": "seconds"}.get(bare, bare if bare == "USD" else f"{bare}s")


def _labels(labels: tuple[str, ...]) -> str:
    return " ".join(f"`{label}`" for label in labels)


def _environment(said: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"`{_constant(name)}`", text) for name, text in said.items() if name.startswith("ENV_")]


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(table(titles, rows))
