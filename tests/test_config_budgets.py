"""The section `budgets:`: a right rule is taken as it stands, a wrong one is told with its place, value and choices."""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from spancost.budgets.rules import (
    DEFAULT_BURN_RATES,
    AnyRule,
    BudgetRule,
    BurnRate,
    BurnRateRule,
    Channel,
    ForecastRule,
    Match,
    RequestRule,
    SpikeRule,
)
from spancost.budgets.validation import validate_rules
from spancost.budgets.windows import Window
from spancost.config import Config, load_config
from spancost.errors import ConfigError

_DAY_S = 86_400.0
_MONTHLY = BudgetRule(name="llm", limit_usd=500.0, window=Window("month"))


def _read(folder: Path, budgets: str, environ: Mapping[str, str] | None = None, **arguments: Any) -> Config:
    path = folder / "spancost.yaml"
    path.write_text(f"budgets:\n  {budgets}\n", encoding="utf-8")
    return load_config(path, environ=environ or {}, **arguments)


def _rules(folder: Path, *rules: str) -> tuple[AnyRule, ...]:
    return _read(folder, "rules: [" + ", ".join(rules) + "]").budget_rules


def test_everything_that_a_rule_may_say_is_read(tmp_path: Path) -> None:
    config = _read(
        tmp_path,
        """
  store: sqlite:/var/lib/budgets.sqlite
  notify:
    ops: {type: slack, url_env: SLACK_WEBHOOK_URL}
  rules:
    - name: llm-monthly
      budget: {limit_usd: $500, window: month, time_zone: Europe/Berlin}
      match: {component: llm, tenant: [acme, "b*", 4711]}
      per: tenant
      max_keys: 50
      thresholds: [50%, 0.8]
      when_unavailable: closed
      throttle: {from: 90%, delay: 2s}
      owner: search-team
      severity: critical
      labels: {cost_center: 4711}
      notify: [ops]
      on_unpriced: {assume_usd: 0.01}
      include_idle: true
      cooldown: 10m
      hysteresis: 10%
      runbook: https://wiki.example/llm
    - name: llm-spike
      spike: {bucket: 30m, method: robust, history: 48, multiplier: 4, z: 5, min_mad_usd: 0.5, percentile: 99%,
              season: week, min_baseline_usd: 2, min_usd: 1, warm_up: 5}
      per: [tenant, model]
    - name: llm-burn
      burn_rate: {budget: llm-monthly, pairs: [{long: 1h, short: 5m, factor: 14.4}, {long: 1d, short: 2h, factor: 3,
                  severity: warning}], min_usd_per_hour: 0.5}
    - name: llm-forecast
      forecast: {budget: llm-monthly, method: linear, over: 48h, confidence: 0.8}
    - {name: dear-request, max_request_usd: 0.25, match: {route: "/chat/*"}}
""",
    )
    assert config.budget_store == "sqlite:/var/lib/budgets.sqlite"
    assert config.budget_channels == (Channel(name="ops", type="slack", settings=(("url_env", "SLACK_WEBHOOK_URL"),)),)
    assert config.budget_rules == (
        BudgetRule(
            name="llm-monthly",
            limit_usd=500.0,
            window=Window("month", time_zone="Europe/Berlin"),
            match=Match(component=("llm",), tenant=("acme", "b*", "4711")),
            per=("tenant",),
            max_keys=50,
            thresholds=(0.5, 0.8, 1.0),
            when_unavailable="closed",
            throttle_from=0.9,
            throttle_delay_s=2.0,
            owner="search-team",
            severity="critical",
            labels=(("cost_center", "4711"),),
            notify=("ops",),
            on_unpriced="assume_usd",
            assume_usd=0.01,
            include_idle=True,
            cooldown_s=600.0,
            hysteresis=0.1,
            runbook="https://wiki.example/llm",
        ),
        SpikeRule(
            name="llm-spike",
            per=("tenant", "model"),
            bucket_s=1800.0,
            method="robust",
            history=48,
            multiplier=4.0,
            z=5.0,
            min_mad_usd=0.5,
            percentile=0.99,
            season="week",
            min_baseline_usd=2.0,
            min_usd=1.0,
            warm_up=5,
        ),
        BurnRateRule(
            name="llm-burn",
            budget="llm-monthly",
            pairs=(
                BurnRate(long_s=3600.0, short_s=300.0, factor=14.4, severity="critical"),
                BurnRate(long_s=_DAY_S, short_s=7200.0, factor=3.0, severity="warning"),
            ),
            min_usd_per_hour=0.5,
        ),
        ForecastRule(name="llm-forecast", budget="llm-monthly", over_s=2 * _DAY_S, confidence=0.8),
        RequestRule(name="dear-request", max_request_usd=0.25, match=Match(route=("/chat/*",))),
    )


