"""What the span path notes down, and how it becomes sums: the slow half of booking.

A span that ends leaves its charges with its local root; a local root that ends leaves itself in the journal. That is
all the span path does. Here, on the publishing thread, journal entries are given their labels and added up by
`ChargeKey`, so label look-ups, caps and sums cost a request nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from spancost import names
from spancost.charge import CONSUMER, SERVER, Charge, PriceLine, calls_of, changed_line
from spancost.entry_labels import final_labels, takes_process_name
from spancost.nodes import Booked, Guarded, LocalRoot
from spancost.trace_choice import COSTLIEST, SAMPLED, chosen
from spancost.window import (
    ENTRY,
    IDLE,
    INNER,
    LATE_INNER,
    NOBODY,
    POSITIONS,
    UNATTRIBUTED,
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    GuardedKey,
    GuardedRule,
    KeptTrace,
    RequestKey,
    RequestSum,
    filled,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.trace import Span as AnySpan

    from spancost.meters.compute import ComputePricing

_BUCKETS: Final = names.REQUEST_COST_BUCKETS_USD
BUCKET_COUNT: Final = len(_BUCKETS) + 1
_MAX_KEYS: Final = 20_000
_MAX_MERGED_KEYS: Final = 100_000
_MAX_MERGED_TRACES: Final = 200
_MAX_MERGED_SAMPLE: Final = 50
_NO_LABELS: Final = EntryLabels()
_EVERYBODY: Final = Attribution(names.OTHER, names.OTHER, names.OTHER)
_OTHER_LABELS: Final = EntryLabels(names.OTHER, names.OTHER, names.OTHER)
_SERVED: Final = (SERVER, CONSUMER)
NO_RULES: Final[frozenset[GuardedRule]] = frozenset()
_OUTCOMES: Final = ("ok", "error")
_GRPC_STATUS: Final = "rpc.grpc.status_code"

COMPUTE_SECONDS: Final = PriceLine(names.COMPUTE, "", "seconds")
"""Stands for the machine's own line, which may not be known yet, in charges that are compute."""


class Ended(NamedTuple):
    """A local root's own span has ended."""

    root: LocalRoot
    span: Span
    attributes: Mapping[str, Any]
    seconds: float
    """Instance-seconds of the local root's own span."""
    charges: Sequence[Charge]
    minute: int
    failed: bool
    total_usd: float
    end_ns: int


class Partial(NamedTuple):
    """What a local root that goes on has cost so far, or one that was given up."""

    root: LocalRoot
    name: str
    attributes: Mapping[str, Any]
    inner_s: float
    """Instance-seconds of ended spans, and of open ones until now."""
    inner_count: int
    """Ended spans."""
    charges: Sequence[Booked]
    minute: int
    guarded: Sequence[Guarded] = ()


class Late(NamedTuple):
    """Charged below a local root that was exported already, or evicted."""

    root: LocalRoot
    seconds: float
    spans: int
    """Spans that the seconds belong to; 0 for those of spans that are still open, and if this is no span's end."""
    charges: Sequence[Charge]
    attribution: Attribution | None
    minute: int
    position: str
    rules: frozenset[GuardedRule] = NO_RULES
    """Those whose guard settles the charges with their budgets."""


class Unattributed(NamedTuple):
    """Usage without any span."""

    charges: Sequence[Charge]
    minute: int
    attribution: Attribution = NOBODY
    rules: frozenset[GuardedRule] = NO_RULES
    """Those whose guard settles the charges with their budgets."""


class FinishedRequest(NamedTuple):
    """A local root whose whole tree was exported before it was priced."""

    kind: int
    """SpanKind value."""
    failed: bool
    total_usd: float
    """Sum of everything charged below it; compute is not known."""
    minute: int
    span: AnySpan
    """Has the context of the local root's span."""


