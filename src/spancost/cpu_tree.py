"""The cost tree by measured CPU time: what `tree.py` is for occupancy.

Pure: no OpenTelemetry, no locks, no time source. Whoever measures (`capture/cpu_clock.py`) reports for which span a
thread was busy, and for how long. A CPU-second is ``1 / vcpus`` instance-seconds: seconds of the whole machine. It
belongs to the span in whose name it was used, or to its nearest ancestor that is still open; if none is, it is *late*
cost of the local root. All else that the process is entitled to is *idle*:

    attributed + accrued in open spans + late + idle = integral of share dt

holds after every event, since idle is what is left. It is negative while more was used than the share amounts to (a
burst of one process on the share of several): a debt that the idle time to come repays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from spancost.tree import Node, Root, Tree


class Clock(Protocol):
    """What is known of the CPU time of the calling thread."""

    def in_flight(self) -> tuple[Node, float] | None:
        """Return for whom the thread is busy, and the CPU-seconds since that was last asked or reported."""
        ...

    def elsewhere(self) -> Iterable[tuple[Node, float]]:
        """Return for whom other threads are busy, and the CPU-seconds since they last reported."""
        ...

    def unowned(self) -> tuple[int, float] | None:
        """Return which thread it is, and its CPU-seconds that were reported for nobody; None where it cannot tell."""
        ...

    def ended(self, node: Node) -> None:
        """Note that a span has ended: from now on the thread is not busy for it any more."""
        ...

    def claim(self, cpu_s: float) -> None:
        """Note that so many CPU-seconds of the thread are no longer unowned."""
        ...


class CpuTree(Tree):
    """The open local roots of one process, and what CPU time was measured for them.

    Args:
        now: Time at which the process starts to own its share, seconds.

        share: Part of the machine that belongs to this process, 0..1.

        vcpus: vCPUs of the machine: so many CPU-seconds are one instance-second.

        clock: Asked when spans start and end; None where all that is used is reported in time.
    """

    busy_s: float
    idle_s: float
    __slots__ = ("_clock", "_flying", "_late", "_unowned", "unseen_roots", "vcpus")

    def __init__(self, now: float, *, share: float = 1.0, vcpus: float = 1.0, clock: Clock | None = None) -> None:
        super().__init__(now, share=share)
        self.vcpus = vcpus
        self.unseen_roots = 0
        """Local roots of which it is not known what they used: nobody reported any of it."""
        self._clock = clock
        self._late: dict[Root, float] = {}
        self._flying: dict[Node, float] = {}
        """Instance-seconds that other threads had not reported when the clock was last brought forward."""
        self._unowned: dict[Root, tuple[int, float] | None] = {}
        """Where the clock stood when the root was opened."""

    # No root is ever active in the sense of the base class: there is no clock that it would have to leave.

    def start_root(self, root: Root, node: Node, now: float) -> None:
        """Open a local root whose first span is `node`."""
        node.root = root
        root.open_spans = 1
        root.last_event = now
        self.open_roots[root] = None
        if self._clock is not None:
            self._unowned[root] = self._clock.unowned()

    def start_child(self, parent: Node, node: Node, now: float) -> None:
        """Open a span below `parent`, which may have ended already."""
        root = parent.root
        node.root = root
        node.parent = parent
        if not root.open_spans and not root.is_closed:
            self.open_roots[root] = None
        root.open_spans += 1
        root.last_event = now

    def end(self, node: Node, now: float) -> float:
        """Close a span and return the instance-seconds that were used for it while it was open."""
        self._settle_in_flight()
        root = node.root
        if node.parent is None and root in self._unowned:
            self._look_at(node)
        node.is_open = False
        if self._clock is not None:
            self._clock.ended(node)
        if root.is_closed:
            return 0.0
        root.last_event = now
        root.open_spans -= 1
        if not root.open_spans:
            self.open_roots.pop(root, None)
        earned = node.compute_s
        root.assigned_s += earned
        self.assigned_s += earned
        return earned

    def use(self, node: Node, cpu_s: float) -> None:
        """Take CPU time that was used in the name of a span, which may have ended meanwhile.

        Args:
            node: The span.

            cpu_s: CPU-seconds.
        """
        root = node.root
        if root.is_closed or cpu_s <= 0.0:
            return
        if self._flying:
            self._flying.pop(node, None)
        seconds = cpu_s / self.vcpus
        root.accrued_s += seconds
        self.busy_s += seconds
        self.idle_s -= seconds
        if self._t > root.last_event:
            root.last_event = self._t
        if node.is_open:
            node.compute_s += seconds
            return
        owner = node.parent
        while owner is not None and not owner.is_open:
            owner = owner.parent
        if owner is not None:
            owner.compute_s += seconds
            return
        root.assigned_s += seconds
        self.assigned_s += seconds
        self._late[root] = self._late.get(root, 0.0) + seconds

    def evict(self, root: Root, now: float) -> float:
        """Give up on a root whose spans do not end; see the base class."""
        self._unowned.pop(root, None)
        self.advance(now)
        # What threads report of it from now on is not charged.
        for node, seconds in [(node, seconds) for node, seconds in self._flying.items() if node.root is root]:
            self.use(node, seconds * self.vcpus)
        accrued = super().evict(root, now)
        self._flying = {node: seconds for node, seconds in self._flying.items() if node.root is not root}
        return accrued

    def take_late(self) -> dict[Root, float]:
        """Return the instance-seconds used since the last call for spans that had ended, by local root."""
        late, self._late = self._late, {}
        return late

    def advance(self, now: float) -> None:
        """Bring the clock to `now`, take in what the calling thread has used, and look at what others are using."""
        self._settle_in_flight()
        super().advance(now)
        if self._clock is None:
            return
        flying: dict[Node, float] = {}
        for node, cpu_s in self._clock.elsewhere():
            root = node.root
            if not root.is_closed:
                flying[node] = flying.get(node, 0.0) + cpu_s / self.vcpus
                root.last_event = max(root.last_event, self._t)
        self._flying = flying

    @property
    def flying_s(self) -> float:
        """Instance-seconds that other threads have used and not reported, as of the last `advance`."""
        return sum(self._flying.values())

    def open_s(self, root: Root, now: float) -> float:
        """Return the instance-seconds that were used so far for the open spans of a root; advance the clock first."""
        return super().open_s(root, now) + sum(
            seconds for node, seconds in self._flying.items() if node.root is root and node.is_open
        )

    def earned_s(self, node: Node, now: float) -> float:
        """Return the instance-seconds that were used so far for an open span; advance the clock first."""
        return node.compute_s + self._flying.get(node, 0.0)

    def _look_at(self, node: Node) -> None:
        """See to a local root that ends: nobody reports anything of a span that was never made current.

        If it ends on the thread it began on, it was busy with all that was unowned there.
        """
        before = self._unowned.pop(node.root)
        if node.compute_s > 0.0 or self._clock is None:
            return
        now = self._clock.unowned()
        if before is None or now is None or before[0] != now[0]:
            self.unseen_roots += node.root.accrued_s == 0.0  # else its children were seen
            return
        cpu_s = max(0.0, now[1] - before[1])
        self._clock.claim(cpu_s)
        self.use(node, cpu_s)

    def _settle_in_flight(self) -> None:
        used = None if self._clock is None else self._clock.in_flight()
        if used is not None:
            self.use(*used)

    def _move(self, now: float) -> None:
        elapsed = now - self._t
        if elapsed > 0.0:
            self._t = now
            self.idle_s += elapsed * self.share