def test_what_a_rule_does_not_say_has_its_default(tmp_path: Path) -> None:
    assert _rules(
        tmp_path,
        "{name: llm, budget: {limit_usd: 500, window: month}}",
        "{name: spike, spike: }",
        "{name: burn, burn_rate: {budget: llm}}",
        "{name: forecast, forecast: {budget: llm}}",
    ) == (
        _MONTHLY,
        SpikeRule(name="spike"),
        BurnRateRule(name="burn", budget="llm", pairs=DEFAULT_BURN_RATES),
        ForecastRule(name="forecast", budget="llm"),
    )


def test_a_seasonal_forecast_is_taken_from_four_weeks(tmp_path: Path) -> None:
    (_, forecast) = _rules(
        tmp_path,
        "{name: llm, budget: {limit_usd: 500, window: month}}",
        "{name: f, forecast: {budget: llm, method: seasonal}}",
    )
    assert isinstance(forecast, ForecastRule)
    assert forecast.over_s == 28 * _DAY_S


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("minute", Window("minute")),
        ("week", Window("week")),
        ("total", Window("total")),
        ("rolling 24h", Window("rolling", 86_400)),
        ("rolling 90m", Window("rolling", 5400)),
    ],
)
def test_windows_are_read_by_name_and_rolling_ones_by_their_length(text: str, window: Window, tmp_path: Path) -> None:
    (rule,) = _rules(tmp_path, f"{{name: a, budget: {{limit_usd: 1, window: {text}}}}}")
    assert isinstance(rule, BudgetRule)
    assert rule.window == window


@pytest.mark.parametrize(
    ("text", "usd"), [("500", 500.0), ('"$500"', 500.0), ("0.25", 0.25), ('"$ 0.25"', 0.25), ("1e-6", 1e-6)]
)
def test_money_is_read_with_and_without_its_sign(text: str, usd: float, tmp_path: Path) -> None:
    (rule,) = _rules(tmp_path, f"{{name: a, max_request_usd: {text}}}")
    assert isinstance(rule, RequestRule)
    assert rule.max_request_usd == usd


def test_keys_of_a_budget_may_stand_in_its_section(tmp_path: Path) -> None:
    (rule,) = _rules(
        tmp_path,
        "{name: a, budget: {limit_usd: 1, window: day, thresholds: [20%], when_unavailable: closed, "
        "throttle: {from: 0.5}}}",
    )
    assert isinstance(rule, BudgetRule)
    assert (rule.thresholds, rule.when_unavailable) == ((0.2, 1.0), "closed")
    assert (rule.throttle_from, rule.throttle_delay_s) == (0.5, 1.0)


