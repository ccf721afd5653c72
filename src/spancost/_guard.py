"""The one guard between spancost and its host: counts and logs our errors, and swallows them."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

logger: Final = logging.getLogger("spancost")

_LOG_AGAIN_AFTER_S: Final = 300.0
_MAX_KINDS: Final = 200


class ErrorLog:
    """Counts errors by place and logs the first of each kind, then one in five minutes.

    Args:
        reraise: Raise instead of swallowing. For tests of spancost itself, where an error is a defect.
    """

    def __init__(self, *, reraise: bool = False) -> None:
        self.reraise = reraise
        self.counts: dict[str, int] = {}
        """Errors by place, since the start."""
        self._logged_at: dict[tuple[str, str], float] = {}

    def caught(self, place: str) -> None:
        """Deal with the exception being handled; call it from `except Exception`.

        Args:
            place: Where it happened, a small constant such as `on_ending` or `meter.aws`.
        """
        self.counts[place] = self.counts.get(place, 0) + 1
        if self.reraise:
            raise  # noqa: PLE0704 - called from an except block
        error = sys.exc_info()[1]
        self.log_once(
            place, "error in %s (%s: %s); the application is not affected", place, type(error).__name__, error
        )

    def log_once(self, kind: str, message: str, *args: object, level: int = logging.WARNING) -> None:
        """Log a message unless one of its kind was logged in the last five minutes."""
        key = (kind, message)
        now = time.monotonic()
        if now - self._logged_at.get(key, -_LOG_AGAIN_AFTER_S) < _LOG_AGAIN_AFTER_S:
            return
        if len(self._logged_at) >= _MAX_KINDS:
            self._logged_at.clear()
        self._logged_at[key] = now
        try:
            logger.log(level, message, *args)
        except Exception:
            self.counts["logging"] = self.counts.get("logging", 0) + 1
