"""Rule files: promtool accepts them, their cases hold and can fail, and they say how each rule was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import example as with_example
from hypothesis import strategies as st

from spancost.budgets.prometheus.cases import cases_yaml, example
from spancost.budgets.prometheus.files import Options, groups_of, rules_yaml, ways_of
from spancost.budgets.prometheus.ways import FromGauges, InPromql
from spancost.budgets.rules import (
    AnyRule,
    BudgetRule,
    BurnRate,
    BurnRateRule,
    ForecastRule,
    Match,
    RequestRule,
    SpikeRule,
)
from spancost.budgets.windows import DAY, MONTH, ROLLING, TOTAL, Window
from tests.support.promtool import check_rules, firing, run_promtool, series

_HOUR = Window(ROLLING, 3600)
_LLM = Match(component=("llm",))
_MONTH = BudgetRule(name="month", limit_usd=500, window=Window(MONTH, time_zone="Europe/Berlin"), match=_LLM)
_ROLLING = BudgetRule(
    name="rolling",
    limit_usd=10,
    window=_HOUR,
    match=Match(component=("llm",), model=("gpt-*", "o[13]")),
    thresholds=(0.5, 1.0),
    owner='search "team" {{ $value }}',
    severity="critical",
    labels=(("cost_center", "{{47}}"),),
    runbook="https://wiki.example/budgets",
)
_TENANTS = BudgetRule(name="tenants", limit_usd=2, window=_HOUR, per=("tenant",), thresholds=(1.0,))
_BURN = BurnRateRule(
    name="burn",
    budget="rolling",
    pairs=(
        BurnRate(long_s=1800, short_s=300, factor=1.2),
        BurnRate(long_s=3600, short_s=600, factor=1, severity="info"),
    ),
    min_usd_per_hour=1,
)
_SPIKE = SpikeRule(name="spike", bucket_s=600, history=4, warm_up=2, match=_LLM)
_RULES: tuple[AnyRule, ...] = (
    _ROLLING,
    _TENANTS,
    _MONTH,
    _BURN,
    BurnRateRule(name="burn-month", budget="month"),
    _SPIKE,
    SpikeRule(name="seasonal", method="seasonal"),
    ForecastRule(name="forecast", budget="month"),
    RequestRule(name="dear", max_request_usd=0.25),
)


def _alerts(text: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(text)["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _passes(text: str, tests: str, folder: Path) -> bool:
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    (folder / "t.yaml").write_text(tests, encoding="utf-8")
    done = run_promtool("test", "rules", "t.yaml", cwd=folder)
    assert "SUCCESS" in done.stdout or "FAILED" in done.stderr + done.stdout, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        Options(with_data=False),
        pytest.param(Options(), marks=pytest.mark.long),
        pytest.param(Options(interval_s=30, for_s=120), marks=pytest.mark.long),
    ],
    ids=["no-data", "plain", "for"],
)
def test_file_is_accepted_and_its_cases_hold(options: Options, folder: Path) -> None:
    text = rules_yaml(_RULES, options)
    check_rules(text, folder)
    assert _passes(text, cases_yaml(_RULES, "r.yaml", options), folder)


@pytest.mark.long
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('window="1h",slot="1m"} >= 10)', 'window="1h",slot="1m"} >= 10.1)'),
        ('window="1h",slot="1m"} >= 5)', 'window="1h",slot="1m"} >= 4.9)'),
        ('component="llm",model=~', "model=~"),
        ('spancost:budget_usd:gained{budget="rolling"}[59m59s]', 'spancost:budget_usd:gained{budget="rolling"}[3h]'),
        ("spancost:cost_usd:seen < 0.999999999 *", "spancost:cost_usd:seen < 0 *"),
        ("max by (budget, key) (spancost_budget_state", "sum by (budget, key, instance) (spancost_budget_state"),
        ("> 3 * clamp_min", "> 30 * clamp_min"),
        ('pair="1h/5m"}) > 14.4', 'pair="1h/5m"}) > 14.5'),
    ],
)
def test_cases_fail_where_a_rule_is_wrong(right: str, wrong: str, folder: Path) -> None:
    options = Options(with_data=False)
    text = rules_yaml(_RULES, options)
    assert right in text
    assert not _passes(text.replace(right, wrong), cases_yaml(_RULES, "r.yaml", options), folder)


def test_names_of_cases_are_sentences_about_a_rule() -> None:
    tests: list[dict[str, Any]] = yaml.safe_load(cases_yaml(_RULES, "r.yaml", Options()))["tests"]
    sentences = [test["name"] for test in tests]
    assert len(set(sentences)) == len(sentences)
    for rule in _RULES:
        assert any(sentence.startswith(f"{rule.name} ") for sentence in sentences)
    assert "rolling speaks at 50 %, which two processes have spent" in sentences


def test_each_alert_says_who_answers_how_serious_it_is_and_how_it_was_made() -> None:
    alerts = [one for one in _alerts(rules_yaml(_RULES)) if one["labels"].get("budget") == "rolling"]
    assert [(one["alert"], one["labels"]["threshold"], one["labels"]["severity"]) for one in alerts] == [
        ("SpancostBudgetWarning", "0.5", "warning"),
        ("SpancostBudgetBreached", "1", "critical"),
    ]
    for one in alerts:
        assert one["annotations"]["runbook_url"] == "https://wiki.example/budgets"
        assert one["annotations"]["made_from"] == "counters, in PromQL (spancost_cost_usd_total)"
        assert one["keep_firing_for"] == "5m"
        assert {"summary", "description"} <= one["annotations"].keys()


def test_texts_of_the_file_are_no_templates(folder: Path) -> None:
    inputs = [
        series("spancost_cost_usd_total", {"job": "a", "component": "llm", "model": "o1"}, [(0, 0), (60, 99)], 60.0)
    ]
    found = firing(rules_yaml([_ROLLING], Options(with_data=False)), inputs, [60], folder)[60]
    assert {(one["owner"], one["cost_center"]) for one in found} == {('search "team" {{ $value }}', "{{47}}")}


def test_tenants_are_one_rule_with_one_alert_each(folder: Path) -> None:
    text = rules_yaml([_TENANTS], Options(with_data=False))
    assert len(_alerts(text)) == 1
    inputs = [
        series("spancost_attributed_cost_usd_total", {"job": "a", "tenant": f"t{usd}"}, [(0, 0), (60, usd)], 60.0)
        for usd in (1, 2, 3)
    ]
    assert sorted(one["key"] for one in firing(text, inputs, [60], folder)[60]) == ["t2", "t3"]


def test_alert_goes_on_until_it_is_below_the_hysteresis_for_the_cooldown(folder: Path) -> None:
    rule = replace(_TENANTS, window=Window(ROLLING, 600), hysteresis=0.2, cooldown_s=180.0, limit_usd=10.0)
    # 7 USD in minute 1, 3 in minute 3, then 1.5 in minute 11 hold 8..10 until minute 13; then it is below 8.
    steps = {0: 0.0, 1: 7.0, 2: 7.0, 3: 10.0, 9: 10.0, 10: 15.5, 11: 15.5}
    usd, samples = 0.0, list[tuple[float, float | None]]()
    for minute in range(31):
        usd = steps.get(minute, usd)
        samples.append((60.0 * minute, usd))
    inputs = [series("spancost_attributed_cost_usd_total", {"job": "a", "tenant": "acme"}, samples, 60.0)]
    times = [60.0 * minute for minute in range(31)]
    found = firing(rules_yaml([rule], Options(with_data=False)), inputs, times, folder)
    # 10 from minute 3; 15.5 in minute 10, 8.5 from 11 (held), 5.5 from 13; three minutes later it is over.
    assert [at / 60 for at in times if found[at]] == list(range(3, 16))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (_ROLLING, None),
        (_TENANTS, None),
        (_MONTH, "its window (month) does not roll"),
        (replace(_ROLLING, window=Window(TOTAL)), "its window (total) does not roll"),
        (replace(_ROLLING, include_idle=True), "it counts idle time"),
        (replace(_ROLLING, on_unpriced="block"), "on_unpriced is block"),
        (replace(_ROLLING, match=Match(tenant=("a",), model=("b",))), "no metric has all of model, tenant"),
        (_BURN, None),
        (BurnRateRule(name="b", budget="month"), "months of Europe/Berlin are not known"),
        (BurnRateRule(name="b", budget="utc"), None),
        (BurnRateRule(name="b", budget="day"), None),
        (BurnRateRule(name="b", budget="idle"), "it counts idle time"),
        (_SPIKE, None),
        (replace(_SPIKE, method="robust"), "method robust"),
        (replace(_SPIKE, method="seasonal"), "method seasonal"),
        (replace(_SPIKE, history=200), "200 stretches"),
        (replace(_SPIKE, bucket_s=3000), "stretches of 50m"),
        (replace(_SPIKE, warm_up=0), "without a warm-up"),
        (ForecastRule(name="f", budget="month"), "the end of its window"),
        (RequestRule(name="r", max_request_usd=1), "while the request runs"),
    ],
)
def test_rule_becomes_promql_only_where_counters_know_it(rule: AnyRule, reason: str | None, folder: Path) -> None:
    further = (
        _MONTH,
        replace(_MONTH, name="utc", window=Window(MONTH)),
        replace(_MONTH, name="day", window=Window(DAY, time_zone="Europe/Berlin")),
        replace(_MONTH, name="idle", window=Window(MONTH), include_idle=True),
    )
    rules = [*(one for one in (*further, _ROLLING) if one.name != rule.name), rule]
    way = ways_of(rules)[rule.name]
    if reason is None:
        assert isinstance(way, InPromql)
    else:
        assert isinstance(way, FromGauges)
        assert reason in way.reason
    check_rules(rules_yaml(rules), folder)


def test_same_rules_give_the_same_text_and_each_rule_stands_at_its_head() -> None:
    text = rules_yaml(_RULES)
    assert text == rules_yaml(tuple(_RULES))
    assert "# month: gauges: its window (month) does not roll\n" in text
    assert "# rolling: counters, in PromQL (spancost_cost_usd_total)\n" in text


def test_every_series_is_recorded_before_it_is_used() -> None:
    (group,) = groups_of(_RULES, Options(with_data=False))
    recorded: set[tuple[str, str]] = set()
    for rule in group.rules:
        key = (getattr(rule, "record", ""), str(sorted(rule.labels.items())))
        assert key[0] == "" or key not in recorded
        recorded.add(key)


@pytest.mark.parametrize("interval_s", [1, 300])
def test_interval_at_which_prometheus_would_forget_is_refused(interval_s: float) -> None:
    with pytest.raises(ValueError, match="from 5s to 4m"):
        groups_of(_RULES, Options(interval_s=interval_s))


_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(owner=_NAMES, label=_NAMES, model=_NAMES, tenant=_NAMES)
@with_example(owner="\x85\n", label="\u2028", model="\x85", tenant="\u2029")
def test_whatever_stands_in_a_rule_the_file_is_accepted(
    owner: str, label: str, model: str, tenant: str, folder: Path
) -> None:
    rules = [
        replace(_ROLLING, owner=owner, labels=(("x", label),), match=Match(model=(model, "a"))),
        replace(_TENANTS, match=Match(tenant=(tenant,))),
    ]
    text = rules_yaml(rules)
    (parsed,) = {one["labels"]["owner"] for one in _alerts(text) if one["labels"].get("budget") == "rolling"}
    assert parsed.replace('{{"{{"}}', "{{") == owner
    check_rules(text, folder)


def test_example_of_a_glob_is_matched_by_it() -> None:
    assert example(["[!x]"]) is None
    assert example(["gpt-*"]) == "gpt-x"
    assert example(["shop"]) == "shop"
    assert example(["[]"]) == "[]"
