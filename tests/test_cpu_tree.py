"""The cost tree by measured CPU time: what is used is a span's, late, or idle, and never lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spancost.cpu_tree import CpuTree
from spancost.tree import Node, Root


class Thread:
    """Stands for the calling thread: what it is busy with, and what nobody was charged for."""

    def __init__(self, number: int | None = 1) -> None:
        self.number = number
        self.flying: tuple[Node, float] | None = None
        self.unowned_s = 0.0
        self.others: list[tuple[Node, float]] = []

    def in_flight(self) -> tuple[Node, float] | None:
        flying, self.flying = self.flying, None
        return flying

    def unowned(self) -> tuple[int, float] | None:
        return None if self.number is None else (self.number, self.unowned_s)

    def elsewhere(self) -> list[tuple[Node, float]]:
        return self.others

    def ended(self, node: Node) -> None:
        if self.flying is not None and self.flying[0] is node:
            self.flying = None

    def claim(self, cpu_s: float) -> None:
        self.unowned_s -= cpu_s


def test_cpu_second_is_one_of_as_many_parts_of_an_instance_second_as_there_are_vcpus() -> None:
    tree = CpuTree(0.0, vcpus=4.0)
    node = Node()
    tree.start_root(Root(), node, 0.0)
    tree.use(node, 2.0)
    assert tree.end(node, 10.0) == 0.5
    tree.advance(10.0)
    assert (tree.busy_s, tree.idle_s) == (0.5, 9.5)


def test_waiting_costs_nothing_and_a_parent_keeps_what_it_used_while_its_child_was_open() -> None:
    tree = CpuTree(0.0)
    parent, child = Node(), Node()
    tree.start_root(Root(), parent, 0.0)
    tree.start_child(parent, child, 0.0)
    tree.use(parent, 0.25)
    tree.use(child, 0.5)
    assert tree.end(child, 100.0) == 0.5
    assert tree.end(parent, 200.0) == 0.25


def test_time_used_for_an_ended_span_is_its_nearest_open_ancestors() -> None:
    tree = CpuTree(0.0)
    top, middle, low = Node(), Node(), Node()
    tree.start_root(Root(), top, 0.0)
    tree.start_child(top, middle, 0.0)
    tree.start_child(middle, low, 0.0)
    tree.end(low, 1.0)
    tree.end(middle, 1.0)
    tree.use(low, 0.5)
    assert tree.end(top, 1.0) == 0.5
    assert tree.take_late() == {}


def test_time_used_for_a_request_that_has_ended_is_late_once() -> None:
    tree = CpuTree(0.0, vcpus=2.0)
    root, node = Root(), Node()
    tree.start_root(root, node, 0.0)
    tree.end(node, 1.0)
    tree.use(node, 1.0)
    tree.use(node, 0.5)
    assert tree.take_late() == {root: 0.75}
    assert tree.take_late() == {}
    assert tree.accrued_s == 0.0


def test_what_the_thread_is_busy_with_is_settled_before_its_span_ends() -> None:
    thread = Thread()
    tree = CpuTree(0.0, clock=thread)
    node = Node()
    tree.start_root(Root(), node, 0.0)
    thread.flying = (node, 0.125)
    assert tree.end(node, 1.0) == 0.125


def test_open_request_shows_what_it_has_used_so_far() -> None:
    thread = Thread()
    tree = CpuTree(0.0, clock=thread)
    root, node = Root(), Node()
    tree.start_root(root, node, 0.0)
    thread.flying = (node, 0.125)
    tree.advance(1.0)
    assert tree.open_s(root, 1.0) == tree.earned_s(node, 1.0) == tree.accrued_s == 0.125


def test_request_that_was_never_current_has_what_was_unowned_on_its_thread() -> None:
    thread = Thread()
    tree = CpuTree(0.0, clock=thread)
    outer, inner = Node(), Node()
    tree.start_root(Root(), outer, 0.0)
    thread.unowned_s += 1.0
    tree.start_root(Root(), inner, 1.0)
    thread.unowned_s += 2.0
    assert tree.end(inner, 3.0) == 2.0
    assert tree.end(outer, 3.0) == 1.0  # not again what the inner one has claimed
    assert tree.unseen_roots == 0


@pytest.mark.parametrize("ends_on", [2, None])
def test_request_that_was_never_current_and_ends_elsewhere_is_counted_as_unseen(ends_on: int | None) -> None:
    thread = Thread()
    tree = CpuTree(0.0, clock=thread)
    node = Node()
    tree.start_root(Root(), node, 0.0)
    thread.number, thread.unowned_s = ends_on, -5.0
    assert tree.end(node, 3.0) == 0.0
    assert tree.unseen_roots == 1


def test_what_other_threads_are_using_is_open_cost_until_they_report_it() -> None:
    thread = Thread()
    tree = CpuTree(0.0, clock=thread)
    root, node = Root(), Node()
    tree.start_root(root, node, 0.0)
    thread.others = [(node, 0.5), (node, 0.25)]  # two threads of one span
    tree.advance(1.0)
    assert tree.open_s(root, 1.0) == tree.earned_s(node, 1.0) == tree.flying_s == 0.75
    assert (tree.busy_s, root.last_event) == (0.0, 1.0)
    thread.others = []
    tree.use(node, 0.75)
    assert (tree.open_s(root, 1.0), tree.flying_s, tree.busy_s) == (0.75, 0.0, 0.75)
    assert tree.end(node, 2.0) == 0.75


def test_evicted_request_is_charged_what_threads_used_up_to_then_and_not_what_they_report_later() -> None:
    thread = Thread()
    tree = CpuTree(0.0, clock=thread)
    root, node = Root(), Node()
    tree.start_root(root, node, 0.0)
    thread.others = [(node, 0.5)]
    assert tree.evict(root, 1.0) == 0.5
    tree.use(node, 0.75)
    tree.advance(2.0)
    assert (tree.busy_s, tree.idle_s, tree.flying_s, tree.accrued_s) == (0.5, 1.5, 0.0, 0.0)


def test_evicted_request_hands_over_what_it_used_and_is_charged_nothing_more() -> None:
    tree = CpuTree(0.0, clock=Thread())
    root, node = Root(), Node()
    tree.start_root(root, node, 0.0)
    tree.use(node, 0.5)
    assert tree.evict(root, 5.0) == 0.5
    tree.use(node, 1.0)
    assert tree.end(node, 6.0) == 0.0
    tree.advance(6.0)
    assert (tree.busy_s, tree.idle_s, tree.accrued_s) == (0.5, 5.5, 0.0)


def test_burst_beyond_the_share_is_a_debt_that_idle_time_repays() -> None:
    tree = CpuTree(0.0, share=0.25)
    node = Node()
    tree.start_root(Root(), node, 0.0)
    tree.use(node, 1.0)
    tree.advance(1.0)
    assert tree.idle_s == -0.75
    tree.end(node, 1.0)
    tree.advance(4.0)
    assert (tree.busy_s, tree.idle_s) == (1.0, 0.0)


@dataclass
class _World:
    """Drives a tree with random events and keeps the truth by itself."""

    tree: CpuTree = field(default_factory=lambda: CpuTree(0.0, vcpus=2.0))
    now: float = 0.0
    spans: list[Node] = field(default_factory=list[Node])
    roots: list[Root] = field(default_factory=list[Root])
    share_time_s: float = 0.0
    handed_out_s: float = 0.0
    used_s: float = 0.0

    def act(self, action: str, pick: int, eighths: int) -> None:
        if action == "root" or not self.spans:
            root, node = Root(), Node()
            self.tree.start_root(root, node, self.now)
            self.spans.append(node)
            self.roots.append(root)
            return
        span = self.spans[pick % len(self.spans)]
        if action == "child":
            if not span.root.is_closed:
                node = Node()
                self.tree.start_child(span, node, self.now)
                self.spans.append(node)
        elif action == "use":
            self.tree.use(span, eighths / 8)
            self.used_s += 0.0 if span.root.is_closed else eighths / 16
        elif action == "share":
            self.tree.set_share((pick % 4 + 1) / 4, self.now)
        elif action == "evict":
            if span.root in self.tree.open_roots:
                self.handed_out_s += self.tree.evict(span.root, self.now)
        elif span.is_open:
            self.handed_out_s += self.tree.end(span, self.now)
            self.tree.roll_up(span)  # shortens chains of ended ancestors

    def wait(self, seconds: float) -> None:
        self.tree.advance(self.now)
        self.share_time_s += seconds * self.tree.share
        self.now += seconds
        self.tree.advance(self.now)


_ACTIONS = st.sampled_from(["root", "child", "end", "end", "use", "use", "use", "share", "evict"])
_EVENTS = st.lists(st.tuples(_ACTIONS, st.integers(0, 30), st.integers(0, 40)), min_size=1, max_size=60)


@settings(max_examples=300, deadline=None)
@given(_EVENTS)
def test_what_spans_used_and_late_and_idle_add_up_to_the_share_of_uptime_in_any_order(
    events: list[tuple[str, int, int]],
) -> None:
    world = _World()
    tree = world.tree
    late_s = 0.0
    for action, pick, eighths in events:
        world.wait(eighths / 8)
        world.act(action, pick, eighths)
        open_s = sum(tree.open_s(root, world.now) for root in tree.open_roots)
        assert open_s == pytest.approx(tree.accrued_s, rel=1e-12, abs=1e-12)
        if pick % 5 == 0:
            late_s += sum(tree.take_late().values())
    late_s += sum(tree.take_late().values())
    assert tree.busy_s == pytest.approx(world.used_s, rel=1e-12)
    assert world.handed_out_s + late_s + tree.accrued_s == pytest.approx(tree.busy_s, rel=1e-12, abs=1e-12)
    assert tree.busy_s + tree.idle_s == pytest.approx(world.share_time_s, rel=1e-12, abs=1e-12)
    for span in world.spans:
        if span.is_open:
            world.handed_out_s += tree.end(span, world.now)
    assert not tree.open_roots
    assert world.handed_out_s + late_s == pytest.approx(world.used_s, rel=1e-9, abs=1e-12)