class Finished(NamedTuple):
    """A local tree of spans that an exporter has received."""

    labels: EntryLabels
    attribution: Attribution
    booked: Sequence[Booked]
    request: FinishedRequest | None
    """None for a part of a tree whose local root is not in it."""
    trace: KeptTrace | None
    """The tree with all of its spans if it is to be kept."""


Entry: TypeAlias = Ended | Partial | Late | Unattributed | Finished


class RequestRecord(NamedTuple):
    """One finished request, for sinks that want each with its context (exemplars)."""

    total_usd: float
    labels: EntryLabels
    outcome: str
    span: AnySpan


def is_failed_call(span: ReadableSpan, attributes: Mapping[str, Any]) -> bool:
    """True for a gRPC method that has raised: its instrumentation records the exception, but sets no status."""
    return attributes.get(_GRPC_STATUS) == 0 and any(event.name == "exception" for event in span.events)


class _Run:
    """Everything that a process has spent under its own name."""

    __slots__ = ("attribution", "labels", "total_usd")

    def __init__(self, labels: EntryLabels, attribution: Attribution) -> None:
        self.labels = labels
        self.attribution = attribution
        self.total_usd = 0.0


class Fold:
    """Sums of journal entries, by key.

    Args:
        on_request: Receives each SERVER and CONSUMER local root; None if nobody wants them.

        failed: Called in `except` with the place when one entry cannot be added; the others are.

        process: Entrypoint of outgoing calls without a parent; empty for none.

        whose: Returns the attribution of a local root from what its own span's attributes and its labels say.
    """

    def __init__(
        self,
        on_request: Callable[[RequestRecord], None] | None = None,
        failed: Callable[[str], None] | None = None,
        process: str = "",
        *,
        whose: Callable[[LocalRoot, Mapping[str, Any], EntryLabels], Attribution],
    ) -> None:
        self._on_request = on_request
        self._failed = failed
        self._process = process
        self._whose = whose
        self._run: _Run | None = None
        """What the process has spent under its own name; its one request is counted at its end."""
        self._run_ended = False
        self._charges: dict[ChargeKey, ChargeSum] = {}
        self._requests: dict[RequestKey, RequestSum] = {}
        self._compute: dict[tuple[int, EntryLabels, Attribution, str], list[float]] = {}
        """(minute, labels, attribution, position) -> [instance-seconds, spans]: priced when the rate is known."""
        self._guarded: dict[GuardedKey, ChargeSum] = {}
        self.traces: list[KeptTrace] = []

    def add(self, entries: Iterable[Entry]) -> None:
        """Add journal entries, in the order in which they were noted down."""
        for entry in entries:
            try:
                self._add(entry)
            except Exception:
                if self._failed is None:
                    raise
                self._failed("journal")

    def _add(self, entry: Entry) -> None:
        if isinstance(entry, Ended):
            self._ended(entry)
        elif isinstance(entry, Late):
            self._late(entry)
        elif isinstance(entry, Partial):
            self._partial(entry)
        elif isinstance(entry, Finished):
            self._finished(entry)
        else:
            for index, charge in enumerate(entry.charges):
                self._book(charge, _NO_LABELS, entry.attribution, UNATTRIBUTED, entry.minute, int(index == 0))
                if entry.rules:
                    self._except(charge, _NO_LABELS, entry.attribution, entry.minute, int(index == 0), entry.rules)

    def merge(self, other: Fold) -> None:
        """Add what another fold holds."""
        for key, sums in other._charges.items():
            self._charges.setdefault(key, ChargeSum()).add(sums)
        for request, record in other._requests.items():
            self._requests.setdefault(request, RequestSum(BUCKET_COUNT)).add(record)
        for (minute, labels, attribution, position), (seconds, count) in other._compute.items():
            self._seconds(minute, labels, attribution, position, seconds, int(count))
        for guarded, sums in other._guarded.items():
            self._guarded.setdefault(guarded, ChargeSum()).add(sums)
        self.traces += other.traces
        if other._run is not None:
            self._add_to_run(other._run.labels, other._run.attribution, other._run.total_usd)

    def end_run(self, minute: int, *, failed: bool) -> None:
        """Count the whole run as one request of the process's own entrypoint, once, if it has made any call.

        Args:
            minute: UTC minute of now.

            failed: An exception has ended it.
        """
        run, self._run = self._run, None
        if run is None or self._run_ended:
            return
        self._run_ended = True
        record = self._request(RequestKey(minute, run.labels, run.attribution, _OUTCOMES[failed], False))
        record.count += 1
        record.buckets[bisect_left(_BUCKETS, run.total_usd)] += 1

    def _add_to_run(self, labels: EntryLabels, attribution: Attribution, total_usd: float) -> None:
        if self._run is None:
            self._run = _Run(labels, attribution)
        self._run.total_usd += total_usd

    def _request(self, key: RequestKey) -> RequestSum:
        record = self._requests.get(key)
        if record is None:
            if len(self._requests) >= _MAX_KEYS:
                key = key._replace(labels=_OTHER_LABELS, attribution=_EVERYBODY)
            record = self._requests.setdefault(key, RequestSum(BUCKET_COUNT))
        return record

    def _ended(self, entry: Ended) -> None:
        root, minute = entry.root, entry.minute
        labels = root.labels
        if labels is None:
            labels = root.labels = final_labels(entry.span.name, root.kind, entry.attributes, self._process)
            root.attribution = self._whose(root, entry.attributes, labels)
        attribution = root.attribution
        self._seconds(minute, labels, attribution, ENTRY, entry.seconds, 1)
        if root.inner_count or root.inner_s:
            self._seconds(minute, labels, attribution, INNER, root.inner_s, root.inner_count)
        for charge, calls in zip(entry.charges, calls_of(entry.charges), strict=True):
            self._book(charge, labels, attribution, ENTRY, minute, calls)
        self._inner(root.charges or (), labels, attribution)
        root.charges = None
        if root.guarded is not None:
            self._settled_by_guards(root.guarded, labels, attribution)
            root.guarded = None
        failed = entry.failed or is_failed_call(entry.span, entry.attributes)
        request = FinishedRequest(root.kind, failed, entry.total_usd, minute, entry.span)
        self._count(request, labels, attribution)
        if root.trail is not None:
            kept = KeptTrace(root.trace_id, labels, attribution, entry.total_usd, entry.end_ns, tuple(root.trail))
            self.traces.append(kept)
            root.trail = None

    def _finished(self, entry: Finished) -> None:
        self._inner(entry.booked, entry.labels, entry.attribution)
        if entry.request is not None:
            self._count(entry.request, entry.labels, entry.attribution)
        if entry.trace is not None:
            self.traces.append(entry.trace)

    def _count(self, request: FinishedRequest, labels: EntryLabels, attribution: Attribution) -> None:
        """Count a local root, or add it to the run of the process that has made it."""
        served = request.kind in _SERVED
        total_usd = request.total_usd
        outcome = _OUTCOMES[request.failed]
        record = self._request(RequestKey(request.minute, labels, attribution, outcome, served))
        record.total_usd += total_usd
        if takes_process_name(request.kind, self._process):
            self._add_to_run(labels, attribution, total_usd)
        else:
            record.count += 1
            record.buckets[bisect_left(_BUCKETS, total_usd)] += 1
        if total_usd > record.costliest_usd:
            record.costliest_usd = total_usd
            record.costliest_trace = request.span.get_span_context().trace_id
        if served and self._on_request is not None:
            self._on_request(RequestRecord(total_usd, labels, outcome, request.span))

    def _partial(self, entry: Partial) -> None:
        root = entry.root
        labels = root.labels or final_labels(entry.name, root.kind, entry.attributes, self._process)
        attribution = self._whose(root, entry.attributes, labels)
        if entry.inner_count or entry.inner_s:
            self._seconds(entry.minute, labels, attribution, INNER, entry.inner_s, entry.inner_count)
        self._inner(entry.charges, labels, attribution)
        self._settled_by_guards(entry.guarded, labels, attribution)
        if root.is_closed:
            root.labels = labels
            root.attribution = attribution

    def _late(self, entry: Late) -> None:
        root = entry.root
        labels = root.labels or _NO_LABELS
        own = entry.attribution
        attribution = root.attribution if own is None else filled(own, root.attribution)
        if entry.spans or entry.seconds:
            self._seconds(entry.minute, labels, attribution, LATE_INNER, entry.seconds, entry.spans)
        for charge, calls in zip(entry.charges, calls_of(entry.charges), strict=True):
            self._book(charge, labels, attribution, entry.position, entry.minute, calls)
            if entry.rules:
                self._except(charge, labels, attribution, entry.minute, calls, entry.rules)

    def _settled_by_guards(self, guarded: Sequence[Guarded], labels: EntryLabels, inherited: Attribution) -> None:
        for charge, own, minute, calls, rules in guarded:
            attribution = inherited if own is None else filled(own, inherited)
            self._except(charge, labels, attribution, minute, calls, rules)

    def _except(
        self,
        charge: Charge,
        labels: EntryLabels,
        attribution: Attribution,
        minute: int,
        calls: int,
        rules: frozenset[GuardedRule],
    ) -> None:
        """Keep a charge, which is booked as any other, out of the budgets that a guard has added it to."""
        key = GuardedKey(minute, charge.line, labels, attribution, rules)
        sums = self._guarded.get(key)
        if sums is None and not self._is_booked(minute, charge.line, labels, attribution):
            key = GuardedKey(minute, _without_resource(charge.line), _OTHER_LABELS, _EVERYBODY, rules)
            sums = self._guarded.get(key)
        if sums is None:
            sums = self._guarded[key] = ChargeSum()
        sums.quantity += charge.quantity
        sums.list_usd += charge.list_usd
        sums.usd += charge.usd
        sums.count += calls

    def _is_booked(self, minute: int, line: PriceLine, labels: EntryLabels, attribution: Attribution) -> bool:
        """True unless the charges with these labels are beyond the bound, and went to `other`."""
        if len(self._charges) < _MAX_KEYS:
            return True
        return any(ChargeKey(minute, line, labels, attribution, position) in self._charges for position in POSITIONS)

    def _inner(self, booked: Sequence[Booked], labels: EntryLabels, inherited: Attribution) -> None:
        for charge, own, position, minute, calls in booked:
            attribution = inherited if own is None else filled(own, inherited)
            if charge.line is COMPUTE_SECONDS:
                self._seconds(minute, labels, attribution, position, charge.quantity, calls)
            else:
                self._book(charge, labels, attribution, position, minute, calls)

    def _seconds(
        self, minute: int, labels: EntryLabels, attribution: Attribution, position: str, seconds: float, count: int
    ) -> None:
        key = (minute, labels, attribution, position)
        sums = self._compute.get(key)
        if sums is None:
            if len(self._compute) >= _MAX_KEYS:
                key = (minute, _OTHER_LABELS, _EVERYBODY, position)
            sums = self._compute.setdefault(key, [0.0, 0.0])
        sums[0] += seconds
        sums[1] += count

    def _book(
        self, charge: Charge, labels: EntryLabels, attribution: Attribution, position: str, minute: int, calls: int
    ) -> None:
        key = ChargeKey(minute, charge.line, labels, attribution, position)
        sums = self._charges.get(key)
        if sums is None:
            if len(self._charges) >= _MAX_KEYS:
                key = ChargeKey(minute, _without_resource(charge.line), _OTHER_LABELS, _EVERYBODY, position)
            sums = self._charges.setdefault(key, ChargeSum())
        sums.quantity += charge.quantity
        sums.list_usd += charge.list_usd
        sums.usd += charge.usd
        sums.count += calls

    def hold_seconds(self) -> None:
        """Charge the seconds added so far late: their spans were exported before the machine's rate was known."""
        seconds, self._compute = self._compute, {}
        for (at, labels, attribution, position), (held_s, count) in seconds.items():
            later = position if position == IDLE else LATE_INNER  # idle time has no span
            self._seconds(at, labels, attribution, later, held_s, int(count))

    def batch(
        self, pricing: ComputePricing, line: PriceLine, idle_s: float, minute: int, not_exported: dict[str, float]
    ) -> Batch:
        """Price the seconds and return everything added so far; the fold is empty afterwards.

        Args:
            pricing: The machine's rate. While it is pending, seconds stay here and are charged late once it is known.

            line: The machine's price line.

            idle_s: Idle instance-seconds since the last batch.

            minute: UTC minute of now.

            not_exported: USD by component below roots that were given up before they were exported.
        """
        if idle_s > 0:
            self._seconds(minute, _NO_LABELS, NOBODY, IDLE, idle_s, 0)
        charges, self._charges = self._charges, {}
        requests, self._requests = self._requests, {}
        guarded, self._guarded = self._guarded, {}
        traces, self.traces = chosen(self.traces, COSTLIEST, SAMPLED), []
        seconds, self._compute = self._compute, {}
        if pricing.is_pending:
            self._compute = seconds
            self.hold_seconds()
        else:
            busy = pricing.usd_per_s or 0.0, pricing.list_usd_per_s or 0.0
            idle = pricing.idle_usd_per_s, pricing.idle_list_usd_per_s
            for (at, labels, attribution, position), (used_s, count) in seconds.items():
                usd_per_s, list_usd_per_s = idle if position == IDLE else busy
                charges[ChargeKey(at, line, labels, attribution, position)] = ChargeSum(
                    used_s, used_s * list_usd_per_s, used_s * usd_per_s, int(count)
                )
        return Batch(charges, requests, traces, not_exported, guarded=guarded)


