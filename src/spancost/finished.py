"""Holds finished spans until the local tree they belong to is complete, then prices the tree.

Exporters receive children before parents, and batches that cut traces anywhere. Which calls are one call seen twice,
and whose cost they are, is only known from the whole tree. So each span is measured when it arrives, and what it was
charged is held with its trace until no parent in this process is missing and nothing more has come for a few seconds;
then the tree is settled by the rules for stored traces (`offline`) and booked. Memory and waiting are bounded: a
trace that is too large or too old is priced as it is, and what comes after that on its own, as late.

Knows nothing of OpenTelemetry's SDK. Exporters put spans in from any thread without waiting; everything else happens
on the publishing thread, or on that of an exporter when many spans are waiting.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import NonRecordingSpan

from spancost import names
from spancost.attribution_rules import AttributionRules
from spancost.charge import Charge, price_line
from spancost.claims import is_claimed
from spancost.journal import Finished, FinishedRequest
from spancost.offline.local_trees import LocalTree, local_trees
from spancost.offline.pricing import HeldCall, Measured, Process
from spancost.offline.table import KIND_BITS, LOCAL, ONE_MESSAGE, REMOTE, REPEATED
from spancost.trace_choice import TraceChoice
from spancost.window import ENTRY, Attribution, EntryLabels, KeptNode, KeptTrace, Origin

if TYPE_CHECKING:
    from spancost.engine import CostEngine
    from spancost.meters.meter_set import MeterSet

_MINUTE_NS: Final = 60_000_000_000
_BUSY: Final = 512
"""Waiting spans from which an exporter measures them itself."""
_MAX_WAITING: Final = 20_000
"""Spans that wait to be measured; beyond that they are dropped and counted."""
_MAX_HELD_SPANS: Final = 50_000
_MAX_HELD_TRACES: Final = 5_000
_MAX_SPANS_OF_TRACE: Final = 10_000
_MAX_READY: Final = 10_000
"""Finished trees that wait for the publishing thread; beyond that an exporter folds them itself."""
_MAX_REMEMBERED: Final = 50_000
"""Booked spans whose late children are known by them."""
_MAX_REMEMBERED_CALLS: Final = 5_000
"""LLM calls charged without the spans above them, which may be views of the same calls."""
_MAX_KEPT_NODES: Final = 1_000
_LINGER_S: Final = 5.0
"""A complete tree waits this long for spans that end after their local root."""
_MAX_WAIT_S: Final = 300.0
"""Longest wait for a local root, from the first of its spans."""
_LOCK_TIMEOUT_S: Final = 5.0

_PLACE: Final = "exporter"
_DROPPED: Final = "exporter.dropped"


class FinishedSpan(NamedTuple):
    """What pricing reads of an exported span."""

    context: Any
    """Its `SpanContext`."""
    trace_id: int
    span_id: int
    parent: Any
    """`SpanContext` of its parent; None for a span without one."""
    kind: int
    scope: str
    name: str
    attributes: Mapping[str, Any]
    start_ns: int
    end_ns: int
    failed: bool
    """Its status is ERROR."""
    failed_request: bool
    """As a local root it is a request that has failed."""
    received_at: float
    """Monotonic seconds."""


class _Root(NamedTuple):
    """A local root among held spans."""

    kind: int
    failed: bool
    end_ns: int
    context: Any


class _Seen(NamedTuple):
    """What is shown of a span in a trace that is kept."""

    name: str
    start_ns: int
    end_ns: int


class _Whose(NamedTuple):
    """What late spans take from the local root that they are below."""

    labels: EntryLabels
    attribution: Attribution


class _Charged(NamedTuple):
    """An LLM call that was charged in a tree without its local root."""

    call: HeldCall
    span_id: int
    kind: int
    parent_id: int
    """The parent of that tree's topmost span, which may still come."""


