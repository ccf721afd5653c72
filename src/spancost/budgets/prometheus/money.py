"""What was spent, from counters: exact over restarts, first values, late samples and missed evaluations.

`increase()` extrapolates, and does not see the value with which a series begins; the difference of a sum goes wrong
when one of its processes starts anew. So each evaluation books what every single series has gained since the one
before, and only these gains are added up:

    seen    = the counters, as this evaluation sees them
    gained  = seen - what the last evaluation saw; all of it for a series that is new or has started anew
    spent   = sum_over_time(gained[window])

What comes late, or while Prometheus was away, is booked by the next evaluation: nothing falls between two of them.
A sum is a new start only if it fell by more than a billionth: workers whose files are added up in another order differ
in the last digit.

Windows are counted in slots, as the processes do it (`budgets.windows`, `budgets.tracks`): `slot` is what was gained in
the present one so far.
"""

from __future__ import annotations

from typing import Final

from spancost.budgets.matching import BETWEEN, NOTHING
from spancost.budgets.prometheus.durations import duration, number
from spancost.budgets.prometheus.groups import Recording
from spancost.budgets.prometheus.selectors import Cut, label_of, quoted, selector
from spancost.budgets.rules import AnyRule, SpikeRule
from spancost.budgets.tracks import part_s

MEMORY_S: Final = 3600.0
"""A series that was away for longer than this is a new one."""
GAINED: Final = "spancost:budget_usd:gained"
SLOT: Final = "spancost:budget_usd:slot"
SPENT: Final = "spancost:budget_usd:spent"
STRETCH: Final = "spancost:budget_usd:stretch"
NEWEST: Final = "spancost:budget_usd:newest"
BASELINE: Final = "spancost:budget_usd:baseline"
_ULP: Final = "0.999999999"


def of_cut(cut: Cut) -> list[Recording]:
    """Return what is recorded of a cut: the counters of single processes, and what all of them have gained."""
    seen = f"spancost:{cut.name}:seen"
    before = f"last_over_time({seen}[{duration(MEMORY_S)}] offset 1s)"
    expr = f"sum by ({', '.join(cut.labels)}) (\n{_indent(_with_process(_gain(seen, before)))}\n)"
    return [Recording(seen, cut.source), Recording(f"spancost:{cut.name}:gained", expr)]


def _gain(seen: str, before: str) -> str:
    return (
        f"  {seen} - {before} > 0\n"
        f"or\n"
        f"  {seen} < {_ULP} * {before} > 0\n"
        f"or\n"
        f"  {seen} > 0 unless {before} and on () (count({before}) > 0)"
    )


def _with_process(expr: str) -> str:
    """Return series with the labels `service` and `environment`, by whichever label the path has brought them."""
    expr = _relabelled(expr, "environment", "deployment_environment")
    expr = _relabelled(expr, "environment", "deployment_environment_name")
    expr = f'label_replace(\n{_indent(expr)},\n  "service", "$1", "job", "(?:.*/)?(.+)"\n)'
    return _relabelled(expr, "service", "service_name")


def _relabelled(expr: str, to: str, source: str) -> str:
    return f'label_replace(\n{_indent(expr)},\n  "{to}", "$1", "{source}", "(.+)"\n)'


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


