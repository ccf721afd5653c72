"""The part of OTLP JSON that pricing reads, as msgspec decodes it: faster and smaller than dictionaries.

A document that is odd anywhere is no `Traces`: it is decoded into dictionaries, and its spans one by one into `Span`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

Integer = int | str | None
"""64-bit integers are texts in protobuf's JSON; some writers have numbers."""


class Value(msgspec.Struct, gc=False, frozen=True):
    """An attribute's value, of one kind or of one to come."""

    stringValue: str | None = None
    boolValue: bool | None = None
    intValue: Integer = None
    doubleValue: float | str | None = None
    bytesValue: str | None = None
    arrayValue: Any = None
    kvlistValue: Any = None


class Attribute(msgspec.Struct, gc=False, frozen=True):
    """A key and its value; without one, it is left out."""

    key: str
    value: Value | None = None


class Status(msgspec.Struct, gc=False, frozen=True):
    """Code by number or name."""

    code: int | str | None = None


class Span(msgspec.Struct, gc=False, frozen=True):
    """A span without what nobody here reads: events, links, trace state."""

    traceId: str
    spanId: str
    parentSpanId: str | None = None
    flags: int | None = None
    name: str | None = None
    kind: int | str | None = None
    startTimeUnixNano: Integer = None
    endTimeUnixNano: Integer = None
    attributes: tuple[Attribute, ...] | None = None
    status: Status | None = None


class Scope(msgspec.Struct, gc=False, frozen=True):
    """An instrumentation scope."""

    name: str | None = None


class ScopeSpans(msgspec.Struct, gc=False, frozen=True):
    """Spans of one scope."""

    scope: Scope | None = None
    spans: tuple[Span, ...] | None = None


class Resource(msgspec.Struct, gc=False, frozen=True):
    """What a process says of itself."""

    attributes: tuple[Attribute, ...] | None = None


class ResourceSpans(msgspec.Struct, gc=False, frozen=True):
    """Spans of one process."""

    scopeSpans: tuple[ScopeSpans, ...]
    resource: Resource | None = None


class Traces(msgspec.Struct, gc=False, frozen=True):
    """`ExportTraceServiceRequest`."""

    resourceSpans: tuple[ResourceSpans, ...]


_BEGINNING: Final = b'{"resourceSpans"'
_decode: Final = msgspec.json.Decoder(Traces).decode


def traces_of(line: bytes) -> Traces | None:
    """Return the request that a line is; None if it is something else, or odd."""
    if not line.startswith(_BEGINNING):
        return None
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def span_of(value: object) -> Span:
    """Return the span in a dictionary.

    Raises:
        ValueError: It has another shape.
    """
    return msgspec.convert(value, Span)


def attributes_of(value: object) -> tuple[Attribute, ...]:
    """Return the attributes in a list of dictionaries.

    Raises:
        ValueError: It has another shape.
    """
    return msgspec.convert(value or (), tuple[Attribute, ...])
