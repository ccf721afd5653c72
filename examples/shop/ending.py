"""Ctrl-C and its like while servers run: one exception, so that everything is stopped on the way out."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNAL_EXIT_BASE: Final = 128


class Ended(BaseException):
    """A signal asks this program to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = _SIGNAL_EXIT_BASE + number


@contextmanager
def signals_as_exceptions() -> Generator[None]:
    """Turn the first of Ctrl-C, SIGTERM and SIGHUP into `Ended`; ignore further ones while we stop."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
