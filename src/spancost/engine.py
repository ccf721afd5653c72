"""Books charges along the span path and hands them to the sinks.

One engine serves a process. The span path (`processor.py`) measures, then books under one re-entrant lock, held for
about a microsecond and never while anything is waited for. A hook that is re-entered on the same thread in the
middle of that (garbage collection, a signal handler) leaves its event in a queue that the holder drains before it
lets go. Everything slow (folding into metrics, the ledger, the lease file) happens on one daemon thread that starts
with the first span.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from spancost import names
from spancost._guard import ErrorLog, logger
from spancost.attribution import (
    ATTRIBUTION_ATTRIBUTES,
    entry_labels,
    filled,
    from_attributes,
    routeless_labels,
    shared_labels,
)
from spancost.capture import facts as capture_facts
from spancost.charge import INTERNAL, LLM_SPAN, SERVER, Charge, PriceLine, SpanView, price_line
from spancost.duplicates import host_of_call, is_transport, orphaned, outermost_llm_span, settled
from spancost.lease import POLL_S, Lease, LeaseUnavailableError
from spancost.meters.llm import is_llm, operation_of, read_usage
from spancost.nodes import NOBODY, HeldUsage, LocalRoot, SpanNode, Waiting
from spancost.span_attributes import kind_of, mapping_of, status_code_of
from spancost.tree import Tree
from spancost.window import (
    ENTRY,
    IDLE,
    INNER,
    LATE_ENTRY,
    LATE_INNER,
    UNATTRIBUTED,
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    KeptTrace,
    RequestKey,
    RequestSum,
)

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from spancost.config import Config
    from spancost.meters import Meter
    from spancost.meters.compute import ComputePricing
    from spancost.meters.llm import LlmMeter

_MINUTE_NS: Final = 60_000_000_000
_BUCKETS: Final = names.REQUEST_COST_BUCKETS_USD
_BUCKET_COUNT: Final = len(_BUCKETS) + 1
_MAX_WINDOW_KEYS: Final = 20_000
_MAX_TRAIL: Final = 1000
_MAX_KEPT_TRACES: Final = 20
_MAX_WAITING_BATCHES: Final = 100
_MAX_QUEUED_REQUESTS: Final = 32_768
_PUBLISH_TIMEOUT_S: Final = 5.0
_NO_LABELS: Final = EntryLabels()


class Sink(Protocol):
    """Receives what was charged, on the background thread or in a flush."""

    name: str

    def write(self, batch: Batch, *, final: bool) -> None:
        """Take a batch; raising keeps it for the next try.

        Args:
            batch: What was charged since the last write.

            final: A flush or the end of the process: nothing may be held back.
        """
        ...

    def close(self) -> None:
        """Release what is held; called once at shutdown."""
        ...


class MeterSet(NamedTuple):
    """The meters of one engine; None where a component is not metered."""

    compute: ComputePricing
    llm: LlmMeter | None = None
    aws: Meter | None = None
    egress: Meter | None = None
    http: Meter | None = None


class _EntrySums:
    """Compute and requests of one (minute, labels, attribution): booked once per local root."""

    __slots__ = ("entry_count", "entry_s", "inner_count", "inner_s", "late_count", "late_s", "requests")

    def __init__(self) -> None:
        self.entry_s = 0.0
        self.entry_count = 0
        self.inner_s = 0.0
        self.inner_count = 0
        self.late_s = 0.0
        self.late_count = 0
        self.requests: dict[tuple[str, bool], list[Any]] | None = None
        """(outcome, served) -> [count, total USD, bucket counts]"""


class RequestRecord(NamedTuple):
    """One finished request, for sinks that want each with its context (exemplars)."""

    total_usd: float
    labels: EntryLabels
    outcome: str
    span: Span


class CostEngine:
    """Prices, books and publishes for one process.

    Args:
        config: Settings.

        meters: What prices spans.

        sinks: Where sums go; each is written on the background thread.

        keep_traces: Keep the costliest traces whole for the sinks.

        monotonic: Clock of compute, seconds.

        errors: Where our own errors are counted.
    """

    def __init__(
        self,
        config: Config,
        meters: MeterSet,
        sinks: Sequence[Sink] = (),
        *,
        keep_traces: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        errors: ErrorLog | None = None,
        background: bool = True,
    ) -> None:
        self.config = config
        self.meters = meters
        self.sinks = list(sinks)
        self.errors = ErrorLog() if errors is None else errors
        self.monotonic = monotonic
        self.keep_traces = keep_traces
        self.request_queues: list[deque[RequestRecord]] = []
        """One queue for each sink that wants single requests; see `open_request_queue`."""
        self.on_flush: list[Callable[[float], bool]] = []
        """Called at the end of a flush with the seconds left: pushes that are not sinks (a MeterProvider)."""
        self.price_date = ""
        """Date of the newest price in the book, for people."""
        self.prepare: Callable[[Mapping[str, Any]], None] | None = None
        """Called once with the resource's attributes when the first span starts, to settle region and machine."""
        self.upkeep: list[Callable[[], None]] = []
        """Called by the background thread before each flush: attaching to libraries imported meanwhile."""
        self.resource: Mapping[str, Any] = {}
        """Attributes of the resource of the first span."""
        self.prometheus: str | None = None
        """How prometheus_client is served: `registry`, `multiprocess`, `otel` (by an OTel reader), or not yet."""
        self.sampled_only = False
        """True where spans that the sampler drops cannot be seen."""
        self.background = background
        """Start the publishing thread with the first span."""
        self._llm_loaded = False
        self._init_state()
        _engines.add(self)

    def _init_state(self) -> None:
        """Everything that a forked child must not inherit."""
        self.lock = threading.RLock()
        self._ready_lock = threading.RLock()
        self._is_ready = False
        self.busy = False
        self.deferred: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.epoch = os.getpid()
        self.tree: Tree | None = None
        self.evictions = 0
        self.evicted_usd: dict[str, float] = {}
        """USD by component booked below roots that were evicted before they were exported."""
        self.last_flush_at = 0.0
        self.last_flush_ok = True
        self._charges: dict[tuple[Any, ...], list[float]] = {}
        self._entries: dict[tuple[Any, ...], _EntrySums] = {}
        self._held_entries: dict[tuple[Any, ...], _EntrySums] = {}
        self._traces: list[KeptTrace] = []
        self._trace_floor = 0.0
        self._publish_lock = threading.Lock()
        self._publisher: int | None = None
        self._flushing: set[int] = set()
        """Threads inside `flush`: a signal handler on one of them must not enter the exporters again."""
        self._held_for_fork = False
        self._unwritten: dict[str, deque[Batch]] = {sink.name: deque() for sink in self.sinks}
        self._lease: Lease | None = None
        self._new_lease: Lease | None = None
        self._share_estimated = self.config.compute_share is None
        self._started_s = 0.0
        self._idle_published_s = 0.0
        self._idle_since_minute = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopped = False
        self._leaving = False
        for queue in self.request_queues:
            queue.clear()

    # --- life --------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Receive what capture hooks report; the engine connected last is the one they reach."""
        capture_facts.connect(self.book_late_facts, self.errors.caught)

    def add_sink(self, sink: Sink) -> None:
        """Add a sink; it receives what is charged from now on."""
        self._unwritten[sink.name] = deque()
        self.sinks.append(sink)

    def get_ready(self, resource: Mapping[str, Any]) -> None:
        """Before the first span of a process: settle region and machine, attach to metrics; without the lock.

        Not earlier: a server that only forks would export metrics of its own, and OpenTelemetry's reader does not
        survive a fork in the middle of that.
        """
        with self._ready_lock:
            if self._is_ready:
                return
            self.resource = resource
            if self.prepare is not None:
                prepare, self.prepare = self.prepare, None
                self._guarded("prepare", lambda: prepare(resource))
            for call in self.upkeep:
                self._guarded("upkeep", call)
            self._is_ready = True

    def begin(self, now: float) -> Tree:
        """Start the compute clock and the background thread with the first span; called under the lock."""
        share = self.config.compute_share
        tree = self.tree = Tree(now, share=1.0 if share is None else share, idle_after_s=self.config.idle_after_s)
        self._started_s = now
        self._open_lease(tree)
        if self.background:
            self._thread = threading.Thread(target=self._run, name="spancost", daemon=True)
            self._thread.start()
        return tree

    def _run(self) -> None:
        self._guarded("lease", self._join_lease)
        self._warm_up()
        next_flush = 0.0  # at once: what was imported meanwhile is attached to, and the first series are born
        while not self._stopped:
            now = time.monotonic()
            if now >= next_flush or self._wake.is_set():
                self._wake.clear()
                next_flush = now + self.config.flush_interval_s
                for call in self.upkeep:
                    self._guarded("upkeep", call)
                self._guarded("flush", self.publish)
            elif self._lease is not None and self._lease.has_changed():
                self._guarded("lease", self._follow_lease)
            wait_s = next_flush - time.monotonic()
            self._wake.wait(max(0.0, wait_s if self._lease is None else min(wait_s, POLL_S)))

    def _guarded(self, place: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception:
            self.errors.caught(place)

    def _warm_up(self) -> None:
        """Load LLM prices beside the first requests where an LLM library is already imported."""
        import sys

        if not _LLM_LIBRARIES.isdisjoint(sys.modules):
            self.load_llm_prices()

    def _open_lease(self, tree: Tree) -> None:
        """Look whether other processes share the machine; theirs is all of it until this one has joined them."""
        if self.config.compute_share is not None or self.config.lease == "off":
            return
        try:
            lease = Lease(self.config.lease)
        except LeaseUnavailableError as error:
            logger.info("processes of this machine cannot share its price (%s); each counts as alone", error)
            return
        if lease.others_live():
            tree.share = 0.0
        self._new_lease = lease

    def _join_lease(self) -> None:
        lease = self._new_lease
        if lease is None:
            return
        try:
            lease.join(self._started_s)
        except LeaseUnavailableError as error:
            logger.info("processes of this machine cannot share its price (%s); each counts as alone", error)
            with self.lock:
                if self.tree is not None:
                    self.tree.set_share(1.0, self.monotonic())
            return
        self._lease = lease
        self._share_estimated = False
        self._plan_shares(lease)

    def _follow_lease(self) -> None:
        """Take in what another process has written to the lease file."""
        if self._publish_lock.acquire(timeout=_PUBLISH_TIMEOUT_S):
            try:
                self._settle_lease()
            finally:
                self._publish_lock.release()

    def _plan_shares(self, lease: Lease) -> None:
        with self.lock:
            if self.tree is not None:
                self.tree.plan_shares(lease.plan)

    @property
    def compute_line(self) -> PriceLine:
        """The price line of compute as it is known now."""
        return self.meters.compute.lines[self._share_estimated]

    def load_llm_prices(self) -> None:
        """Import token prices before the lock is taken; once per process, unless the background thread did."""
        if self._llm_loaded or self.meters.llm is None:
            return
        try:
            self.meters.llm.warm_up()
        except Exception:
            self.errors.caught("meter.llm")
        self._llm_loaded = True

    # --- booking: all of it under the lock ----------------------------------------------------------

    def _alone(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call under the lock, safe from re-entry; one that has interrupted a hook is left to that hook."""
        with self.lock:
            if self.busy:
                self.deferred.append((call, arguments))
                return
            self.busy = True
            try:
                call(*arguments)
                self.run_deferred()
            finally:
                self.busy = False

    def run_deferred(self) -> None:
        """Carry out what re-entrant hooks left behind; the lock's holder calls it before letting go."""
        while self.deferred:
            call, arguments = self.deferred.popleft()
            try:
                call(*arguments)
            except Exception:
                self.errors.caught("deferred")

    def measure(self, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int) -> Sequence[Charge]:
        """Let the meter of a span price it; takes no lock and never raises.

        LLM spans are only marked here (`node.call_host`): whether they are charged depends on the spans around.
        """
        kind = kind_of(span)
        meters = self.meters
        meter: Meter | None
        if kind == SERVER:
            place, meter = names.EGRESS, meters.egress
        elif attributes.get("rpc.system") == "aws-api" and not _is_priced_llm(attributes):
            place, meter = names.AWS, meters.aws
            node.call_host = host_of_call(attributes)
        elif is_llm(attributes):
            if operation_of(attributes):
                node.call_host = host_of_call(attributes)
            return LLM_SPAN
        elif kind != INTERNAL and ("http.request.method" in attributes or "http.method" in attributes):
            place, meter = names.HTTP, meters.http
        else:
            return ()
        charges: Sequence[Charge] = ()
        try:
            if meter is not None and not (place == names.HTTP and is_transport(node, host_of_http(attributes))):
                charges = meter.measure(view_of(span, node, attributes, end_ns))
        except Exception:
            self.errors.caught(f"meter.{place}")
            return (_meter_error(place),)
        # Inference servers report their own LLM calls as SERVER spans.
        return LLM_SPAN if not charges and is_llm(attributes) else charges

    def measure_llm(self, span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int) -> Sequence[Charge]:
        """Charge an LLM span, or leave its usage with the outer span of the same call."""
        meter = self.meters.llm
        if meter is None or not operation_of(attributes):
            return ()
        try:
            view = view_of(span, node, attributes, end_ns)
            usage = read_usage(view)
            if usage is None:
                return ()
            outer = outermost_llm_span(node, view.scope, usage)
            if outer is not None:
                if outer.held is None:
                    outer.held = []
                    root = outer.root
                    if isinstance(root, LocalRoot):
                        if root.holders is None:
                            root.holders = []
                        root.holders.append(outer)
                outer.held.append(HeldUsage(view.scope, usage, view.start_ns))
                outer.held.extend(node.held or ())
                node.held = None
                return (_duplicate(usage.provider, usage.operation),)
            held = node.held
            if not held:
                return meter.charges_of(usage, view.start_ns)
            node.held = None
            charges: list[Charge] = []
            for call, start_ns in settled(view.scope, usage, held, view.start_ns):
                charges.extend(meter.charges_of(call, start_ns))
        except Exception:
            self.errors.caught("meter.llm")
            return (_meter_error(names.LLM),)
        return charges

    def book_inner(
        self,
        root: LocalRoot,
        seconds: float,
        charges: Sequence[Charge],
        attribution: Attribution | None,
        minute: int,
        now: float,
    ) -> None:
        """Book what an ended span below the local root has cost.

        Args:
            root: Its local root, open or exported.

            seconds: Instance-seconds it earned.

            charges: What its meters found.

            attribution: Its own, or None to follow the local root.

            minute: UTC minute of its end.

            now: Monotonic seconds.
        """
        if root.span is None:
            sums = self._entry_sums(minute, root.labels or _NO_LABELS, attribution or root.attribution)
            sums.late_s += seconds
            sums.late_count += 1
            self._book_all(root, charges, attribution, minute, LATE_INNER)
            return
        usd_per_s = self.meters.compute.usd_per_s
        if usd_per_s is not None:
            components = root.components
            components[names.COMPUTE] = components.get(names.COMPUTE, 0.0) + seconds * usd_per_s
        if not root.touched_at:
            root.touched_at = now
        if attribution is None:
            root.inner_s += seconds
            root.inner_count += 1
        else:
            labels = self._labels_of(root)
            if labels is None:
                # Compute without a route yet: the root's own bucket would lose whose it was.
                self._wait(root, Waiting(minute, Charge(_COMPUTE_SECONDS, seconds, 0.0, 0.0), attribution, INNER, 1))
            else:
                sums = self._entry_sums(minute, labels, attribution)
                sums.inner_s += seconds
                sums.inner_count += 1
        if charges:
            self._book_all(root, charges, attribution, minute, INNER)

    def book_entry(
        self,
        root: LocalRoot,
        span: Span,
        seconds: float,
        charges: Sequence[Charge],
        minute: int,
        failed: bool,
        attributes: Mapping[str, Any],
    ) -> tuple[float, EntryLabels, Attribution]:
        """Book the end of a local root's own span and everything that waited for it.

        Returns:
            The root's total in USD, its labels and its attribution.
        """
        labels = root.labels
        if labels is None:
            # A root without attributes is called by its name, whatever its kind.
            labels = (
                (entry_labels(span.name, root.kind, attributes) or routeless_labels(attributes))
                if attributes
                else shared_labels("", "", span.name)
            )
            root.labels = labels
        if attributes:
            root.attribution = self.attribution_of_root(root, attributes)
        attribution = root.attribution
        components = root.components
        usd_per_s = self.meters.compute.usd_per_s
        if usd_per_s is not None:
            components[names.COMPUTE] = components.get(names.COMPUTE, 0.0) + seconds * usd_per_s
        count = 1
        for charge in charges:
            component = charge.line.component
            components[component] = components.get(component, 0.0) + charge.usd
            self._book(minute, charge, labels, attribution, ENTRY, count)
            count = 0  # as in `_book_all`
        sums = self._entries.get((minute, labels, attribution)) or self._entry_sums(minute, labels, attribution)
        sums.entry_s += seconds
        sums.entry_count += 1
        sums.inner_s += root.inner_s
        sums.inner_count += root.inner_count
        root.inner_s = 0.0
        root.inner_count = 0
        if root.waiting is not None:
            self._book_waiting(root, labels)
        total = sum(components.values())
        outcome = "error" if failed else "ok"
        served = root.kind in _SERVED
        if sums.requests is None:
            sums.requests = {}
        record = sums.requests.get((outcome, served))
        if record is None:
            record = sums.requests[(outcome, served)] = [0, 0.0, [0] * _BUCKET_COUNT]
        record[0] += 1
        record[1] += total
        record[2][bisect_left(_BUCKETS, total)] += 1
        if served:
            for queue in self.request_queues:
                self._queue_request(queue, RequestRecord(total, labels, outcome, span))
        root.span = None
        return total, labels, attribution

    def open_request_queue(self) -> deque[RequestRecord]:
        """Return a queue that receives every SERVER and CONSUMER local root; the caller drains it in `write`."""
        queue: deque[RequestRecord] = deque()
        self.request_queues.append(queue)
        return queue

    def _queue_request(self, queue: deque[RequestRecord], record: RequestRecord) -> None:
        length = len(queue)
        if length >= _MAX_QUEUED_REQUESTS:
            self.errors.counts["request_queue.dropped"] = self.errors.counts.get("request_queue.dropped", 0) + 1
            return
        queue.append(record)
        if length == _MAX_QUEUED_REQUESTS // 8:
            self._wake.set()

    def keep(self, root: LocalRoot, labels: EntryLabels, attribution: Attribution, total: float, end_ns: int) -> None:
        """Keep a finished trace whole if it is among the costliest since the last flush."""
        trail = root.trail
        if trail is None or (len(self._traces) >= _MAX_KEPT_TRACES and total <= self._trace_floor):
            return
        self._traces.append(KeptTrace(root.trace_id, labels, attribution, total, end_ns, tuple(trail)))
        if len(self._traces) > _MAX_KEPT_TRACES:
            self._traces.sort(key=lambda trace: -trace.total_usd)
            del self._traces[_MAX_KEPT_TRACES:]
            self._trace_floor = self._traces[-1].total_usd

    def book_late_facts(self, span: Any, facts: dict[str, Any]) -> None:
        """Charge egress that became known after the server span had ended."""
        meter = self.meters.egress
        node = getattr(span, capture_facts.NODE_ATTRIBUTE, None)
        if meter is None or not isinstance(node, SpanNode):
            return
        try:
            end_ns = span.end_time or time.time_ns()
            attributes = mapping_of(span)
            charges = meter.measure(SpanView(span.name, SERVER, "", attributes, span.start_time, end_ns, facts))
        except Exception:
            self.errors.caught("meter.egress")
            return
        root = getattr(node, "root", None)
        if not isinstance(root, LocalRoot) or root.epoch != self.epoch:
            return
        self._alone(self._book_late, root, charges, end_ns // _MINUTE_NS)

    def _book_late(self, root: LocalRoot, charges: Sequence[Charge], minute: int) -> None:
        # Late is what the local root's exported total lacks: while that one is open, a charge below it is not.
        self._book_all(root, charges, None, minute, LATE_ENTRY if root.span is None else INNER)

    def book_unattributed(self, charges: Sequence[Charge]) -> None:
        """Charge usage that belongs to no span."""
        minute = time.time_ns() // _MINUTE_NS
        for charge in charges:
            self._alone(self._book, minute, charge, _NO_LABELS, NOBODY, UNATTRIBUTED, 1)

    def attribution_of_root(self, root: LocalRoot, attributes: Mapping[str, Any]) -> Attribution:
        """Return the root's attribution as its span and `attribute()` have it now."""
        if not attributes or attributes.keys().isdisjoint(ATTRIBUTION_ATTRIBUTES):
            return root.attribution
        return filled(from_attributes(attributes), root.attribution)

    def attribution_of(self, node: SpanNode, attributes: Mapping[str, Any]) -> Attribution | None:
        """Return a span's own attribution, or None if it follows its local root."""
        tags = node.tags
        own = None if tags is None else tags.attribution
        if attributes and not attributes.keys().isdisjoint(ATTRIBUTION_ATTRIBUTES):
            own = filled(from_attributes(attributes), own or NOBODY)
        if own is None or own == NOBODY:
            return None
        root = node.root
        if not isinstance(root, LocalRoot):
            return own
        inherited = root.attribution
        if root.span is not None:
            inherited = self.attribution_of_root(root, mapping_of(root.span))
        complete = filled(own, inherited)
        return None if complete == inherited else complete

    def _labels_of(self, root: LocalRoot) -> EntryLabels | None:
        labels = root.labels
        if labels is None and root.span is not None:
            span = root.span
            labels = root.labels = entry_labels(span.name, root.kind, mapping_of(span))
        return labels

    def _entry_sums(self, minute: int, labels: EntryLabels, attribution: Attribution) -> _EntrySums:
        key = (minute, labels, attribution)
        sums = self._entries.get(key)
        if sums is None:
            if len(self._entries) >= _MAX_WINDOW_KEYS:
                self._wake.set()
                key = (minute, EntryLabels(names.OTHER, names.OTHER, names.OTHER), _EVERYBODY)
                sums = self._entries.get(key)
                if sums is not None:
                    return sums
            sums = self._entries[key] = _EntrySums()
        return sums

    def _book_all(
        self,
        root: LocalRoot,
        charges: Sequence[Charge],
        attribution: Attribution | None,
        minute: int,
        position: str,
    ) -> None:
        span = root.span
        if span is not None:
            components = root.components
            for charge in charges:
                component = charge.line.component
                components[component] = components.get(component, 0.0) + charge.usd
            labels = self._labels_of(root)
            inherited = self.attribution_of_root(root, mapping_of(span))
        else:
            labels = root.labels or _NO_LABELS
            inherited = root.attribution
        whose = inherited if attribution is None else attribution
        count = 1
        for charge in charges:
            if labels is None:
                self._wait(root, Waiting(minute, charge, whose, position, count))
            else:
                self._book(minute, charge, labels, whose, position, count)
            count = 0  # one span with several charges (kinds of tokens) is one call

    def _wait(self, root: LocalRoot, waiting: Waiting) -> None:
        if root.waiting is None:
            root.waiting = []
        if not root.touched_at:
            root.touched_at = self.monotonic()
        root.waiting.append(waiting)
        if len(root.waiting) >= _MAX_WINDOW_KEYS:
            self._book_waiting(root, routeless_labels({} if root.span is None else mapping_of(root.span)))

    def _book_waiting(self, root: LocalRoot, labels: EntryLabels) -> None:
        waiting, root.waiting = root.waiting or (), None
        for minute, charge, attribution, position, count in waiting:
            if charge.line is _COMPUTE_SECONDS:
                sums = self._entry_sums(minute, labels, attribution)
                sums.inner_s += charge.quantity
                sums.inner_count += count
            else:
                self._book(minute, charge, labels, attribution, position, count)

    def _book(
        self,
        minute: int,
        charge: Charge,
        labels: EntryLabels,
        attribution: Attribution,
        position: str,
        count: int,
    ) -> None:
        key = (minute, charge.line, labels, attribution, position)
        sums = self._charges.get(key)
        if sums is None:
            if len(self._charges) >= _MAX_WINDOW_KEYS:
                self._wake.set()
                other = EntryLabels(names.OTHER, names.OTHER, names.OTHER)
                key = (minute, _without_resource(charge.line), other, _EVERYBODY, position)
                sums = self._charges.get(key)
            if sums is None:
                self._charges[key] = [charge.quantity, charge.list_usd, charge.usd, count]
                return
        sums[0] += charge.quantity
        sums[1] += charge.list_usd
        sums[2] += charge.usd
        sums[3] += count

    # --- upkeep: quiet roots and long requests ------------------------------------------------------

    def _upkeep(self, tree: Tree, now: float) -> None:
        """Settle roots that never end, and book what long requests have left waiting; under the lock."""
        quiet_since = now - self.config.max_root_quiet_s
        waited_since = now - self.config.partial_cost_interval_s
        surplus = len(tree.open_roots) - self.config.max_open_roots
        for root in list(tree.open_roots):
            if not isinstance(root, LocalRoot):
                continue
            if root.last_event < quiet_since or surplus > 0:
                surplus -= 1
                self.evict(tree, root, now)
            elif root.touched_at and root.touched_at < waited_since:
                self._book_partial(root)

    def _book_partial(self, root: LocalRoot) -> None:
        span = root.span
        if span is None:
            return
        labels = self._labels_of(root) or routeless_labels(mapping_of(span))
        attribution = self.attribution_of_root(root, mapping_of(span))
        if root.inner_count:
            sums = self._entry_sums(time.time_ns() // _MINUTE_NS, labels, attribution)
            sums.inner_s += root.inner_s
            sums.inner_count += root.inner_count
            root.inner_s = 0.0
            root.inner_count = 0
        self._book_waiting(root, labels)
        root.touched_at = 0.0

    def evict(self, tree: Tree, root: LocalRoot, now: float) -> None:
        """Give up on a root: what it has cost so far is booked, and counted as late where it was not exported."""
        self.evictions += 1
        seconds = tree.evict(root, now)
        span = root.span
        if span is not None:
            self._book_partial(root)
            root.labels = self._labels_of(root) or routeless_labels(mapping_of(span))
            root.attribution = self.attribution_of_root(root, mapping_of(span))
            for component, usd in root.components.items():
                self.evicted_usd[component] = self.evicted_usd.get(component, 0.0) + usd
            root.span = None
            root.trail = None
        minute = time.time_ns() // _MINUTE_NS
        sums = self._entry_sums(minute, root.labels or _NO_LABELS, root.attribution)
        sums.late_s += seconds
        sums.late_count += 1
        for holder in root.holders or ():
            if holder.held and self.meters.llm is not None:
                holder.span = None  # its call is charged here; should it end one day, it is not charged again
                held, holder.held = holder.held, None
                for usage, start_ns in orphaned(held):
                    charges = self.meters.llm.charges_of(usage, start_ns)
                    self._book_all(root, charges, self.attribution_of(holder, {}), minute, LATE_INNER)
        root.holders = None

    # --- publishing ---------------------------------------------------------------------------------

    def refresh(self, sink: Sink) -> None:
        """Bring one sink up to date, for a reader that is about to look at it.

        Waits at most five seconds for another thread that publishes.
        """
        if self._publisher == threading.get_ident() or not self._publish_lock.acquire(timeout=_PUBLISH_TIMEOUT_S):
            return
        try:
            self._publisher = threading.get_ident()
            self._collect_locked()
            self._write(sink, False)
        finally:
            self._publisher = None
            self._publish_lock.release()

    def _collect_locked(self) -> None:
        self._settle_lease()
        with self.lock:
            if self.busy:
                # We interrupted a hook on this very thread (a signal handler): its sums come with the next one.
                return
            self.busy = True
            try:
                self.run_deferred()
                now = self.monotonic()
                tree = self.tree
                if tree is not None:
                    tree.advance(now)
                    self._upkeep(tree, now)
                    idle_s = self._idle_to_publish(tree, now)
                else:
                    idle_s = 0.0
                charges, self._charges = self._charges, {}
                entries, self._entries = self._entries, {}
                traces, self._traces = self._traces, []
                self._trace_floor = 0.0
                self.run_deferred()
            finally:
                self.busy = False
        batch = self._batch(charges, entries, traces, idle_s)
        if batch.charges or batch.requests or batch.traces:
            for sink in self.sinks:
                queue = self._unwritten[sink.name]
                queue.append(batch)
                if len(queue) > _MAX_WAITING_BATCHES:
                    queue.popleft()
                    self.errors.counts[f"sink.{sink.name}.dropped"] = (
                        self.errors.counts.get(f"sink.{sink.name}.dropped", 0) + 1
                    )

    def _settle_lease(self) -> None:
        lease = self._lease
        if lease is None:
            return
        try:
            lease.settle(leave=self._leaving)
        except LeaseUnavailableError as error:
            self.errors.log_once("lease", "lease file: %s", error)
            return
        self._plan_shares(lease)

    def _idle_to_publish(self, tree: Tree, now: float) -> float:
        """Return the idle instance-seconds since the last time.

        Idle is what the process was entitled to and no request used. Where the span path has assumed a larger share
        than the lease file gives, the surplus is taken out of the idle time that follows.
        """
        if self._lease is not None:
            entitled = self._lease.entitled_s
        else:
            entitled = (
                tree.share * (now - self._started_s)
                if self.config.compute_share is not None
                else (tree.busy_s + tree.idle_s)
            )
        idle = max(0.0, entitled - tree.busy_s - self._idle_published_s)
        self._idle_published_s += idle
        return idle

    @property
    def compute_debt_s(self) -> float:
        """Instance-seconds attributed beyond this process's share so far; idle time repays them."""
        tree = self.tree
        if self._lease is None or tree is None:
            return 0.0
        return max(0.0, tree.busy_s + self._idle_published_s - self._lease.entitled_s)

    def _batch(
        self,
        charges: dict[tuple[Any, ...], list[float]],
        entries: dict[tuple[Any, ...], _EntrySums],
        traces: list[KeptTrace],
        idle_s: float,
    ) -> Batch:
        out: dict[ChargeKey, ChargeSum] = {
            ChargeKey(*key): ChargeSum(sums[0], sums[1], sums[2], int(sums[3])) for key, sums in charges.items()
        }
        requests: dict[RequestKey, RequestSum] = {}
        pricing = self.meters.compute
        line = pricing.line(share_estimated=self._share_estimated)
        held: dict[tuple[Any, ...], _EntrySums] = {}
        if pricing.is_pending:
            held, self._held_entries = self._held_entries, {}
            for key, sums in entries.items():
                self._hold(key, sums)
        elif self._held_entries:
            held, self._held_entries = self._held_entries, {}
        for key, sums in (*entries.items(), *held.items()):
            minute, labels, attribution = key
            if not pricing.is_pending:
                for position, seconds, count in (
                    (ENTRY, sums.entry_s, sums.entry_count),
                    (INNER, sums.inner_s, sums.inner_count),
                    (LATE_INNER, sums.late_s, sums.late_count),
                ):
                    if count:
                        _add(out, ChargeKey(minute, line, labels, attribution, position), pricing, seconds, count)
            for (outcome, served), (count, total, buckets) in (sums.requests or {}).items():
                record = requests[RequestKey(minute, labels, attribution, outcome, served)] = RequestSum(_BUCKET_COUNT)
                record.count, record.total_usd, record.buckets = count, total, buckets
        if idle_s > 0 and not pricing.is_pending:
            minute = time.time_ns() // _MINUTE_NS
            _add(out, ChargeKey(minute, line, _NO_LABELS, NOBODY, IDLE), pricing, idle_s, 0)
        return Batch(out, requests, traces)

    def _hold(self, key: tuple[Any, ...], sums: _EntrySums) -> None:
        """Keep compute seconds until the rate is known; they are charged late then, their requests were counted."""
        held = self._held_entries.setdefault(key, _EntrySums())
        held.late_s += sums.entry_s + sums.inner_s + sums.late_s
        held.late_count += sums.entry_count + sums.inner_count + sums.late_count

    def publish(self, *, final: bool = False, timeout_s: float = _PUBLISH_TIMEOUT_S) -> bool:
        """Hand everything booked so far to the sinks.

        Args:
            final: Hold nothing back (first values, whole queues).

            timeout_s: Longest wait for another thread that publishes.

        Returns:
            False if a sink failed (its batches are kept for the next try) or the time was up.
        """
        if self._publisher == threading.get_ident():
            return False  # a signal handler interrupted our own publishing on this thread
        if not self._publish_lock.acquire(timeout=max(0.0, timeout_s)):
            return False
        try:
            self._publisher = threading.get_ident()
            self._collect_locked()
            ok = all([self._write(sink, final) for sink in self.sinks])
        finally:
            self._publisher = None
            self._publish_lock.release()
        self.last_flush_at = time.time()
        self.last_flush_ok = ok
        return ok

    def _write(self, sink: Sink, final: bool) -> bool:
        queue = self._unwritten[sink.name]
        try:
            while queue:
                sink.write(queue[0], final=final)
                queue.popleft()
            if final:
                sink.write(Batch({}, {}, []), final=True)
        except Exception:
            self.errors.caught(f"sink.{sink.name}")
            return False
        return True

    @property
    def waiting_batches(self) -> int:
        """Batches that a failing sink has not taken yet."""
        return max((len(queue) for queue in self._unwritten.values()), default=0)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Publish everything, also what is held back, and push it on; True if all of it went out in time."""
        deadline = time.monotonic() + timeout_s
        with self.lock:
            if self.busy:
                # Called from a signal handler inside one of our hooks. Not even `_wake` may be set here: the hook may
                # have been interrupted while it held the plain lock inside of it.
                return False
        thread = threading.get_ident()
        if thread in self._flushing:
            return False
        self._flushing.add(thread)
        try:
            ok = self.publish(final=True, timeout_s=timeout_s)
            for push in self.on_flush:
                try:
                    ok = push(max(0.0, deadline - time.monotonic())) and ok
                except Exception:
                    self.errors.caught("flush")
                    ok = False
        finally:
            self._flushing.discard(thread)
        return ok and time.monotonic() <= deadline

    def leave(self) -> bool:
        """Publish for the last time before the process ends: nothing is held back, and the machine's share is given up.

        What is charged later still reaches the sinks with `shutdown`.
        """
        self._leaving = True
        for sink in self.sinks:
            release = getattr(sink, "release_for_good", None)
            if release is not None:
                self._guarded(f"sink.{sink.name}", release)
        return self.publish(final=True)

    def shutdown(self, timeout_s: float = 10.0) -> bool:
        """Publish everything and stop the background thread.

        A MeterProvider is not pushed: it exports on its own shutdown, and a dead endpoint must not delay the end twice.
        """
        if self._stopped:
            return True
        self._stopped = True
        self._wake.set()
        ok = self.leave() if self.tree is not None else self.publish(final=True, timeout_s=timeout_s)
        for sink in self.sinks:
            self._guarded(f"sink.{sink.name}", sink.close)
        return ok

    # --- fork ---------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Keep the background thread out of sinks and files while somebody forks."""
        if self._publisher != threading.get_ident():
            self._held_for_fork = self._publish_lock.acquire(timeout=_PUBLISH_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        """Let the background thread go on."""
        if self._held_for_fork:
            self._held_for_fork = False
            self._publish_lock.release()

    def after_fork_in_child(self) -> None:
        """Start at zero: what the parent has booked stays the parent's."""
        self._init_state()
        for sink in self.sinks:
            reset = getattr(sink, "after_fork_in_child", None)
            if reset is not None:
                self._guarded(f"sink.{sink.name}", reset)


_SERVED: Final = (1, 4)  # SERVER, CONSUMER
_EVERYBODY: Final = Attribution(names.OTHER, names.OTHER, names.OTHER)
_COMPUTE_SECONDS: Final = PriceLine(names.COMPUTE, "", "seconds")
_LLM_LIBRARIES: Final = frozenset(
    {"anthropic", "cohere", "google.genai", "groq", "langchain_core", "litellm", "llama_index", "mistralai", "openai"}
)


def _add(out: dict[ChargeKey, ChargeSum], key: ChargeKey, pricing: ComputePricing, seconds: float, count: int) -> None:
    sums = out.get(key)
    if sums is None:
        sums = out[key] = ChargeSum()
    sums.quantity += seconds
    sums.usd += seconds * (pricing.usd_per_s or 0.0)
    sums.list_usd += seconds * (pricing.list_usd_per_s or 0.0)
    sums.count += count


def view_of(span: Span, node: SpanNode, attributes: Mapping[str, Any], end_ns: int) -> SpanView:
    """Return what a meter sees of a live span."""
    scope = span.instrumentation_scope
    return SpanView(
        span.name,
        kind_of(span),
        "" if scope is None else scope.name,
        attributes,
        span.start_time or 0,
        end_ns,
        node.facts or {},
        status_code_of(span) == 2,
    )


def _without_resource(line: PriceLine) -> PriceLine:
    """Return a line without the name of its table, bucket or queue: what is left is few by nature."""
    return price_line(
        line.component,
        line.provider,
        line.operation,
        model=line.model,
        unit=line.unit,
        region=line.region,
        sku=line.sku,
        resource=names.OTHER if line.resource else "",
        status=line.status,
        reason=line.reason,
        basis=line.basis,
        source=line.source,
    )


def _is_priced_llm(attributes: Mapping[str, Any]) -> bool:
    return is_llm(attributes) and bool(operation_of(attributes))


def host_of_http(attributes: Mapping[str, Any]) -> str:
    """Return the host an HTTP client span talks to, without port; empty if unknown."""
    get = attributes.get
    host = get("server.address") or get("net.peer.name") or get("http.host")
    if not host:
        url = str(get("url.full") or get("http.url") or "")
        host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return str(host).partition(":")[0].lower()


def _meter_error(component: str) -> Charge:
    line = price_line(component, "", "", status=names.UNPRICED, reason="meter_error")
    return Charge(line, 0.0, 0.0, 0.0)


def _duplicate(provider: str, operation: str) -> Charge:
    line = price_line(names.LLM, provider[:100], operation, status=names.DUPLICATE, reason="outer_span")
    return Charge(line, 0.0, 0.0, 0.0)


_engines: weakref.WeakSet[CostEngine] = weakref.WeakSet()


def _before_fork() -> None:
    for engine in list(_engines):
        engine.before_fork()


def _after_fork_in_parent() -> None:
    for engine in list(_engines):
        engine.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
