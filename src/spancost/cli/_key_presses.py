"""Single key presses without Enter, where standard input is a terminal; its settings are put back whatever happens."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_AT_ONCE: Final = 64
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])")
"""What arrow and function keys send."""


class KeyPresses:
    """Waits for a key."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._pressed = ""

    def wait(self, seconds: float) -> str:
        """Return the key that is pressed within this time; empty for none."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        if not self._pressed:
            ready, _, _ = select.select([self._descriptor], [], [], seconds)
            if not ready:
                return ""
            found = os.read(self._descriptor, _AT_ONCE)
            if not found:  # the terminal is gone
                raise EOFError
            self._pressed = _SEQUENCE.sub("", found.decode("ascii", "replace"))
        key, self._pressed = self._pressed[:1], self._pressed[1:]
        return key


@contextmanager
def key_presses() -> Generator[KeyPresses]:
    """Read keys as they are pressed, until the block ends."""
    try:
        import termios
    except ImportError:  # Windows
        yield KeyPresses(None)
        return
    if not sys.stdin.isatty():
        yield KeyPresses(None)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    changed = termios.tcgetattr(descriptor)
    changed[3] &= ~(termios.ICANON | termios.ECHO)  # Ctrl-C stays a signal
    changed[6][termios.VSUSP] = b"\x00"  # Ctrl-Z would leave the shell with a picture and without an echo
    termios.tcsetattr(descriptor, termios.TCSANOW, changed)
    try:
        yield KeyPresses(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
