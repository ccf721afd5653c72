"""Ties our capture hooks to the OpenTelemetry instrumentors, before or after these are active.

`opentelemetry-instrument` passes no hooks, and no environment variable does. So `BaseInstrumentor.instrument` is
wrapped once: it adds our hooks to those of the user, by the class name of the instrumentor. Frameworks whose
instrumentation has no hook at the right place are patched when their instrumentor class is defined or used.
Nothing of a framework is imported by us before its instrumentation is.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, cast

from spancost.capture.facts import hook_failed

_PLACE = "instrumentors"

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Capture:
    """What is done for one instrumentor class."""

    module: str
    """Our module, imported when the instrumentor is."""
    hooks: tuple[str, ...] = ()
    """Functions of `module` passed to `instrument` under their own names."""
    patches: bool = False
    """`module.patch()` is called once."""
    attribute_prefix: str = ""
    """How the holder of active hooks spells them: prefix of the attribute name."""
    holder_module: str = ""
    """Module whose `holder_class` holds the hooks of an active instrumentor; empty: the instrumentor does."""
    holder_class: str = ""


_ASGI = _Capture("spancost.capture.asgi", patches=True)
_BOTOCORE = _Capture("spancost.capture.aws", hooks=("request_hook", "response_hook"))
_HTTPX = _Capture("spancost.capture.http_clients.httpx", hooks=("response_hook", "async_response_hook"))

_CAPTURES: dict[str, _Capture] = {
    "AioHttpClientInstrumentor": _Capture("spancost.capture.http_clients.aiohttp", hooks=("response_hook",)),
    "AioHttpServerInstrumentor": _Capture("spancost.capture.aiohttp_server", patches=True),
    "AiobotocoreInstrumentor": _BOTOCORE,
    "BotocoreInstrumentor": _BOTOCORE,
    "DjangoInstrumentor": _Capture(
        "spancost.capture.django",
        hooks=("response_hook",),
        attribute_prefix="_otel_",
        holder_module="opentelemetry.instrumentation.django.middleware.otel_middleware",
        holder_class="_DjangoMiddleware",
    ),
    "FastAPIInstrumentor": _ASGI,
    "FlaskInstrumentor": _Capture("spancost.capture.flask", patches=True),
    "HTTPX2ClientInstrumentor": _HTTPX,
    "HTTPXClientInstrumentor": _HTTPX,
    "RequestsInstrumentor": _Capture("spancost.capture.http_clients.requests", hooks=("response_hook",)),
    "StarletteInstrumentor": _ASGI,
    "URLLib3Instrumentor": _Capture("spancost.capture.http_clients.urllib3", hooks=("request_hook", "response_hook")),
}

_undo: Undo | None = None


def hook_instrumentors() -> Undo:
    """Chain our capture hooks with those of all instrumentors, now and later.

    May be called before any instrumentor runs (`opentelemetry_pre_instrument`) and again at any time. Does nothing
    where `opentelemetry-instrumentation` is not installed. Never raises.

    Returns:
        A function that takes the hooks off again; the same one until it has been called.
    """
    global _undo
    if _undo is None:
        try:
            _undo = _Hooks().install()
        except ImportError:
            return _nothing
        except Exception:
            hook_failed(_PLACE)
            return _nothing
    return _undo


def _nothing() -> None:
    pass


class _Hooks:
    def __init__(self) -> None:
        from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

        self._base: Any = BaseInstrumentor
        self._patched: set[str] = set()
        self._undos: list[Undo] = []

    def install(self) -> Undo:
        base = self._base
        original = base.instrument
        hooks = self

        @functools.wraps(original)
        def instrument(self: Any, **kwargs: Any) -> Any:
            cls: type = self.__class__
            return original(self, **hooks.with_ours(cls, kwargs))

        def __init_subclass__(cls: type, **kwargs: Any) -> None:
            super(base, cls).__init_subclass__(**kwargs)
            hooks.prepare(cls)

        defined: Any = classmethod(cast("Any", __init_subclass__))
        base.instrument = instrument
        base.__init_subclass__ = defined

        def restore() -> None:
            if base.__dict__.get("instrument") is instrument:
                base.instrument = original
            if base.__dict__.get("__init_subclass__") is defined:
                del base.__init_subclass__

        self._undos.append(restore)
        for cls in _subclasses(base):
            self.prepare(cls)
            self._join_active(cls)
        # A middleware put around an application by hand has no instrumentor.
        if "opentelemetry.instrumentation.asgi" in sys.modules:
            self._patch(_ASGI.module)
        return self.undo

    def undo(self) -> None:
        global _undo
        for step in reversed(self._undos):
            step()
        self._undos.clear()
        self._patched.clear()
        _undo = None

    def with_ours(self, cls: type, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of `instrument` with our hooks in front of the user's."""
        try:
            self.prepare(cls)
            capture = _capture_of(cls)
            if capture is None or not capture.hooks:
                return kwargs
            module = import_module(capture.module)
            ours = {name: _chain(getattr(module, name), kwargs.get(name)) for name in capture.hooks}
        except Exception:
            hook_failed(_PLACE)
            return kwargs
        return {**kwargs, **ours}

    def prepare(self, cls: type) -> None:
        """Patch what the instrumentation of this class offers no hook for."""
        capture = _capture_of(cls)
        if capture is not None and capture.patches:
            self._patch(capture.module)

    def _patch(self, module: str) -> None:
        if module in self._patched:
            return
        self._patched.add(module)
        try:
            self._undos.append(import_module(module).patch())
        except Exception:
            hook_failed(_PLACE)

    def _join_active(self, cls: Any) -> None:
        capture = _capture_of(cls)
        # `__dict__`: the singleton and its flag are per class, and must not be made by asking.
        instrumentor = cls.__dict__.get("_instance")
        if (
            capture is None
            or not capture.hooks
            or not getattr(instrumentor, "_is_instrumented_by_opentelemetry", False)
        ):
            return
        try:
            holder: Any = instrumentor
            if capture.holder_module:
                holder = getattr(sys.modules[capture.holder_module], capture.holder_class)
            module = import_module(capture.module)
            for name in capture.hooks:
                self._join(holder, capture.attribute_prefix + name, getattr(module, name))
        except Exception:
            hook_failed(_PLACE)

    def _join(self, holder: Any, attribute: str, ours: Callable[..., Any]) -> None:
        if not hasattr(holder, attribute):
            return  # the instrumentations of HTTP clients keep their hooks in closures, out of reach
        theirs = getattr(holder, attribute, None)
        both = _chain(ours, theirs)
        setattr(holder, attribute, both)

        def restore() -> None:
            if getattr(holder, attribute, None) is both:
                setattr(holder, attribute, theirs)

        self._undos.append(restore)


def _chain(ours: Callable[..., Any], theirs: Any) -> Callable[..., Any]:
    """Return a hook that calls ours, which never raises, and then the user's, whose exceptions stay as they are."""
    if not callable(theirs) or theirs is ours or getattr(theirs, "_spancost_chained", None) is ours:
        return theirs if callable(theirs) else ours
    if iscoroutinefunction(ours):
        return _chain_async(ours, theirs)

    @functools.wraps(theirs)
    def both(*args: Any, **kwargs: Any) -> Any:
        ours(*args, **kwargs)
        return theirs(*args, **kwargs)

    both.__dict__["_spancost_chained"] = ours
    return both


def _chain_async(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    if not iscoroutinefunction(theirs):
        return ours  # httpx's instrumentation takes no other hook here: the user's would not have run

    @functools.wraps(theirs)
    async def both(*args: Any, **kwargs: Any) -> Any:
        await ours(*args, **kwargs)
        return await theirs(*args, **kwargs)

    both.__dict__["_spancost_chained"] = ours
    return both


def _capture_of(cls: type) -> _Capture | None:
    for base in cls.__mro__:
        capture = _CAPTURES.get(base.__name__)
        if capture is not None:
            return capture
    return None


def _subclasses(cls: type) -> Iterator[type]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
