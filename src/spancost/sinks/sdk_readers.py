"""Finds the readers of an OpenTelemetry SDK MeterProvider."""

from __future__ import annotations

from typing import Any


def readers_of(provider: Any) -> list[Any]:
    """Return the readers of a MeterProvider, also those that were added later; none of what is no such provider."""
    # Where the SDK keeps its storages elsewhere: newer ones have the first readers on the provider itself, older ones
    # in its configuration.
    readers: Any = getattr(getattr(provider, "_measurement_consumer", None), "_reader_storages", None)
    if readers is None:
        readers = getattr(provider, "_metric_readers", None)
    if readers is None:
        readers = getattr(getattr(provider, "_sdk_config", None), "metric_readers", ())
    return list(readers)
