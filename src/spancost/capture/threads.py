"""Has `attribute()` follow threads and thread pools where no instrumentation carries the context there.

A thread begins with an empty context, so what it spends would be nobody's. Only spancost's own key is carried: the
spans of the thread have the parents that they would have without it. opentelemetry-instrumentation-threading carries
the whole context, and this key with it; both together are no different from that one alone.

A thread that serves everybody must not go on as the tenant in whose request it happened to be started: workers of
pools and background (daemon) threads carry nothing. A pool's tasks carry what is theirs.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor
from typing import Any, Final

from opentelemetry import context as otel_context

from spancost.attribution import ATTRIBUTION_KEY, tags_of
from spancost.capture.facts import hook_failed
from spancost.window import Attribution

_PLACE: Final = "threads"
_RUN: Final = "run"
_POOLS: Final = ("concurrent.futures", "multiprocessing.", "anyio.", "opentelemetry.", "spancost.")
"""Modules whose threads outlive what they were started in."""

_undo: Callable[[], None] | None = None


def follow_threads() -> Callable[[], None]:
    """Carry the attribution into threads and tasks of thread pools from now on; never raises.

    Returns:
        A function that stops it; the same one until it has been called.
    """
    global _undo
    if _undo is None:
        _undo = _patch()
    return _undo


def _patch() -> Callable[[], None]:
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    @functools.wraps(start)
    def start_with_attribution(self: threading.Thread) -> None:
        try:
            tags = tags_of(None)
            if tags is not None and not _serves_everybody(self):
                _hand_over(self, tags)
        except Exception:
            hook_failed(_PLACE)
        start(self)

    @functools.wraps(submit)
    def submit_with_attribution(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        tags = tags_of(None)
        if tags is None:
            return submit(self, fn, *args, **kwargs)
        return submit(self, _as_somebody(fn, tags), *args, **kwargs)

    threading.Thread.start = start_with_attribution
    ThreadPoolExecutor.submit = submit_with_attribution

    def undo() -> None:
        global _undo
        # One that has been patched over since stays: taking it off would take the other one off, too.
        if threading.Thread.start is start_with_attribution:
            threading.Thread.start = start
        if ThreadPoolExecutor.submit is submit_with_attribution:
            ThreadPoolExecutor.submit = submit
        _undo = None

    return undo


def _serves_everybody(thread: threading.Thread) -> bool:
    """True for a worker of a pool, and for a thread that was made to run in the background."""
    if thread.daemon and not threading.current_thread().daemon:
        return True
    made_by = (type(thread).__module__, getattr(getattr(thread, "_target", None), "__module__", None))
    return any(isinstance(module, str) and module.startswith(_POOLS) for module in made_by)


def _hand_over(thread: threading.Thread, tags: Attribution) -> None:
    # On the object, since a class of the application may have a `run` of its own.
    run = _as_somebody(thread.run, tags)

    def run_once() -> None:
        thread.__dict__.pop(_RUN, None)  # else the thread would refer to itself for ever
        run()

    thread.__dict__[_RUN] = run_once


def _as_somebody(function: Callable[..., Any], tags: Attribution) -> Callable[..., Any]:
    def with_attribution(*args: Any, **kwargs: Any) -> Any:
        token = otel_context.attach(otel_context.set_value(ATTRIBUTION_KEY, tags))
        try:
            return function(*args, **kwargs)
        finally:
            otel_context.detach(token)

    return with_attribution
