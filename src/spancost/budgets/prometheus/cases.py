"""Cases for `promtool test rules`: that each rule speaks when it should, and not before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from spancost.budgets.prometheus import alerts
from spancost.budgets.prometheus.durations import duration, number
from spancost.budgets.prometheus.files import HEAD, Options, as_yaml, ways_of
from spancost.budgets.prometheus.selectors import label_of, selector
from spancost.budgets.prometheus.ways import InPromql
from spancost.budgets.rules import AnyRule, BudgetRule, BurnRateRule, ForecastRule, SpikeRule
from spancost.budgets.windows import DAY, HOUR, MINUTE, MONTH, WEEK

_LONGEST_S: Final = 86_400.0
"""Cases that would go on for longer are left out."""
_ABOVE, _BELOW = 1.0001, 0.999
_STRANGER: Final = "spancost-matches-nothing"
_FIRST_MONTH_S: Final = 31 * 86_400.0
"""promtool begins on 1970-01-01."""
_PERIODS_S: Final = {MINUTE: 60.0, HOUR: 3600.0, DAY: 86_400.0, WEEK: 604_800.0, MONTH: _FIRST_MONTH_S}


def cases_yaml(rules: Sequence[AnyRule], rule_file: str, options: Options) -> str:
    """Return the file for `promtool test rules`.

    Args:
        rules: All rules.

        rule_file: Path of the rule file, as seen from the folder of the tests.

        options: With which the rule file was written.
    """
    document = {
        "rule_files": [rule_file],
        "evaluation_interval": duration(options.interval_s),
        "tests": list(_cases(rules, options)),
    }
    return HEAD + as_yaml(document)


def _cases(rules: Sequence[AnyRule], options: Options) -> Iterator[dict[str, Any]]:
    budgets = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
    ways = ways_of(rules)
    for rule in rules:
        way = ways[rule.name]
        if isinstance(way, InPromql):
            counted = budgets[rule.budget] if isinstance(rule, BurnRateRule) else rule
            yield from _Counters(rule, counted, way, options).cases(budgets)
        else:
            yield from _gauges(rule, options)
    if options.with_data:
        yield _no_data(options)


def example(globs: Iterable[str]) -> str | None:
    """Return a text that one of these globs matches; None if none is easily found."""
    for glob in globs:
        tried = glob.replace("*", "x").replace("?", "x")
        for candidate in (tried, glob, "".join(char for char in tried if char not in "[]!")):
            if candidate and fnmatchcase(candidate, glob):
                return candidate
    return None


class _Counters:
    """Cases of one rule that is worked out from counters.

    Args:
        rule: Any such rule.

        counted: The rule whose match and split it has.

        way: The cut of the metrics.

        options: With which the rule file was written.
    """

    def __init__(self, rule: AnyRule, counted: AnyRule, way: InPromql, options: Options) -> None:
        self._rule, self._counted, self._way, self._options = rule, counted, way, options
        self._interval_s = options.interval_s
        self._wait = math.ceil(options.for_s / options.interval_s)
        """Evaluations until what holds fires."""

    def cases(self, budgets: Mapping[str, BudgetRule]) -> Iterator[dict[str, Any]]:
        rule = self._rule
        if self._labels() is None:
            return
        if isinstance(rule, BudgetRule):
            yield from self._budget(rule)
        elif isinstance(rule, BurnRateRule):
            yield from self._burn_rates(rule, budgets[rule.budget])
        elif isinstance(rule, SpikeRule):
            yield from self._spike(rule)

    def _budget(self, rule: BudgetRule) -> Iterator[dict[str, Any]]:
        if rule.window.length_s < (self._wait + 3) * self._interval_s:
            return
        for threshold in rule.thresholds:
            name = alerts.BREACHED_ALERT if threshold >= 1 else alerts.WARNING_ALERT
            part = f"{number(round(threshold * 100, 9))} %"
            alert = {"alertname": name, "threshold": number(threshold)}
            usd = threshold * rule.limit_usd
            yield self._spend(f"{rule.name} speaks at {part}, which two processes have spent", usd * _ABOVE, alert)
            yield self._spend(f"{rule.name} does not speak of {part} before", usd * _BELOW, alert, fires=False)
        name = {"alertname": alerts.BREACHED_ALERT, "threshold": "1"}
        usd = rule.limit_usd
        sentence = f"{rule.name} counts what a process has spent before and after it started anew"
        yield self._case(sentence, {"a": [0, 0, 0.6 * usd, 0.5 * usd]}, name, 3)
        stranger = self._labels(stranger=True)
        if stranger is not None:
            sentence = f"{rule.name} does not speak of what it does not match"
            yield self._case(sentence, {"a": [0, 0, 2 * usd]}, name, 2, fires=False, labels=stranger)
        over_s = rule.window.length_s + rule.window.slot_s + rule.cooldown_s
        if over_s <= _LONGEST_S:
            at = math.ceil(over_s / self._interval_s) + self._wait + 4
            yield self._case(f"{rule.name} is over with its window", {"a": [0, 0, 2 * usd]}, name, at, fires=False)

    def _burn_rates(self, rule: BurnRateRule, budget: BudgetRule) -> Iterator[dict[str, Any]]:
        window = budget.window
        period_s = float(window.length_s) if window.is_rolling else _PERIODS_S[window.kind]
        for pair in rule.pairs:
            if pair.short_s < (self._wait + 3) * self._interval_s:
                continue
            usd = pair.factor * budget.limit_usd * pair.long_s / period_s
            usd = max(usd, rule.min_usd_per_hour * pair.long_s / 3600)
            name = pair.name
            alert = {"alertname": alerts.BURN_RATE_ALERT, "pair": name}
            yield self._spend(f"{rule.name} speaks of {number(pair.factor)} times in {name}", usd * _ABOVE, alert)
            yield self._spend(
                f"{rule.name} does not speak of less than {number(pair.factor)} times in {name}",
                usd * _BELOW,
                alert,
                fires=False,
            )

    def _spike(self, rule: SpikeRule) -> Iterator[dict[str, Any]]:
        stretches = rule.warm_up + 1
        if stretches * rule.bucket_s > _LONGEST_S or rule.warm_up > rule.history:
            return
        ticks = math.ceil(stretches * rule.bucket_s / self._interval_s) + 1
        # As much in every minute, and then suddenly more than the newest stretch may cost.
        usd = max(rule.min_usd, rule.min_baseline_usd, 1.0)
        a_tick = usd * self._interval_s / rule.bucket_s
        steady = [0.0] + [a_tick * tick for tick in range(ticks)]
        sudden = [*steady, steady[-1] + 2 * rule.multiplier * usd + rule.min_usd]
        alert = {"alertname": alerts.SPIKE_ALERT}
        if rule.multiplier > 1.2:  # else the steady stretch itself may be too much
            yield self._case(
                f"{rule.name} does not speak of what is always spent", {"a": steady}, alert, ticks, fires=False
            )
        yield self._case(f"{rule.name} speaks of a stretch that costs much more", {"a": sudden}, alert, ticks + 1)

    def _spend(self, sentence: str, usd: float, alert: Mapping[str, str], *, fires: bool = True) -> dict[str, Any]:
        half = [0.0, 0.0, usd / 2]
        return self._case(sentence, {"a": half, "b": half}, alert, 2, fires=fires)

    def _case(
        self,
        sentence: str,
        processes: Mapping[str, Sequence[float]],
        alert: Mapping[str, str],
        tick: int,
        *,
        fires: bool = True,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        given = labels or self._labels() or {}
        last = tick + self._wait
        padded = {name: [*values, *[values[-1]] * (last - len(values) + 1)] for name, values in processes.items()}
        source = self._way.cut.source
        inputs = [_series(source, {**given, "instance": name}, values) for name, values in padded.items()]
        return _question(sentence, inputs, self._rule.name, alert, last * self._interval_s, self._options, int(fires))

    def _labels(self, *, stranger: bool = False) -> dict[str, str] | None:
        """Return labels that the rule matches, or one of which it does not; None where that is not easily found."""
        found: dict[str, str] = {"job": "spancost"}
        names = {"service": "job", "environment": "deployment_environment_name"}
        globs = self._counted.match.given()
        for dimension in self._counted.per:
            found[names.get(dimension, label_of(dimension))] = "example"
        for dimension, patterns in globs.items():
            value = example(patterns)
            if value is None:
                return None
            found[names.get(dimension, label_of(dimension))] = value
        if stranger:
            for dimension, patterns in globs.items():
                if not any(fnmatchcase(_STRANGER, glob) for glob in patterns):
                    return found | {names.get(dimension, label_of(dimension)): _STRANGER}
            return None
        return found


def _gauges(rule: AnyRule, options: Options) -> Iterator[dict[str, Any]]:
    wait = math.ceil(options.for_s / options.interval_s)

    def case(sentence: str, values: Mapping[str, float], alert: Mapping[str, str], fires: int) -> dict[str, Any]:
        # All processes that share a store say the same: one alert, not one for each of them.
        inputs = [
            _series(name, {"budget": rule.name, "key": "example", "instance": process}, [value] * (wait + 2))
            if name != _BURN_RATE
            else _series(
                name,
                {"budget": rule.name, "key": "example", "pair": alert["pair"], "instance": process},
                [value] * (wait + 2),
            )
            for name, value in values.items()
            for process in ("a", "b")
        ]
        return _question(sentence, inputs, rule.name, alert, (wait + 1) * options.interval_s, options, fires)

    if isinstance(rule, BudgetRule):
        for threshold in rule.thresholds:
            part = f"{number(round(threshold * 100, 9))} %"
            name = alerts.BREACHED_ALERT if threshold >= 1 else alerts.WARNING_ALERT
            alert = {"alertname": name, "threshold": number(threshold)}
            gauge, above, below = (_RATIO, threshold * _ABOVE, threshold * _BELOW)
            if threshold == 1:
                gauge, above, below = (_STATE, 2.0, 1.0)
            yield case(f"{rule.name} speaks once at {part}, which every process tells", {gauge: above}, alert, 1)
            yield case(f"{rule.name} does not speak of {part} before, by what processes tell", {gauge: below}, alert, 0)
    elif isinstance(rule, BurnRateRule):
        for pair in rule.pairs:
            alert = {"alertname": alerts.BURN_RATE_ALERT, "pair": pair.name}
            sentence = f"{rule.name} speaks once of {number(pair.factor)} times in {alert['pair']}"
            yield case(sentence, {_BURN_RATE: pair.factor * _ABOVE, _STATE: 2.0}, alert, 1)
    else:
        name = {"spike": alerts.SPIKE_ALERT, "forecast": alerts.FORECAST_ALERT, "request": alerts.REQUEST_ALERT}
        alert = {"alertname": name[rule.kind]}
        further = {_FORECAST: 1.0} if isinstance(rule, ForecastRule) else {}
        yield case(f"{rule.name} speaks once of what every process tells", {_STATE: 2.0, **further}, alert, 1)
        yield case(f"{rule.name} does not speak while all is well", {_STATE: 0.0, **further}, alert, 0)


def _no_data(options: Options) -> dict[str, Any]:
    at = (math.ceil(max(600.0, options.for_s) / options.interval_s) + 1) * options.interval_s
    return _question("Nothing arrives, and that is told", [], "", {"alertname": alerts.NO_DATA_ALERT}, at, options, 1)


_STATE: Final = alerts.STATE
_RATIO: Final = alerts.RATIO
_FORECAST: Final = alerts.FORECAST
_BURN_RATE: Final = alerts.BURN_RATE


def _series(name: str, labels: Mapping[str, str], values: Sequence[float]) -> dict[str, str]:
    return {"series": selector(name, {}, **labels), "values": " ".join(map(number, values))}


def _question(
    sentence: str,
    inputs: Sequence[Mapping[str, str]],
    rule: str,
    alert: Mapping[str, str],
    at_s: float,
    options: Options,
    count: int,
) -> dict[str, Any]:
    labels = {**alert, "alertstate": "firing", **({"budget": rule} if rule else {})}
    expected = [{"labels": "{}", "value": count}] if count else []
    expr = f"count({selector('ALERTS', {}, **labels)})"
    return {
        "name": sentence,
        "interval": duration(options.interval_s),
        "input_series": [dict(one) for one in inputs],
        "promql_expr_test": [{"expr": expr, "eval_time": duration(at_s), "exp_samples": expected}],
    }
