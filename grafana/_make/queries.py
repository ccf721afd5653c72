"""PromQL that several panels share. Every selector has the labels by which a fleet is split."""

from __future__ import annotations

from typing import Final

SCOPE: Final = (
    "service_name",
    "deployment_environment_name",
    "k8s_namespace_name",
    "cloud_account_id",
    "cloud_region",
)
"""Labels that every series can have, on every path to Prometheus; each has a variable of the same name."""
ENTRY: Final = ("http_route", "http_request_method", "entrypoint")
"""Labels of what was asked for: route and method of HTTP, else an entrypoint."""
HOUR_S: Final = 3600
DAY_S: Final = 86400
RATE: Final = "[$__rate_interval]"


def chosen(*labels: str) -> str:
    """Return matchers for variables named like their labels; `All` matches an absent label, too."""
    return ", ".join(f'{label}=~"${label}"' for label in labels)


def of(metric: str, *matchers: str) -> str:
    """Return a selector with the labels of the scope.

    Args:
        metric: Its name.

        matchers: Further ones.
    """
    return f"{metric}{{{', '.join((chosen(*SCOPE), *matchers))}}}"


def added_up(by: str, value: str) -> str:
    """Return the sum by labels; by none at all for the empty text."""
    return f"sum by ({by}) ({value})" if by else f"sum({value})"


def per_hour(metric: str, by: str, *matchers: str) -> str:
    """Return USD per hour of a recorded rate (USD per second)."""
    return f"{added_up(by, of(metric, *matchers))} * {HOUR_S}"


def in_range(metric: str, by: str, *matchers: str) -> str:
    """Return what a recorded rate adds up to in the time that the dashboard shows.

    Each minute counts with the rate of the five minutes before it, so that a series that was there for a part of the
    time counts for that part only.
    """
    return f"{added_up(by, f'sum_over_time({of(metric, *matchers)}[$__range:1m])')} * 60"


def today(rates: str, *matchers: str) -> str:
    """Return what recorded rates add up to since midnight, UTC.

    Args:
        rates: Name of them without the window: `service:spancost_cost_usd:rate`.

        matchers: Further ones.
    """
    return _since(f"vector(time() - time() % {DAY_S})", "1d", rates, matchers)


def this_month(rates: str, *matchers: str) -> str:
    """Return what recorded rates add up to since the first of the month, UTC.

    Args:
        rates: Name of them without the window.

        matchers: Further ones.
    """
    start = f"(vector(time() - time() % {DAY_S}) - (day_of_month() - 1) * {DAY_S})"
    return _since(start, "31d", rates, matchers)


def _since(start: str, longest: str, rates: str, matchers: tuple[str, ...]) -> str:
    """Add up whole hours by their own rates, and the hour that is not over yet minute by minute.

    The start is worked out by Prometheus: Grafana's `now/d` would begin at midnight of whoever looks.
    """

    def added(rate: str, begin: str, window: str, step_s: int) -> str:
        begun = f"scalar(last_over_time({begin}[1s:1s] @ end()))"
        return f"sum(sum_over_time(({rate} and on () (vector(time()) > {begun}))[{window}])) * {step_s}"

    hours = added(of(f"{rates}1h", *matchers), start, f"{longest}:1h", HOUR_S)
    rest = added(of(f"{rates}5m", *matchers), f"vector(time() - time() % {HOUR_S})", "1h:1m", 60)
    nothing = f"0 * sum({of(f'{rates}5m', *matchers)})"  # in the first minute of all
    parts = {"whole hours": hours, "this hour": rest, "at the beginning": nothing}
    return f"sum({' or '.join(_named(value, part) for part, value in parts.items())})"


def _named(value: str, part: str) -> str:
    return f'label_replace({value}, "part", "{part}", "", "")'


def increase(metric: str, by: str, *matchers: str) -> str:
    """Return by how much a counter rose in the time that the dashboard shows, as Prometheus extrapolates it."""
    return added_up(by, f"increase({of(metric, *matchers)}[$__range])")


def rate(metric: str, by: str, *matchers: str) -> str:
    """Return how fast a counter rises, by the second."""
    return added_up(by, f"rate({of(metric, *matchers)}{RATE})")


def by(*labels: str) -> str:
    """Return labels as PromQL lists them."""
    return ", ".join(labels)
