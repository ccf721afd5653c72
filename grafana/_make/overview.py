"""*Cost overview*: what is spent now, today, this month, on what, and what has changed since the day before."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import Board, Section, route_link
from grafana._make.panels import BAD, COUNT, GOOD, USD, Column, Query, figure, listing, plot
from grafana._make.queries import DAY_S, ENTRY, SCOPE, added_up, by, chosen, in_range, of, per_hour, this_month, today

_BY_ROUTE: Final = by("service_name", *ENTRY)
_COST: Final = in_range("route:spancost_cost_usd:rate5m", _BY_ROUTE)
_REQUESTS: Final = in_range("route:spancost_requests:rate5m", _BY_ROUTE)

_LAST_DAY: Final = f"{added_up(_BY_ROUTE, of('route:spancost_cost_usd:rate1d'))} * {DAY_S}"
_DAY_BEFORE: Final = f"{added_up(_BY_ROUTE, of('route:spancost_cost_usd:rate1d') + ' offset 1d')} * {DAY_S}"
_CHANGE: Final = f"(({_LAST_DAY}) - ({_DAY_BEFORE}) or ({_LAST_DAY}) or 0 - ({_DAY_BEFORE}))"
_MOVED_MOST: Final = f"topk(15, abs({_CHANGE}))"

_ADDED: Final = (
    "Whatever time is shown. Added up from recorded rates: whole hours by their own, the hour that is not over minute "
    "by minute from rates over five minutes, which lag by as much. Rates extrapolate, so expect a percent of "
    "difference to a bill; `spancost report` has the exact sum."
)

BOARD: Final = Board(
    uid="spancost-overview",
    title="Cost overview",
    description="What the spans of all services cost: now, today and this month, by component, service and route. "
    "Days and months are those of UTC, as on the bill of a cloud.",
    sections=(
        Section(
            "Spend",
            (
                figure(
                    "Spend per hour",
                    "USD per hour at the pace of the last five minutes. Time of machines while no request was open is "
                    "not in it: see `Idle per hour`.",
                    per_hour("service:spancost_cost_usd:rate5m", ""),
                    unit=USD,
                    over_time=True,
                ),
                figure(
                    "Idle per hour",
                    "USD per hour for machines while no request was open on them, at the pace of the last five "
                    "minutes. No request is charged for it.",
                    per_hour("service:spancost_idle_cost_usd:rate5m", ""),
                    unit=USD,
                    over_time=True,
                ),
                figure(
                    "Today",
                    f"Since midnight UTC, without idle machines. {_ADDED}",
                    today("service:spancost_cost_usd:rate"),
                    unit=USD,
                ),
                figure(
                    "This month",
                    f"Since the first of the month, UTC, without idle machines. {_ADDED} Where Prometheus keeps less "
                    "than a month, it is the part that is kept.",
                    this_month("service:spancost_cost_usd:rate"),
                    unit=USD,
                ),
                figure(
                    "Month at this pace",
                    "What a whole month of days like the last 24 hours costs (recorded as "
                    "`service:spancost_cost_usd:projected_month`). It knows nothing of weekends.",
                    f"sum({of('service:spancost_cost_usd:projected_month')})",
                    unit=USD,
                ),
                figure(
                    "Alerts firing",
                    "Alerts of spancost that fire now, whatever they are about.",
                    f'count(ALERTS{{alertname=~"Spancost.*", alertstate="firing", {chosen(*SCOPE)}}}) '
                    "or vector(0)",
                    unit=COUNT,
                    steps=((None, GOOD), (1, BAD)),
                ),
            ),
        ),
        Section(
            "Where it goes",
            (
                plot(
                    "Cost by component",
                    "USD per hour of each component, rates over five minutes. Components never overlap, so the top is "
                    "all of it.",
                    [Query(per_hour("component:spancost_cost_usd:rate5m", "component"), "{{component}}")],
                    unit=USD,
                    stacked=True,
                ),
                plot(
                    "Cost by service",
                    "USD per hour of the ten services that cost most at each time, rates over five minutes.",
                    [Query(f"topk(10, {per_hour('service:spancost_cost_usd:rate5m', 'service_name')})",
                           "{{service_name}}")],
                    unit=USD,
                    stacked=True,
                ),
                listing(
                    "Top routes",
                    "What each route cost in the time shown, all components, added up from recorded five-minute "
                    "rates. Requests are those that ended in it. Work without a request (jobs, messages) has an "
                    "entrypoint instead of a route. A click leads to the Route dashboard.",
                    [_COST, _REQUESTS, f"({_COST}) / ({_REQUESTS} > 0) * 1000"],
                    [
                        Column("service_name", "Service"),
                        Column("http_request_method", "Method"),
                        Column("http_route", "Route", link=route_link("http_route")),
                        Column("entrypoint", "Entrypoint", link=route_link("entrypoint")),
                        Column("Value #A", "Cost", USD),
                        Column("Value #B", "Requests", COUNT),
                        Column("Value #C", "Cost per 1 000", USD),
                    ],
                ),
            ),
        ),
        Section(
            "What has changed",
            (
                listing(
                    "Biggest movers",
                    "Routes whose last 24 hours differ most in USD from the 24 hours before, dearer and cheaper. "
                    "Extrapolated rates over a day. A route without a day before is new, one without last 24 hours "
                    "is gone.",
                    [_CHANGE + f" and {_MOVED_MOST}", f"{_LAST_DAY} and {_MOVED_MOST}",
                     f"{_DAY_BEFORE} and {_MOVED_MOST}", _MOVED_MOST],
                    [
                        Column("service_name", "Service"),
                        Column("http_request_method", "Method"),
                        Column("http_route", "Route", link=route_link("http_route")),
                        Column("entrypoint", "Entrypoint", link=route_link("entrypoint")),
                        Column("Value #A", "Change", USD, steps=((None, GOOD), (0, BAD))),
                        Column("Value #B", "Last 24 hours", USD),
                        Column("Value #C", "24 hours before", USD),
                    ],
                    sort_by="Value #D",
                    hidden=("Value #D",),
                    limit=15,
                ),
            ),
        ),
    ),
)  # fmt: skip