class Money:
    """What is recorded of one rule's money; each series is asked for once.

    Args:
        rule: Its match and split.

        cut: The cut of the metrics that has them.

        interval_s: Between two evaluations, seconds.
    """

    def __init__(self, rule: AnyRule, cut: Cut, interval_s: float) -> None:
        self.name = rule.name
        self.labels = ("budget", "key", *(label_of(name) for name in rule.per))
        """Labels of all its series, apart from those that say which of them it is."""
        self._interval_s = interval_s
        self._gained = _of(GAINED, budget=rule.name)
        self._by = ", ".join(self.labels)
        self._recorded: dict[tuple[str, ...], Recording] = {}
        self._record(GAINED, _gained_by(rule, cut))

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """All that is recorded, in the order of evaluation."""
        return tuple(self._recorded.values())

    def spent(self, length_s: float, slot_s: float) -> str:
        """Return a selector of what was spent in a stretch that ends now; the slot in which it begins counts whole."""
        labels = {"window": duration(length_s), "slot": duration(slot_s)}
        # One second less: a range of Prometheus 2 has both of its ends, and this one begins behind an evaluation.
        expr = f"sum_over_time({self._gained}[{duration(length_s - 1)}])"
        if slot_s > self._interval_s:
            began = f"{self._slot(slot_s)} offset {duration(length_s)}"
            # Where the stretch begins with a slot, nothing of the slot before it counts.
            inside = f"vector((time() - {number(length_s)}) % {number(slot_s)}) > 0"
            expr = f"sum by ({self._by}) (\n  {expr}\nor\n  ({began} and on () {inside})\n)"
        return self._record(SPENT, expr, **labels)

    def _slot(self, slot_s: float) -> str:
        """Return a selector of what was gained in the present slot so far."""
        labels = {"slot": duration(slot_s)}
        slot = _of(SLOT, budget=self.name, **labels)
        s = number(slot_s)
        # An evaluation at the very end of a slot belongs to it: it books what came before.
        begin = f"time() - {s} + ({s} - time() % {s}) % {s}"
        expr = (
            f"sum by ({self._by}) (\n"
            f"  {self._gained}\n"
            f"or\n"
            f"  {slot} * (timestamp({slot}) > bool {begin})\n"
            f")\n"
            f"and count_over_time({self._gained}[{duration(slot_s)}]) > 0"
        )
        return self._record(SLOT, expr, **labels)

    def newest_and_baseline(self, rule: SpikeRule) -> tuple[str, str]:
        """Return selectors of what the newest stretch of a spike rule cost, and of the mean of those before it.

        The stretches end with the present slot. Before the warm-up is over there is no baseline.
        """
        bucket_s, slot_s = rule.bucket_s, float(part_s(rule.bucket_s))
        slot = self._slot(slot_s)
        # The present slot; at its very beginning the one before is over, and is among the whole ones.
        newest = f"{slot} and on () vector(time() % {number(slot_s)}) > 0"
        if bucket_s > slot_s:
            whole = f"sum_over_time({slot}[{duration(bucket_s - slot_s - 0.5)}:{duration(slot_s)}])"
            newest = f'sum by ({self._by}) (\n  ({newest})\nor\n  label_replace({whole}, "slot", "whole", "", "")\n)'
        else:
            newest = f"sum by ({self._by}) ({newest})"
        newest = self._record(NEWEST, newest)
        # The stretch before the newest: all slots that end behind end - 2 buckets, up to end - 1 bucket.
        ends = f"[{duration(bucket_s - 0.5)}:{duration(slot_s)}]{_offset(bucket_s - slot_s)}"
        before = f"sum_over_time({slot}{ends})"
        stretch = self._record(STRETCH, f"sum by ({self._by}) ({before}) > 0")
        return newest, self._record(BASELINE, self._mean(rule, slot, stretch, slot_s))

    def _mean(self, rule: SpikeRule, slot: str, stretch: str, slot_s: float) -> str:
        bucket_s, s = rule.bucket_s, number(slot_s)
        keep_s = (rule.history + 1) * bucket_s + 2 * slot_s
        # What was before the first money that was ever seen is not known to be nothing.
        first = f"min_over_time((0 * ({slot} > 0) + time())[{duration(keep_s)}:{duration(slot_s)}])"
        end = f"time() - time() % {s} + {s}"
        known = f"clamp_max(ceil(({end} - {first} + {s}) / {number(bucket_s)}) - 1, {rule.history})"
        past = "\n  or\n".join(
            f'    label_replace({stretch}{_offset(back * bucket_s)}, "back", "{back}", "", "")'
            for back in range(rule.history)
        )
        return (
            f"sum by ({self._by}) (\n{past}\n)\n"
            f"/ sum by ({self._by}) ({known} > 0)\n"
            f"and count by ({self._by}) (\n{past}\n) >= {rule.warm_up}"
        )

    def _record(self, record: str, expr: str, **labels: str) -> str:
        self._recorded.setdefault((record, *labels.values()), Recording(record, expr, {"budget": self.name, **labels}))
        return _of(record, budget=self.name, **labels)


def _offset(seconds: float) -> str:
    return f" offset {duration(seconds)}" if seconds else ""


def _of(record: str, **labels: str) -> str:
    return selector(record, {}, **labels)


def _gained_by(rule: AnyRule, cut: Cut) -> str:
    gained = selector(f"spancost:{cut.name}:gained", rule.match.given())
    by = [label_of(name) for name in rule.per]
    if not by:
        return f"sum({gained})"
    expr = f"sum by ({', '.join(by)}) ({gained})"
    for label in by:
        expr = f'label_replace(\n{_indent(expr)},\n  "{label}", "{NOTHING}", "{label}", ""\n)'
    if len(by) > 1:
        # Where a value has a bar in it the processes write a slash, which PromQL cannot.
        joined = ", ".join(quoted(label) for label in by)
        return f'label_join(\n{_indent(expr)},\n  "key", "{BETWEEN}", {joined}\n)'
    return f'label_join(\n{_indent(expr)},\n  "key", "", "{by[0]}"\n)'


def period_seconds(seconds: float | None) -> str:
    """Return the length of a window in PromQL, seconds; None is the present month (UTC)."""
    return "(86400 * scalar(days_in_month()))" if seconds is None else number(seconds)
