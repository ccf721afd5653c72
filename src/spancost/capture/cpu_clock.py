"""Measures in whose name each thread uses the CPU, for `compute.model: cpu`.

A thread is always busy for one *owner*: the span that is current in the context it runs in, or nobody. The owner is
looked up again wherever that can change, and the thread's CPU time up to there is charged to the one before:

- where a span becomes current or stops being it (`attach` and `detach` of OpenTelemetry's context),
- before and after each step of an asyncio event loop (`Handle._run`),
- before and after each step of a task under uvloop, whose handles are not Python's: its tasks get a coroutine around
  theirs, before any task factory of the application sees it,
- before and after a callable in a thread pool (`ThreadPoolExecutor.submit`, and with it `run_in_executor`;
  `anyio.to_thread.run_sync`), which is busy for the span that handed it over, and in a thread whose target is
  `Context.run`,
- where gevent or eventlet switch greenlets.

Nothing is patched before `start`, and `stop` undoes it. Threads of the application without a span, other event loops
(trio), `multiprocessing.pool.ThreadPool` and native code with threads of its own are not seen: idle.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import weakref
from asyncio import base_events, events, iscoroutine
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context as VarContext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

from spancost._guard import logger
from spancost.capture.facts import NODE_ATTRIBUTE, hook_failed

if TYPE_CHECKING:
    from spancost.nodes import SpanNode
    from spancost.tree import Node

_PLACE: Final = "cpu_clock"
_NS: Final = 1e-9
_SPAN_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
_GREEN: Final = ("gevent", "eventlet")
_SAME_CLOCK_NS: Final = 10_000_000

Undo = Callable[[], None]


class Owing(Protocol):
    """A thread whose CPU time is on its way to the books."""

    owed_ns: int


class Books(Protocol):
    """The engine: takes what was used, safe from re-entry."""

    epoch: int

    def book_cpu(self, node: SpanNode, cpu_s: float, thread: Owing | None = None) -> None:
        """Charge CPU-seconds to a span that is timed; what `thread` owes is paid by that."""
        ...


if TYPE_CHECKING or "gevent.monkey" not in sys.modules:
    _Local = threading.local
else:  # gevent gives each greenlet its own, and CPU time is a thread's
    _Local = sys.modules["gevent.monkey"].get_original("threading", "local")


class _Thread:
    """What one thread is busy with."""

    __slots__ = (
        "__weakref__",
        "charged_ns",
        "clock_id",
        "is_green",
        "is_switching",
        "owed_ns",
        "owed_to",
        "owner",
        "since_ns",
    )

    def __init__(self) -> None:
        self.clock_id = _clock_of_this_thread()
        """The thread's CPU clock, for others to read; None where they cannot."""
        self.owed_ns = 0
        """CPU time on its way to the books, nanoseconds: they set it to 0 as they take it."""
        self.owed_to: SpanNode | None = None
        self.owner: SpanNode | None = None
        self.since_ns = 0
        """CPU time of the thread when the owner was last charged, nanoseconds."""
        self.is_switching = False
        """Inside `_switch`: garbage collection and signal handlers may come back here."""
        self.charged_ns = 0
        """CPU time of the thread that was charged to anybody, nanoseconds."""
        self.is_green = False
        """Switches of greenlets are followed in this thread."""


_threads: Final = _Local()
_known: Final[dict[int, weakref.ref[_Thread]]] = {}
"""The threads that are alive and have had an owner, by id of their state."""
_handed_over: Final[ContextVar[tuple[SpanNode, object] | None]] = ContextVar("spancost_handed_over", default=None)
"""For whom a callable runs in a thread pool, and the OpenTelemetry context that its thread had before: that one is of
whoever has started the thread."""
_books: Books | None = None
_undos: Final[list[Undo]] = []
_current: ContextVar[Context]
"""Where OpenTelemetry keeps its current context."""
_waits_for_imports: bool = False


# --- the clock ------------------------------------------------------------------------------------


def _here() -> _Thread:
    """Return the state of this thread."""
    try:
        return cast("_Thread", _threads.state)
    except AttributeError:
        here = _threads.state = _Thread()
        _introduce(here)
        here.is_green = _follow_greenlets()
        return here


def _introduce(here: _Thread) -> None:
    key = id(here)

    def forget(_: object) -> None:
        _known.pop(key, None)

    _known[key] = weakref.ref(here, forget)


