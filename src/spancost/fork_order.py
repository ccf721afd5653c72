"""Hooks of what lies below the engine: a fork takes their locks after the engine's, as everybody else does.

Python runs what is registered first last before a fork, and first after it. Imported by the engine before it registers
its own hooks, whatever is imported later.
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


_hooks: Final[list[ForkHooks]] = []


def register(hooks: ForkHooks) -> None:
    """Have hooks called inside of the engine's."""
    _hooks.append(hooks)


def _before() -> None:
    for hooks in reversed(_hooks):
        hooks.before()


def _in_parent() -> None:
    for hooks in _hooks:
        hooks.in_parent()


def _in_child() -> None:
    for hooks in _hooks:
        hooks.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
