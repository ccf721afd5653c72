"""Holds what the span path has noted down, and hands it to the sinks.

One engine serves a process. The span path (`processor.py`) measures, then notes down its charges under one re-entrant
lock, held for a microsecond or two and never while anything is waited for. A hook that is re-entered on the same thread
in the middle of that (garbage collection, a signal handler) leaves its event in a queue that the holder drains before
it lets go. Everything slow (labels and sums, metrics, the ledger, the lease file) happens on one daemon thread that
starts with the first span.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from spancost import fork_order, names, usage
from spancost._guard import ErrorLog, logger
from spancost.attributing import PLACE as ATTRIBUTION
from spancost.attributing import Attributing
from spancost.capture import facts as capture_facts
from spancost.charge import SERVER, Charge, PriceLine, SpanView
from spancost.cpu_tree import CpuTree
from spancost.duplicates import LlmCalls
from spancost.entry_labels import final_labels
from spancost.journal import (
    COMPUTE_SECONDS,
    Entry,
    Finished,
    Fold,
    Late,
    Partial,
    RequestRecord,
    Unattributed,
    merged_batches,
)
from spancost.lease import POLL_S, Lease, LeaseUnavailableError
from spancost.measuring import is_inside_server_span, measure_held
from spancost.meters.meter_set import MachineFound, MeterSet
from spancost.nodes import LocalRoot, SpanNode
from spancost.prices.days import possible_ns
from spancost.span_attributes import mapping_of
from spancost.trace_choice import TraceChoice
from spancost.tree import Tree
from spancost.window import ERROR, EVICTIONS, INNER, LATE_ENTRY, LATE_INNER, OTHER, Batch, CostlyRequest

if TYPE_CHECKING:
    from spancost.budgets.book import BudgetBook
    from spancost.capture.cpu_clock import Owing
    from spancost.config import Config
    from spancost.meters.compute import ComputePricing

_MINUTE_NS: Final = 60_000_000_000
_MAX_JOURNAL: Final = 50_000
_BUSY_JOURNAL: Final = 5_000
"""Entries from which the thread publishes before its interval is over."""
_LOOK_S: Final = 1.0
"""How often the thread looks at the journal's length."""
_MAX_WAITING_BATCHES: Final = 16
_MAX_HEALTH: Final = 200
"""Kinds of our own errors that a batch tells."""
_MAX_QUEUED_REQUESTS: Final = 65_536
_PUBLISH_TIMEOUT_S: Final = 5.0
_MACHINE_TIMEOUT_S: Final = 2.0
"""Longest wait, at the end of the process, for what it runs on."""
_UNSEEN: Final = "cpu_clock.unseen"
_NO_FORK_HOOKS: Final = (
    "this process was forked without Python's fork hooks: OpenTelemetry exports no metrics from it, and its processes "
    "cannot be told apart; for uWSGI set py-call-uwsgi-fork-hooks = true and enable-threads = true"
)
_FORK_TIMEOUT_S: Final = 2.0
"""Longest wait of a fork for a sink that is being written."""


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


class Source(Protocol):
    """Has charges of spans that ended without a processor of this engine."""

    def collect(self, *, flushed: bool, everything: bool) -> list[Finished]:
        """Return what is to be booked now, on the publishing thread.

        Args:
            flushed: Someone wants to see all that is known.

            everything: The process ends: nothing may be held back.
        """
        ...

    def after_fork_in_child(self) -> None:
        """Start with nothing in a forked child."""
        ...