_BUDGET = "budget: {limit_usd: 500, window: month}"
# what the rules are -> what the message says after the file's name and `budgets.rules`
_WRONG_RULES = {
    "no list": ("5", r": 5 is not accepted: a list of rules; each is a rule with name and one of budget"),
    "no mapping": ("[x]", r"\[0\]: 'x' is not accepted: a rule with name"),
    "no name": (f"[{{{_BUDGET}}}]", r"\[0\]: .* is not accepted: a rule with name and one of"),
    "unknown key": (
        f"[{{name: a, {_BUDGET}, treshold: 1}}]",
        r"\[0\]\.treshold: 1 is not accepted: unknown key: did you mean 'thresholds'",
    ),
    "no kind": ("[{name: a}]", r"\[0\]: .* is not accepted: one of budget, spike, burn_rate, forecast, max_request"),
    "two kinds": (f"[{{name: a, {_BUDGET}, spike: }}]", r"\[0\]: .* forecast, max_request_usd, not budget and spike$"),
    "name with a blank": (f"[{{name: a b, {_BUDGET}}}]", r"\[0\]\.name: 'a b' .* a name of at most 60 letters"),
    "long name": (f"[{{name: {'a' * 61}, {_BUDGET}}}]", r"\[0\]\.name: 'a+' is not accepted: a name of at most 60"),
    "name twice": (
        f"[{{name: a, {_BUDGET}}}, {{name: a, {_BUDGET}}}]",
        r"\[1\]\.name: 'a' is not accepted: a name of its own; \[0\] has this one already",
    ),
    "budget without limit": ("[{name: a, budget: {window: day}}]", r"\[0\]\.budget: .* at least limit_usd and window"),
    "no limit": (
        "[{name: a, budget: {limit_usd: 0, window: day}}]",
        r"\[0\]\.budget\.limit_usd: 0\.0 is not accepted: an amount of USD above zero",
    ),
    "negative limit": (
        "[{name: a, budget: {limit_usd: -5, window: day}}]",
        r"\[0\]\.budget\.limit_usd: -5 is not accepted: an amount of USD, such as 500, \$500 or 0\.25",
    ),
    "NaN": ("[{name: a, max_request_usd: .nan}]", r"\[0\]\.max_request_usd: nan is not accepted: an amount of USD"),
    "infinite": ("[{name: a, max_request_usd: .inf}]", r"\[0\]\.max_request_usd: inf is not accepted: an amount"),
    "other currency": ("[{name: a, max_request_usd: 5 EUR}]", r"\[0\]\.max_request_usd: '5 EUR' is not accepted: an"),
    "yes for money": ("[{name: a, max_request_usd: yes}]", r"\[0\]\.max_request_usd: True is not accepted: an amount"),
    "too much money": (
        "[{name: a, max_request_usd: 1e13}]",
        r"\[0\]\.max_request_usd: 10+\.0 is not accepted: an amount",
    ),
    "window": (
        "[{name: a, budget: {limit_usd: 1, window: year}}]",
        r"\[0\]\.budget\.window: 'year' is not accepted: one of minute, hour, day, week, month, total, or rolling and",
    ),
    "rolling without length": (
        "[{name: a, budget: {limit_usd: 1, window: rolling}}]",
        r"\[0\]\.budget\.window: 'rolling' is not accepted: .* such as rolling 24h",
    ),
    "rolling of seconds": (
        "[{name: a, budget: {limit_usd: 1, window: rolling 90s}}]",
        r"\[0\]\.budget\.window: 'rolling 90s' is not accepted: a rolling window of whole minutes",
    ),
    "rolling of years": (
        "[{name: a, budget: {limit_usd: 1, window: rolling 401d}}]",
        r"\[0\]\.budget\.window: 34646400 is not accepted: whole minutes, from 1m to 400d",
    ),
    "time zone": (
        "[{name: a, budget: {limit_usd: 1, window: day, time_zone: Europe/Berlun}}]",
        r"\[0\]\.budget\.time_zone: 'Europe/Berlun' .* an IANA time zone, .* did you mean 'Europe/Berlin'",
    ),
    "time zone that is a path": (
        "[{name: a, budget: {limit_usd: 1, window: day, time_zone: ../../etc/passwd}}]",
        r"\[0\]\.budget\.time_zone: '\.\./\.\./etc/passwd' is not accepted: an IANA time zone",
    ),
    "time zone of a rolling window": (
        "[{name: a, budget: {limit_usd: 1, window: rolling 1h, time_zone: Europe/Berlin}}]",
        r"\[0\]\.budget\.time_zone: 'Europe/Berlin' is not accepted: no time zone: a rolling window does not begin at",
    ),
    "threshold of nothing": (
        f"[{{name: a, {_BUDGET}, thresholds: [0, 50%]}}]",
        r"\[0\]\.thresholds\[0\]: 0\.0 is not accepted: a part above 0",
    ),
    "thresholds that fall": (
        f"[{{name: a, {_BUDGET}, thresholds: [80%, 50%]}}]",
        r"\[0\]\.thresholds\[1\]: '50%' is not accepted: a part above the one before it",
    ),
    "threshold without its sign": (
        f"[{{name: a, {_BUDGET}, thresholds: [50, 80]}}]",
        r"\[0\]\.thresholds\[1\]: 50\.0 is not accepted: a part of the limit above 0 and at most 10, such as 80% or",
    ),
    "threshold in the section": (
        "[{name: a, budget: {limit_usd: 1, window: day, thresholds: [2000%]}}]",
        r"\[0\]\.budget\.thresholds\[1\]: 20\.0 is not accepted: a part of the limit above 0 and at most 10",
    ),
    "thresholds twice": (
        "[{name: a, budget: {limit_usd: 1, window: day, thresholds: [50%]}, thresholds: [50%]}]",
        r"\[0\]\.thresholds: \['50%'\] is not accepted: this key once, and only of a budget",
    ),
    "thresholds of a spike": ("[{name: a, spike: , thresholds: [50%]}]", r"\[0\]\.thresholds: .* only of a budget"),
    "throttle without from": (
        f"[{{name: a, {_BUDGET}, throttle: {{delay: 1s}}}}]",
        r"\[0\]\.throttle: .* such as \{from: 90%, delay: 2s\}",
    ),
    "throttle at the limit": (
        f"[{{name: a, {_BUDGET}, throttle: {{from: 100%}}}}]",
        r"\[0\]\.throttle\.from: 1\.0 is not accepted: a part of the limit above 0 and below 1",
    ),
    "throttle for a day": (
        f"[{{name: a, {_BUDGET}, throttle: {{from: 90%, delay: 1d}}}}]",
        r"\[0\]\.throttle\.delay: 86400\.0 is not accepted: a delay above 0 and of at most an hour",
    ),
    "unavailable": (
        f"[{{name: a, {_BUDGET}, when_unavailable: ajar}}]",
        r"\[0\]\.when_unavailable: 'ajar' .* open, closed",
    ),
    "dimension": (
        f"[{{name: a, {_BUDGET}, match: {{tennant: a}}}}]",
        r"\[0\]\.match\.tennant: 'a' is not accepted: unknown key: did you mean 'tenant'",
    ),
    "glob of nothing": (f"[{{name: a, {_BUDGET}, match: {{tenant: []}}}}]", r"\[0\]\.match\.tenant: \[\] .* a glob or"),
    "long glob": (
        f"[{{name: a, {_BUDGET}, match: {{tenant: [a, {'b' * 201}]}}}}]",
        r"\[0\]\.match\.tenant\[1\]: 'b+' is not accepted: a glob of at most 200 characters",
    ),
    "per": (
        f"[{{name: a, {_BUDGET}, per: modle}}]",
        r"\[0\]\.per: 'modle' is not accepted: a dimension or a list of them: did you mean 'model'",
    ),
    "per twice": (f"[{{name: a, {_BUDGET}, per: [model, model]}}]", r"\[0\]\.per: .* each dimension once"),
    "keys": (f"[{{name: a, {_BUDGET}, max_keys: 0}}]", r"\[0\]\.max_keys: 0 is not accepted: a whole number from 1"),
    "severity": (f"[{{name: a, {_BUDGET}, severity: high}}]", r"\[0\]\.severity: 'high' .* info, warning, critical"),
    "label of ours": (
        f"[{{name: a, {_BUDGET}, labels: {{severity: x}}}}]",
        r"\[0\]\.labels\.severity: 'severity' is not accepted: another name: alerts have alertname, severity",
    ),
    "label with a dash": (
        f"[{{name: a, {_BUDGET}, labels: {{cost-center: x}}}}]",
        r"\[0\]\.labels\.cost-center: 'cost-center' is not accepted: a name of at most 60 letters, digits and _",
    ),
    "label of Prometheus": (f"[{{name: a, {_BUDGET}, labels: {{__name__: x}}}}]", r"\[0\]\.labels\.__name__: "),
    "channel that is not there": (
        f"[{{name: a, {_BUDGET}, notify: [ops]}}]",
        r"\[0\]\.notify\[0\]: 'ops' is not accepted: no name: there is no channel",
    ),
    "unpriced": (f"[{{name: a, {_BUDGET}, on_unpriced: ignore}}]", r"\[0\]\.on_unpriced: 'ignore' .* warn, block, or"),
    "assumed nothing": (
        f"[{{name: a, {_BUDGET}, on_unpriced: {{assume_usd: 0}}}}]",
        r"\[0\]\.on_unpriced\.assume_usd: 0\.0 is not accepted: an amount of USD above zero",
    ),
    "assumed without amount": (
        f"[{{name: a, {_BUDGET}, on_unpriced: {{}}}}]",
        r"\[0\]\.on_unpriced: .* an amount, such",
    ),
    "hysteresis": (f"[{{name: a, {_BUDGET}, hysteresis: 100%}}]", r"\[0\]\.hysteresis: 1\.0 .* from 0 to below 1"),
    "cooldown": (f"[{{name: a, {_BUDGET}, cooldown: soon}}]", r"\[0\]\.cooldown: 'soon' is not accepted: a duration"),
    "long cooldown": (
        f"[{{name: a, {_BUDGET}, cooldown: 900d}}]",
        r"\[0\]\.cooldown: 77760000\.0 is not accepted: sec",
    ),
    "runbook": (f"[{{name: a, {_BUDGET}, runbook: wiki/llm}}]", r"\[0\]\.runbook: 'wiki/llm' .* begins with http://"),
    "bucket": (
        "[{name: a, spike: {bucket: 90s}}]",
        r"\[0\]\.spike\.bucket: 90\.0 is not accepted: whole minutes, from",
    ),
    "bucket of no season": (
        "[{name: a, spike: {bucket: 7h, method: seasonal}}]",
        r"\[0\]\.spike\.bucket: 25200\.0 is not accepted: a length of which a day is a whole number of times",
    ),
    "method": (
        "[{name: a, spike: {method: median}}]",
        r"\[0\]\.spike\.method: 'median' .* mean, robust, percentile, s",
    ),
    "multiplier": ("[{name: a, spike: {multiplier: 1}}]", r"\[0\]\.spike\.multiplier: 1\.0 .* a number above 1 and at"),
    "z": ("[{name: a, spike: {z: 0}}]", r"\[0\]\.spike\.z: 0\.0 is not accepted: a number above 0"),
    "percentile": ("[{name: a, spike: {percentile: 95}}]", r"\[0\]\.spike\.percentile: 95\.0 .* such as 95% or 0\.95"),
    "warm-up": ("[{name: a, spike: {history: 3, warm_up: 4}}]", r"\[0\]\.spike\.warm_up: 4 .* at most the history: 3"),
    "robust of two": (
        "[{name: a, spike: {method: robust, history: 2, warm_up: 1}}]",
        r"\[0\]\.spike\.history: 2 .* at",
    ),
    "burn rate of no budget": (
        "[{name: a, burn_rate: {budget: llm}}]",
        r"\[0\]\.burn_rate\.budget: 'llm' is not accepted: the name of a budget rule: there is none",
    ),
    "burn rate of another rule": (
        f"[{{name: llm, {_BUDGET}}}, {{name: lln, spike: }}, {{name: a, burn_rate: {{budget: lln}}}}]",
        r"\[2\]\.burn_rate\.budget: 'lln' is not accepted: the name of a budget rule: did you mean 'llm'",
    ),
    "burn rate of all money": (
        "[{name: llm, budget: {limit_usd: 1, window: total}}, {name: a, burn_rate: {budget: llm}}]",
        r"\[1\]\.burn_rate\.budget: 'llm' .* a budget whose window has an end: .*; that of llm is total",
    ),
    "burn rate with a match": (
        f"[{{name: llm, {_BUDGET}}}, {{name: a, burn_rate: {{budget: llm}}, match: {{tenant: a}}}}]",
        r"\[1\]\.match: \{'tenant': \('a',\)\} is not accepted: none: that of the budget llm is used",
    ),
    "burn rate with a split": (
        f"[{{name: llm, {_BUDGET}}}, {{name: a, burn_rate: {{budget: llm}}, per: tenant}}]",
        r"\[1\]\.per: \('tenant',\) is not accepted: none: that of the budget llm is used",
    ),
    "burn rate of windows that do not grow": (
        f"[{{name: l, {_BUDGET}}}, {{name: a, burn_rate: {{budget: l, pairs: [{{long: 1h, short: 1h, factor: 1}}]}}}}]",
        r"\[1\]\.burn_rate\.pairs\[0\]\.short: 3600\.0 is not accepted: shorter than the long window of 3600 s",
    ),
    "burn rate without factor": (
        f"[{{name: llm, {_BUDGET}}}, {{name: a, burn_rate: {{budget: llm, pairs: [{{long: 1h, short: 5m}}]}}}}]",
        r"\[1\]\.burn_rate\.pairs\[0\]: .* is not accepted: windows and a factor, such as",
    ),
    "forecast of a rolling window": (
        "[{name: llm, budget: {limit_usd: 1, window: rolling 24h}}, {name: a, forecast: {budget: llm}}]",
        r"\[1\]\.forecast\.budget: 'llm' .* one of minute, hour, day, week, month; that of llm is rolling",
    ),
    "seasonal forecast of a day": (
        f"[{{name: llm, {_BUDGET}}}, {{name: a, forecast: {{budget: llm, method: seasonal, over: 1d}}}}]",
        r"\[1\]\.forecast\.over: 86400\.0 is not accepted: at least a week, such as 28d, for the method seasonal",
    ),
    "sure forecast": (
        f"[{{name: llm, {_BUDGET}}}, {{name: a, forecast: {{budget: llm, confidence: 100%}}}}]",
        r"\[1\]\.forecast\.confidence: 1\.0 is not accepted: a part above 0 and at most 99\.9%",
    ),
    "request by model": (
        "[{name: a, max_request_usd: 1, match: {model: gpt-4o}}]",
        r"\[0\]\.match\.model: \('gpt-4o',\) is not accepted: a dimension that a whole request has: one of service",
    ),
    "request per model": ("[{name: a, max_request_usd: 1, per: model}]", r"\[0\]\.per\[0\]: 'model' .* whole request"),
    "too many": (
        "[" + ", ".join(f"{{name: r{n}, spike: }}" for n in range(201)) + "]",
        r": '201 rules' is not accepted: at most 200",
    ),
}