def _clock_of_this_thread() -> int | None:
    """Return the id of a clock by which other threads can read the CPU time of this one; None where there is none."""
    if sys.platform != "linux":
        return None
    # As clock_getcpuclockid(3) makes it of a thread's kernel id; of a thread that is gone it is an error to the kernel,
    # where pthread_getcpuclockid(3) may crash. gevent has other ids for threads, hence the check.
    clock_id = (~threading.get_native_id() << 3) | 6
    try:
        elsewhere_ns, here_ns = time.clock_gettime_ns(clock_id), time.thread_time_ns()
    except OSError:
        return None
    return clock_id if abs(here_ns - elsewhere_ns) < _SAME_CLOCK_NS else None


def _after_fork_in_child() -> None:
    """Only the thread that has forked is there, under another kernel id."""
    _known.clear()
    here: _Thread | None = getattr(_threads, "state", None)
    if here is not None:
        here.clock_id = _clock_of_this_thread()
        here.owed_ns = 0
        _introduce(here)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _switch(node: SpanNode | None) -> None:
    """From now on this thread is busy for `node`; what it has used up to now is charged to the owner so far."""
    try:
        here: _Thread = _threads.state
    except AttributeError:
        here = _here()
    owner = here.owner
    if node is owner or here.is_switching:
        return
    here.is_switching = True
    try:
        now_ns = time.thread_time_ns()
        used_ns = now_ns - here.since_ns
        books = _books
        # A forked child has the epoch of its own engine, and a thread clock that starts at zero.
        if owner is None or used_ns <= 0 or books is None or owner.root.epoch != books.epoch:  # type: ignore[attr-defined]
            here.since_ns = now_ns
            here.owner = node
            return
        here.owed_to = owner
        here.owed_ns = used_ns
        here.since_ns = now_ns
        here.owner = node
        here.charged_ns += used_ns
        books.book_cpu(owner, used_ns * _NS, here)
        here.owed_to = None
    finally:
        here.is_switching = False


class ThreadClock:
    """What the cost tree of an engine asks of the thread that calls it."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def in_flight(self) -> tuple[SpanNode, float] | None:
        """Return the owner of this thread and the CPU-seconds not charged yet; the caller charges them."""
        here = _here()
        owner = here.owner
        if owner is None or here.is_switching or owner.root.epoch != self._books.epoch:  # type: ignore[attr-defined]
            return None
        now_ns = time.thread_time_ns()
        used_ns = now_ns - here.since_ns
        here.since_ns = now_ns
        if used_ns <= 0:
            return None
        here.charged_ns += used_ns
        return owner, used_ns * _NS

    def elsewhere(self) -> Iterator[tuple[SpanNode, float]]:
        """Return for whom other threads are busy, and the CPU-seconds not charged yet; under the lock of the books."""
        here, epoch = _here(), self._books.epoch
        for known in list(_known.values()):
            other = known()
            if other is None or other is here or other.clock_id is None:
                continue
            owner, since_ns, owed_ns = other.owner, other.since_ns, other.owed_ns
            if owed_ns:  # it waits for the lock
                owner = other.owed_to
            if owner is None or owner.root.epoch != epoch:  # type: ignore[attr-defined]
                continue
            try:
                used_ns = owed_ns or time.clock_gettime_ns(other.clock_id) - since_ns
            except OSError:  # it has ended
                continue
            is_same = other.since_ns == since_ns and other.owed_ns == owed_ns
            if used_ns > 0 and is_same:  # else it has switched meanwhile: next time
                yield owner, used_ns * _NS

    def unowned(self) -> tuple[int, float] | None:
        """Return this thread, and its CPU-seconds so far that were charged to nobody.

        None where tasks or greenlets take turns: then they may be anybody's.
        """
        here = _here()
        if here.is_green or events._get_running_loop() is not None:  # pyright: ignore[reportPrivateUsage]
            return None
        now_ns = time.thread_time_ns()
        in_flight_ns = 0 if here.owner is None else now_ns - here.since_ns
        return threading.get_ident(), (now_ns - in_flight_ns - here.charged_ns) * _NS

    def ended(self, node: Node) -> None:
        """Go on in the name of the nearest open span, after `in_flight`: some spans end before they are detached."""
        here = _here()
        if here.owner is node and not here.is_switching:
            here.owner = _open(node)

    def claim(self, cpu_s: float) -> None:
        """Note that unowned time of this thread was charged.

        Args:
            cpu_s: CPU-seconds.
        """
        _here().charged_ns += round(cpu_s / _NS)


def _open(node: Any) -> SpanNode | None:
    """Return the nearest span at or above `node` that is open and timed, unless it belongs to another engine."""
    while node is not None:
        if node.is_open and node.is_timed:
            root, books = getattr(node, "root", None), _books
            is_ours = root is not None and books is not None and root.epoch == books.epoch and not root.is_closed
            return node if is_ours else None
        node = node.parent
    return None


def _wanted() -> SpanNode | None:
    """Return for whom the running code is busy."""
    context = _current.get()
    handed = _handed_over.get()
    if handed is None:
        return _open(getattr(context.get(_SPAN_KEY), NODE_ATTRIBUTE, None)) if context else None
    if handed[1] is context:
        return _open(handed[0])
    node = _open(getattr(context.get(_SPAN_KEY), NODE_ATTRIBUTE, None))
    return _open(handed[0]) if node is None else node


def _follow() -> None:
    """Look up the owner again; never raises."""
    try:
        _switch(_wanted())
    except Exception:
        hook_failed(_PLACE)


def _return_to(before: SpanNode | None) -> None:
    """Go back to the owner from before a callable; never raises."""
    try:
        _switch(_open(before))
    except Exception:
        hook_failed(_PLACE)


def _handed(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return `func`, timed for the present owner when it runs elsewhere; itself if there is none."""
    try:
        node = _wanted()
    except Exception:
        hook_failed(_PLACE)
        return func
    return func if node is None else functools.partial(_run_for, node, func)


