"""Whose cost it is: feature, tenant, team and free labels."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry import trace

from spancost import names
from spancost.capture.facts import NODE_ATTRIBUTE
from spancost.each_step import wrapped_async_generator, wrapped_generator
from spancost.window import Attribution, filled, free_labels
from spancost.window import label_text as _label

_CONTEXT_KEY: Final = "spancost-attribution"
ATTRIBUTION_KEY: Final = _CONTEXT_KEY
"""Where `attribute()` leaves its `Attribution` in a context."""
ATTRIBUTION_ATTRIBUTES: Final = frozenset({names.FEATURE, names.TENANT, names.TEAM})

_F = TypeVar("_F", bound=Callable[..., Any])


def tags_of(context: otel_context.Context | None) -> Attribution | None:
    """Return what `attribute()` has set in a context (the current one by default)."""
    return cast("Attribution | None", otel_context.get_value(_CONTEXT_KEY, context))


_entered: Final[ContextVar[tuple[tuple[attribute, Any], ...]]] = ContextVar("spancost-entered", default=())
"""What this context has entered and not left, with the tokens. Objects may be shared, tokens belong to one context."""


class attribute:
    """Say whose cost the work inside is: a context manager and a decorator, sync and async.

    Every span that starts inside carries these labels, in child tasks, threads and tasks of thread pools, too, but not
    in background (daemon) threads, which serve others as well. Keys that are still empty on the local root are set
    there, so that the request's own compute and egress follow. Inner calls override outer ones label by label.

    Args:
        feature: Product feature, for example `checkout`.

        tenant: Customer or account. Do not use personal data.

        team: Owner.

        **labels: Free labels, at most ten, such as `cost_center="4711"`; on priced spans `spancost.label.<name>`.

    Example:
        >>> from spancost import attribute
        >>> with attribute(feature="checkout", tenant="acme"):
        ...     pass
    """

    __slots__ = ("_given",)

    def __init__(
        self, *, feature: str | None = None, tenant: str | None = None, team: str | None = None, **labels: str
    ) -> None:
        free = free_labels((name, _label(value)) for name, value in labels.items())
        self._given = Attribution(_label(feature), _label(tenant), _label(team), free)

    def __enter__(self) -> attribute:
        outer = tags_of(None)
        tags = self._given if outer is None else filled(self._given, outer)
        token = otel_context.attach(otel_context.set_value(_CONTEXT_KEY, tags))
        _entered.set((*_entered.get(), (self, token)))
        node = getattr(trace.get_current_span(), NODE_ATTRIBUTE, None)
        if node is not None:
            root = getattr(node, "root", None)
            # There is none where our own start hook failed. One that has ended keeps whose it was: work in the
            # background that is somebody else's must not relabel the request.
            if root is not None and root.span is not None:
                root.attribution = filled(root.attribution, tags)
        return self

    def __exit__(self, *_: object) -> None:
        entered = _entered.get()
        for place in range(len(entered) - 1, -1, -1):
            if entered[place][0] is self:
                _entered.set(entered[:place] + entered[place + 1 :])
                otel_context.detach(entered[place][1])
                return

    async def __aenter__(self) -> attribute:
        return self.__enter__()

    async def __aexit__(self, *details: object) -> None:
        self.__exit__(*details)

    def __call__(self, function: _F) -> _F:
        """Decorate a function, coroutine function, generator function or async generator function."""

        def again() -> attribute:
            fresh = attribute()
            fresh._given = self._given
            return fresh

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_task(*args: Any, **kwargs: Any) -> Any:
                with again():
                    return await function(*args, **kwargs)

            return cast("_F", in_task)
        if inspect.isasyncgenfunction(function):

            async def begin() -> _Labelled:
                return _Labelled(again)

            return cast("_F", wrapped_async_generator(function, begin))
        if inspect.isgeneratorfunction(function):
            return cast("_F", wrapped_generator(function, lambda: _Labelled(again)))

        @functools.wraps(function)
        def in_call(*args: Any, **kwargs: Any) -> Any:
            with again():
                return function(*args, **kwargs)

        return cast("_F", in_call)


class _Labelled:
    """A run of a generator whose steps carry labels."""

    __slots__ = ("_again",)

    def __init__(self, again: Callable[[], attribute]) -> None:
        self._again = again

    def inside(self) -> attribute:
        return self._again()

    def end(self) -> None:
        """Nothing to do."""


@contextmanager
def no_attribution() -> Generator[None]:
    """Forget any attribution inside the block."""
    token = otel_context.attach(otel_context.set_value(_CONTEXT_KEY, None))
    try:
        yield
    finally:
        otel_context.detach(token)


def names_label(attribute_names: Iterable[str]) -> bool:
    """True if one of these attributes of a span says whose cost it is."""
    return any(name in ATTRIBUTION_ATTRIBUTES or name.startswith(names.LABEL_PREFIX) for name in attribute_names)


def from_attributes(attributes: Mapping[str, Any]) -> Attribution:
    """Read feature, tenant, team and free labels from span attributes."""
    get = attributes.get
    # Copied first: the span of a request that goes on may be given another attribute by its own thread meanwhile.
    free = [name for name in tuple(attributes) if name.startswith(names.LABEL_PREFIX)]
    return Attribution(
        _label(get(names.FEATURE)),
        _label(get(names.TENANT)),
        _label(get(names.TEAM)),
        free_labels((name.removeprefix(names.LABEL_PREFIX), _label(get(name))) for name in free) if free else (),
    )


def as_attributes(attribution: Attribution) -> dict[str, str]:
    """Return the span attributes that say an attribution."""
    fields = zip((names.FEATURE, names.TENANT, names.TEAM), attribution[:3], strict=True)
    said = {name: value for name, value in fields if value}
    for name, value in attribution.labels:
        said[names.LABEL_PREFIX + name] = value
    return said
