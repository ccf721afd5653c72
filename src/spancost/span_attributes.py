"""Reads and writes the attributes of a span that is ending: the one place that touches private names.

The SDK freezes a span before its processors see it end (open-telemetry/opentelemetry-python#5614), so the public
`set_attribute` is lost there. Which way works is tried once, on a private provider, and the first that delivers is
used:

- `mapping`: write into the mapping behind the attributes, which all exporters share; some 0.3 microseconds.
- `public`: `set_attributes` in `_on_ending`, right as soon as the SDK allows it again.
- `end_patch`: `Span.end` calls us before the span is frozen; works on every SDK, costs microseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

Write = Callable[[Span, Mapping[str, Any]], None]
Ending = Callable[[Span, int | None], None]

MAPPING: Final = "mapping"
PUBLIC: Final = "public"
END_PATCH: Final = "end_patch"
_PROBE: Final = "spancost.probe"


def mapping_of(span: Any) -> Mapping[str, Any]:
    """Return the attributes of a live or finished span for reading; do not change it."""
    try:
        return cast("Mapping[str, Any]", span._attributes._dict)
    except AttributeError:
        return cast("Mapping[str, Any]", span.attributes or {})


def scope_of(span: Any) -> str:
    """Return the name of a span's instrumentation scope; empty for none."""
    scope = span.instrumentation_scope
    return "" if scope is None else str(scope.name)


def scope_and_attributes(span: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a live span's scope, and its attributes."""
    return scope_of(span), mapping_of(span)


@functools.cache
def reader_of_starts() -> Callable[[Any], tuple[str, Mapping[str, Any]]]:
    """Return what reads scope and attributes of a span that starts: in one call where this SDK has them in place."""
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({}), shutdown_on_exit=False)
    span = provider.get_tracer("probe").start_span("probe", attributes={"probe": 1})
    read = cast(
        "Callable[[Any], tuple[str, Mapping[str, Any]]]",
        attrgetter("_instrumentation_scope._name", "_attributes._dict"),
    )
    try:
        is_right = read(span) == scope_and_attributes(span) == ("probe", {"probe": 1})
    except AttributeError:
        is_right = False
    return read if is_right else scope_and_attributes


kind_of: Final = cast("Callable[[Any], int]", attrgetter("kind._value_"))
"""Returns a span's SpanKind value; `kind.value` takes a Python call more, every time."""


def write_mapping(span: Span, values: Mapping[str, Any]) -> None:
    """Write clean scalars into a frozen span; the attribute limit of the SDK does not apply to them."""
    cast("Any", span)._attributes._dict.update(values)


def write_public(span: Span, values: Mapping[str, Any]) -> None:
    """Write through the public API."""
    span.set_attributes(values)


class _Probe(SpanProcessor):
    def __init__(self, write: Write) -> None:
        self._write = write

    def _on_ending(self, span: Span) -> None:
        self._write(span, {_PROBE: 1.5})


class _Keep(SpanProcessor):
    """A synchronous exporter that was registered first: the strictest reader there is."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_end(self, span: ReadableSpan) -> None:
        self.seen = dict(span.attributes or {})


def _delivers(write: Write) -> bool:
    keep = _Keep()
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(keep)
    provider.add_span_processor(_Probe(write))
    try:
        span = provider.get_tracer("spancost.self_test").start_span("probe", attributes={"kept": True})
        span.end()
    except Exception:
        return False
    finally:
        provider.shutdown()
    return keep.seen.get(_PROBE) == 1.5 and keep.seen.get("kept") is True


@functools.cache
def choose_technique() -> str:
    """Return the technique that works on the installed SDK: `mapping`, `public` or `end_patch`."""
    import logging

    # The SDK warns when the public write is refused; the probe must not be heard.
    logger = logging.getLogger("opentelemetry.sdk.trace")
    was_disabled = logger.disabled
    logger.disabled = True
    try:
        if hasattr(SpanProcessor, "_on_ending"):
            if _delivers(write_mapping):
                return MAPPING
            if _delivers(write_public):
                return PUBLIC
    finally:
        logger.disabled = was_disabled
    return END_PATCH


_ending_listeners: list[Ending] = []


def patch_end(listener: Ending) -> None:
    """Have `listener(span, end_time)` called first in every `Span.end`, while the span still takes attributes."""
    if listener in _ending_listeners:
        return
    _ending_listeners.append(listener)
    original = Span.end
    if getattr(original, "_spancost", False):
        return

    @functools.wraps(original)
    def end(self: Span, end_time: int | None = None) -> None:
        if self.is_recording():
            for call in _ending_listeners:
                call(self, end_time)
        original(self, end_time)

    end._spancost = True  # type: ignore[attr-defined]
    Span.end = end  # type: ignore[method-assign]


def unpatch_end(listener: Ending) -> None:
    """Stop calling `listener`; the patch itself goes with the last one."""
    if listener in _ending_listeners:
        _ending_listeners.remove(listener)
    original = getattr(Span.end, "__wrapped__", None)
    if not _ending_listeners and original is not None and getattr(Span.end, "_spancost", False):
        Span.end = original
