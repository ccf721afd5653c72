"""*Budgets*: how budget rules stand, how fast they are spent, and what is expected at the end."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import Board, Section
from grafana._make.panels import (
    BAD,
    COUNT,
    FACTOR,
    GOOD,
    NOTICE,
    PLAIN,
    SHARE,
    USD,
    Column,
    Query,
    bars,
    figure,
    listing,
    plot,
)
from grafana._make.queries import by, chosen, of

_CHOICE: Final = chosen("budget", "key")
_KEYS: Final = by("budget", "key")
_NAME: Final = "{{budget}} {{key}}"
_USED: Final = ((None, GOOD), (0.8, NOTICE), (1, BAD))
_STATES: Final = {
    "0": ("ok", GOOD),
    "1": ("warning", NOTICE),
    "2": ("breached", BAD),
    "3": ("recovering", "blue"),
}
_SAME: Final = "Every process that shares a store shows the same, so the highest is taken."


def _now(metric: str, labels: str = _KEYS) -> str:
    return f"max by ({labels}) ({of(f'spancost_budget_{metric}', _CHOICE)})"


def _in_state(number: int) -> str:
    return f"count({_now('state')} == {number}) or 0 * count({_now('state')})"


BOARD: Final = Board(
    uid="spancost-budgets",
    title="Budgets",
    description="Budget rules of `spancost.yaml`, as the processes that enforce and watch them see them.",
    labels=(("budget", "spancost_budget_state"), ("key", "spancost_budget_state")),
    sections=(
        Section(
            "How they stand",
            (
                figure("Breached", f"Rules and keys that are over their limit. {_SAME}", _in_state(2), unit=COUNT,
                       width=6, steps=((None, GOOD), (1, BAD))),
                figure("Warning", f"Rules and keys above a warning threshold. {_SAME}", _in_state(1), unit=COUNT,
                       width=6, steps=((None, GOOD), (1, NOTICE))),
                figure("Fastest burn",
                       "How many times faster than it lasts the fastest-burning budget is spent: at 1 it is gone "
                       f"exactly at the end of its window. {_SAME}",
                       f"max({_now('burn_rate', by('budget', 'key', 'pair'))})", unit=FACTOR, width=6,
                       steps=((None, GOOD), (1, NOTICE), (6, BAD))),
                figure("Incomplete",
                       "Rules and keys that count something without a price: the true spend is higher. " + _SAME,
                       f"count({_now('incomplete')} == 1) or 0 * count({_now('incomplete')})", unit=COUNT, width=6,
                       steps=((None, GOOD), (1, NOTICE))),
                listing(
                    "All budgets",
                    "Spend and limit in the window of each rule, and the spend that is expected at its end where a "
                    f"forecast rule watches it. Incomplete: something has no price, the true spend is higher. {_SAME}",
                    [_now("used_ratio"), _now("spend_usd"), _now("limit_usd"), _now("forecast_usd"), _now("state"),
                     _now("incomplete")],
                    [
                        Column("budget", "Budget"),
                        Column("key", "Key"),
                        Column("Value #E", "State", FACTOR, is_background=True, mappings=_STATES),
                        Column("Value #A", "Used", SHARE, steps=_USED),
                        Column("Value #B", "Spend", USD),
                        Column("Value #C", "Limit", USD),
                        Column("Value #D", "Expected", USD),
                        Column("Value #F", "Incomplete", FACTOR,
                               mappings={"0": ("no", PLAIN), "1": ("yes", NOTICE)}),
                    ],
                    limit=100,
                ),
            ),
        ),
        Section(
            "How fast they are spent",
            (
                bars("Used now", f"Spent part of the limit, the twenty fullest. {_SAME}",
                     Query(f"topk(20, {_now('used_ratio')})", _NAME), unit=SHARE, steps=_USED),
                plot("Used over time",
                     f"Spent part of the limit, the ten fullest at each time. Falls when a window begins. {_SAME}",
                     [Query(f"topk(10, {_now('used_ratio')})", _NAME)], unit=SHARE),
                plot("Burn rate",
                     "How many times faster than it lasts a budget is spent, by pair of windows, the slower of the "
                     f"two. Alerts look at 14.4, 6, 3 and 1. {_SAME}",
                     [Query(f"topk(10, {_now('burn_rate', by('budget', 'key', 'pair'))})",
                            "{{budget}} {{key}} {{pair}}")],
                     unit=FACTOR),
                plot("Forecast against limit",
                     f"Spend that is expected at the end of the window, and the limit, with a forecast. {_SAME}",
                     [Query(_now("forecast_usd"), f"{_NAME} expected"),
                      Query(f"{_now('limit_usd')} and {_now('forecast_usd')}", f"{_NAME} limit")],
                     unit=USD),
            ),
        ),
    ),
)  # fmt: skip