def _run_for(node: SpanNode, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    before, token = _here().owner, None
    try:
        token = _handed_over.set((node, _current.get()))
        _switch(_open(node))
    except Exception:
        hook_failed(_PLACE)
    try:
        return func(*args, **kwargs)
    finally:
        if token is not None:
            _handed_over.reset(token)
        _return_to(before)


# --- where the owner can change -------------------------------------------------------------------


def start(books: Books) -> bool:
    """Measure for an engine from now on; the one that was started last is the one that is charged.

    Returns:
        False where CPU time cannot be measured; that is logged.
    """
    global _books, _current
    if _books is None:
        runtime: Any = getattr(otel_context, "_RUNTIME_CONTEXT", None)
        current = getattr(runtime, "_current_context", None)
        if not isinstance(current, ContextVar) or not hasattr(time, "thread_time_ns"):
            logger.warning("compute.model cpu: the CPU time of spans cannot be measured here; occupancy is used")
            return False
        _current = cast("ContextVar[Context]", current)
        _books = books
        _apply(lambda: _patch_context(type(runtime)))
        for patch in (_patch_handles, _patch_eager_tasks, _patch_pools, _patch_threads):
            _apply(patch)
        _wait_for_imports()
    _books = books
    return True


def stop(books: Books) -> None:
    """Undo all patches if this engine is the one that is measured for."""
    global _books
    if _books is not books:
        return
    _books = None
    while _undos:
        _undos.pop()()


def _apply(patch: Callable[[], Undo]) -> None:
    try:
        _undos.append(patch())
    except Exception:
        hook_failed(_PLACE)


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> Undo:
    """Put a function in the place of another; the one that undoes it leaves alone what others have put there since."""
    inherited = name not in owner.__dict__
    original = getattr(owner, name)
    ours = functools.wraps(original)(make(original))
    setattr(owner, name, ours)

    def undo() -> None:
        if owner.__dict__.get(name) is not ours:
            return
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, original)

    return undo


def _patch_context(runtime: Any) -> Undo:
    def attaching(original: Any) -> Any:
        def attach(self: Any, context: Any) -> Any:
            token = original(self, context)
            _follow()
            return token

        return attach

    def detaching(original: Any) -> Any:
        def detach(self: Any, token: Any) -> None:
            try:
                original(self, token)
            finally:
                _follow()

        return detach

    undos = [_replace(runtime, "attach", attaching), _replace(runtime, "detach", detaching)]
    return lambda: _undo_all(undos)


def _undo_all(undos: list[Undo]) -> None:
    while undos:
        undos.pop()()


def _patch_handles() -> Undo:
    def running(original: Any) -> Any:
        def _run(self: Any) -> None:
            try:
                variables = self._context
                context = variables.get(_current)
                node = _open(getattr(context.get(_SPAN_KEY), NODE_ATTRIBUTE, None)) if context else None
                if node is None and (handed := variables.get(_handed_over)) is not None:
                    node = _open(handed[0])
                _switch(node)
            except Exception:
                hook_failed(_PLACE)
            try:
                original(self)
            finally:
                self = None  # as the original does, for the sake of reference cycles
                # In the thread's own context again: a step that began before the patch leaves no owner behind.
                _follow()

        return _run

    return _replace(events.Handle, "_run", running)