class _Trace:
    """Spans of one trace that wait for more."""

    __slots__ = ("booked", "first_at", "last_at", "measured", "missing", "nodes", "roots", "seen")

    def __init__(self, now: float, measured: Measured, booked: dict[int, _Whose]) -> None:
        self.first_at = self.last_at = now
        self.booked = booked
        """Ids of spans of the trace that were booked before; one trace may call a process more than once."""
        self.measured = measured
        self.roots: dict[int, _Root] = {}
        """Local roots by number; of messages, all that may be."""
        self.seen: set[int] = set()
        self.missing: dict[int, Any] = {}
        """Span id -> context of parents in this process that have not come yet."""
        self.nodes: dict[int, _Seen] | None = None
        """Each span by number, where traces are kept."""

    def has_come(self, span_id: int) -> bool:
        """True for a span that is here, and for one that was booked before."""
        return span_id in self.seen or span_id in self.booked

    def is_complete(self) -> bool:
        """True if no parent is still to come; one that a processor charges never comes."""
        if self.missing:
            for span_id in [span_id for span_id, context in self.missing.items() if is_claimed(context)]:
                if span_id not in self.seen:
                    del self.missing[span_id]
        return not self.missing


class FinishedSpans:
    """Finished spans of one engine, from all of its exporters.

    Args:
        engine: Whose meters price them, and who books them.
    """

    def __init__(self, engine: CostEngine) -> None:
        self._engine = engine
        self._meters: MeterSet | None = None
        self._process: Process
        """This process with the meters of `_meters`; made with the first span."""
        self._empty: Measured
        """What a trace's spans are measured into, without any."""
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Start with nothing: what the parent has received, the parent prices."""
        self._waiting: deque[FinishedSpan] = deque()
        self._lock = threading.RLock()
        self._is_busy = False
        self._traces: dict[int, _Trace] = {}
        self._held = 0
        self._ready: list[Finished] = []
        self._choice = TraceChoice()
        self._remembered: dict[int, dict[int, _Whose]] = {}
        """Booked spans by trace and id, the oldest traces first."""
        self._remembered_spans = 0
        self._charged: dict[int, list[_Charged]] = {}
        """LLM calls by trace, the oldest traces first."""
        self._charged_calls = 0

    # --- from exporters ---------------------------------------------------------------------------

    def add(self, span: FinishedSpan) -> bool:
        """Take a span; may be called from any thread, also in the middle of another call. False if it was dropped."""
        if len(self._waiting) >= _MAX_WAITING:
            counts = self._engine.errors.counts
            counts[_DROPPED] = counts.get(_DROPPED, 0) + 1
            return False
        self._waiting.append(span)
        if len(self._waiting) >= _BUSY and self._lock.acquire(blocking=False):
            try:
                self._alone(self._sort_in)
            finally:
                self._lock.release()
            if len(self._ready) >= _MAX_READY:
                self._engine.refresh()
        return True

    # --- from the publishing thread ---------------------------------------------------------------

    def collect(self, *, flushed: bool, everything: bool) -> list[Finished]:
        """Return the trees that are due.

        Args:
            flushed: Complete trees do not wait for late spans.

            everything: The process ends: nothing more will come.
        """
        if not self._lock.acquire(timeout=_LOCK_TIMEOUT_S):
            return []
        try:
            self._alone(lambda: self._settle_due(flushed=flushed, everything=everything))
            ready, self._ready = self._ready, []
            self._choice = TraceChoice()
        finally:
            self._lock.release()
        return ready

    def _alone(self, call: Callable[[], None]) -> None:
        """Make a call under the lock unless this very thread is in the middle of one (a signal, garbage collection)."""
        if self._is_busy:
            return
        self._is_busy = True
        try:
            call()
        finally:
            self._is_busy = False

    def _settle_due(self, *, flushed: bool, everything: bool) -> None:
        self._sort_in()
        now = self._engine.monotonic()
        for trace_id, trace in list(self._traces.items()):
            if trace.is_complete():
                is_due = flushed or now - trace.last_at >= _LINGER_S
            else:
                is_due = now - trace.first_at >= _MAX_WAIT_S
            if is_due or everything:
                self._settle(trace_id)

    # --- all below: under the lock -----------------------------------------------------------------

    def _sort_in(self) -> None:
        """Measure waiting spans and put them to their traces."""
        process = self._process_now()
        while self._waiting:
            span = self._waiting.popleft()
            try:
                self._sort_in_one(span, process)
            except Exception:
                self._engine.errors.caught(_PLACE)

    def _process_now(self) -> Process:
        """Return what prices spans: the engine's meters, which may have learned the region meanwhile."""
        engine = self._engine
        meters = engine.meters
        if meters is not self._meters:
            egress = None if meters.egress is None else meters.egress.behind_proxy()
            rules = engine.attributing.rules or AttributionRules(())
            bound = rules.bound(engine.resource) if rules.rules else None
            self._empty = Measured(rules, meters.plugins, engine.errors, entrypoint=engine.config.entrypoint)
            self._process = Process(0, Origin(), meters._replace(egress=egress), bound)
            self._empty.processes.append(self._process)
            self._meters = meters
        return self._process

    def _sort_in_one(self, span: FinishedSpan, process: Process) -> None:
        parent = span.parent
        is_remote = parent is not None and bool(parent.is_remote)
        mark = span.kind if parent is None else span.kind | (REMOTE if is_remote else LOCAL)
        trace = self._traces.get(span.trace_id)
        if trace is None:
            trace = _Trace(span.received_at, self._empty.emptied(), self._remembered.get(span.trace_id, {}))
            if self._engine.keep_traces:
                trace.nodes = {}
            self._traces[span.trace_id] = trace
            self._recall(span.trace_id, trace.measured, process)
        trace.last_at = span.received_at
        if span.span_id in trace.seen:
            return
        trace.seen.add(span.span_id)
        trace.missing.pop(span.span_id, None)
        self._held += 1
        number = trace.measured.add(
            span.trace_id,
            span.span_id,
            0 if parent is None else parent.span_id,
            mark,
            process,
            span.scope,
            span.name,
            span.attributes,
            span.start_ns,
            span.end_ns,
            failed=span.failed,
        )
        if trace.nodes is not None:
            trace.nodes[number] = _Seen(span.name, span.start_ns, span.end_ns)
        if parent is None or is_remote or trace.measured.table.marks[number] & ONE_MESSAGE:
            trace.roots[number] = _Root(span.kind, span.failed_request, span.end_ns, span.context)
        if parent is not None and not is_remote and not trace.has_come(parent.span_id):
            trace.missing[parent.span_id] = parent
        if len(trace.seen) >= _MAX_SPANS_OF_TRACE:
            self._settle(span.trace_id)
        while self._held > _MAX_HELD_SPANS or len(self._traces) > _MAX_HELD_TRACES:
            self._settle(next(iter(self._traces)))

    def _settle(self, trace_id: int) -> None:
        """Price what there is of a trace."""
        trace = self._traces.pop(trace_id)
        self._held -= len(trace.seen)
        if not trace.is_complete():
            self._engine.evictions += 1
        try:
            trees = local_trees(trace.measured, trace.roots, trace.booked)
            whose: dict[int, _Whose] = {}
            for tree in trees:
                made = self._whole(trace_id, trace, tree) if tree.is_whole else self._part(trace, tree)
                if tree.is_whole or tree.booked:
                    self._ready.append(made)
                if tree.is_whole or tree.is_below_booked:
                    whose[tree.root] = _Whose(made.labels, made.attribution)
            self._remember(trace_id, trace, whose)
            self._remember_calls(trace_id, trace.measured, trees)
        except Exception:
            self._engine.errors.caught(_PLACE)

    def _whole(self, trace_id: int, trace: _Trace, tree: LocalTree) -> Finished:
        measured, root = trace.measured, trace.roots[tree.root]
        labels = measured.entries.labels[measured.table.entries[tree.root]]
        attribution = _whose_tree(measured, tree)
        minute = root.end_ns // _MINUTE_NS
        total_usd = tree.total_usd
        request = FinishedRequest(root.kind, root.failed, total_usd, minute, NonRecordingSpan(root.context))
        kept = None
        if trace.nodes is not None and self._choice.wants(total_usd, trace_id):
            nodes = _nodes(measured, trace.nodes, tree)
            kept = KeptTrace(trace_id, labels, attribution, total_usd, root.end_ns, nodes)
        compute = (Charge(_NO_COMPUTE, 0.0, 0.0, 0.0), None, ENTRY, minute, 1)
        return Finished(labels, attribution, [compute, *tree.booked], request, kept)

    def _part(self, trace: _Trace, tree: LocalTree) -> Finished:
        """Return a tree without its local root: late, under the labels of that root if it came before."""
        measured = trace.measured
        if tree.is_below_booked:
            labels, attribution = trace.booked[measured.table.parent_ids[tree.root]]
        else:
            labels = measured.entries.labels[measured.table.entries[tree.root]]
            attribution = _whose_tree(measured, tree)
        return Finished(labels, attribution, tree.booked, None, None)

    def _remember(self, trace_id: int, trace: _Trace, whose: Mapping[int, _Whose]) -> None:
        """Keep the ids of booked spans for those that come late.

        Args:
            trace_id: Their trace.

            trace: What was held of it.

            whose: What late spans take, by the number of the topmost span of a tree.
        """
        if not whose:
            return
        table = trace.measured.table
        self._remembered_spans -= len(self._remembered.pop(trace_id, ()))
        booked = trace.booked
        booked.update((table.ids[number], whose[root]) for number, root in enumerate(table.roots) if root in whose)
        self._remembered[trace_id] = booked
        self._remembered_spans += len(booked)
        while self._remembered_spans > _MAX_REMEMBERED:
            self._remembered_spans -= len(self._remembered.pop(next(iter(self._remembered))))

    def _remember_calls(self, trace_id: int, measured: Measured, trees: Sequence[LocalTree]) -> None:
        """Keep the LLM calls that were charged although spans above them may still come."""
        if not measured.held:
            return
        table = measured.table
        open_trees = {tree.root for tree in trees if not tree.is_whole and not tree.is_below_booked}
        charged = [
            _Charged(call, table.ids[call.span], table.marks[call.span] & KIND_BITS, table.parent_ids[root])
            for call in measured.held
            if (root := table.roots[call.span]) in open_trees and not table.marks[call.span] & REPEATED
        ]
        if charged:
            self._charged.setdefault(trace_id, []).extend(charged)
            self._charged_calls += len(charged)
        while self._charged_calls > _MAX_REMEMBERED_CALLS:
            self._charged_calls -= len(self._charged.pop(next(iter(self._charged))))

    def _recall(self, trace_id: int, measured: Measured, process: Process) -> None:
        """Put LLM calls of a trace that were charged before among its spans, so that none is charged again."""
        charged = self._charged.pop(trace_id, ())
        self._charged_calls -= len(charged)
        for call, span_id, kind, parent_id in charged:
            entry = measured.entries.of_name("")
            span = measured.table.add(trace_id, span_id, parent_id, kind | LOCAL, process.number, entry)
            measured.held.append(call._replace(span=span, is_charged=True))


