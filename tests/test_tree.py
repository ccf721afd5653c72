"""The clock that splits an instance-second, and the roll-up of dollars."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spancost.tree import Node, Root, Tree


def test_single_span_earns_all_of_its_time() -> None:
    tree = Tree(0.0)
    root, node = Root(), Node()
    tree.start_root(root, node, 1.0)
    assert tree.end(node, 4.0) == 3.0
    tree.advance(6.0)
    assert tree.idle_s == 3.0
    assert tree.busy_s == 3.0


def test_two_concurrent_roots_share_the_machine_evenly() -> None:
    tree = Tree(0.0)
    roots, nodes = [Root(), Root()], [Node(), Node()]
    tree.start_root(roots[0], nodes[0], 0.0)
    tree.start_root(roots[1], nodes[1], 2.0)
    assert tree.end(nodes[0], 4.0) == 2.0 + 1.0
    assert tree.end(nodes[1], 5.0) == 1.0 + 1.0


def test_parent_earns_nothing_while_its_child_is_open() -> None:
    tree = Tree(0.0)
    root, parent, child = Root(), Node(), Node()
    tree.start_root(root, parent, 0.0)
    tree.start_child(parent, child, 1.0)
    assert tree.end(child, 3.0) == 2.0
    assert tree.end(parent, 4.0) == 2.0


def test_two_open_children_split_their_parents_time() -> None:
    tree = Tree(0.0)
    root, parent, left, right = Root(), Node(), Node(), Node()
    tree.start_root(root, parent, 0.0)
    tree.start_child(parent, left, 1.0)
    tree.start_child(parent, right, 2.0)
    assert tree.end(left, 4.0) == 1.0 + 1.0
    assert tree.end(right, 5.0) == 1.0 + 1.0
    assert tree.end(parent, 6.0) == 1.0 + 1.0


def test_grandparent_becomes_a_leaf_when_its_child_ends_before_the_grandchild() -> None:
    tree = Tree(0.0)
    root, top, middle, low = Root(), Node(), Node(), Node()
    tree.start_root(root, top, 0.0)
    tree.start_child(top, middle, 0.0)
    tree.start_child(middle, low, 0.0)
    assert tree.end(middle, 2.0) == 0.0
    assert tree.end(low, 4.0) == 2.0 + 1.0
    assert tree.end(top, 4.0) == 1.0


def test_quiet_root_leaves_the_split_after_the_idle_limit_and_returns_with_its_next_event() -> None:
    tree = Tree(0.0, idle_after_s=30.0)
    quiet, websocket = Root(), Node()
    tree.start_root(quiet, websocket, 0.0)
    busy, request = Root(), Node()
    tree.start_root(busy, request, 20.0)
    for second in range(21, 60):
        child = Node()
        tree.start_child(request, child, float(second))
        tree.end(child, float(second))
    # 20..30 s is shared by two roots, from 30 s on the busy one is alone.
    assert math.isclose(tree.end(request, 60.0), 5.0 + 30.0)
    assert math.isclose(tree.end(websocket, 70.0), 20.0 + 5.0)
    assert math.isclose(tree.idle_s, 10.0)


def test_late_child_keeps_earning_after_its_root_span_ended() -> None:
    tree = Tree(0.0)
    root, request, background = Root(), Node(), Node()
    tree.start_root(root, request, 0.0)
    tree.end(request, 1.0)
    tree.start_child(request, background, 2.0)
    assert tree.end(background, 5.0) == 3.0
    tree.advance(5.0)
    assert tree.idle_s == 1.0
    assert not tree.open_roots


def test_change_of_share_splits_the_clock() -> None:
    tree = Tree(0.0)
    root, node = Root(), Node()
    tree.start_root(root, node, 0.0)
    tree.set_share(0.25, 4.0)
    assert tree.end(node, 8.0) == 4.0 + 1.0


def test_evicted_root_hands_over_what_its_open_spans_earned() -> None:
    tree = Tree(0.0)
    root, parent, child = Root(), Node(), Node()
    tree.start_root(root, parent, 0.0)
    tree.start_child(parent, child, 1.0)
    assert tree.evict(root, 5.0) == 5.0
    assert tree.end(child, 6.0) == 0.0
    assert tree.end(parent, 7.0) == 0.0
    tree.advance(7.0)
    assert tree.idle_s == 2.0
    assert tree.accrued_s == 0.0


def test_clock_that_steps_back_gives_nobody_negative_time() -> None:
    tree = Tree(10.0)
    root, node = Root(), Node()
    tree.start_root(root, node, 9.0)
    assert tree.end(node, 8.0) == 0.0


def test_total_of_a_child_reaches_the_nearest_open_ancestor() -> None:
    tree = Tree(0.0)
    root, top, middle, low = Root(), Node(), Node(), Node()
    tree.start_root(root, top, 0.0)
    tree.start_child(top, middle, 0.0)
    tree.start_child(middle, low, 0.0)
    middle.direct_usd = 2.0
    tree.end(middle, 1.0)
    assert tree.roll_up(middle) == 2.0
    low.direct_usd = 3.0
    tree.end(low, 1.0)
    assert tree.roll_up(low) == 3.0
    tree.end(top, 1.0)
    assert tree.roll_up(top) == 5.0


def test_many_quiet_roots_are_looked_at_together_and_the_sums_stay_exact() -> None:
    tree = Tree(0.0, idle_after_s=30.0)
    nodes: list[Node] = []
    for number in range(1500):
        node = Node()
        tree.start_root(Root(), node, number / 100)
        nodes.append(node)
    request = Node()
    tree.start_root(Root(), request, 15.0)
    for tick in range(1, 400):
        child = Node()
        tree.start_child(request, child, 15.0 + tick / 8)
        tree.end(child, 15.0 + tick / 8)
    tree.advance(66.0)
    assert tree.active_roots == 1
    attributed = sum(tree.end(node, 66.0) for node in (*nodes, request))
    assert tree.idle_s == 0.0
    assert attributed + tree.accrued_s == pytest.approx(66.0, rel=1e-12)


@dataclass
class _World:
    """Drives a tree with random events and keeps the truth by brute force."""

    tree: Tree = field(default_factory=lambda: Tree(0.0, idle_after_s=30.0))
    now: float = 0.0
    spans: list[Node] = field(default_factory=list[Node])
    attributed_s: float = 0.0
    share_time_s: float = 0.0
    truth_s: dict[Node, float] = field(default_factory=dict[Node, float])

    def wait(self, seconds: float) -> None:
        """Split time by the definition of section 4 itself, between the moments at which roots become quiet."""
        until = self.now + seconds
        quiet = [root.last_event + 30.0 for root in self.tree.open_roots]
        moments = sorted({self.now, until, *(moment for moment in quiet if self.now < moment < until)})
        for left, right in itertools.pairwise(moments):
            active = [root for root in self.tree.open_roots if (left + right) / 2 - root.last_event < 30.0]
            for root in active:
                leaves = [n for n in self.spans if n.is_open and n.root is root and not self._has_open_child(n)]
                for leaf in leaves:
                    gain = (right - left) * self.tree.share / len(active) / len(leaves)
                    self.truth_s[leaf] = self.truth_s.get(leaf, 0.0) + gain
        self.now = until
        self.share_time_s += seconds * self.tree.share

    def _has_open_child(self, node: Node) -> bool:
        return any(other.is_open and other.parent is node for other in self.spans)


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["root", "child", "end", "share"]), st.integers(0, 30), st.integers(0, 40)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(_EVENTS)
def test_attributed_plus_accrued_plus_idle_is_the_share_of_uptime_in_any_order(
    events: list[tuple[str, int, int]],
) -> None:
    world = _World()
    for action, pick, eighths in events:
        world.wait(eighths / 8)
        if action == "root" or not world.spans:
            node = Node()
            world.tree.start_root(Root(), node, world.now)
            world.spans.append(node)
        elif action == "child":
            node = Node()
            world.tree.start_child(world.spans[pick % len(world.spans)], node, world.now)
            world.spans.append(node)
        elif action == "share":
            world.tree.set_share((pick % 4 + 1) / 4, world.now)
        else:
            still_open = [span for span in world.spans if span.is_open]
            if still_open:
                span = still_open[pick % len(still_open)]
                earned = world.tree.end(span, world.now)
                world.attributed_s += earned
                assert earned == pytest.approx(world.truth_s.get(span, 0.0), rel=1e-9, abs=1e-9)
    world.tree.advance(world.now)
    assert world.tree.assigned_s == pytest.approx(world.attributed_s, rel=1e-12, abs=1e-12)
    total = world.tree.assigned_s + world.tree.accrued_s + world.tree.idle_s
    assert total == pytest.approx(world.share_time_s, rel=1e-12, abs=1e-12)
    for node in [span for span in world.spans if span.is_open]:
        world.attributed_s += world.tree.end(node, world.now)
    assert world.tree.accrued_s == pytest.approx(0.0, abs=1e-9)
    assert world.attributed_s + world.tree.idle_s == pytest.approx(world.share_time_s, rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1e3)), min_size=1, max_size=30), st.randoms())
def test_total_of_the_root_is_the_sum_of_direct_costs_for_any_tree_that_ends_children_first(
    shape: list[tuple[int, float]], order: object
) -> None:
    tree = Tree(0.0)
    top = Node()
    tree.start_root(Root(), top, 0.0)
    nodes = [top]
    for pick, usd in shape:
        node = Node()
        tree.start_child(nodes[pick % len(nodes)], node, 0.0)
        node.direct_usd = usd
        nodes.append(node)
    for node in reversed(nodes[1:]):
        tree.end(node, 1.0)
        tree.roll_up(node)
    tree.end(top, 1.0)
    assert tree.roll_up(top) == pytest.approx(sum(usd for _, usd in shape), rel=1e-12)
