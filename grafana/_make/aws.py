"""*AWS*: cost by service and operation, the units behind it, and bytes that leave the cloud."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import Board, Section, route_link
from grafana._make.panels import COUNT, GOOD, NOTICE, PER_SECOND, USD, Column, Query, figure, listing, plot
from grafana._make.queries import ENTRY, HOUR_S, by, chosen, increase, rate

_AWS: Final = 'component="aws"'
_EGRESS: Final = 'component="egress"'
_OPERATION: Final = chosen("operation")
_COST: Final = "spancost_cost_usd_total"
_USAGE: Final = "spancost_usage_total"
_SDK: Final = "Services without metrics of their own are not in it."


def _by_service(value: str) -> str:
    """Add up by the AWS service, which is the part of the operation before the dot."""
    return f'sum by (aws_service) (label_replace({value}, "aws_service", "$1", "operation", "([^.]+).*"))'


BOARD: Final = Board(
    uid="spancost-aws",
    title="AWS cost",
    description="What calls of AWS services by boto3 cost, by service and operation, and what they used.",
    labels=(("operation", 'spancost_cost_usd_total{component="aws"}'),),
    sections=(
        Section(
            "Now",
            (
                figure(
                    "Spend per hour", f"USD per hour of calls of AWS services. {_SDK}",
                    f"{rate(_COST, '', _AWS, _OPERATION)} * {HOUR_S}", unit=USD, width=6, over_time=True,
                ),
                figure(
                    "Calls per second", "Charged spans of AWS calls, of all operations.",
                    rate("spancost_spans_total", "", _AWS), unit=PER_SECOND, width=6, over_time=True,
                ),
                figure(
                    "Egress per hour", "USD per hour for bytes that leave the cloud, of all services.",
                    f"{rate(_COST, '', _EGRESS)} * {HOUR_S}", unit=USD, width=6, over_time=True,
                ),
                figure(
                    "Calls without a price",
                    "AWS calls in the time shown whose cost is not known: they are missing in all amounts on this "
                    "page. `increase`, extrapolated.",
                    f"({increase('spancost_unpriced_total', '', _AWS, _OPERATION)}) "
                    f"or 0 * ({increase('spancost_spans_total', '', _AWS)})",
                    unit=COUNT, width=6, steps=((None, GOOD), (0.5, NOTICE)),
                ),
            ),
        ),
        Section(
            "Cost",
            (
                plot(
                    "Cost by AWS service", f"USD per hour of each AWS service. {_SDK}",
                    [Query(f"{_by_service(rate(_COST, 'operation', _AWS, _OPERATION))} * {HOUR_S}",
                           "{{aws_service}}")],
                    unit=USD, stacked=True,
                ),
                plot(
                    "Cost by operation", f"USD per hour of the ten dearest operations at each time. {_SDK}",
                    [Query(f"topk(10, {rate(_COST, 'operation', _AWS, _OPERATION)} * {HOUR_S})", "{{operation}}")],
                    unit=USD, stacked=True,
                ),
                listing(
                    "Operations",
                    "What each operation cost in the time shown, and by which route it was called. `increase` of the "
                    f"SDK's counter: extrapolated to the edges of the time. {_SDK}",
                    [increase(_COST, by("operation", "service_name", *ENTRY), _AWS, _OPERATION)],
                    [
                        Column("operation", "Operation"),
                        Column("service_name", "Service"),
                        Column("http_request_method", "Method"),
                        Column("http_route", "Route", link=route_link("http_route")),
                        Column("entrypoint", "Entrypoint", link=route_link("entrypoint")),
                        Column("Value #A", "Cost", USD),
                    ],
                ),
            ),
        ),
        Section(
            "Units",
            (
                plot(
                    "Units by operation",
                    "Units per second of each operation: read and write request units, requests, GB.",
                    [Query(rate(_USAGE, by("operation", "usage_unit"), _AWS, _OPERATION),
                           "{{operation}} {{usage_unit}}")],
                    unit=PER_SECOND,
                ),
                listing(
                    "Units in the time shown",
                    "What was used, by operation; `increase`, extrapolated.",
                    [increase(_USAGE, by("operation", "usage_unit"), _AWS, _OPERATION)],
                    [
                        Column("operation", "Operation"),
                        Column("usage_unit", "Unit"),
                        Column("Value #A", "Quantity", COUNT),
                    ],
                    width=12, height=9,
                ),
                plot(
                    "Egress by service",
                    "USD per hour for bytes that leave the cloud, by the service that sends them.",
                    [Query(f"topk(10, {rate(_COST, 'service_name', _EGRESS)} * {HOUR_S})", "{{service_name}}")],
                    unit=USD, stacked=True,
                ),
                listing(
                    "AWS calls without a price by reason",
                    "In the time shown; `increase`, extrapolated. What a reason means and what to do is in the "
                    "reference under Reasons.",
                    [increase("spancost_unpriced_total", by("reason", "operation"), _AWS, _OPERATION)],
                    [
                        Column("reason", "Reason"),
                        Column("operation", "Operation"),
                        Column("Value #A", "Calls", COUNT),
                    ],
                    width=12, height=9,
                ),
            ),
        ),
    ),
)  # fmt: skip
