"""Reads budgets from the metrics in a Prometheus server, by its HTTP API."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from spancost import names, prometheus_server
from spancost.budgets.evaluation import window_text
from spancost.budgets.gauges import STATE_NUMBERS
from spancost.budgets.rules import AnyRule, BudgetRule
from spancost.budgets.store import OK
from spancost.cli.budgets.lines import BudgetLine
from spancost.cli.budgets.stored import NoAnswerError
from spancost.prometheus_server import PrometheusServer, PrometheusServerError

_QUERY: Final = 'max by (__name__, budget, key, pair) ({__name__=~"spancost_budget_.+", budget!=""})'
_STATES: Final = {number: state for state, number in STATE_NUMBERS.items()}


class _Sample(NamedTuple):
    """One value that the server has."""

    rule: str
    key: str
    metric: str
    pair: str
    """Of windows, for burn rates."""
    value: float


def server_shown(url: str) -> str:
    """Return the URL of a server without user, password and query.

    Raises:
        NoAnswerError: It is no URL of a server.
    """
    try:
        return prometheus_server.server_shown(url)
    except PrometheusServerError as error:
        raise NoAnswerError(f"--prometheus: {error}") from None


def lines_from_prometheus(url: str, rules: Sequence[AnyRule]) -> list[BudgetLine]:
    """Return how every key of every rule stands that the server has metrics of: the highest of all processes.

    Args:
        url: Of the server; may carry user and password.

        rules: Of the configuration, for what metrics do not say; may be empty.

    Raises:
        NoAnswerError: The server does not answer, or not with metrics.
    """
    metrics: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for sample in _asked(url):
        if math.isfinite(sample.value):
            metrics.setdefault((sample.rule, sample.key), {})[sample.metric, sample.pair] = sample.value
    by_name = {rule.name: rule for rule in rules}
    return [_line(name, key, found, by_name.get(name)) for (name, key), found in metrics.items()]


def _asked(url: str) -> list[_Sample]:
    try:
        server = PrometheusServer(url)
        data = server.get("query", {"query": _QUERY})
    except PrometheusServerError as error:
        raise NoAnswerError(f"--prometheus: {error}") from None
    try:
        return [_sample(one["metric"], one["value"]) for one in data["result"]]
    except (ValueError, KeyError, TypeError):
        raise NoAnswerError(f"--prometheus: {server.strange_answer()}") from None


def _sample(labels: Mapping[str, str], value: Sequence[Any]) -> _Sample:
    _, number = value
    return _Sample(labels["budget"], labels.get("key", ""), labels["__name__"], labels.get("pair", ""), float(number))


def _line(name: str, key: str, found: Mapping[tuple[str, str], float], rule: AnyRule | None) -> BudgetLine:
    def value(metric: str) -> float | None:
        return found.get((metric.replace(".", "_"), ""))

    spend, limit = value(names.METRIC_BUDGET_SPEND), value(names.METRIC_BUDGET_LIMIT)
    is_incomplete = bool(value(names.METRIC_BUDGET_INCOMPLETE))
    thresholds = rule.thresholds if isinstance(rule, BudgetRule) else ()
    ratio = spend / limit if spend is not None and limit else 0.0
    rates = names.METRIC_BUDGET_BURN_RATE.replace(".", "_")
    return BudgetLine(
        rule=name,
        kind=_kind(found) if rule is None else rule.kind,
        key=key,
        state=_STATES.get(value(names.METRIC_BUDGET_STATE) or 0.0, OK),
        level=sum(ratio >= threshold for threshold in thresholds),
        is_incomplete=is_incomplete,
        spend_usd=None if is_incomplete and not spend else spend,
        limit_usd=limit,
        thresholds=thresholds,
        severity="" if rule is None else rule.severity,
        window=window_text(rule.window) if isinstance(rule, BudgetRule) else "",
        burn_rates=tuple(sorted((pair, rate) for (metric, pair), rate in found.items() if metric == rates)),
        forecast_usd=value(names.METRIC_BUDGET_FORECAST),
        owner="" if rule is None else rule.owner,
    )


def _kind(found: Mapping[tuple[str, str], float]) -> str:
    """Return the kind of a rule by the metrics that it has; empty where these do not tell."""
    of_kind = {
        names.METRIC_BUDGET_USED: "budget",
        names.METRIC_BUDGET_FORECAST: "forecast",
        names.METRIC_BUDGET_BURN_RATE: "burn_rate",
    }
    metrics = {metric for metric, _ in found}
    return next((kind for metric, kind in of_kind.items() if metric.replace(".", "_") in metrics), "")