def _whose_tree(measured: Measured, tree: LocalTree) -> Attribution:
    """Return whose cost a tree is, by its topmost span."""
    table, root = measured.table, tree.root
    return measured.of_root(table.attributions[root], table.entries[root], table.processes[root])


def _nodes(measured: Measured, seen: Mapping[int, _Seen], tree: LocalTree) -> tuple[KeptNode, ...]:
    """Return the spans of a tree with what each was charged, the local root last."""
    table = measured.table
    charges: dict[int, list[Charge]] = {}
    for span, (charge, *_) in zip(tree.spans, tree.booked, strict=True):
        charges.setdefault(span, []).append(charge)
    total: dict[int, float] = {}
    for span, own in charges.items():
        direct = sum(charge.usd for charge in own)
        for place in (span, *table.ancestors(span)):
            total[place] = total.get(place, 0.0) + direct
            if place == tree.root:
                break
    inside = [number for number, root in enumerate(table.roots) if root == tree.root and number in seen]
    if len(inside) > _MAX_KEPT_NODES:
        inside = sorted(inside, key=lambda number: -total.get(number, 0.0))[:_MAX_KEPT_NODES]
    inside.sort(key=lambda number: (number == tree.root, number))
    return tuple(
        KeptNode(
            table.ids[number],
            table.parent_ids[number],
            *seen[number],
            sum(charge.usd for charge in charges.get(number, ())),
            total.get(number, 0.0),
            tuple(charges.get(number, ())),
        )
        for number in inside
    )


_NO_COMPUTE: Final = price_line(names.COMPUTE, "", "instance", unit="s", status=names.UNPRICED, reason=names.EXPORTER)
