"""Alerting rules: of each budget rule, in either way, and of what makes all figures doubtful.

A rule that holds goes on until its value is below the threshold by the hysteresis, for as long as the cooldown, as in
the processes: `ALERTS` says what fires at present, `keep_firing_for` waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spancost import names
from spancost.budgets.gauges import STATE_NUMBERS
from spancost.budgets.prometheus.durations import number
from spancost.budgets.prometheus.groups import Alerting
from spancost.budgets.prometheus.money import Money, period_seconds
from spancost.budgets.prometheus.selectors import selector
from spancost.budgets.prometheus.ways import InPromql, Way
from spancost.budgets.rules import AnyRule, BudgetRule, BurnRate, BurnRateRule, ForecastRule, RequestRule, SpikeRule
from spancost.budgets.store import BREACHED, RECOVERING
from spancost.budgets.tracks import part_s
from spancost.budgets.windows import DAY, HOUR, MINUTE, MONTH, WEEK, duration_text, window_text

WARNING_ALERT: Final = "SpancostBudgetWarning"
BREACHED_ALERT: Final = "SpancostBudgetBreached"
SPIKE_ALERT: Final = "SpancostSpike"
BURN_RATE_ALERT: Final = "SpancostBurnRate"
FORECAST_ALERT: Final = "SpancostForecast"
REQUEST_ALERT: Final = "SpancostRequest"
NO_DATA_ALERT: Final = "SpancostNoData"
SILENT_ALERT: Final = "SpancostServiceSilent"
UNPRICED_ALERT: Final = "SpancostUnpriced"
FOLDED_ALERT: Final = "SpancostSeriesFolded"
INCOMPLETE_ALERT: Final = "SpancostBudgetIncomplete"
FAST: Final = "fast"
SLOW: Final = "slow"
"""Values of the label `burn`: those that page, and those that do not."""

STATE: Final = names.METRIC_BUDGET_STATE.replace(".", "_")
RATIO: Final = names.METRIC_BUDGET_USED.replace(".", "_")
FORECAST: Final = names.METRIC_BUDGET_FORECAST.replace(".", "_")
BURN_RATE: Final = names.METRIC_BUDGET_BURN_RATE.replace(".", "_")
INCOMPLETE: Final = names.METRIC_BUDGET_INCOMPLETE.replace(".", "_")
"""Gauges of the processes, as Prometheus calls them."""
_PERIODS_S: Final = {MINUTE: 60.0, HOUR: 3600.0, DAY: 86_400.0, WEEK: 604_800.0}
_UNPRICED_SHARE: Final = 0.05
_OF: Final = "{{ with $labels.key }} of {{ . }}{{ end }}"
_DOLLARS: Final = '${{ printf "%.4g" $value }}'


@dataclass(frozen=True, slots=True)
class _Base:
    """What all alerts of a rule have."""

    rule: AnyRule
    way: Way
    for_s: float

    def alert(
        self, name: str, expr: str, summary: str, description: str, *, keep_s: float = 0.0, severity: str, **labels: str
    ) -> Alerting:
        rule = self.rule
        said = {label: literal(value) for label, value in rule.labels}
        said |= {"budget": rule.name, "severity": severity, **labels}
        if rule.owner:
            said["owner"] = literal(rule.owner)
        annotations = {"summary": summary, "description": description, "made_from": made_from(self.way)}
        if rule.runbook:
            annotations["runbook_url"] = literal(rule.runbook)
        return Alerting(
            alert=name, expr=expr, labels=said, annotations=annotations, for_s=self.for_s, keep_firing_for_s=keep_s
        )


def literal(text: str) -> str:
    """Return text in which nothing is a template."""
    return text.replace("{{", '{{"{{"}}')


def alerts_of(
    rule: AnyRule, way: Way, money: Money | None, budgets: Mapping[str, BudgetRule], for_s: float = 0.0
) -> list[Alerting]:
    """Return the alerts of a rule.

    Args:
        rule: Any rule.

        way: How it becomes one of Prometheus.

        money: What is recorded of its money; None if it is taken from gauges.

        budgets: Budget rules by name.

        for_s: How long an expression must hold before it fires, seconds.
    """
    base = _Base(rule, way, for_s)
    if isinstance(rule, BudgetRule):
        return list(_budget(rule, base, money))
    if isinstance(rule, SpikeRule):
        return [_spike(rule, base, money)]
    if isinstance(rule, BurnRateRule):
        return list(_burn_rates(rule, budgets[rule.budget], base, money))
    if isinstance(rule, ForecastRule):
        return [_forecast(rule, budgets[rule.budget], base)]
    return [_request(rule, base)]


def _budget(rule: BudgetRule, base: _Base, money: Money | None) -> Iterator[Alerting]:
    window = window_text(rule.window)
    for threshold in rule.thresholds:
        is_breach = threshold >= 1.0
        name = BREACHED_ALERT if is_breach else WARNING_ALERT
        labels = {"threshold": number(threshold)}
        if money is not None:
            value = money.spent(rule.window.length_s, rule.window.slot_s)
            bound = threshold * rule.limit_usd
            expr = _held(rule, name, f"{value} >= {number(bound)}", f"{value} >= {_eased(rule, bound)}", labels)
            keep_s, spent = rule.cooldown_s, _DOLLARS
        elif threshold == 1.0:
            expr, keep_s = _state(rule, name, labels), 0.0
            spent = "All"
        else:
            ratio = _gauge(RATIO, rule.name)
            expr = _held(rule, name, f"{ratio} >= {number(threshold)}", f"{ratio} >= {_eased(rule, threshold)}", labels)
            keep_s, spent = 0.0, "{{ $value | humanizePercentage }}"
        told = f"{spent} of ${number(rule.limit_usd)} spent" if money is not None else f"{spent} of the limit spent"
        yield base.alert(
            name,
            expr,
            f"Budget {rule.name}{_OF}: {told} ({window})",
            f"The budget {rule.name} is ${number(rule.limit_usd)} for {window}; this speaks at "
            f"{number(round(threshold * 100, 9))} % of it.",
            keep_s=keep_s,
            severity=rule.severity if is_breach else _at_most_warning(rule.severity),
            **labels,
        )


def _spike(rule: SpikeRule, base: _Base, money: Money | None) -> Alerting:
    bucket = duration_text(rule.bucket_s)
    description = f"The newest {bucket} against {rule.history} stretches before it, by method {rule.method}."
    if money is None:
        summary = f"Spike {rule.name}{_OF}: the newest {bucket} costs much more than those before"
        return base.alert(SPIKE_ALERT, _any_state(rule), summary, description, severity=rule.severity)
    newest, baseline = money.newest_and_baseline(rule)
    limit = f"clamp_min({baseline}, {number(rule.min_baseline_usd)})"
    floor = f"{newest} > {number(rule.min_usd)}"
    eased = 1 - rule.hysteresis
    expr = _held(
        rule,
        SPIKE_ALERT,
        f"{newest} > {number(rule.multiplier)} * {limit} and {floor}",
        f"{newest} > {number(rule.multiplier * eased)} * {limit} and {newest} > {number(rule.min_usd * eased)}",
        {},
    )
    summary = (
        f"Spike {rule.name}{_OF}: {_DOLLARS} in the newest {bucket}, more than {number(rule.multiplier)} times the mean"
    )
    return base.alert(SPIKE_ALERT, expr, summary, description, keep_s=rule.cooldown_s, severity=rule.severity)


def _burn_rates(rule: BurnRateRule, budget: BudgetRule, base: _Base, money: Money | None) -> Iterator[Alerting]:
    for pair in rule.pairs:
        name = pair.name
        labels = {"pair": name, "burn": FAST if pair.severity == "critical" else SLOW}
        if money is None:
            rate = _gauge(BURN_RATE, rule.name, pair=name)
            expr = f"{rate} > {number(pair.factor)}\nand\n{_gauge(STATE, rule.name)} > 0"
            keep_s, told = 0.0, '{{ printf "%.3g" $value }} times as fast as it lasts'
        else:
            expr = _held(
                rule,
                BURN_RATE_ALERT,
                _burning(money, rule, budget, pair, 1.0),
                _burning(money, rule, budget, pair, 1 - rule.hysteresis),
                labels,
            )
            keep_s, told = rule.cooldown_s, f"{_DOLLARS} in {duration_text(pair.long_s)}"
        yield base.alert(
            BURN_RATE_ALERT,
            expr,
            f"Budget {budget.name}{_OF} burns too fast: {told}",
            f"Spending over {duration_text(pair.long_s)} and over {duration_text(pair.short_s)} is more than "
            f"{number(pair.factor)} times what ${number(budget.limit_usd)} for {window_text(budget.window)} allows.",
            keep_s=keep_s,
            severity=pair.severity,
            **labels,
        )


def _burning(money: Money, rule: BurnRateRule, budget: BudgetRule, pair: BurnRate, ease: float) -> str:
    window = budget.window
    # A month has as many days as it has; days and weeks of a change of the clocks count as any other.
    period_s = float(window.length_s) if window.is_rolling else _PERIODS_S.get(window.kind)
    assert period_s is not None or window.kind == MONTH
    period, slot_s = period_seconds(period_s), float(part_s(pair.short_s))
    parts = [
        f"{money.spent(length_s, slot_s)} > {number(pair.factor * ease * budget.limit_usd * length_s)} / {period}"
        for length_s in (pair.long_s, pair.short_s)
    ]
    if rule.min_usd_per_hour:
        least = rule.min_usd_per_hour * ease * pair.long_s / 3600
        parts.append(f"{money.spent(pair.long_s, slot_s)} >= {number(least)}")
    return f"\nand on ({', '.join(money.labels)})\n".join(parts)


def _forecast(rule: ForecastRule, budget: BudgetRule, base: _Base) -> Alerting:
    expected = _gauge(FORECAST, rule.name)
    return base.alert(
        FORECAST_ALERT,
        f"{expected}\nand\n{_gauge(STATE, rule.name)} > 0",
        f"Budget {budget.name}{_OF} will be gone: {_DOLLARS} of ${number(budget.limit_usd)} expected",
        f"By method {rule.method}, {window_text(budget.window)} ends above the limit of {budget.name}.",
        severity=rule.severity,
    )


def _request(rule: RequestRule, base: _Base) -> Alerting:
    return base.alert(
        REQUEST_ALERT,
        _any_state(rule),
        f"A request{_OF} costs more than ${number(rule.max_request_usd)}",
        f"The rule {rule.name} allows ${number(rule.max_request_usd)} for one request.",
        severity=rule.severity,
    )


def _held(rule: AnyRule, alert: str, holds: str, eased: str, labels: Mapping[str, str]) -> str:
    """Return an expression that begins with one condition, and goes on with an easier one."""
    return f"({holds})\nor\n({eased})\nand on (key) {_firing(rule, alert, labels)}"


def _firing(rule: AnyRule, alert: str, labels: Mapping[str, str]) -> str:
    return selector("ALERTS", {}, alertname=alert, alertstate="firing", budget=rule.name, **labels)


def _eased(rule: AnyRule, bound: float) -> str:
    return number(bound * (1 - rule.hysteresis))


def _state(rule: AnyRule, alert: str, labels: Mapping[str, str]) -> str:
    """Return an expression for a breach: it goes on while it recovers, which a warning may do as well."""
    state = _gauge(STATE, rule.name)
    breached, recovering = (number(STATE_NUMBERS[one]) for one in (BREACHED, RECOVERING))
    return f"{state} == {breached}\nor\n{state} == {recovering} and on (key) {_firing(rule, alert, labels)}"


def _any_state(rule: AnyRule) -> str:
    return f"{_gauge(STATE, rule.name)} > 0"


def _gauge(name: str, budget: str, **equal: str) -> str:
    """Return a gauge of the processes: the same in all that share a store, so the largest counts."""
    return f"max by (budget, key) ({selector(name, {}, budget=budget, **equal)})"


def _at_most_warning(severity: str) -> str:
    return "warning" if severity == "critical" else severity


def made_from(way: Way) -> str:
    """Say how a rule was made: `counters, ...` or `gauges: why`."""
    return f"counters, in PromQL ({way.cut.source})" if isinstance(way, InPromql) else f"gauges: {way.reason}"


_PROCESSES: Final = "job, service_name, deployment_environment_name"


def of_data(for_s: float) -> list[Alerting]:
    """Return the alerts about the figures themselves: whether there are any, and whether they are whole.

    Args:
        for_s: How long each must hold at least, seconds.
    """
    spans = "spancost_spans_total"
    share = (
        f'sum by ({_PROCESSES}) (rate({spans}{{status="unpriced"}}[1h]))\n'
        f'/ sum by ({_PROCESSES}) (rate({spans}{{status!="duplicate"}}[1h]))\n'
        f"> {number(_UNPRICED_SHARE)}"
    )
    folded = "spancost_internal_series_other"
    found = [
        (
            NO_DATA_ALERT,
            f"absent({spans})",
            "No costs arrive at all",
            "No process sends the metrics of spancost: budgets that are worked out here see no money.",
            600.0,
        ),
        (
            SILENT_ALERT,
            f"group by ({_PROCESSES}) (last_over_time({spans}[1h] offset 10m))\n"
            f"unless group by ({_PROCESSES}) ({spans})",
            "No costs arrive from {{ $labels.job }}{{ with $labels.service_name }} ({{ . }}){{ end }}",
            "It sent costs within the last hour, and sends none now.",
            300.0,
        ),
        (
            UNPRICED_ALERT,
            share,
            "{{ $value | humanizePercentage }} of the charged spans of {{ $labels.job }} have no price",
            "The true cost is higher than all figures. `spancost doctor` says why and what to set.",
            600.0,
        ),
        (
            FOLDED_ALERT,
            f"max by ({_PROCESSES}, metric) (\n"
            f"    {folded} - {folded} offset 1h > 0\n  or\n    {folded} > 0 unless {folded} offset 1h\n)",
            "{{ $labels.metric }} of {{ $labels.job }} has more series than are kept",
            "What is beyond the cap is in `other`: sums are whole, single routes or tenants are not.",
            0.0,
        ),
        (
            INCOMPLETE_ALERT,
            f"max by (budget, key) ({INCOMPLETE}) > 0",
            f"Budget {{{{ $labels.budget }}}}{_OF} is incomplete",
            "Calls without a price count for it: more was spent than it says.",
            0.0,
        ),
    ]
    return [
        Alerting(
            alert=name,
            expr=expr,
            labels={"severity": "info" if name in (INCOMPLETE_ALERT, FOLDED_ALERT) else "warning"},
            annotations={"summary": summary, "description": description},
            for_s=max(for_s, at_least),
        )
        for name, expr, summary, description, at_least in found
    ]
