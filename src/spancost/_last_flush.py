"""The last flush of a process that ends without `atexit`: by a signal, or as a forked child.

Children of multiprocessing, of Celery's prefork pool and of RQ leave by `os._exit`. The first run finalizers of their
own before that, the second send a signal of Celery, and RQ's child does one job: each is hooked where its library is
imported at all.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_TIMEOUT_S: Final = 5.0
_UID: Final = "spancost-last-flush"

_hooked: Final[set[str]] = set()
"""Libraries that tell us when a child ends."""


def flush_in_time() -> None:
    """Hand over everything that was charged and every span that waits for its export; takes five seconds at most."""
    # On a thread of its own: a signal may have interrupted a holder of any lock, and then only time is lost.
    done = threading.Event()
    flusher = threading.Thread(target=_flush_and_tell, args=(done,), name="spancost-exit", daemon=True)
    until = time.monotonic() + _TIMEOUT_S
    try:
        flusher.start()
        done.wait(_TIMEOUT_S)
    except SystemExit:  # of a signal's handler: it asks for the end that this is a part of
        done.wait(max(until - time.monotonic(), 0.0))
        raise


def _flush_and_tell(done: threading.Event) -> None:
    try:
        _flush()
    finally:
        done.set()


def _flush() -> None:
    from opentelemetry import trace

    from spancost._install import current_engine, flush, leave, shutdown

    engine = current_engine()
    if engine is not None and engine.is_used:
        leave(engine)
    flush(_TIMEOUT_S)
    shutdown(_TIMEOUT_S)
    force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        force_flush(int(_TIMEOUT_S * 1000))


def watch_children() -> None:
    """Flush at the end of every child that is forked from now on, and of this process if it is such a child."""
    if "fork" in _hooked or not hasattr(os, "register_at_fork"):
        return
    _hooked.add("fork")
    # Before each fork, since the library that forks is imported by then, and by no means on our account.
    os.register_at_fork(before=_hook_libraries)
    _hook_libraries()
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        _finalize_child()


def _hook_libraries() -> None:
    from spancost._install import current_engine

    for library, hook in _HOOKS.items():
        module = sys.modules.get(library)
        if module is None or library in _hooked:
            continue
        try:
            hook(module)
            _hooked.add(library)
        except Exception:
            engine = current_engine()
            if engine is not None:
                engine.errors.caught("fork")


def _hook_celery(signals: Any) -> None:
    signals.worker_process_shutdown.connect(_end_celery_child, weak=False, dispatch_uid=_UID)


def _end_celery_child(*_: object, **__: object) -> None:
    if _used_engine() is not None:
        # Celery has the kernel kill a child with its worker. The kernel takes the thread that has forked the child for
        # the worker, and where the broker's transport has no event loop, that thread ends before its children.
        with suppress(Exception):  # not on Linux
            sys.modules["billiard.util"].set_pdeathsig(0)
        _end_child()


def _hook_multiprocessing(util: Any) -> None:
    util.register_after_fork(watch_children, _finalize_child)


def _hook_rq(module: Any) -> None:
    base = getattr(module, "BaseWorker", None) or module.Worker
    perform_job = base.perform_job

    @functools.wraps(perform_job)
    def perform_job_and_flush(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return perform_job(self, *args, **kwargs)
        finally:
            if getattr(self, "is_horse", False):  # a child that was forked for this job
                _end_child()

    base.perform_job = perform_job_and_flush


_HOOKS: Final[Mapping[str, Callable[[Any], None]]] = {
    "celery.signals": _hook_celery,
    "multiprocessing.util": _hook_multiprocessing,
    "rq.worker": _hook_rq,
}


def _finalize_child(_: object = None) -> None:
    # After its own children have been joined. A finalizer of the parent would be forgotten at the fork.
    sys.modules["multiprocessing.util"].Finalize(None, _end_child, exitpriority=-100)


def _end_child(*_: object, **__: object) -> None:
    engine = _used_engine()
    if engine is None:
        return
    try:
        flush_in_time()
    except Exception:
        engine.errors.caught("exit")


def _used_engine() -> CostEngine | None:
    """Return the engine if it has priced anything in this process that may not have been handed over."""
    from spancost._install import current_engine

    engine = current_engine()
    return None if engine is None or not engine.is_used or engine.is_stopped else engine
