"""What Prometheus works out from counters is what was spent, by the real promtool."""

from __future__ import annotations

from pathlib import Path

import pytest

from spancost.budgets.matching import key_of
from spancost.budgets.prometheus.files import Options, rules_yaml
from spancost.budgets.rules import BudgetRule, BurnRate, BurnRateRule, Match, SpikeRule
from spancost.budgets.tracks import part_s, tracks_of
from spancost.budgets.windows import ROLLING, Window
from tests.budgets.prometheus.conftest import Fleet, random_fleet
from tests.support.promtool import Sample, evaluate, series

_A = {"job": "shop", "instance": "a"}
_B = {"job": "shop", "instance": "b"}
_QUIET = Options(with_data=False)
_HOUR = BudgetRule(name="hour", limit_usd=10, window=Window(ROLLING, 3600), match=Match(component=("llm",)))
_SPENT = 'spancost:budget_usd:spent{budget="hour"}'


def _fleet() -> Fleet:
    """Return a fleet whose first process has shown itself once: rules have been loaded."""
    fleet = Fleet("spancost_cost_usd_total")
    fleet.show(_A, component="llm")
    fleet.tick()
    return fleet


def _spent(fleet: Fleet, folder: Path, *minutes: int) -> list[float]:
    rules = rules_yaml([_HOUR], _QUIET)
    answers = evaluate(rules, fleet.inputs(), [(_SPENT, 60.0 * minute) for minute in minutes], folder)
    return [_only(answer) for answer in answers]


def _only(answer: list[Sample]) -> float:
    assert len(answer) <= 1
    return answer[0].value if answer else 0.0


def test_services_and_workers_are_added_up_and_other_components_are_not(folder: Path) -> None:
    fleet = _fleet()
    fleet.spend(1.0, _A, component="llm", model="small")
    fleet.spend(2.0, _B, component="llm", model="large")
    fleet.spend(4.0, {"job": "other", "instance": "a"}, component="llm", model="large")
    fleet.spend(8.0, _A, component="aws")
    fleet.tick()
    assert _spent(fleet, folder, 2) == [pytest.approx(7.0)]


def test_value_with_which_a_series_begins_is_counted(folder: Path) -> None:
    fleet = _fleet()
    fleet.spend(3.0, _B, component="llm")
    fleet.tick()
    fleet.tick()
    assert _spent(fleet, folder, 2, 3) == [pytest.approx(3.0)] * 2


def test_process_that_starts_anew_takes_back_nothing(folder: Path) -> None:
    fleet = _fleet()
    fleet.spend(5.0, _A, component="llm")
    fleet.spend(1.0, _B, component="llm")
    fleet.tick()
    fleet.end(_A)
    fleet.spend(0.5, _A, component="llm")
    fleet.tick()
    assert _spent(fleet, folder, 2, 3) == [pytest.approx(6.0), pytest.approx(6.5)]


def test_process_that_is_gone_has_still_spent_its_money(folder: Path) -> None:
    fleet = _fleet()
    fleet.spend(5.0, _A, component="llm")
    fleet.tick()
    fleet.end(_A)
    fleet.show(_B, component="llm")
    for _ in range(20):
        fleet.tick()
    assert _spent(fleet, folder, 20) == [pytest.approx(5.0)]


def test_process_that_was_not_reached_for_a_while_is_counted_once(folder: Path) -> None:
    fleet = _fleet()
    fleet.show(_B, component="llm")
    fleet.spend(5.0, _A, component="llm")
    fleet.tick()
    fleet.spend(2.0, _A, component="llm")
    for _ in range(25):
        fleet.tick(hidden=_A)
    fleet.tick()
    assert _spent(fleet, folder, 10, 28) == [pytest.approx(5.0), pytest.approx(7.0)]


def test_money_of_before_the_rules_were_loaded_is_not_the_money_of_their_first_minute(folder: Path) -> None:
    fleet = Fleet("spancost_cost_usd_total")
    fleet.spend(5000.0, _A, component="llm")
    fleet.tick()
    fleet.spend(1.0, _A, component="llm")
    fleet.tick()
    assert _spent(fleet, folder, 1, 2) == [0.0, pytest.approx(1.0)]


