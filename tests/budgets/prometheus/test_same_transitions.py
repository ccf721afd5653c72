"""The same stream of charges makes the same alerts in a process and in Prometheus, within one evaluation interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from spancost.budgets.evaluation import Evaluator
from spancost.budgets.prometheus.files import Options, rules_yaml
from spancost.budgets.rules import AnyRule, BudgetRule, BurnRate, BurnRateRule, SpikeRule
from spancost.budgets.states import step
from spancost.budgets.store import Cell, StateRecord, Sums
from spancost.budgets.tracks import tracks_of
from spancost.budgets.view import NOTHING_SPENT, View
from spancost.budgets.windows import ROLLING, Window
from tests.budgets.prometheus.conftest import Fleet, random_fleet
from tests.support.promtool import firing

_KEYS = ("acme", "globex")
_ROLLING = BudgetRule(
    name="rolling", limit_usd=95, window=Window(ROLLING, 3 * 3600), per=("tenant",), thresholds=(1.0,), cooldown_s=240
)
_BURN = BurnRateRule(
    name="burn", budget="rolling", pairs=(BurnRate(long_s=3600, short_s=1800, factor=1.1),), min_usd_per_hour=20
)
_SPIKE = SpikeRule(name="spike", bucket_s=1200, history=5, multiplier=1.3, min_usd=4, warm_up=2, per=("tenant",))
_RULES: tuple[AnyRule, ...] = (_ROLLING, _BURN, _SPIKE)


def _in_process(rules: Sequence[AnyRule], fleet: Fleet) -> dict[tuple[str, str], list[bool]]:
    """Return for each rule and key whether it speaks at the end of each minute."""
    budgets = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
    tracks = [tracks_of(rule, budgets) for rule in rules]
    view = View()
    evaluator = Evaluator(rules, tracks, view)
    sums: dict[Cell, Sums] = {}
    records = {(rule.name, key): StateRecord(rule.name, key) for rule in rules for key in _KEYS}
    said: dict[tuple[str, str], list[bool]] = {place: [] for place in records}
    booked = list(fleet.booked)
    for minute in range(fleet.minute):
        while booked and booked[0][0] == minute:
            _, labels, usd = booked.pop(0)
            for rule, own in zip(rules, tracks, strict=True):
                for track in own:
                    cell = Cell(rule.name, track.index, labels["tenant"], track.slot_of(minute))
                    sums[cell] = sums.get(cell, NOTHING_SPENT).plus(Sums(usd=usd, calls=1))
                    view.set(cell, sums[cell])
        now = 60.0 * (minute + 1)
        for rule in rules:
            for key in _KEYS:
                reading = evaluator.read(rule, key, now)
                assert reading is not None
                place = (rule.name, key)
                after = step(records[place], reading.seen, now, cooldown_s=rule.cooldown_s, episode="e").record
                records[place] = after
                said[place].append(after.level > 0)
    return said


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_prometheus_speaks_and_is_quiet_when_the_process_does(seed: int, folder: Path) -> None:
    fleet = random_fleet(seed, 420, _KEYS)
    expected = _in_process(_RULES, fleet)
    times = [60.0 * (minute + 1) for minute in range(fleet.minute)]
    found = firing(rules_yaml(_RULES, Options(with_data=False)), fleet.inputs(), times, folder)
    changes = 0
    for (rule, key), said in expected.items():
        alerts = [any(one["budget"] == rule and one["key"] == key for one in found[at]) for at in times]
        changes += sum(before != after for before, after in pairwise(said))
        for minute in range(1, len(said) - 1):
            near = set(said[minute - 1 : minute + 2])
            assert alerts[minute] in near, (
                rule,
                key,
                minute,
                said[minute - 5 : minute + 5],
                alerts[minute - 5 : minute + 5],
            )
    assert changes > 10