class CostEngine:
    """Prices, books and publishes for one process.

    Args:
        config: Settings.

        meters: What prices spans.

        sinks: Where sums go; each is written on the background thread.

        keep_traces: Keep the costliest traces and a random sample whole for the sinks.

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
        self.attributing = Attributing(config, self._failed)
        self.monotonic = monotonic
        self.keep_traces = keep_traces
        self.budgets: BudgetBook | None = None
        """The sink that keeps the budgets, where there are any."""
        self.sources: list[Source] = []
        """Where exporters leave finished spans."""
        self.request_queues: list[deque[RequestRecord]] = []
        """One queue for each sink that wants single requests; see `open_request_queue`."""
        self.on_flush: list[Callable[[float], bool]] = []
        """Called at the end of a flush with the seconds left: pushes that are not sinks (a MeterProvider)."""
        self.price_date = ""
        """Date of the newest price in the book, for people."""
        self.prices_since: Callable[[], Mapping[str, float]] = dict[str, float]
        """Returns for `book` and, where there is one, `cache` the Unix seconds of its newest price."""
        self.prepare: Callable[[Mapping[str, Any]], None] | None = None
        """Called once with the resource's attributes when the first span starts, to settle region and machine."""
        self.find_machine: Callable[[], MachineFound] | None = None
        """Asks what the process runs on; set while that is not known. Takes up to two seconds."""
        self.upkeep: list[Callable[[], None]] = []
        """Called by the background thread before each flush: attaching to libraries imported meanwhile."""
        self.resource: Mapping[str, Any] = {}
        """Attributes of the resource of the first span."""
        self.prometheus: str | None = None
        """How prometheus_client is served: `registry`, `multiprocess`, `otel` (by an OTel reader), or not yet."""
        self.sampled_only = False
        """True where spans that the sampler drops cannot be seen."""
        self._sampled_only_said = False
        self.idle = not config.enabled
        """True where nothing is priced: it is switched off, or a later engine has taken over."""
        self.unregister_prometheus: Callable[[], None] | None = None
        """Takes what was registered with prometheus_client off again."""
        self._processors: weakref.WeakSet[object] = weakref.WeakSet()
        self._exporters: weakref.WeakSet[object] = weakref.WeakSet()
        self.is_connected = False
        """Capture hooks report to this engine."""
        self.background = background
        """Start the publishing thread with the first span."""
        self._seen_vcpus = 0.0
        """Above 0 while CPU time is measured: the vCPUs that the process may use, as it sees them."""
        self._llm_loaded = False
        self._init_state()
        _engines.add(self)

    def _init_state(self) -> None:
        """Everything that a forked child must not inherit."""
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self._ready_lock = threading.RLock()
        self._is_ready = False
        self.is_preparing = False
        """The meters are being made: what ends meanwhile is measured afterwards."""
        self.busy = False
        self.deferred: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.epoch = next(_epochs)
        self.tree: Tree | None = None
        self.evictions = 0
        self._health_told: dict[str, int] = {f"{ERROR}{place}": count for place, count in self.errors.counts.items()}
        """What batches have said of ourselves so far; what a parent process has counted stays its own."""
        self._not_exported: dict[str, float] = {}
        self.evicted_usd: dict[str, float] = {}
        """USD by component booked below roots that were evicted before they were exported."""
        self.last_flush_at = 0.0
        self.last_flush_ok = True
        self.llm_calls = LlmCalls()
        """Under the lock."""
        self.journal: list[Entry] = []
        """What the span path has noted down since the last publishing; under the lock."""
        self._fold = self._new_fold()
        """Belongs to whoever holds the publish lock."""
        self._overflow: Fold | None = None
        """What was folded under the lock because nobody published in time."""
        self.trace_choice = TraceChoice()
        """Which traces are kept of those that end until the next publishing; under the lock."""
        self._publish_lock = threading.Lock()
        self._publisher: int | None = None
        self._flushing: set[int] = set()
        """Threads inside `flush`: a signal handler on one of them must not enter the exporters again."""
        self._writing: set[int] = set()
        """Threads inside `_write`."""
        self._held_for_fork: list[Any] = []
        """Locks that are held while this process forks."""
        self._unwritten: dict[str, deque[Batch]] = {sink.name: deque() for sink in self.sinks}
        self._sink_locks: dict[str, threading.Lock] = {sink.name: threading.Lock() for sink in self.sinks}
        """Held while a sink is written: a slow one (a locked ledger) must not keep the readers of others waiting."""
        self._lease: Lease | None = None
        self._new_lease: Lease | None = None
        self.share_estimated = self.config.compute_share is None
        self._started_s = 0.0
        self._idle_published_s = 0.0
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
        usage.connect(self)
        self.is_connected = True

    def meter_sampled_only(self, why: str) -> None:
        """Note that spans which the sampler drops cannot be seen, and log it once.

        Args:
            why: The reason, for people.
        """
        self.sampled_only = True
        if not self._sampled_only_said:
            self._sampled_only_said = True
            logger.warning("only sampled spans are metered: %s", why)

    def add_sink(self, sink: Sink) -> None:
        """Add a sink; it receives what is charged from now on."""
        self._sink_locks[sink.name] = threading.Lock()
        self._unwritten[sink.name] = deque()
        self.sinks.append(sink)

    def get_ready(self, resource: Mapping[str, Any]) -> None:
        """Before the first span of a process: settle region and machine, attach to metrics; without the lock.

        Not earlier: a server that only forks would export metrics of its own, and OpenTelemetry's reader does not
        survive a fork in the middle of that.
        """
        with self._ready_lock:
            if self._is_ready or self.is_preparing:  # the latter on this very thread: a span of a finalizer
                return
            self.is_preparing = True
            self.resource = resource
            if self._pid != os.getpid():
                logger.warning(_NO_FORK_HOOKS)
            self._guarded(ATTRIBUTION, lambda: self.attributing.bind(resource))
            prepare = self.prepare
            if prepare is not None:
                self._guarded("prepare", lambda: prepare(resource))
                self.prepare = None  # not earlier: a child that is forked meanwhile prepares for itself
            if self.config.compute_model == names.CPU_MODEL:
                self._guarded("cpu_clock", self._settle_model)
            for call in self.upkeep:
                self._guarded("upkeep", call)
            self._is_ready = True
            self.is_preparing = False
            if self.deferred:
                self.alone(self.run_deferred)

    def begin(self, now: float) -> Tree:
        """Start the compute clock and the background thread with the first span; called under the lock."""
        share = self.config.compute_share
        whole = 1.0 if share is None else share
        if self._seen_vcpus:
            from spancost.capture import cpu_clock

            tree = CpuTree(now, share=whole, vcpus=self._vcpus, clock=cpu_clock.ThreadClock(self))
        else:
            tree = Tree(now, share=whole, idle_after_s=self._idle_after_s)
        self.tree = tree
        self._started_s = now
        self._open_lease(tree)
        self._start_thread()
        return tree

    # --- measured CPU time, where that is wanted ---------------------------------------------------------

    def watch_cpu(self) -> None:
        """Measure the CPU time of spans from now on, as far as that is possible here; patches nothing twice."""
        from spancost.capture import cpu_clock
        from spancost.detect.vcpus import usable_vcpus

        if cpu_clock.start(self):
            self._seen_vcpus = self._seen_vcpus or usable_vcpus()
            if cpu_clock.patch_imported not in self.upkeep:
                self.upkeep.append(cpu_clock.patch_imported)

    def _settle_model(self) -> None:
        if not self.meters.compute.bills_requests:
            self.watch_cpu()
            return
        self.leave_cpu_alone()
        logger.info("compute.model cpu is ignored: what is billed here is the time of requests, not of a machine")

    def leave_cpu_alone(self) -> None:
        """Undo `watch_cpu`: nothing is measured any more."""
        if self._seen_vcpus:
            from spancost.capture import cpu_clock

            cpu_clock.stop(self)
            self._seen_vcpus = 0.0

    def book_cpu(self, node: SpanNode, cpu_s: float, thread: Owing | None = None) -> None:
        """Charge CPU time to an open, timed span of this engine; called by the clock, on any thread.

        Args:
            node: The span.

            cpu_s: CPU-seconds.

            thread: The thread that owes it.
        """
        tree = self.tree
        if not isinstance(tree, CpuTree):
            return
        with self.lock:  # `alone` spelled out: once in every step of an event loop
            if self.busy:
                self.deferred.append((tree.use, (node, cpu_s)))
                if thread is not None:
                    thread.owed_ns = 0
                return
            self.busy = True
            try:
                tree.use(node, cpu_s)
                if thread is not None:
                    thread.owed_ns = 0
                if self.deferred:
                    self.run_deferred()
            finally:
                self.busy = False

    def _book_late_cpu(self, tree: CpuTree) -> None:
        """Book what was used for requests that had ended; under the lock."""
        for root, seconds in tree.take_late().items():
            if isinstance(root, LocalRoot):
                if root.advanced_s:
                    seconds, _ = root.repay(seconds)
                self.note(Late(root, seconds, 0, (), None, time.time_ns() // _MINUTE_NS, LATE_INNER))

    def _count_unseen(self, tree: CpuTree) -> None:
        """Count and log requests of which it is not known what they used."""
        with self.lock:
            unseen, tree.unseen_roots = tree.unseen_roots, 0
        if unseen:
            self.errors.counts[_UNSEEN] = self.errors.counts.get(_UNSEEN, 0) + unseen
            text = "the CPU time of %d requests is not known: their spans were never current; it counts as idle"
            self.errors.log_once(_UNSEEN, text, unseen)

    @property
    def _vcpus(self) -> float:
        """vCPUs of what the rate is for: so many CPU-seconds are one instance-second."""
        return self.meters.compute.vcpus or self.config.cpu_request or self._seen_vcpus

    def begin_without_clock(self, resource: Mapping[str, Any]) -> None:
        """Get ready for spans that exporters receive: they are booked and published, but the machine is not shared."""
        if not self._is_ready or self._thread is None:
            self.get_ready(resource)
            with self.lock:
                self._start_thread()

    def _start_thread(self) -> None:
        if self.background and self._thread is None:
            thread = threading.Thread(target=self._run, name="spancost", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: what is booked now goes out with `shutdown`
                return
            self._thread = thread

    def _run(self) -> None:
        self._guarded("lease", self._join_lease)
        self._warm_up()
        next_flush = 0.0  # at once: what was imported meanwhile is attached to, and the first series are born
        while not self._stopped:
            if self._new_lease is not None:  # the clock has begun after an exporter had started this thread
                self._guarded("lease", self._join_lease)
            now = time.monotonic()
            if now >= next_flush or self._wake.is_set() or len(self.journal) >= _BUSY_JOURNAL:
                self._wake.clear()
                next_flush = now + self.config.flush_interval_s
                for call in self.upkeep:
                    self._guarded("upkeep", call)
                self._guarded("flush", self.publish)
                if self.find_machine is not None:
                    self._guarded("detect", self.settle_machine)
            elif self._lease is not None and self._lease.has_changed():
                self._guarded("lease", self._follow_lease)
            wait_s = next_flush - time.monotonic()
            self._wake.wait(max(0.0, min(wait_s, _LOOK_S if self._lease is None else POLL_S)))

    def _guarded(self, place: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception:
            self.errors.caught(place)

    def _warm_up(self) -> None:
        """Load LLM prices beside the first requests where an LLM library is already imported."""
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
        lease, self._new_lease = self._new_lease, None
        if lease is None or self._leaving:
            return
        # Under the lock that keeps forks away: a child would go on holding the file's.
        with self._publish_lock:
            self._join(lease)
        if self._leaving:
            self._follow_lease()  # stopped meanwhile: a member that stays would share with whoever comes next

    def _join(self, lease: Lease) -> None:
        try:
            lease.join(self._started_s)
        except LeaseUnavailableError as error:
            logger.info("processes of this machine cannot share its price (%s); each counts as alone", error)
            with self.lock:
                if self.tree is not None:
                    self.tree.set_share(1.0, self.monotonic())
            return
        self._lease = lease
        self.share_estimated = False
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

    # --- the machine, where it is not known from the start -----------------------------------------------

    def settle_machine(self) -> None:
        """Find out what the process runs on, and price the seconds held so far."""
        find = self.find_machine
        if find is None:
            return
        found = MachineFound(None)
        try:
            found = find()
        finally:
            # Not earlier: a child that is forked meanwhile asks for itself. If the rate cannot be stated while somebody
            # publishes, it is kept for the next time.
            self.find_machine = None if self._settle_compute(found) else lambda: found

    def _settle_compute(self, found: MachineFound) -> bool:
        """State the rate between two events of the clock: what was exported before it was known comes late.

        Returns:
            False if the rate is still to be stated.
        """
        if self._publisher == threading.get_ident() or not self._publish_lock.acquire(timeout=_PUBLISH_TIMEOUT_S):
            return False
        try:
            self._publisher = threading.get_ident()
            with self.lock:
                compute = self.meters.compute
                if not compute.is_pending:
                    return True
                if self.busy:
                    return False
                self.busy = True
                try:
                    self.run_deferred()
                    journal, self.journal = self.journal, []
                    overflow, self._overflow = self._overflow, None
                    compute.settle(found.rate, reason=found.reason, init_s=found.init_s)
                    if found.meters is not None:
                        self.meters = found.meters
                    if self.tree is not None:
                        self._price_open_roots(self.tree)
                    self.run_deferred()
                finally:
                    self.busy = False
            if overflow is not None:
                self._fold.merge(overflow)
            self._fold.add(journal)
            self._fold.hold_seconds()
        finally:
            self._publisher = None
            self._publish_lock.release()
        return True

    def _price_open_roots(self, tree: Tree) -> None:
        """Price what spans inside requests that are still open have earned for somebody of their own."""
        compute = self.meters.compute
        tree.idle_after_s = self._idle_after_s
        if isinstance(tree, CpuTree):
            tree.vcpus = self._vcpus
        usd_per_s, list_usd_per_s = compute.usd_per_s or 0.0, compute.list_usd_per_s or 0.0
        for root in tree.open_roots:
            if not isinstance(root, LocalRoot) or root.charges is None:
                continue
            for index, (charge, *rest) in enumerate(root.charges):
                if charge.line is COMPUTE_SECONDS:
                    seconds = charge.quantity
                    charge = Charge(COMPUTE_SECONDS, seconds, seconds * usd_per_s, seconds * list_usd_per_s)
                    root.charges[index] = (charge, *rest)  # type: ignore[assignment]

    @property
    def _idle_after_s(self) -> float:
        """Quiet requests leave the clock after this long; not where the platform bills as long as one is open."""
        return self.config.idle_after_s if self.meters.compute.billing is None else float("inf")

    def _wait_for_machine(self) -> None:
        """Wait for what the process runs on; if that takes too long, it stays unknown. No lock: signals come here."""
        deadline = time.monotonic() + _MACHINE_TIMEOUT_S
        thread = self._thread if self.tree is not None else None  # without a clock there are no seconds to price
        if thread is not None and thread.ident != threading.get_ident():
            while self.meters.compute.is_pending and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(_LOOK_S / 50)
        if self.meters.compute.is_pending and self.tree is not None:
            self._settle_compute(MachineFound(None))

    @property
    def compute_line(self) -> PriceLine:
        """The price line of compute as it is known now."""
        return self.meters.compute.lines[self.share_estimated]

    def load_llm_prices(self) -> None:
        """Import token prices before the lock is taken; once per process, unless the background thread did."""
        if self._llm_loaded or self.meters.llm is None:
            return
        with self._ready_lock:  # keeps forks away: an import that another thread has begun never ends in a child
            try:
                self.meters.llm.warm_up()
            except Exception:
                self.errors.caught("meter.llm")
            self._llm_loaded = True

    # --- booking: all of it under the lock ----------------------------------------------------------

    def alone(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call under the lock, safe from re-entry; one that has interrupted a hook is left to that hook."""
        with self.lock:
            if self.busy or self.is_preparing:
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
        while self.deferred and not self.is_preparing:
            call, arguments = self.deferred.popleft()
            try:
                call(*arguments)
            except Exception:
                self.errors.caught("deferred")

    def note(self, entry: Entry) -> None:
        """Note down what was charged; under the lock."""
        journal = self.journal
        journal.append(entry)
        if len(journal) >= _MAX_JOURNAL:
            # The publishing thread is starved. Late and in the way, but bounded and nothing is lost.
            self.journal = []
            if self._overflow is None:
                self._overflow = self._new_fold()
            self._overflow.add(journal)

    def _new_fold(self) -> Fold:
        return Fold(self._queue_request, self._failed, self.config.entrypoint, whose=self.attributing.of_root)

    def open_request_queue(self) -> deque[RequestRecord]:
        """Return a queue that receives every SERVER and CONSUMER local root; the caller drains it in `write`."""
        queue: deque[RequestRecord] = deque()
        self.request_queues.append(queue)
        return queue

    def _failed(self, place: str) -> None:
        self.errors.caught(place)  # looked up at each failure: tests exchange `errors`

    def _queue_request(self, record: RequestRecord) -> None:
        for queue in self.request_queues:
            if len(queue) < _MAX_QUEUED_REQUESTS:
                queue.append(record)
            else:
                self.errors.counts["request_queue.dropped"] = self.errors.counts.get("request_queue.dropped", 0) + 1

    def book_late_facts(self, span: Any, facts: dict[str, Any]) -> None:
        """Charge egress that became known after the server span had ended."""
        meter = self.meters.egress
        node = getattr(span, capture_facts.NODE_ATTRIBUTE, None)
        if meter is None or not isinstance(node, SpanNode):
            return
        try:
            end_ns = possible_ns(span.end_time)
            attributes = mapping_of(span)
            seen = facts if node.facts is None else node.facts | facts  # the client was seen before the span ended
            start_ns = possible_ns(span.start_time, end_ns)
            charges = meter.measure(SpanView(span.name, SERVER, "", attributes, start_ns, end_ns, seen))
        except Exception:
            self.errors.caught("meter.egress")
            return
        root = getattr(node, "root", None)
        if not isinstance(root, LocalRoot) or root.epoch != self.epoch:
            return
        if charges and not is_inside_server_span(node):
            self.alone(self._book_late, root, charges, end_ns // _MINUTE_NS)

    def _book_late(self, root: LocalRoot, charges: Sequence[Charge], minute: int) -> None:
        if root.span is None:
            self.note(Late(root, 0.0, 0, charges, None, minute, LATE_ENTRY))
            return
        # Late is what the local root's exported total lacks: while that one is open, a charge below it is not.
        root.leave(charges, None, INNER, minute)

    def book_unattributed(self, charges: Sequence[Charge]) -> None:
        """Charge usage that belongs to no span."""
        self.alone(self.note, Unattributed(charges, time.time_ns() // _MINUTE_NS))

    # --- upkeep: quiet roots and long requests ------------------------------------------------------

    def _upkeep(self, tree: Tree, now: float) -> None:
        """Settle roots that never end, and book what long requests have left waiting; under the lock."""
        if isinstance(tree, CpuTree):
            self._book_late_cpu(tree)
        quiet_since = now - self.config.max_root_quiet_s
        # At the end of the process nothing waits any longer for a request that may never end.
        waited_since = float("inf") if self._leaving else now - self.config.partial_cost_interval_s
        surplus = len(tree.open_roots) - self.config.max_open_roots
        for root in list(tree.open_roots):
            if not isinstance(root, LocalRoot):
                continue
            if root.last_event < quiet_since or surplus > 0:
                surplus -= 1
                self.evict(tree, root, now)
            elif root.booked_at < waited_since:
                self._book_partial(root, now)
        for holder in [holder for holder, since in self.llm_calls.holders.items() if since < quiet_since]:
            self._settle_holder(holder, time.time_ns() // _MINUTE_NS)

    def _book_partial(self, root: LocalRoot, now: float) -> None:
        """Book what a request that goes on has cost so far, its open spans included; under the lock."""
        compute = self.meters.compute
        open_s = 0.0
        # A billed period is rounded at its end, and a rate that is being looked up prices what ends.
        if self.tree is not None and compute.billing is None and not compute.is_pending:
            open_s = root.unbooked(self.tree.open_s(root, now))
        root.booked_at = now
        if not (open_s or root.charges or root.inner_count):
            return
        minute = time.time_ns() // _MINUTE_NS
        root.advance(open_s, compute.usd_per_s or 0.0)
        span = root.span
        if span is None:
            self.note(Late(root, open_s, 0, (), None, minute, LATE_INNER))
            return
        root.inner_s += open_s
        root.booked_usd = root.components(compute.usd_per_s, 0.0, ())
        unpriced = root.unpriced_components()
        if unpriced:
            root.booked_unpriced = unpriced
        charges, root.charges = root.charges or [], None
        attributes = dict(mapping_of(span))
        guarded, root.guarded = root.guarded or (), None
        self.note(Partial(root, span.name, attributes, root.inner_s, root.inner_count, charges, minute, guarded))
        root.inner_s = 0.0
        root.inner_count = 0

    def costly_requests(self, above_usd: float) -> list[CostlyRequest]:
        """Return the requests that go on and have cost more than this so far, their open spans included.

        Args:
            above_usd: USD.
        """
        found: list[CostlyRequest] = []
        with self.lock:
            tree = self.tree
            if tree is None or self.busy:
                return found
            now = self.monotonic()
            tree.advance(now)
            for root in list(tree.open_roots):
                span = root.span if isinstance(root, LocalRoot) else None
                if not isinstance(root, LocalRoot) or span is None:
                    continue
                open_s = root.unbooked(tree.open_s(root, now))
                usd = sum(root.components(self.meters.compute.usd_per_s, open_s, ()).values())
                if usd > above_usd:
                    attributes = dict(mapping_of(span))
                    labels = root.labels or final_labels(span.name, root.kind, attributes, self.config.entrypoint)
                    whose = self.attributing.of_root(root, attributes, labels)
                    found.append(CostlyRequest(labels, whose, usd, span.get_span_context().trace_id))
        return found

    def evict(self, tree: Tree, root: LocalRoot, now: float) -> None:
        """Give up on a root: what it has cost so far is booked, and counted as late where it was not exported."""
        self.evictions += 1
        seconds = root.unbooked(tree.evict(root, now))
        if root.span is not None:
            self._book_partial(root, now)
            for component, usd in (root.booked_usd or {}).items():
                self._not_exported[component] = self._not_exported.get(component, 0.0) + usd
                self.evicted_usd[component] = self.evicted_usd.get(component, 0.0) + usd
            root.span = None
            root.trail = None
        minute = time.time_ns() // _MINUTE_NS
        self.note(Late(root, seconds, 1, (), None, minute, LATE_INNER))
        for holder in [holder for holder in self.llm_calls.holders if holder.root is root]:
            self._settle_holder(holder, minute)

    def _settle_holder(self, holder: SpanNode, minute: int) -> None:
        """Charge what an LLM span that does not end holds of inner ones."""
        root = holder.root
        attributes = {} if holder.span is None else dict(mapping_of(holder.span))
        holder.is_settled = True  # should it end one day, its call is found among those charged inside of it
        charges = measure_held(self.meters, self.errors, holder, self.llm_calls, self.monotonic())
        if isinstance(root, LocalRoot) and charges:
            own = self.attributing.of_span(holder, attributes, is_charged=True)
            if root.span is None:
                self.note(Late(root, 0.0, 0, charges, own, minute, LATE_INNER))
            else:
                root.leave(charges, own, INNER, minute)

    # --- publishing ---------------------------------------------------------------------------------

    def refresh(self, *sinks: Sink) -> None:
        """Bring some sinks up to the same moment, for a reader that is about to look at them.

        Waits at most five seconds for another thread that publishes.
        """
        if self._publisher == threading.get_ident() or not self._publish_lock.acquire(timeout=_PUBLISH_TIMEOUT_S):
            return
        try:
            self._publisher = threading.get_ident()
            self._collect_locked(False)
            for sink in sinks:
                # A reader may collect as soon as a sink has made its instruments, before that is added here.
                if sink.name in self._unwritten:
                    self._write(sink, False)
        finally:
            self._publisher = None
            self._publish_lock.release()

    def _collect_locked(self, flushed: bool) -> None:
        self._settle_lease()
        pricing = self.meters.compute
        renewed = pricing.renewed(time.time_ns())
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
                self.run_deferred()
                line = self.compute_line
                if renewed is not None:
                    self._change_rate(renewed, now)
                journal, self.journal = self.journal, []
                overflow, self._overflow = self._overflow, None
                not_exported, self._not_exported = self._not_exported, {}
                self.trace_choice = TraceChoice()
            finally:
                self.busy = False
        if isinstance(tree, CpuTree):
            self._count_unseen(tree)
        fold = self._fold
        if overflow is not None:
            fold.merge(overflow)
        fold.add(journal)
        for source in self.sources:
            try:
                fold.add(source.collect(flushed=flushed, everything=self._leaving or self._stopped))
            except Exception:
                self.errors.caught("source")
        minute = time.time_ns() // _MINUTE_NS
        if self._leaving:
            # Set by the interpreter when an exception nobody caught has ended the program.
            fold.end_run(minute, failed=getattr(sys, "last_value", None) is not None)
        batch = fold.batch(pricing, line, idle_s, minute, not_exported)._replace(health=self._new_health())
        if any(batch):
            for sink in self.sinks:
                queue = self._unwritten[sink.name]
                queue.append(batch)
                if len(queue) > _MAX_WAITING_BATCHES and self._sink_locks[sink.name].acquire(blocking=False):
                    # Readers make batches faster than this sink is written, or it fails: nothing is dropped.
                    try:
                        merged = merged_batches(queue)
                        queue.clear()
                        queue.append(merged)
                    finally:
                        self._sink_locks[sink.name].release()

    def _new_health(self) -> dict[str, int]:
        """Return what went wrong in ourselves since the last batch."""
        counts = {f"{ERROR}{place}": count for place, count in dict(self.errors.counts).items()}
        counts[EVICTIONS] = self.evictions
        for sink in self.sinks:
            folded: Callable[[], Mapping[str, int]] | None = getattr(sink, "folded", None)
            if folded is not None:
                counts[OTHER] = counts.get(OTHER, 0) + sum(folded().values())
        told, self._health_told = self._health_told, counts
        return {
            name: count - told.get(name, 0)
            for name, count in itertools.islice(counts.items(), _MAX_HEALTH)
            if count > told.get(name, 0)
        }

    def _change_rate(self, pricing: ComputePricing, now: float) -> None:
        """Book what open requests have cost so far at the old rate; all that ends from now on has the new one."""
        if self.tree is not None:
            for root in list(self.tree.open_roots):
                if isinstance(root, LocalRoot):
                    self._book_partial(root, now)
        self.meters = self.meters._replace(compute=pricing)

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
        # Threads are busy for long without a word: that is no idle time, though nobody was charged for it yet.
        used = tree.busy_s + (tree.flying_s if isinstance(tree, CpuTree) else 0.0)
        idle = max(0.0, entitled - used - self._idle_published_s)
        self._idle_published_s += idle
        return idle

    @property
    def compute_debt_s(self) -> float:
        """Instance-seconds attributed beyond this process's share so far; idle time repays them."""
        tree = self.tree
        if tree is None:
            return 0.0
        entitled = tree.busy_s + tree.idle_s if self._lease is None else self._lease.entitled_s
        return max(0.0, tree.busy_s + self._idle_published_s - entitled)

    def publish(self, *, final: bool = False, timeout_s: float = _PUBLISH_TIMEOUT_S) -> bool:
        """Hand everything booked so far to the sinks.

        Args:
            final: Hold nothing back (first values, whole queues).

            timeout_s: Longest wait for other threads that publish or write a sink.

        Returns:
            False if a sink failed (its batches are kept for the next try) or the time was up.
        """
        if self._publisher == threading.get_ident():
            return False  # a signal handler interrupted our own publishing on this thread
        deadline = time.monotonic() + timeout_s
        if not self._publish_lock.acquire(timeout=max(0.0, timeout_s)):
            return False
        try:
            self._publisher = threading.get_ident()
            self._collect_locked(final)
        finally:
            self._publisher = None
            self._publish_lock.release()
        ok = all([self._write(sink, final, deadline - time.monotonic()) for sink in self.sinks])
        self.last_flush_at = time.time()
        self.last_flush_ok = ok
        return ok

    def _write(self, sink: Sink, final: bool, timeout_s: float = _PUBLISH_TIMEOUT_S) -> bool:
        lock = self._sink_locks[sink.name]
        thread = threading.get_ident()
        if thread in self._writing or not lock.acquire(timeout=max(0.0, timeout_s)):
            return False  # a signal handler interrupted this very write, or the sink is stuck
        self._writing.add(thread)
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
        finally:
            self._writing.discard(thread)
            lock.release()
        return True

    @property
    def waiting_batches(self) -> int:
        """Batches that a failing sink has not taken yet."""
        return max((len(queue) for queue in self._unwritten.values()), default=0)

    def flush(self, timeout_s: float = 10.0, *, push: bool = True) -> bool:
        """Publish everything, also what is held back; True if all of it went out in time.

        Args:
            timeout_s: Longest wait, seconds.

            push: Have what shows our sums (a MeterProvider) export them, too.
        """
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
            for push_on in self.on_flush if push else ():
                try:
                    ok = push_on(max(0.0, deadline - time.monotonic())) and ok
                except Exception:
                    self.errors.caught("flush")
                    ok = False
        finally:
            self._flushing.discard(thread)
        return ok and time.monotonic() <= deadline

    def serve(self, processor: object) -> None:
        """Count a processor that uses this engine."""
        self._processors.add(processor)

    def serve_exporter(self, exporter: object, source: Source) -> None:
        """Count an exporter that uses this engine, and collect from where it leaves its spans."""
        self._exporters.add(exporter)
        if source not in self.sources:
            self.sources.append(source)

    @property
    def has_processors(self) -> bool:
        """False where exporters are all there is: they see no time."""
        return bool(self._processors)

    def release(self, user: object) -> bool:
        """Publish for a processor or exporter that is shut down; the last one of all stops the engine."""
        self._processors.discard(user)
        self._exporters.discard(user)
        return self.flush(push=False) if self._processors or self._exporters else self.shutdown()

    @property
    def is_used(self) -> bool:
        """True once spans have come, live or finished."""
        return self.tree is not None or bool(self.sources)

    @property
    def is_stopped(self) -> bool:
        """True after `shutdown`."""
        return self._stopped

    def leave(self, timeout_s: float = _PUBLISH_TIMEOUT_S) -> bool:
        """Publish for the last time before the process ends: nothing is held back, and the machine's share is given up.

        What is charged later still reaches the sinks with `shutdown`.

        Args:
            timeout_s: Longest wait for other threads that publish or write a sink.
        """
        self._leaving = True
        self._wait_for_machine()
        for sink in self.sinks:
            release = getattr(sink, "release_for_good", None)
            if release is not None:
                self._guarded(f"sink.{sink.name}", release)
        return self.publish(final=True, timeout_s=timeout_s)

    def shutdown(self, timeout_s: float = 10.0) -> bool:
        """Publish everything and stop the background thread.

        A MeterProvider is not pushed: it exports on its own shutdown, and a dead endpoint must not delay the end twice.
        """
        if not self._stopped:
            self._wait_for_machine()
        if self._stopped:  # also where a signal handler has stopped it meanwhile
            return True
        self._stopped = True
        self._wake.set()
        ok = self.leave(timeout_s) if self.is_used else self.publish(final=True, timeout_s=timeout_s)
        self._guarded("cpu_clock", self.leave_cpu_alone)
        for sink in self.sinks:
            self._guarded(f"sink.{sink.name}", sink.close)
        return ok

    # --- fork ---------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Keep other threads out of sinks, files, imports and half-made meters while somebody forks."""
        thread = threading.get_ident()
        if self._publisher == thread or thread in self._writing:
            return
        deadline = time.monotonic() + _FORK_TIMEOUT_S
        for lock in (self._ready_lock, self._publish_lock, *self._sink_locks.values()):
            if lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                self._held_for_fork.append(lock)

    def after_fork_in_parent(self) -> None:
        """Let the background thread go on."""
        while self._held_for_fork:
            self._held_for_fork.pop().release()

    def after_fork_in_child(self) -> None:
        """Start at zero: what the parent has booked stays the parent's."""
        self._init_state()
        for source in self.sources:
            self._guarded("source", source.after_fork_in_child)
        for sink in self.sinks:
            reset = getattr(sink, "after_fork_in_child", None)
            if reset is not None:
                self._guarded(f"sink.{sink.name}", reset)


_LLM_LIBRARIES: Final = frozenset(
    {"anthropic", "cohere", "google.genai", "groq", "langchain_core", "litellm", "llama_index", "mistralai", "openai"}
)

_engines: weakref.WeakSet[CostEngine] = weakref.WeakSet()
_epochs: Final = itertools.count(1)
"""One for each engine, and a new one in a forked child: nothing is charged across."""


def _before_fork() -> None:
    fork_order.before_engine()
    for engine in list(_engines):
        engine.before_fork()


def _after_fork_in_parent() -> None:
    for engine in list(_engines):
        engine.after_fork_in_parent()
    fork_order.in_parent_after_engine()


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
