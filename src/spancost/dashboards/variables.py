"""Works out what is chosen in each variable of a dashboard, as Grafana does when one opens it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from spancost.dashboards.interpolation import Chosen, Clock, UnknownVariableError, interpolate
from spancost.dashboards.model import ALL, Variable
from spancost.dashboards.times import duration_text, step_s
from spancost.prometheus_server import PrometheusServer, PrometheusServerError, QueryRefusedError

_LABEL_VALUES: Final = re.compile(r"label_values\(\s*(?:(.+)\s*,\s*)?([a-zA-Z_]\w*)\s*\)\s*", re.DOTALL)
_LABEL_NAMES: Final = re.compile(r"label_names\(\s*(.*?)\s*\)\s*", re.DOTALL)
_METRICS: Final = re.compile(r"metrics\(\s*(.*?)\s*\)\s*", re.DOTALL)
_QUERY_RESULT: Final = re.compile(r"query_result\((.+)\)\s*", re.DOTALL)
_PATTERN: Final = re.compile(r"/(.*)/([a-z]*)", re.DOTALL)
_AUTO: Final = "$__auto_interval_"
_POINTS_OF_AUTO: Final = 30
_SHORTEST_AUTO_S: Final = 10.0


class Settled(NamedTuple):
    """What became of one variable."""

    variable: Variable
    chosen: Chosen
    offered: tuple[str, ...]
    """What could be chosen."""
    error: str = ""
    """Why that could not be found out."""


def settle(
    variables: Sequence[Variable], server: PrometheusServer, clock: Clock, given: Mapping[str, Sequence[str]]
) -> list[Settled]:
    """Return what is chosen in each variable, in their order.

    Args:
        variables: Of a dashboard.

        server: Asked what there is to choose from.

        clock: Time that is looked at.

        given: Values by name, instead of what the dashboard says.
    """
    settled: list[Settled] = []
    for variable in variables:
        before = {one.variable.name: one.chosen for one in settled}
        try:
            offered = tuple(_offered(variable, server, before, clock))
            error = ""
        except (PrometheusServerError, UnknownVariableError, re.error) as problem:
            if isinstance(problem, PrometheusServerError) and not isinstance(problem, QueryRefusedError):
                raise
            offered, error = (), str(problem)
        settled.append(Settled(variable, _chosen(variable, offered, given.get(variable.name)), offered, error))
    return settled


def _chosen(variable: Variable, offered: tuple[str, ...], given: Sequence[str] | None) -> Chosen:
    is_regex = variable.is_multi or variable.include_all

    def some(values: Sequence[str]) -> Chosen:
        return Chosen(tuple(values), is_regex, name=variable.name)

    everything = Chosen(offered, is_regex, all_value=variable.all_value, is_all=True, name=variable.name)
    if given:
        return everything if list(given) in ([ALL], ["All"]) and variable.include_all else some(given)
    if variable.kind != "query":
        if variable.current == (ALL,) and variable.include_all:
            return everything
        return some([value for value in variable.current if not value.startswith(_AUTO)] or offered[:1])
    kept = [value for value in variable.current if value in offered]
    if kept and variable.current != (ALL,):
        return some(kept)
    return everything if variable.include_all else some(offered[:1])


def _offered(variable: Variable, server: PrometheusServer, before: Mapping[str, Chosen], clock: Clock) -> Sequence[str]:
    if variable.kind == "query":
        query = interpolate(variable.query, before, clock)
        return _filtered(_asked(query, server, clock), variable.regex)
    if variable.kind == "interval" and any(value.startswith(_AUTO) for value in variable.current):
        return [duration_text(step_s(clock.span, _POINTS_OF_AUTO, _SHORTEST_AUTO_S))]
    if variable.kind in ("custom", "interval"):
        return [text.partition(" : ")[2].strip() or text for text in map(str.strip, variable.query.split(",")) if text]
    if variable.kind in ("textbox", "constant"):
        return [variable.query]
    return list(variable.options)


def _asked(query: str, server: PrometheusServer, clock: Clock) -> list[str]:
    times = {"start": repr(clock.span.start), "end": repr(clock.span.end)}
    if found := _LABEL_VALUES.fullmatch(query):
        match = {"match[]": found[1].strip()} if found[1] else {}
        return _texts(server, server.get(f"label/{found[2]}/values", {**match, **times}))
    if found := _LABEL_NAMES.fullmatch(query):
        return _texts(server, server.get("labels", {**({"match[]": found[1]} if found[1] else {}), **times}))
    if found := _METRICS.fullmatch(query):
        names = _texts(server, server.get("label/__name__/values", times))
        return [name for name in names if re.search(found[1], name)]
    if found := _QUERY_RESULT.fullmatch(query):
        data = server.get("query", {"query": found[1], "time": times["end"]})
        try:
            return [_result(one) for one in data["result"]]
        except (KeyError, TypeError):
            raise server.strange_answer() from None
    raise UnknownVariableError(
        f"{query!r} is not accepted: label_values(...), label_names(), metrics(...) or query_result(...)"
    )


def _result(one: Mapping[str, Any]) -> str:
    """Return a sample as a text that people write regular expressions for."""
    labels = dict(one["metric"])
    name = labels.pop("__name__", "")
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    at, value = one["value"]
    return f"{name}{{{inside}}} {value} {round(float(at) * 1000)}"


def _texts(server: PrometheusServer, data: object) -> list[str]:
    if not isinstance(data, list):
        raise server.strange_answer()
    return [str(one) for one in cast("list[object]", data)]


def _filtered(values: Sequence[str], regex: str) -> list[str]:
    """Return values, each once; only those that a regular expression lets through, and of them its first group."""
    kept = [value for value in dict.fromkeys(values) if value]
    if not regex:
        return kept
    split = _PATTERN.fullmatch(regex)
    pattern, flags = (split[1], split[2]) if split else (regex, "")
    compiled = re.compile(re.sub(r"\(\?<(?=\w)", "(?P<", pattern), re.IGNORECASE if "i" in flags else 0)
    return list(dict.fromkeys(_part(found) for value in kept if (found := compiled.search(value))))


def _part(found: re.Match[str]) -> str:
    named = found.groupdict()
    if named.get("value") or named.get("text"):
        return named.get("value") or named.get("text") or ""
    return next((group for group in found.groups() if group is not None), found.string)