def test_sum_that_falls_in_its_last_digit_is_no_new_start(folder: Path) -> None:
    fleet = _fleet()
    fleet.spend(1000.0, _A, component="llm")
    fleet.tick()
    fleet.spend(-2e-13, _A, component="llm")
    fleet.tick()
    assert _spent(fleet, folder, 2, 3) == [pytest.approx(1000.0)] * 2


def test_service_is_told_by_the_label_of_a_scrape_or_by_the_job_of_otlp(folder: Path) -> None:
    fleet = Fleet("spancost_cost_usd_total")
    scraped = {"job": "pods", "service_name": "shop", "deployment_environment_name": "prod", "instance": "1"}
    pushed = {"job": "store/shop", "deployment_environment": "prod", "instance": "2"}
    staged = {"job": "shop", "deployment_environment_name": "staging", "instance": "3"}
    other = {"job": "shop", "service_name": "other", "deployment_environment_name": "prod", "instance": "4"}
    processes = (scraped, pushed, staged, other)
    for process in processes:
        fleet.show(process, component="llm")
    fleet.tick()
    for place, process in enumerate(processes):
        fleet.spend(10.0**place, process, component="llm")
    fleet.tick()
    match = Match(service=("shop",), environment=("prod",))
    rules = [BudgetRule(name="hour", limit_usd=10, window=Window(ROLLING, 3600), match=match)]
    answer = evaluate(rules_yaml(rules, _QUIET), fleet.inputs(), [(_SPENT, 120.0)], folder)
    assert _only(answer[0]) == pytest.approx(11.0)


def test_keys_are_those_of_the_processes(folder: Path) -> None:
    fleet = Fleet("spancost_attributed_cost_usd_total")
    fleet.show(_A, tenant="acme", component="llm")
    fleet.tick()
    fleet.spend(1.0, _A, tenant="acme", team="web", component="llm")
    fleet.spend(2.0, _A, tenant="acme", component="llm")
    fleet.spend(4.0, _B, component="llm")
    fleet.tick()
    single = BudgetRule(name="single", limit_usd=10, window=Window(ROLLING, 3600), per=("tenant",))
    both = BudgetRule(name="both", limit_usd=10, window=Window(ROLLING, 3600), per=("tenant", "team"))
    questions = [(f'spancost:budget_usd:spent{{budget="{name}"}}', 120.0) for name in ("single", "both")]
    rules = rules_yaml([single, both], _QUIET)
    answers = evaluate(rules, fleet.inputs(), questions, folder)
    found = [{one.labels["key"]: one.value for one in answer} for answer in answers]
    assert found[0] == pytest.approx({"acme": 3.0, key_of(single.per, {}): 4.0})
    assert found[1] == pytest.approx(
        {
            key_of(both.per, {"tenant": "acme", "team": "web"}): 1.0,
            key_of(both.per, {"tenant": "acme"}): 2.0,
            key_of(both.per, {}): 4.0,
        }
    )


@pytest.mark.parametrize(
    ("window_s", "seed"),
    [
        (600, 0),
        *(pytest.param(hours * 3600, seed, marks=pytest.mark.long) for hours in (3, 8, 24) for seed in range(3)),
    ],
)
def test_spent_is_what_the_slots_of_the_processes_hold(window_s: int, seed: int, folder: Path) -> None:
    minutes = window_s // 60 + 90
    fleet = random_fleet(seed, minutes, ("acme", "globex"))
    window = Window(ROLLING, window_s)
    rule = BudgetRule(name="hour", limit_usd=10, window=window, per=("tenant",))
    times = [60.0 * minute for minute in range(3, minutes, 7)]
    rules = rules_yaml([rule], _QUIET)
    answers = evaluate(rules, fleet.inputs(), [(_SPENT, at) for at in times], folder)
    for at, answer in zip(times, answers, strict=True):
        found = {one.labels["key"]: one.value for one in answer}
        for key in ("acme", "globex"):
            expected = _truth(fleet, key, window.first_slot(at), at)
            assert found.get(key, 0.0) == pytest.approx(expected, abs=1e-9), (at, key)


