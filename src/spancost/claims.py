"""Which finished spans are charged already: the mark by which processors and exporters of one process know.

An exporter receives a copy of the live span, without our node, from whatever provider. Both have the same
`SpanContext`, made for this one span, so the mark is put there: it tells spans apart, not providers, and holds in
whatever order processors and exporters were made. Marking begins with the import of `exporter.py`: a process without
an exporter does not pay for it.
"""

from __future__ import annotations

from typing import Any, Final

_CLAIM: Final = "_spancost_claim"


class _Claims:
    __slots__ = ("wanted",)

    def __init__(self) -> None:
        self.wanted = False
        """There may be an exporter that asks."""


claims: Final = _Claims()


def mark(context: Any) -> None:
    """Say that the span with this context is charged by a processor; does nothing where the SDK leaves no room."""
    marks = getattr(context, "__dict__", None)
    if marks is not None:
        marks[_CLAIM] = True


def claim(context: Any) -> bool:
    """Claim the span with this context for the caller; False if it is charged already.

    Raises:
        AttributeError: The SDK leaves no room for the mark, so nobody can know.
    """
    own = object()
    return context.__dict__.setdefault(_CLAIM, own) is own  # one step: two exporters may ask at the same time


def is_claimed(context: Any) -> bool:
    """True if the span with this context is charged already."""
    return _CLAIM in getattr(context, "__dict__", ())
