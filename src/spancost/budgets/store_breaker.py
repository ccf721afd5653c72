"""Keeps guards from waiting for a store that is away: after failures in a row they are answered at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"


class StoreBreaker:
    """Says whether a store is worth asking: after failures in a row not for a while, then one tries. Thread-safe.

    Args:
        failures: So many in a row open it.

        reset_s: It stays open for this long, then lets one caller try; doubled each time the trial fails.

        longest_s: At most so long.

        clock: Monotonic, seconds.
    """

    def __init__(
        self,
        failures: int = 3,
        reset_s: float = 1.0,
        *,
        longest_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failures < 1 or not 0 < reset_s <= longest_s:
            raise ValueError("failures is at least 1, and 0 < reset_s <= longest_s")
        self._most = failures
        self._first_s = reset_s
        self._longest_s = longest_s
        self._clock = clock
        self._lock = threading.RLock()
        self._failed = 0
        self._pause_s = reset_s
        self._open_until: float | None = None
        self._is_tried = False

    @property
    def state(self) -> str:
        """`CLOSED`, `OPEN` or `HALF_OPEN`."""
        with self._lock:
            if self._open_until is None:
                return CLOSED
            return HALF_OPEN if self._is_tried or self._clock() >= self._open_until else OPEN

    @property
    def retry_after_s(self) -> float:
        """Seconds until somebody may try again; 0 if one may now."""
        with self._lock:
            return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def allows(self) -> bool:
        """True if the caller may try; it must say then how that went: `succeeded` or `failed`."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._is_tried or self._clock() < self._open_until:
                return False
            self._is_tried = True
            return True

    def succeeded(self) -> None:
        """The call went well: everybody may try."""
        with self._lock:
            self._failed = 0
            self._open_until = None
            self._is_tried = False
            self._pause_s = self._first_s

    def failed(self) -> None:
        """The call failed."""
        with self._lock:
            self._failed += 1
            if self._is_tried:
                self._pause_s = min(self._longest_s, self._pause_s * 2)
            if self._is_tried or self._failed >= self._most:
                self._open_until = self._clock() + self._pause_s
                self._is_tried = False