@pytest.mark.parametrize("name", _WRONG_RULES)
def test_wrong_rule_is_told_with_place_key_value_and_choices(name: str, tmp_path: Path) -> None:
    rules, message = _WRONG_RULES[name]
    with pytest.raises(ConfigError, match=r"spancost\.yaml: budgets\.rules" + message):
        _read(tmp_path, f"rules: {rules}")


def _other(**changes: Any) -> BudgetRule:
    given: dict[str, Any] = {"name": "other", "limit_usd": 500.0, "window": Window("month"), **changes}
    return BudgetRule(**given)


_WRONG_OBJECTS: Mapping[str, tuple[Any, str]] = {
    "text for money": (_other(limit_usd="500"), r"limit_usd: '500' is not accepted: an amount"),
    "yes for money": (_other(limit_usd=True), r"limit_usd: True is not accepted: an amount"),
    "NaN": (_other(limit_usd=float("nan")), r"limit_usd: nan is not accepted: an amount"),
    "text for a window": (_other(window="month"), r"window: 'month' is not accepted: a Window"),
    "window": (_other(window=Window("year")), r"window\.kind: 'year' is not accepted: one of"),
    "length": (_other(window=Window("day", 60)), r"window\.length_s: 60 is not accepted: 0: only"),
    "thresholds without all": (_other(thresholds=(0.5,)), r"thresholds: \(0\.5,\) .* 1\.0 among them"),
    "list of thresholds": (
        _other(thresholds=[1.0]),
        r"thresholds: \[1\.0\] is not accepted: a tu",
    ),
    "text for a tuple": (_other(per="tenant"), r"per: 'tenant' is not accepted: a tuple of dim"),
    "text for a match": (_other(match="llm"), r"match: 'llm' is not accepted: a Match"),
    "text for globs": (
        _other(match=Match(**cast("dict[str, Any]", {"tenant": "acme"}))),
        r"match\.tenant: 'acme' is not accepted: a tuple",
    ),
    "number for cooldown": (
        SpikeRule(name="other", cooldown_s=float("inf")),
        r"cooldown_s: inf is not accepted: secon",
    ),
    "owner of lines": (SpikeRule(name="other", owner="a\nb"), r"owner: 'a\\nb' is not accepted: one line of text"),
    "no rule": ("spike", r"'spike' is not accepted: a BudgetRule, SpikeRule"),
}