def _truth(fleet: Fleet, key: str, begin: float, end: float) -> float:
    return sum(
        usd
        for minute, labels, usd in fleet.booked
        if labels.get("tenant") == key and begin <= 60 * minute and 60 * minute < end
    )


def test_burn_rate_sums_have_the_slots_of_the_processes(folder: Path) -> None:
    pair = BurnRate(long_s=3600, short_s=1800, factor=2)
    budget = BudgetRule(name="hour", limit_usd=10, window=Window(ROLLING, 86_400), match=Match(tenant=("acme",)))
    burn = BurnRateRule(name="burn", budget="hour", pairs=(pair,))
    (track,) = tracks_of(burn, {"hour": budget})
    assert track.slot_s == part_s(1800) == 120
    fleet = random_fleet(7, 150, ("acme",))
    rules = rules_yaml([budget, burn], _QUIET)
    times = [60.0 * minute for minute in range(70, 150, 3)]
    asked = [(f'{_SPENT[:-1]},window="{window}",slot="2m"}}', at) for at in times for window in ("1h", "30m")]
    answers = evaluate(rules, fleet.inputs(), asked, folder)
    for (expr, at), answer in zip(asked, answers, strict=True):
        length_s = 3600 if '"1h"' in expr else 1800
        expected = _truth(fleet, "acme", track.first_slot(at, length_s), at)
        assert _only(answer) == pytest.approx(expected, abs=1e-9), (expr, at)


def test_baseline_of_a_spike_is_the_mean_of_the_whole_stretches_before_the_newest(folder: Path) -> None:
    rule = SpikeRule(name="spike", bucket_s=1800, history=3, warm_up=2, match=Match(tenant=("acme",)))
    (track,) = tracks_of(rule, {})
    slot_s, bucket_s = track.slot_s, 1800
    fleet = random_fleet(11, 240, ("acme",))
    rules = rules_yaml([rule], _QUIET)
    times = [60.0 * minute for minute in range(5, 240, 5)]
    asked = [(f"spancost:budget_usd:{what}", at) for at in times for what in ("newest", "baseline")]
    answers = evaluate(rules, fleet.inputs(), asked, folder)
    first = min(60 * minute for minute, _, _ in fleet.booked)
    first -= first % slot_s
    compared = 0
    for place, at in enumerate(times):
        end = (at // slot_s + 1) * slot_s
        stretches = [_truth(fleet, "acme", end - bucket_s * (back + 1), end - bucket_s * back) for back in range(4)]
        known = [usd for back, usd in enumerate(stretches) if back and end - bucket_s * back > first]
        assert _only(answers[2 * place]) == pytest.approx(_truth(fleet, "acme", end - bucket_s, at), abs=1e-9), at
        baseline = _only(answers[2 * place + 1])
        if sum(usd > 0 for usd in known) >= 2:
            compared += 1
            assert baseline == pytest.approx(sum(known) / len(known)), at
        else:
            assert baseline == 0.0, at
    assert compared > 20


def test_money_is_in_one_slot_wherever_evaluations_fall(folder: Path) -> None:
    # Every tenth evaluation comes a moment behind the border of a slot, and none on it.
    step_s = 30.01
    rule = SpikeRule(name="spike", bucket_s=3600, match=Match(component=("llm",)))
    samples: list[tuple[float, float | None]] = [(place * step_s, float(place)) for place in range(100)]
    inputs = [series("spancost_cost_usd_total", {"job": "a", "component": "llm"}, samples, step_s)]
    rules = rules_yaml([rule], Options(interval_s=step_s, with_data=False))
    asked = [("spancost:budget_usd:newest", place * step_s) for place in range(1, 100)]
    answers = evaluate(rules, inputs, asked, folder, interval_s=step_s)
    assert [_only(answer) for answer in answers] == pytest.approx([float(place) for place in range(1, 100)])
