"""*Route*: what one request costs, how much that varies, and on what it is spent."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import ROUTE_UID, Board, Section, route_link
from grafana._make.panels import BAD, FACTOR, GOOD, NOTICE, PER_SECOND, USD, Column, Query, figure, listing, plot
from grafana._make.queries import ENTRY, HOUR_S, added_up, by, chosen, in_range, increase, of, per_hour, rate

_ROUTE: Final = chosen(*ENTRY)
_BY_ROUTE: Final = by("service_name", *ENTRY)
_BUCKETS: Final = rate("spancost_request_cost_usd_bucket", "le", _ROUTE)
_COST: Final = per_hour("route:spancost_cost_usd:rate5m", "", _ROUTE)
_REQUESTS: Final = f"sum({of('route:spancost_requests:rate5m', _ROUTE)})"
_RATIO_STEPS: Final = ((None, GOOD), (10, NOTICE), (30, BAD))
_P50: Final = added_up(_BY_ROUTE, of("route:spancost_request_cost_usd:p50_5m", _ROUTE))
_P95: Final = added_up(_BY_ROUTE, of("route:spancost_request_cost_usd:p95_5m", _ROUTE))
_TOTALS: Final = f"sum(rate({of('spancost_request_cost_usd_sum', _ROUTE)}[5m]))"
"""Over the window of the recorded rates beside it, so that the two can be compared."""


def _quantile(part: float) -> str:
    return f"histogram_quantile({part}, {_BUCKETS})"


_BUCKET_NOTE: Final = (
    "Interpolated within the buckets of the histogram, which are a factor of about three wide: good for orders of "
    "magnitude, not for cents."
)

BOARD: Final = Board(
    uid=ROUTE_UID,
    title="Route",
    description="What requests of the chosen routes cost: all of it, the spread between requests, and the parts.",
    labels=(
        ("http_route", "route:spancost_cost_usd:rate5m"),
        ("http_request_method", "route:spancost_cost_usd:rate5m"),
        ("entrypoint", "route:spancost_cost_usd:rate5m"),
    ),
    time_from="now-6h",
    sections=(
        Section(
            "One request",
            (
                figure(
                    "Spend per hour", "USD per hour of the chosen routes, at the pace of the last five minutes.",
                    _COST, unit=USD, over_time=True,
                ),
                figure(
                    "Requests per second", "Requests that ended, by the count of the request-cost histogram.",
                    _REQUESTS, unit=PER_SECOND, over_time=True,
                ),
                figure(
                    "Cost per 1 000 requests",
                    "All that the routes cost, divided by their requests, times 1 000; five-minute rates.",
                    f"{_COST} / ({_REQUESTS} * {HOUR_S}) * 1000", unit=USD, over_time=True,
                ),
                figure(
                    "Median request", f"Half of the requests cost less. {_BUCKET_NOTE}",
                    _quantile(0.5), unit=USD, over_time=True,
                ),
                figure(
                    "95th percentile", f"One request in twenty costs more. {_BUCKET_NOTE}",
                    _quantile(0.95), unit=USD, over_time=True,
                ),
                figure(
                    "p95 / p50",
                    "How many times dearer a dear request is than an ordinary one. From 10 on (yellow) the average "
                    "says little: look for what the dear ones have in common. From 30 on red.",
                    f"{_quantile(0.95)} / {_quantile(0.5)}", unit=FACTOR, steps=_RATIO_STEPS, over_time=True,
                ),
            ),
        ),
        Section(
            "Over time",
            (
                plot(
                    "Direct and total",
                    "Two ways to the same money, USD per hour. `direct` adds up every span's own cost under the route "
                    "(cost counter, recorded five-minute rates); `total of requests` adds up the totals that requests "
                    "had when they ended (histogram, rates over the same five minutes). What direct has more was "
                    "charged after the request's end, or belongs to work that is no request.",
                    [
                        Query(_COST, "direct"),
                        Query(f"{_TOTALS} * {HOUR_S}", "total of requests"),
                    ],
                    unit=USD,
                ),
                plot(
                    "Request cost",
                    f"Percentiles of what a request costs. {_BUCKET_NOTE} Dots are single requests with a trace "
                    "(exemplars): a click on one leads to its trace.",
                    [
                        Query(_quantile(0.99), "p99"),
                        Query(_quantile(0.95), "p95", exemplar=True),
                        Query(_quantile(0.5), "p50"),
                    ],
                    unit=USD,
                    log=True,
                ),
                plot(
                    "Cost per 1 000 requests over time",
                    "All that each route costs by 1 000 of its requests, the ten dearest at each time; recorded "
                    "five-minute rates.",
                    [
                        Query(
                            f"topk(10, {added_up(by(*ENTRY), of('route:spancost_cost_usd:rate5m', _ROUTE))} / "
                            f"{added_up(by(*ENTRY), of('route:spancost_requests:rate5m', _ROUTE))} * 1000)",
                            "{{http_request_method}} {{http_route}}{{entrypoint}}",
                        )
                    ],
                    unit=USD,
                    log=True,
                ),
                plot(
                    "Cost by outcome",
                    "USD per hour of requests by how they ended: what failures cost. Totals of requests, from the "
                    "histogram.",
                    [Query(f"{rate('spancost_request_cost_usd_sum', 'outcome', _ROUTE)} * {HOUR_S}", "{{outcome}}")],
                    unit=USD,
                    stacked=True,
                ),
            ),
        ),
        Section(
            "What it is spent on",
            (
                plot(
                    "Cost by component",
                    "USD per hour of each component, recorded five-minute rates.",
                    [Query(per_hour("route_component:spancost_cost_usd:rate5m", "component", _ROUTE), "{{component}}")],
                    unit=USD,
                    stacked=True,
                ),
                listing(
                    "Cost by provider and operation",
                    "What the calls of these routes cost in the time shown. `increase` of the SDK's counter: "
                    "extrapolated to the edges of the time. Services without metrics of their own are not in it.",
                    [increase("spancost_cost_usd_total", by("component", "provider", "operation", "model"), _ROUTE)],
                    [
                        Column("component", "Component"),
                        Column("provider", "Provider"),
                        Column("operation", "Operation"),
                        Column("model", "Model"),
                        Column("Value #A", "Cost", USD),
                    ],
                    width=12,
                    height=9,
                ),
                listing(
                    "Spread by route",
                    "Median and 95th percentile of each route now, their ratio (variance flag: from 10 on yellow, "
                    f"from 30 on red), and what it cost in the time shown. {_BUCKET_NOTE}",
                    [
                        f"{_P95} / {_P50}",
                        _P50,
                        _P95,
                        in_range("route:spancost_cost_usd:rate5m", _BY_ROUTE, _ROUTE),
                    ],
                    [
                        Column("service_name", "Service"),
                        Column("http_request_method", "Method"),
                        Column("http_route", "Route", link=route_link("http_route")),
                        Column("entrypoint", "Entrypoint", link=route_link("entrypoint")),
                        Column("Value #B", "p50", USD),
                        Column("Value #C", "p95", USD),
                        Column("Value #A", "p95 / p50", FACTOR, steps=_RATIO_STEPS),
                        Column("Value #D", "Cost", USD),
                    ],
                    sort_by="Value #D",
                ),
            ),
        ),
    ),
)  # fmt: skip
