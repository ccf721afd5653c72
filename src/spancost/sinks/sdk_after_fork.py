"""Makes the OpenTelemetry SDK's metrics usable in a forked child.

A fork copies the SDK's locks as they are: one that another thread held in the middle of an export is held for ever in
the child, where that thread does not exist, and whoever exports there hangs. It copies the sums, too, which the child
would export again under its own name, and open connections, on which two processes would then talk at once. The SDK
renews its threads by itself, but none of these (as of 1.45), and its new threads may export before any of this is done.

So a fork waits for a collection or an export that is under way, for a moment: what the exporter's libraries hold (locks
of modules that are imported at the first export, of connections, of cookies) cannot be renewed from here.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from spancost import fork_order
from spancost.sinks.sdk_readers import readers_of

_MAX_DEPTH: Final = 4
"""From an exporter to the session of its connections."""
_COLLECT: Final = "_collect"
_OF_LOCKS: Final = ("acquire", "release", "_at_fork_reinit")
_CLOSED_S: Final = 10.0
"""For which a child does not collect unless it is renewed; after that it does as it would without us."""
_WAIT_S: Final = 0.25
"""For which a fork waits for collections and exports."""
_PATIENCE_S: Final = 10.0
"""For which a fork does not wait again when it has waited in vain: exports to a dead endpoint are always under way."""

_providers: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


class _Gate:
    """A reader's way to its sums, which in a forked child are the parent's until they are renewed."""

    def __init__(self, collect: Callable[..., Any]) -> None:
        self.collect = collect
        self._process = os.getpid()
        self._child_since: float | None = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Collect, or give nothing, which a reader does not export."""
        if self._process != os.getpid():
            now = time.monotonic()
            if self._child_since is None:
                self._child_since = now
            if now - self._child_since < _CLOSED_S:
                return None
        return self.collect(*arguments, **named)


def close_until_renewed(provider: Any) -> None:
    """Have the readers of a MeterProvider collect nothing in a forked child before `renew` is through.

    Args:
        provider: An SDK MeterProvider; what looks otherwise stays as it is.
    """
    _providers.add(provider)


_held: Final[dict[int, list[Any]]] = {}
"""Locks, by the thread that forks."""
_impatient_until = 0.0


def _before() -> None:
    _held[threading.get_ident()] = _hold_all()
    _close_all()


def _close_all() -> None:
    for provider in list(_providers):
        for reader in readers_of(provider):
            collect = getattr(reader, _COLLECT, None)
            if callable(collect) and not isinstance(collect, _Gate):
                setattr(reader, _COLLECT, _Gate(collect))


def _hold_all() -> list[Any]:
    """Take the locks under which readers collect, export and wait, in their order, as far as they come free in time."""
    global _impatient_until
    held: list[Any] = []
    until = time.monotonic() + _WAIT_S
    for lock in [lock for provider in list(_providers) for lock in _locks_of(provider)]:
        now = time.monotonic()
        is_patient = now >= _impatient_until
        with suppress(Exception):  # a lock of another making
            if lock.acquire(timeout=max(until - now, 0.0) if is_patient else 0.0):
                held.append(lock)
            elif is_patient:
                _impatient_until = until + _PATIENCE_S
    return held


def _locks_of(provider: Any) -> Iterator[Any]:
    readers = readers_of(provider)
    for lock in (
        getattr(getattr(provider, "_measurement_consumer", None), "_lock", None),
        *(getattr(reader, "_export_lock", None) for reader in readers),
        # A reader goes on to wait for its next time, and has this for a moment.
        *(getattr(getattr(reader, "_shutdown_event", None), "_cond", None) for reader in readers),
    ):
        if all(callable(getattr(lock, method, None)) for method in _OF_LOCKS):  # gevent has locks of its own
            yield lock


def _release_own() -> None:
    for lock in reversed(_held.pop(threading.get_ident(), [])):
        lock.release()


def _in_parent() -> None:
    for provider in list(_providers):
        _open(provider)
    _release_own()


def _in_child() -> None:
    """Free what was held; the gates stay until `renew`, which comes later."""
    # What this thread holds may be waited for already, by a thread that the SDK has started in here.
    _release_own()
    for locks in list(_held.values()):
        for lock in locks:
            lock._at_fork_reinit()
    _held.clear()


def _open(provider: Any) -> None:
    for reader in readers_of(provider):
        gate = getattr(reader, _COLLECT, None)
        if isinstance(gate, _Gate):
            setattr(reader, _COLLECT, gate.collect)


# The gates are there around a fork only: at any other time they would stand in every traceback of the SDK. Above the
# engine's: a collection has the SDK's lock when it asks the engine.
fork_order.register_above(fork_order.ForkHooks(_before, _in_parent, _in_child))


def renew(provider: Any, scope: str) -> None:
    """Free the locks of a MeterProvider and forget connections, and what one scope has recorded.

    To be called in the child, right after the fork. What an SDK does not have, or keeps elsewhere, stays as it is.

    Args:
        provider: An SDK MeterProvider.

        scope: Name of the instrumentation scope whose sums start at zero.
    """
    try:
        _renew(provider, scope)
    finally:
        _open(provider)


def _renew(provider: Any, scope: str) -> None:
    consumer = getattr(provider, "_measurement_consumer", None)
    storages: dict[Any, Any] = getattr(consumer, "_reader_storages", {})
    _free(consumer)
    for reader, storage in list(storages.items()):
        exporter = getattr(reader, "_exporter", None)
        for holder in (reader, exporter, storage):
            _free(holder)
        _forget_connections(exporter)
        matches: dict[Any, Any] = getattr(storage, "_instrument_view_instrument_matches", {})
        for instrument in list(matches):
            if getattr(getattr(instrument, "instrumentation_scope", None), "name", None) == scope:
                del matches[instrument]
            else:
                _free_all(matches[instrument])


def _free_all(matches: Iterable[Any]) -> None:
    for match in matches:
        _free(match)
        for aggregation in list(getattr(match, "_attributes_aggregation", {}).values()):
            _free(aggregation)
            _free(getattr(aggregation, "_reservoir", None))


def _free(holder: Any) -> None:
    """Free the locks among an object's attributes, which nobody can hold now."""
    for value in list(getattr(holder, "__dict__", {}).values()):
        # Locks, whoever has made them, have `acquire` and can be told of a fork; conditions and events are of the SDK's
        # threads, which are new.
        if hasattr(value, "acquire") and hasattr(value, "release"):
            reinit = getattr(value, "_at_fork_reinit", None)
            if reinit is not None:
                reinit()


def _forget_connections(exporter: Any) -> None:
    """Have an exporter over HTTP open connections of its own; those of the parent stay open there."""
    for session in _sessions(exporter, _MAX_DEPTH):
        for adapter in list(session.adapters.values()):
            with suppress(Exception):  # an adapter of another making
                adapter.init_poolmanager(adapter._pool_connections, adapter._pool_maxsize, block=adapter._pool_block)


def _sessions(holder: Any, depth: int) -> Iterator[Any]:
    for value in list(getattr(holder, "__dict__", {}).values()):
        if isinstance(getattr(value, "adapters", None), dict) and hasattr(value, "mount"):
            yield value
        elif depth > 1 and type(value).__module__.startswith("opentelemetry."):
            yield from _sessions(value, depth - 1)
