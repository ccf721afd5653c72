"""The files that Prometheus and promtool read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from spancost.budgets.prometheus.alerts import alerts_of, made_from, of_data
from spancost.budgets.prometheus.durations import duration
from spancost.budgets.prometheus.groups import Alerting, Group, PrometheusRule, Recording
from spancost.budgets.prometheus.money import Money, of_cut
from spancost.budgets.prometheus.selectors import CUTS
from spancost.budgets.prometheus.ways import InPromql, Way, how
from spancost.budgets.rules import AnyRule, BudgetRule, BurnRateRule

BUDGETS_GROUP: Final = "spancost-budgets"
DATA_GROUP: Final = "spancost-data"
MIN_INTERVAL_S: Final = 5.0
MAX_INTERVAL_S: Final = 240.0
"""Prometheus looks back for five minutes: what an evaluation has recorded must be there at the next one."""
HEAD: Final = "# Made by `spancost rules prometheus`.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How rules are written."""

    interval_s: float = 60.0
    """Between two evaluations, seconds: from `MIN_INTERVAL_S` to `MAX_INTERVAL_S`."""
    for_s: float = 0.0
    """How long an expression must hold before it fires, seconds."""
    with_data: bool = True
    """Also alert on missing data, on what has no price and on what is folded into `other`."""


DEFAULTS: Final = Options()


def ways_of(rules: Sequence[AnyRule]) -> dict[str, Way]:
    """Return how each rule becomes one of Prometheus, by its name."""
    budgets = _budgets(rules)
    return {rule.name: how(rule, budgets) for rule in rules}


def groups_of(rules: Sequence[AnyRule], options: Options = DEFAULTS) -> tuple[Group, ...]:
    """Return all rules of Prometheus for budget rules.

    Raises:
        ValueError: The interval is out of range.
    """
    if not MIN_INTERVAL_S <= options.interval_s <= MAX_INTERVAL_S:
        raise ValueError(f"from {duration(MIN_INTERVAL_S)} to {duration(MAX_INTERVAL_S)}, such as 1m")
    budgets, ways = _budgets(rules), ways_of(rules)
    monies: dict[str, Money] = {}
    alerts: list[PrometheusRule] = []
    for rule in rules:
        way, money = ways[rule.name], None
        if isinstance(way, InPromql):
            counted = budgets[rule.budget] if isinstance(rule, BurnRateRule) else rule
            if counted.name not in monies:
                monies[counted.name] = Money(counted, way.cut, options.interval_s)
            money = monies[counted.name]
        alerts.extend(alerts_of(rule, way, money, budgets, options.for_s))
    used = {way.cut for way in ways.values() if isinstance(way, InPromql)}
    recordings = [recording for cut in CUTS if cut in used for recording in of_cut(cut)]
    recordings += [recording for money in monies.values() for recording in money.recordings]
    groups = [Group(BUDGETS_GROUP, options.interval_s, (*recordings, *alerts))] if alerts else []
    if options.with_data:
        groups.append(Group(DATA_GROUP, options.interval_s, tuple(of_data(options.for_s))))
    return tuple(groups)


def rules_yaml(rules: Sequence[AnyRule], options: Options = DEFAULTS) -> str:
    """Return the rule file of Prometheus; at its head stands how each rule was made.

    Raises:
        ValueError: The interval is out of range.
    """
    ways = "".join(f"# {name}: {made_from(way)}\n" for name, way in ways_of(rules).items())
    return HEAD + ways + as_yaml({"groups": [_group(group) for group in groups_of(rules, options)]})


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "interval": duration(group.interval_s),
        "rules": [_recording(rule) if isinstance(rule, Recording) else _alerting(rule) for rule in group.rules],
    }


def _recording(rule: Recording) -> dict[str, Any]:
    found: dict[str, Any] = {"record": rule.record, "expr": rule.expr}
    return found | ({"labels": dict(rule.labels)} if rule.labels else {})


def _alerting(rule: Alerting) -> dict[str, Any]:
    found: dict[str, Any] = {"alert": rule.alert, "expr": rule.expr}
    if rule.for_s:
        found["for"] = duration(rule.for_s)
    if rule.keep_firing_for_s:
        found["keep_firing_for"] = duration(rule.keep_firing_for_s)
    return found | {"labels": dict(sorted(rule.labels.items())), "annotations": dict(rule.annotations)}


def _budgets(rules: Sequence[AnyRule]) -> Mapping[str, BudgetRule]:
    return {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: readers of a file do not look for anchors."""
        return True


_LINE_ENDS: Final = frozenset("\x85\u2028\u2029")
"""Line ends to YAML, which reads them as others than they are unless they are escaped."""


def _text(_: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if not _LINE_ENDS.isdisjoint(text) else "|" if "\n" in text else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(document: Any) -> str:
    """Return a document as YAML, expressions of several lines as blocks."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
