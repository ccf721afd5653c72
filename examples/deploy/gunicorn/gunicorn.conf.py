"""gunicorn for a priced application: opentelemetry-instrument gunicorn -c gunicorn.conf.py shop:app."""

from __future__ import annotations

import os
from typing import Any

bind = os.environ.get("BIND", "127.0.0.1:8000")
# All workers share the price of the machine by themselves: nothing about their number is told to spancost.
workers = 2
threads = 4
# Requests that are under way when a worker is to go may end, and then its last figures are sent: both fit in here.
graceful_timeout = 30
# A worker that is renewed hands over what it has counted, and loses nothing.
max_requests = 10_000
max_requests_jitter = 1_000


def child_exit(server: Any, worker: Any) -> None:
    """Tell prometheus_client which worker is gone, where several workers share one /metrics."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
