"""Direct and total arithmetic of the cost tree, and the clock that splits an instance-second.

Pure: no OpenTelemetry, no locks, no time source. The caller serialises the calls and passes `now`, in
seconds of any monotonic clock.

The clock is processor sharing in two levels (design section 4). With ``share`` the part of the machine
that belongs to this process and ``n`` the number of active local roots, the process clock is
``V(t) = integral of share/n dt``; while ``n = 0`` the same time is *idle*. Inside a local root with ``m`` open
leaf spans a second clock runs as ``W(t) = integral of dV/m``, and a span earns ``W_now - W_mark`` for the
time in which it is a leaf (an open span without open children). Every event costs O(1), and

    attributed + accrued in open spans + idle = integral of share dt

holds exactly, whatever the order of events.
"""

from __future__ import annotations

from typing import Final

_NEVER: Final = float("inf")
_MANY_ROOTS: Final = 100


class Node:
    """One span in the cost tree.

    Amounts are USD; `compute_s` is in instance-seconds: seconds of the whole machine.
    """

    __slots__ = ("below_usd", "compute_s", "direct_usd", "is_open", "mark", "open_children", "parent", "root")

    root: Root
    """Set when the span is opened in a tree."""

    def __init__(self) -> None:
        self.parent: Node | None = None
        self.direct_usd = 0.0
        """Charged on this span itself."""
        self.below_usd = 0.0
        """Totals of its descendants that have ended."""
        self.compute_s = 0.0
        """Instance-seconds earned as a leaf so far."""
        self.mark = 0.0
        """W of the root when this span last became a leaf."""
        self.open_children = 0
        self.is_open = True


class Root:
    """One local root: the spans of one request in one process."""

    __slots__ = (
        "accrued_s",
        "assigned_s",
        "is_active",
        "is_closed",
        "last_event",
        "leaves",
        "open_spans",
        "v_mark",
        "w",
    )

    def __init__(self) -> None:
        self.w = 0.0
        """The root's clock W at V = `v_mark`."""
        self.v_mark = 0.0
        self.leaves = 0
        self.open_spans = 0
        self.last_event = 0.0
        self.is_active = False
        """Counted in n: it has an open span and had an event within the idle limit."""
        self.is_closed = False
        """Evicted: nothing more is earned below it."""
        self.accrued_s = 0.0
        """Instance-seconds earned by the whole root up to V = `v_mark`."""
        self.assigned_s = 0.0
        """Instance-seconds handed to its spans so far."""


