"""The shop's own `/metrics` for apps that run under gunicorn: one answer for all workers."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


def all_workers() -> tuple[bytes, str]:
    """Body and content type of a scrape over all workers of this app."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
