"""*Tenants and features*: who caused the cost, and what it was for."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import Board, Section
from grafana._make.panels import BAD, GOOD, NOTICE, SHARE, USD, Column, Placed, Query, figure, listing, plot
from grafana._make.queries import DAY_S, added_up, by, chosen, in_range, increase, of, per_hour

_STEPS: Final = ((None, GOOD), (0.2, NOTICE), (0.5, BAD))
_ADDED: Final = "Added up from recorded five-minute rates."
_OWN: Final = "Filtered by the choice of the same name only: a recorded rate has no other label."


def _series(label: str, window: str) -> str:
    return f"{label}:spancost_attributed_cost_usd:rate{window}"


def _share_of(label: str, value: str) -> str:
    rate = _series(label, "5m")
    named = of(rate, f'{label}="{value}"')
    return f"(sum({named}) or 0 * sum({of(rate)})) / sum({of(rate)})"


def _over_time(label: str) -> Placed:
    query = f"topk(10, {per_hour(_series(label, '5m'), label, chosen(label))})"
    return plot(
        f"Cost by {label}",
        f"USD per hour of the ten dearest at each time, recorded five-minute rates. No name: nobody said. {_OWN}",
        [Query(query, f"{{{{{label}}}}}")],
        unit=USD,
        stacked=True,
        width=8,
    )


def _in_all(label: str) -> Placed:
    shown = chosen(label)
    day = f"{added_up(label, of(_series(label, '1d'), shown))} * {DAY_S}"
    before = f"{added_up(label, of(_series(label, '1d'), shown) + ' offset 1d')} * {DAY_S}"
    return listing(
        f"Each {label}",
        f"Cost in the time shown ({_ADDED[0].lower()}{_ADDED[1:-1]}), in the last 24 hours and in those before "
        f"(extrapolated rates over a day). {_OWN}",
        [in_range(_series(label, "5m"), label, shown), day, before],
        [
            Column(label, label.capitalize()),
            Column("Value #A", "Cost", USD),
            Column("Value #B", "Last 24 hours", USD),
            Column("Value #C", "24 hours before", USD),
        ],
        width=8,
        height=11,
        limit=50,
    )


_LABELS: Final = ("tenant", "feature", "team")

BOARD: Final = Board(
    uid="spancost-tenants",
    title="Tenants and features",
    description="The same cost, cut by who caused it: tenant, feature and team, as attribution rules and `attribute()` "
    "say.",
    labels=tuple((label, _series(label, "5m")) for label in _LABELS),
    sections=(
        Section(
            "How much is attributed",
            (
                figure(
                    "Spend per hour", "USD per hour at the pace of the last five minutes, attributed or not.",
                    per_hour(_series("tenant", "5m"), ""), unit=USD, width=6, over_time=True,
                ),
                figure(
                    "Without a tenant", "Part of the cost that no tenant was named for, in the last five minutes.",
                    _share_of("tenant", ""), unit=SHARE, width=6, steps=_STEPS, over_time=True,
                ),
                figure(
                    "Without a feature", "Part of the cost that no feature was named for, in the last five minutes.",
                    _share_of("feature", ""), unit=SHARE, width=6, steps=_STEPS, over_time=True,
                ),
                figure(
                    "Tenants in `other`",
                    "Part of the cost of tenants beyond the cap of series, kept together as `other`, in the last five "
                    "minutes. The sum is whole, only the names are missing.",
                    _share_of("tenant", "other"), unit=SHARE, width=6, steps=((None, GOOD), (0.01, NOTICE)),
                    over_time=True,
                ),
            ),
        ),
        Section("Over time", tuple(map(_over_time, _LABELS))),
        Section("In all", tuple(map(_in_all, _LABELS))),
        Section(
            "Together",
            (
                listing(
                    "Tenant, feature and component",
                    "Cost in the time shown by all of them at once. `increase` of the SDK's counter: extrapolated to "
                    "the edges of the time. Services without metrics of their own are not in it.",
                    [
                        increase(
                            "spancost_attributed_cost_usd_total",
                            by("tenant", "feature", "team", "component"),
                            chosen(*_LABELS),
                        )
                    ],
                    [
                        Column("tenant", "Tenant"),
                        Column("feature", "Feature"),
                        Column("team", "Team"),
                        Column("component", "Component"),
                        Column("Value #A", "Cost", USD),
                    ],
                    limit=50,
                ),
            ),
        ),
    ),
)  # fmt: skip
