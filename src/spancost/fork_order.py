"""Hooks of what lies below the engine and above it: a fork takes all locks in the order in which everybody else does.

Below are those that the engine's own threads take last; above are those of threads that call the engine. Python runs
what is registered first last before a fork, and first after it. Imported by the engine before it registers its own
hooks, whatever is imported later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple


class ForkHooks(NamedTuple):
    """What is to be done around a fork."""

    before: Callable[[], None]
    in_parent: Callable[[], None]
    in_child: Callable[[], None]


_below: Final[list[ForkHooks]] = []
_above: Final[list[ForkHooks]] = []


def register(hooks: ForkHooks) -> None:
    """Have hooks called inside of the engine's: after them before a fork, before them afterwards."""
    _below.append(hooks)


def register_above(hooks: ForkHooks) -> None:
    """Have hooks called outside of the engine's, but in the child before all others, since nobody else is there yet."""
    _above.append(hooks)


def before_engine() -> None:
    """To be called by the engine before it takes locks of its own for a fork."""
    for hooks in reversed(_above):
        hooks.before()


def in_parent_after_engine() -> None:
    """To be called by the engine when it has given back its own locks in the parent."""
    for hooks in _above:
        hooks.in_parent()


def _before() -> None:
    for hooks in reversed(_below):
        hooks.before()


def _in_parent() -> None:
    for hooks in _below:
        hooks.in_parent()


def _in_child() -> None:
    for hooks in (*_above, *_below):
        hooks.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
