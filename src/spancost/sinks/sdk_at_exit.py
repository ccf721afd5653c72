"""Gives the OpenTelemetry SDK's metrics time for their last collection.

A reader that exports every so often collects once more when it is shut down, and allows its callbacks no more time for
that than its interval (as of 1.45; its other collections have the export timeout). Where the interval is short and the
machine is busy, the collection is given up, and with it what was counted since the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_INTERVAL: Final = "_export_interval_millis"
_TIMEOUT: Final = "_export_timeout_millis"


def allow_last_collection(readers: Iterable[Any]) -> None:
    """Let readers collect for as long as their export may take; what does not look like the SDK's stays as it is.

    To be called at the end of the process only: the thread that exports has read its interval when it began, and one
    that begins in a forked child would take the longer time for it.

    Args:
        readers: Those of an SDK MeterProvider.
    """
    for reader in readers:
        interval, timeout = getattr(reader, _INTERVAL, None), getattr(reader, _TIMEOUT, None)
        if isinstance(interval, int | float) and isinstance(timeout, int | float) and interval < timeout:
            setattr(reader, _INTERVAL, timeout)