@pytest.mark.parametrize("name", _WRONG_OBJECTS)
def test_rules_made_in_python_are_checked_by_the_names_of_their_fields(name: str) -> None:
    wrong, message = _WRONG_OBJECTS[name]
    with pytest.raises(ConfigError, match=r"argument: budget_rules\[1\][.:] ?" + message):
        load_config(environ={}, budget_rules=(_MONTHLY, wrong))


def test_rules_made_in_python_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rules = (_MONTHLY, BurnRateRule(name="burn", budget="llm"), SpikeRule(name="spike", notify=("ops",)))
    channels = (Channel(name="ops", type="log"),)
    config = load_config(environ={}, budget_rules=rules, budget_channels=channels)
    assert (config.budget_rules, config.budget_channels, config.budget_store) == (rules, channels, "auto")
    validate_rules(rules)


def test_channels_made_in_python_have_names_of_their_own() -> None:
    ops = Channel(name="ops", type="log")
    with pytest.raises(
        ConfigError, match=r"argument: budget_channels\[1\]\.name: 'ops' is not accepted: a name of its"
    ):
        load_config(environ={}, budget_channels=(ops, ops))
    with pytest.raises(ConfigError, match=r"argument: budget_channels\[0\]: 'log' is not accepted: a Channel"):
        load_config(environ={}, budget_channels=("log",))


