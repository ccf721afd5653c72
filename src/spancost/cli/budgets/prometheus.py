"""Reads budgets from the metrics in a Prometheus server, by its HTTP API."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any, Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from spancost import names
from spancost.budgets.evaluation import window_text
from spancost.budgets.gauges import STATE_NUMBERS
from spancost.budgets.rules import AnyRule, BudgetRule
from spancost.budgets.store import OK
from spancost.cli.budgets.lines import BudgetLine
from spancost.cli.budgets.stored import NoAnswerError

_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 64 * 1024 * 1024
_QUERY: Final = 'max by (__name__, budget, key, pair) ({__name__=~"spancost_budget_.+", budget!=""})'
_STATES: Final = {number: state for state, number in STATE_NUMBERS.items()}
_ACCEPTED: Final = "a URL of a Prometheus server, such as http://localhost:9090"


class _Sample(NamedTuple):
    """One value that the server has."""

    rule: str
    key: str
    metric: str
    pair: str
    """Of windows, for burn rates."""
    value: float


class _NoRedirect(HTTPRedirectHandler):
    """Answers from elsewhere are not ours, and a password is not for elsewhere."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def server_shown(url: str) -> str:
    """Return the URL of a server without user, password and query.

    Raises:
        NoAnswerError: It is no URL of a server.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise NoAnswerError(f"--prometheus: {_ACCEPTED}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise NoAnswerError(f"--prometheus: {_ACCEPTED}")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


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
    plain, parts = server_shown(url), urlsplit(url)
    request = Request(f"{plain}/api/v1/query?{urlencode({'query': _QUERY})}", headers={"Accept": "application/json"})
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
    try:
        with build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as response:
            body = response.read(_MAX_BYTES + 1)
    except HTTPError as error:
        error.close()
        raise NoAnswerError(f"--prometheus: {plain} answers HTTP {error.code}") from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise NoAnswerError(f"--prometheus: {plain} does not answer: {why}") from None
    try:
        return [_sample(one["metric"], one["value"]) for one in json.loads(body)["data"]["result"]]
    except (ValueError, KeyError, TypeError):
        raise NoAnswerError(f"--prometheus: {plain} does not answer as a Prometheus server does") from None


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
