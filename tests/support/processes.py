"""Server processes for tests: the ones of the demo, see `examples/shop/processes.py`."""

from __future__ import annotations

from examples.shop.processes import ReservedPort, ServerProcess, StackError, answers

__all__ = ["ReservedPort", "ServerProcess", "StackError", "answers"]
