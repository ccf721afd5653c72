"""How many body bytes an HTTP answer has: by its head, or counted while the server takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

from opentelemetry.trace import SpanKind

from spancost.capture.facts import facts_for, hook_failed, report_late

RESPONSE_BYTES: Final = "response_bytes"
"""Fact, int: body bytes sent."""
RESPONSE_STREAMING: Final = "response_streaming"
"""Fact, True: the body was still to come when its size was asked for; the bytes are reported later."""

_SERVER: Final = SpanKind.SERVER


def server_facts(span: Any) -> dict[str, Any] | None:
    """Return the facts of a SERVER span that spancost prices; None for every other object.

    An application mounted in another traced one gets an INTERNAL span; the outer one counts its bytes.
    """
    facts = facts_for(span)
    if facts is None or span.kind is not _SERVER:
        return None
    return facts


def has_no_body(method: object, status: int) -> bool:
    """Return whether HTTP forbids a body in this answer, whatever its headers say (RFC 9110, 6.4.1)."""
    return method == "HEAD" or status in (204, 304) or 100 <= status < 200


def parse_length(value: object) -> int | None:
    """Return a Content-Length (bytes) as a number; None if it is none."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if isinstance(value, str):
        value = value.strip()
        if value.isascii() and value.isdigit() and len(value) < 19:
            return int(value)
    return None


def settle(span: Any, size_bytes: int) -> None:
    """Give a span its body size: as a fact while it is open, as a late report when it has ended."""
    if span.is_recording():
        facts = facts_for(span)
        if facts is not None:
            facts.pop(RESPONSE_STREAMING, None)
            facts[RESPONSE_BYTES] = size_bytes
    else:
        report_late(span, {RESPONSE_BYTES: size_bytes})


class CountedBody:
    """A WSGI body that passes its chunks on one by one and says at its end how many bytes they had.

    The end is the last chunk, an exception of the body, or `close` (the client went away), whichever comes first.
    """

    __slots__ = ("_body", "_chunks", "_close_body", "_on_end", "_place", "_size_bytes")

    def __init__(
        self,
        body: Iterable[bytes],
        on_end: Callable[[int], None],
        place: str,
        *,
        close_body: bool = True,
    ) -> None:
        self._body = body
        self._chunks: Iterator[bytes] | None = None
        self._close_body = close_body
        self._on_end: Callable[[int], None] | None = on_end
        self._place = place
        self._size_bytes = 0

    def __iter__(self) -> CountedBody:
        return self

    def __next__(self) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks)
        except BaseException:
            self._end()
            raise
        try:
            self._size_bytes += len(chunk)
        except Exception:
            hook_failed(self._place)
        return chunk

    def close(self) -> None:
        """Close the body as the server would have, then report."""
        try:
            close = getattr(self._body, "close", None) if self._close_body else None
            if close is not None:
                close()
        finally:
            self._end()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            try:
                on_end(self._size_bytes)
            except Exception:
                hook_failed(self._place)


class CountedAsyncBody:
    """The same for an asynchronous body of Django under ASGI; whoever made the body closes it."""

    __slots__ = ("_body", "_chunks", "_on_end", "_place", "_size_bytes")

    def __init__(self, body: Any, on_end: Callable[[int], None], place: str) -> None:
        self._body = body
        self._chunks: AsyncIterator[bytes] | None = None
        self._on_end: Callable[[int], None] | None = on_end
        self._place = place
        self._size_bytes = 0

    def __aiter__(self) -> CountedAsyncBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = aiter(self._body)
            chunk = await anext(self._chunks)
        except BaseException:
            self.close()
            raise
        try:
            self._size_bytes += len(chunk)
        except Exception:
            hook_failed(self._place)
        return chunk

    def close(self) -> None:
        """Report, once."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            try:
                on_end(self._size_bytes)
            except Exception:
                hook_failed(self._place)