class Tree:
    """The open local roots of one process and the clock they share.

    Args:
        now: Time at which the process starts to own its share, seconds.

        share: Part of the machine that belongs to this process, 0..1.

        idle_after_s: A root without any span event for this long leaves n until its next event, so that an
            idle websocket does not make others look cheap.
    """

    __slots__ = (
        "_check_at",
        "_plan",
        "_slope",
        "_t",
        "_v",
        "active_roots",
        "assigned_s",
        "busy_s",
        "idle_after_s",
        "idle_s",
        "open_roots",
        "share",
    )

    def __init__(self, now: float, *, share: float = 1.0, idle_after_s: float = 30.0) -> None:
        self.share = share
        self.idle_after_s = idle_after_s
        self.open_roots: dict[Root, None] = {}
        """Roots with an open span, oldest first."""
        self.active_roots = 0
        self.idle_s = 0.0
        """Instance-seconds in which no root was active."""
        self.busy_s = 0.0
        """Instance-seconds in which at least one root was active."""
        self.assigned_s = 0.0
        """Instance-seconds handed to spans, and to evictions."""
        self._t = now
        self._v = 0.0
        self._slope = 0.0
        self._check_at = _NEVER
        self._plan: list[tuple[float, float]] = []

    # --- spans ----------------------------------------------------------------------------------

    def start_root(self, root: Root, node: Node, now: float) -> None:
        """Open a local root whose first span is `node`."""
        node.root = root
        # `_enter` spelled out for a root that is new: three calls less in every request.
        if now >= self._check_at:
            self._catch_up(now)
        active = self.active_roots
        elapsed = now - self._t
        if elapsed > 0.0:
            self._t = now
            if active:
                self._v += elapsed * self._slope
                self.busy_s += elapsed * self.share
            else:
                self.idle_s += elapsed * self.share
        self.active_roots = active = active + 1
        self._slope = self.share / active
        self.open_roots[root] = None
        quiet_at = now + self.idle_after_s
        if quiet_at < self._check_at:
            self._check_at = quiet_at
        root.is_active = True
        root.v_mark = self._v
        root.last_event = now
        root.leaves = 1
        root.open_spans = 1
        node.mark = 0.0

    def start_child(self, parent: Node, node: Node, now: float) -> None:
        """Open a span below `parent`, which may have ended already."""
        root = parent.root
        node.root = root
        node.parent = parent
        if not root.is_active or now >= self._check_at:
            self._enter(root, now)
        if now < self._t:
            now = self._t
        root.last_event = now
        leaves = root.leaves
        v = self._v + (now - self._t) * self._slope
        w = root.w + (v - root.v_mark) / leaves if leaves else root.w
        was_leaf = 0
        if parent.is_open:
            if not parent.open_children:
                parent.compute_s += w - parent.mark
                was_leaf = 1
            parent.open_children += 1
        node.mark = w
        root.open_spans += 1
        if not was_leaf:
            root.accrued_s += v - root.v_mark
            root.w = w
            root.v_mark = v
            root.leaves = leaves + 1

    def end(self, node: Node, now: float) -> float:
        """Close a span and return the instance-seconds it earned while open."""
        root = node.root
        node.is_open = False
        if root.is_closed:
            return 0.0
        if not root.is_active or now >= self._check_at:
            self._enter(root, now)
        if now < self._t:
            now = self._t
        root.last_event = now
        leaves = root.leaves
        v = self._v + (now - self._t) * self._slope
        w = root.w + (v - root.v_mark) / leaves if leaves else root.w
        change = 0
        if not node.open_children:
            node.compute_s += w - node.mark
            change = -1
        parent = node.parent
        if parent is not None and parent.is_open:
            parent.open_children -= 1
            if not parent.open_children:
                parent.mark = w
                change += 1
        if change:
            root.accrued_s += v - root.v_mark
            root.w = w
            root.v_mark = v
            root.leaves = leaves + change
        root.open_spans -= 1
        if not root.open_spans:
            # `_leave` spelled out: the root is active, and `v` is where its clock stands.
            elapsed = now - self._t
            if elapsed > 0.0:
                self._t = now
                self._v = v
                self.busy_s += elapsed * self.share
            root.is_active = False
            self.active_roots = active = self.active_roots - 1
            self._slope = self.share / active if active else 0.0
            self.open_roots.pop(root, None)
        earned = node.compute_s
        root.assigned_s += earned
        self.assigned_s += earned
        return earned

    @staticmethod
    def roll_up(node: Node) -> float:
        """Add an ended span's total to its nearest open ancestor and return that total, USD."""
        total = node.direct_usd + node.below_usd
        parent = node.parent
        while parent is not None and not parent.is_open:
            # Path compression: a long chain of ended ancestors is walked once.
            parent = node.parent = parent.parent
        if parent is not None:
            parent.below_usd += total
        return total

    def evict(self, root: Root, now: float) -> float:
        """Give up on a root whose spans do not end.

        Returns:
            Instance-seconds accrued in its open spans, which no span will report any more.
        """
        self.advance(now)
        if root.is_active:
            self._anchor(root)
            self._leave(root, now)
        accrued = max(0.0, root.accrued_s - root.assigned_s)
        root.is_closed = True
        self.open_roots.pop(root, None)
        root.assigned_s += accrued
        self.assigned_s += accrued
        return accrued

    # --- clock ----------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Bring the clock to `now`, through every change of share and of n on the way, each at its own moment."""
        if now >= self._check_at:
            self._catch_up(now)
        self._move(now)

    def set_share(self, share: float, now: float) -> None:
        """Change this process's part of the machine; splits the clock at `now`."""
        self.plan_shares([(now, share)])
        self.advance(now)

    def plan_shares(self, plan: list[tuple[float, float]]) -> None:
        """Say which shares this process will have from which moments on; replaces an earlier plan.

        Args:
            plan: (moment, share), in order of time. Moments that have passed take effect now.
        """
        self._plan = list(plan)
        if plan:
            self._check_at = min(self._check_at, plan[0][0])

    def open_s(self, root: Root, now: float) -> float:
        """Return the instance-seconds that the open spans of a root have earned so far; advance the clock first."""
        return max(0.0, root.accrued_s + self._since_mark(root, now) - root.assigned_s)

    def earned_s(self, node: Node, now: float) -> float:
        """Return the instance-seconds that an open span has earned so far; advance the clock first."""
        root = node.root
        if not node.is_open or node.open_children or not root.leaves or root.is_closed:
            return node.compute_s
        return node.compute_s + max(0.0, root.w + self._since_mark(root, now) / root.leaves - node.mark)

    def _since_mark(self, root: Root, now: float) -> float:
        if not root.is_active:
            return 0.0
        return max(0.0, self._v + max(0.0, now - self._t) * self._slope - root.v_mark)

    @property
    def accrued_s(self) -> float:
        """Instance-seconds earned in spans that are still open, as of the last event."""
        return self.busy_s - self.assigned_s

    def _move(self, now: float) -> None:
        elapsed = now - self._t
        if elapsed <= 0.0:
            return
        self._t = now
        if self.active_roots:
            self._v += elapsed * self._slope
            self.busy_s += elapsed * self.share
        else:
            self.idle_s += elapsed * self.share

    def _enter(self, root: Root, now: float) -> None:
        self.advance(now)
        root.last_event = now
        if root.is_active or root.is_closed:
            return
        root.is_active = True
        root.v_mark = self._v
        self.open_roots[root] = None
        self.active_roots += 1
        self._slope = self.share / self.active_roots
        quiet_at = now + self.idle_after_s
        if quiet_at < self._check_at:
            self._check_at = quiet_at

    def _anchor(self, root: Root) -> None:
        """Bring an active root's clock to the present V."""
        gained = self._v - root.v_mark
        root.accrued_s += gained
        if root.leaves:
            root.w += gained / root.leaves
        root.v_mark = self._v

    def _leave(self, root: Root, now: float) -> None:
        self._move(now)
        if not root.is_active:
            return
        root.is_active = False
        self.active_roots -= 1
        self._slope = self.share / self.active_roots if self.active_roots else 0.0

    def _catch_up(self, now: float) -> None:
        """Carry out what was due up to `now`: roots that became quiet, and planned shares, in order of time."""
        limit = now - self.idle_after_s
        due: list[tuple[float, Root | float]] = [
            (root.last_event + self.idle_after_s, root)
            for root in self.open_roots
            if root.is_active and root.last_event <= limit
        ]
        while self._plan and self._plan[0][0] <= now:
            due.append(self._plan.pop(0))
        due.sort(key=lambda item: item[0])
        for moment, what in due:
            self._move(moment)
            if isinstance(what, Root):
                self._anchor(what)
                self._leave(what, self._t)
            else:
                self.share = what
                self._slope = what / self.active_roots if self.active_roots else 0.0
        upcoming = [root.last_event + self.idle_after_s for root in self.open_roots if root.is_active]
        upcoming += [moment for moment, _ in self._plan[:1]]
        self._check_at = min(upcoming, default=_NEVER)
        if len(self.open_roots) > _MANY_ROOTS and not self._plan:
            # Thousands of idle sockets become quiet one by one: look once a second, not once for each. They leave
            # when they are looked at, up to a second late; the sums stay exact.
            self._check_at = max(self._check_at, now + 1.0)