def test_a_rule_names_channels_that_are_there(tmp_path: Path) -> None:
    notify = "notify: {ops: {type: log}}\n  rules: [{name: a, spike: , notify: [opps]}]"
    with pytest.raises(ConfigError, match=r"budgets\.rules\[0\]\.notify\[0\]: 'opps' .* did you mean 'ops'"):
        _read(tmp_path, notify)
    with pytest.raises(ConfigError, match=r"argument: budget_rules\[0\]\.notify\[0\]: 'pager' .* one of ops"):
        _read(tmp_path, "notify: {ops: {type: log}}", budget_rules=(SpikeRule(name="a", notify=("pager",)),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", r"budgets\.notify: 5 is not accepted: channels by name"),
        ("{'a:b': {type: log}}", r"budgets\.notify\.a:b: 'a:b' is not accepted: a name of at most 60 letters"),
        ("{ops: log}", r"budgets\.notify\.ops: 'log' is not accepted: a channel with its type"),
        ("{ops: {type: smoke}}", r"budgets\.notify\.ops\.type: 'smoke' is not accepted: one of .*log, .*slack"),
    ],
)
def test_wrong_channel_is_told_by_its_name(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        _read(tmp_path, f"notify: {text}")


@pytest.mark.parametrize(
    "store",
    [
        "auto",
        "memory",
        "sqlite:/tmp/a b.sqlite",
        "redis://127.0.0.1:6379/0",
        "unix:///run/redis.sock",
        "redis-env:URL",
        "redis-file:/run/u",
    ],
)
def test_the_store_is_named_by_file_or_variable(store: str, tmp_path: Path) -> None:
    assert _read(tmp_path, f"store: {store}").budget_store == store
    assert _read(tmp_path, "store: memory", {"SPANCOST_BUDGET_STORE": store}).budget_store == store


@pytest.mark.parametrize(
    ("text", "components"),
    [("[llm, aws]", ("llm", "aws")), ("[aws, llm]", ("llm", "aws")), ("aws", ("aws",)), ("off", ()), ("[]", ())],
)
def test_what_is_enforced_is_named_by_file_variable_or_argument(
    text: str, components: tuple[str, ...], tmp_path: Path
) -> None:
    assert _read(tmp_path, f"enforce: {text}").budget_enforce == components
    said = text.strip("[]") or "off"
    assert _read(tmp_path, "enforce: [llm]", {"SPANCOST_ENFORCE": said}).budget_enforce == components
    assert _read(tmp_path, "enforce: [llm]", budget_enforce=components).budget_enforce == components
    assert _read(tmp_path, "store: memory").budget_enforce == ()


def test_what_cannot_be_enforced_is_told_with_what_can_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budgets\.enforce\[1\]: 'http' is not accepted: a list of llm, aws, or off"):
        _read(tmp_path, "enforce: [llm, http]")
    with pytest.raises(ConfigError, match=r"SPANCOST_ENFORCE: 'openai' is not accepted: a list of llm, aws, or off"):
        _read(tmp_path, "store: memory", {"SPANCOST_ENFORCE": "openai"})
    with pytest.raises(ConfigError, match=r"budget_enforce\[0\]: 'compute' is not accepted"):
        _read(tmp_path, "store: memory", budget_enforce=("compute",))
    with pytest.raises(ConfigError, match=r"budgets\.enforce_output_tokens: 0 is not accepted"):
        _read(tmp_path, "enforce_output_tokens: 0")


def test_a_password_of_the_store_is_not_taken_from_the_file_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="redis-env:NAME and redis-file:PATH say where") as caught:
        _read(tmp_path, "store: redis://user:hunter2@cache:6379/0")
    assert "hunter2" not in str(caught.value)
    assert caught.value.value == "redis://***@cache:6379/0"
    with pytest.raises(ConfigError, match=r"budgets\.store: 'postgres' is not accepted: one of auto, memory"):
        _read(tmp_path, "store: postgres")