_NOTHING: Final[Context] = Context()


def _patch_eager_tasks() -> Undo:
    """Since Python 3.12 a task may take its first step while it is made: what it has attached is not its maker's."""
    if sys.version_info < (3, 12):
        return lambda: None

    def creating(original: Any) -> Any:
        def create_task(self: Any, coro: Any, **options: Any) -> Any:
            task = original(self, coro, **options)
            _follow()
            return task

        return create_task

    return _replace(base_events.BaseEventLoop, "create_task", creating)


def _patch_pools() -> Undo:
    def submitting(original: Any) -> Any:
        def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return original(self, _handed(fn), *args, **kwargs)

        return submit

    return _replace(ThreadPoolExecutor, "submit", submitting)


def _patch_threads() -> Undo:
    """Threads that are started in a context: by `Thread(target=context.run)`, and since Python 3.14 by themselves."""

    def running(original: Any) -> Any:
        def run(self: Any) -> None:
            node = None
            try:
                node = _carried_by(getattr(self, "_target", None)) or _wanted()
            except Exception:
                hook_failed(_PLACE)
            if node is None:
                original(self)
            else:
                _run_for(node, original, self)

        return run

    return _replace(threading.Thread, "run", running)


def _carried_by(target: Any) -> SpanNode | None:
    while isinstance(target, functools.partial):
        target = target.func  # pyright: ignore[reportUnknownMemberType]
    context = getattr(target, "__self__", None)  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(context, VarContext):
        return None
    return _open(getattr(context.get(_current, _NOTHING).get(_SPAN_KEY), NODE_ATTRIBUTE, None))


def _follow_greenlets() -> bool:
    """Follow the greenlets of this thread where there are some; the tracer of somebody else is kept."""
    if not any(name in sys.modules for name in _GREEN):
        return False
    import greenlet

    theirs: Any = greenlet.gettrace()

    def trace(event: str, args: Any) -> None:
        if theirs is not None:
            theirs(event, args)
        if _books is not None:
            _follow()

    greenlet.settrace(trace)
    return True


# --- libraries that may be imported later -----------------------------------------------------------


def _wait_for_imports() -> None:
    global _waits_for_imports
    patch_imported()
    if _waits_for_imports:
        return
    try:
        from wrapt import register_post_import_hook
    except ImportError:  # then when the first span starts, and before each flush
        return
    _waits_for_imports = True
    for module in _LATER:
        register_post_import_hook(lambda _module: patch_imported(), module)


def patch_imported() -> None:
    """Patch what has been imported meanwhile; does nothing while nobody measures."""
    if _books is None:
        return
    for name, patch in _LATER.items():
        module = sys.modules.get(name)
        if module is not None and not getattr(module, _MARK, False):
            setattr(module, _MARK, True)
            _apply(functools.partial(_marked, module, patch))


def _marked(module: Any, patch: Callable[[Any], Undo]) -> Undo:
    undo = patch(module)

    def unmark() -> None:
        undo()
        setattr(module, _MARK, False)

    return unmark


def _patch_anyio(module: Any) -> Undo:
    def running(original: Any) -> Any:
        async def run_sync(func: Any, *args: Any, **kwargs: Any) -> Any:
            return await original(_handed(func), *args, **kwargs)

        return run_sync

    return _replace(module, "run_sync", running)


def _patch_uvloop(module: Any) -> Undo:
    def creating(original: Any) -> Any:
        def create_task(self: Any, coro: Any, *args: Any, **kwargs: Any) -> Any:
            # What is no coroutine is refused by the loop itself.
            return original(self, _Stepped(coro) if iscoroutine(coro) else coro, *args, **kwargs)

        return create_task

    return _replace(module.Loop, "create_task", creating)


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are timed; it looks like the one inside."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        before = _here().owner
        _follow()
        try:
            return self._inner.send(value)
        finally:
            _return_to(before)

    def throw(self, *args: Any) -> Any:
        before = _here().owner
        _follow()
        try:
            return self._inner.throw(*args)
        finally:
            _return_to(before)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return repr(self._inner)


_MARK: Final = "_spancost_cpu_clock"
_LATER: Final[dict[str, Callable[[Any], Undo]]] = {"anyio.to_thread": _patch_anyio, "uvloop": _patch_uvloop}