def _without_resource(line: PriceLine) -> PriceLine:
    """Return a line without the name of its table, bucket or queue: what is left is few by nature."""
    return changed_line(line, resource=names.OTHER if line.resource else "")


def merged_batches(batches: Iterable[Batch]) -> Batch:
    """Add batches up into one; beyond 100 000 keys, labels and resources go to `other`, sums stay whole."""
    charges: dict[ChargeKey, ChargeSum] = {}
    requests: dict[RequestKey, RequestSum] = {}
    traces: list[KeptTrace] = []
    not_exported: dict[str, float] = {}
    health: dict[str, int] = {}
    guarded: dict[GuardedKey, ChargeSum] = {}
    for batch in batches:
        for key, sums in batch.charges.items():
            if key not in charges and len(charges) >= _MAX_MERGED_KEYS:
                line = _without_resource(key.line)
                key = key._replace(line=line, labels=_OTHER_LABELS, attribution=_EVERYBODY)
            charges.setdefault(key, ChargeSum()).add(sums)
        for request, record in batch.requests.items():
            if request not in requests and len(requests) >= _MAX_MERGED_KEYS:
                request = request._replace(labels=_OTHER_LABELS, attribution=_EVERYBODY)
            requests.setdefault(request, RequestSum(BUCKET_COUNT)).add(record)
        traces += batch.traces
        for component, usd in batch.not_exported.items():
            not_exported[component] = not_exported.get(component, 0.0) + usd
        for name, count in batch.health.items():
            health[name] = health.get(name, 0) + count
        for settled, sums in batch.guarded.items():
            guarded.setdefault(settled, ChargeSum()).add(sums)
    kept = chosen(traces, _MAX_MERGED_TRACES, _MAX_MERGED_SAMPLE)
    return Batch(charges, requests, kept, not_exported, health, guarded)