def test_a_machine_without_time_zones_says_what_adds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoneinfo.reset_tzpath(to=())
    monkeypatch.setattr(zoneinfo, "available_timezones", set[str])
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.ZoneInfo.clear_cache()
    try:
        with pytest.raises(
            ConfigError, match=r"time_zone: 'Europe/Berlin' is not accepted: UTC: .* pip install tzdata"
        ):
            _rules(tmp_path, "{name: a, budget: {limit_usd: 1, window: day, time_zone: Europe/Berlin}}")
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()


def test_unknown_key_of_the_section_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"budgets\.rule: 5 is not accepted: unknown key: did you mean 'budgets\.rules'"
    ):
        _read(tmp_path, "rule: 5")


def test_numbers_of_thousands_of_digits_are_refused(tmp_path: Path) -> None:
    huge = 10**4000
    rules: list[dict[str, Any]] = [
        {"name": "a", "max_request_usd": huge},
        {"name": "a", "spike": {"z": huge}},
        {"name": "a", "spike": {}, "hysteresis": huge},
    ]
    for rule in rules:
        with pytest.raises(ConfigError, match=r"budgets\.rules\[0\]\."):
            _read(tmp_path, yaml.safe_dump({"rules": [rule]}, default_flow_style=True, width=9999).strip("{}\n"))
