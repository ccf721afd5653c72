"""gunicorn settings shared by storefront and office: what prometheus_client asks for with several workers."""

from __future__ import annotations

from typing import Any, Protocol, cast

from prometheus_client import multiprocess


class _Worker(Protocol):
    pid: int


def child_exit(server: object, worker: _Worker) -> None:
    """Called in the master when a worker has ended."""
    # Its parameters carry no types.
    cast(Any, multiprocess).mark_process_dead(worker.pid)
