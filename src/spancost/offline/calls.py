"""One real call is one charge, told from parents and times (design rule 2).

An LLM span inside an LLM span of another scope is the same call where provider and model agree: below it, in whatever
process, or beside it, within its time. The outermost span owns the charge, made from the richest usage. Spans of one
scope are never duplicates of each other. An HTTP span below an LLM or AWS span, or beside an LLM span and within its
time, is how that call travels.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from spancost import names
from spancost.charge import SERVER, Charge
from spancost.meters.choice import duplicate, meter_error
from spancost.meters.http_api import TOKENS_NOT_SEEN
from spancost.meters.llm import LlmUsage
from spancost.nodes import HeldUsage
from spancost.offline.charges import FALLEN, UNLESS_NESTED, UNLESS_TRANSPORT, ChargeTable
from spancost.offline.pricing import HeldCall
from spancost.offline.table import NO_CALL, REPEATED, UNNAMED_HOST, SpanTable
from spancost.same_call import OUTER_SPAN, TRANSPORT, may_be_same_call, orphaned

_MAX_DEPTH: Final = 64
"""Spans looked at above one, as while spans are live."""
_MAX_BESIDE: Final = 256
"""Calls looked at beside one: those that began last."""


def settle(table: SpanTable, charges: ChargeTable, held: Iterable[HeldCall]) -> int:
    """Charge held LLM calls once each, and drop charges that do not stand; to be called once, after `table.resolve`.

    Returns:
        Spans that are the same call as another one.
    """
    by_trace: dict[int, list[HeldCall]] = {}
    for call in held:
        if not table.marks[call.span] & REPEATED:
            by_trace.setdefault(call.trace, []).append(call)
    _drop(table, charges, by_trace)
    duplicates = 0
    for calls in by_trace.values():
        for same in _same_calls(table, calls):
            duplicates += _charge_once(charges, same)
    return duplicates


# --- charges that do not stand ------------------------------------------------------------------


def _drop(table: SpanTable, charges: ChargeTable, by_trace: dict[int, list[HeldCall]]) -> None:
    by_parent: dict[int, list[HeldCall]] = {}
    for calls in by_trace.values():
        for call in calls:
            by_parent.setdefault(table.parent_ids[call.span], []).append(call)
    for siblings in by_parent.values():
        siblings.sort(key=_start_of)
    for number, rule in enumerate(charges.rules):
        span = charges.spans[number]
        if table.marks[span] & REPEATED:
            charges.rules[number] = FALLEN
        elif rule == UNLESS_NESTED:
            root = table.roots[span]
            if root != span and table.kind(root) == SERVER:
                charges.rules[number] = FALLEN
        elif rule == UNLESS_TRANSPORT:
            siblings = by_parent.get(table.parent_ids[span], [])
            begun = bisect_right(siblings, charges.starts[number], key=_start_of)
            if _is_below_call(table, span, charges.hosts[number]) or any(
                _is_beside_call(table, charges, number, call) for call in siblings[max(0, begun - _MAX_BESIDE) : begun]
            ):
                charges.withhold(number, TRANSPORT)


def _start_of(call: HeldCall) -> int:
    return call.start_ns


def _is_below_call(table: SpanTable, span: int, host: int) -> bool:
    """True if an HTTP span is below an LLM or AWS call of its process that went to this host, as far as both say."""
    root = table.roots[span]
    for _ in range(_MAX_DEPTH):
        if span == root:
            return False
        span = table.parents[span]
        call_host = table.call_hosts[span]
        if call_host != NO_CALL and (call_host == host or UNNAMED_HOST in (call_host, host)):
            return True
    return False


def _is_beside_call(table: SpanTable, charges: ChargeTable, number: int, call: HeldCall) -> bool:
    """True if an HTTP span with the same parent ran within an LLM call, to its host or to an API of models."""
    span = charges.spans[number]
    if (
        not table.parent_ids[span]
        or table.processes[span] != table.processes[call.span]
        or not call.start_ns <= charges.starts[number] <= charges.ends[number] <= call.end_ns
    ):
        return False
    call_host = table.call_hosts[call.span]
    if call_host == UNNAMED_HOST:
        return charges.lines[charges.line_numbers[number]].reason == TOKENS_NOT_SEEN
    return call_host == charges.hosts[number]


# --- LLM calls ----------------------------------------------------------------------------------


def _same_calls(table: SpanTable, calls: Sequence[HeldCall]) -> list[list[HeldCall]]:
    """Return the spans of one trace in groups: those that may be the same calls, the outermost first."""
    if len({call.scope for call in calls}) < 2:
        return [[call] for call in calls]
    leaders = list(range(len(calls)))

    def leader(index: int) -> int:
        while leaders[index] != index:
            index = leaders[index]
        return index

    above = {call.span: list(islice(table.ancestors(call.span), _MAX_DEPTH)) for call in calls}
    # Of calls at the same time the higher one is the outer one, in whatever order they were read.
    ordered = sorted(
        calls, key=lambda call: (call.start_ns, -call.end_ns, len(above[call.span]), table.ids[call.span], call.span)
    )
    places = {call.span: place for place, call in enumerate(ordered)}
    ancestors = [above[call.span] for call in ordered]
    depths = [len(spans) for spans in ancestors]
    open_calls: list[int] = []
    for place, call in enumerate(ordered):
        around = {places[span] for span in ancestors[place] if span in places}
        open_calls = [other for other in open_calls[-_MAX_BESIDE:] if ordered[other].end_ns >= call.start_ns]
        around.update(other for other in open_calls if _is_beside(table, ordered[other], call, ancestors[place]))
        for other in around:
            outer = ordered[other]
            if outer.scope != call.scope and may_be_same_call(outer.usage, call.usage):
                leaders[leader(place)] = leader(other)
        open_calls.append(place)
    groups: dict[int, list[int]] = {}
    for place in range(len(ordered)):
        groups.setdefault(leader(place), []).append(place)
    return [
        [
            ordered[place]
            for place in sorted(places_of, key=lambda place: (depths[place], ordered[place].start_ns, place))
        ]
        for places_of in groups.values()
    ]


def _is_beside(table: SpanTable, outer: HeldCall, inner: HeldCall, above_inner: Sequence[int]) -> bool:
    """True if a span lies within the time of another one that hangs on the same span, or higher up."""
    if inner.end_ns > outer.end_ns or table.processes[outer.span] != table.processes[inner.span]:
        return False
    parent = table.parents[outer.span]
    if parent >= 0:
        return parent in above_inner
    parent_id = table.parent_ids[outer.span]
    return parent_id != 0 and parent_id == table.parent_ids[inner.span]


def _charge_once(charges: ChargeTable, same: Sequence[HeldCall]) -> int:
    """Charge each real call of a group on its outermost span; returns how many spans are duplicates.

    A call that was charged before stays where it is.
    """
    if len(same) == 1:
        _charge(charges, same[0], same[0].usage)
        return 0
    same = sorted(same, key=_is_still_to_charge)
    owners: set[int] = set()
    # The start of a view comes back with its call: here it tells which span it was.
    for owned in orphaned([HeldUsage(call.scope, call.usage, number) for number, call in enumerate(same)]):
        number = owned.start_ns
        owners.add(number)
        _charge(charges, same[number], owned.usage)
    for number, call in enumerate(same):
        if number not in owners and not call.is_charged:
            charges.add(call.span, (duplicate(call.usage, OUTER_SPAN),), call.start_ns, call.end_ns)
    return len(same) - len(owners)


def _is_still_to_charge(call: HeldCall) -> bool:
    return not call.is_charged


def _charge(charges: ChargeTable, call: HeldCall, usage: LlmUsage) -> None:
    if call.is_charged:
        return
    made: Sequence[Charge] = ()
    try:
        if call.meters.llm is not None:
            made = call.meters.llm.charges_of(usage, call.price_ns)
    except Exception:
        made = (meter_error(names.LLM),)
    charges.add(call.span, made, call.start_ns, call.end_ns)
