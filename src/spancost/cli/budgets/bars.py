"""Bars of text: how much of a limit is spent, and how much one period is beside others."""

from __future__ import annotations

from typing import Final

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_FULL: Final = "█"
_EMPTY: Final = "░"
_OVER: Final = "▶"


def used_bar(ratio: float | None, width: int) -> str:
    """Return a bar of a fixed width that fills up with a ratio, and says when it is beyond 1.

    Args:
        ratio: Spend over limit; None for an empty text.

        width: Characters.
    """
    if ratio is None:
        return ""
    if ratio > 1.0:
        return _FULL * (width - 1) + _OVER
    filled = min(width, int(max(0.0, ratio) * width + 1e-9))
    if ratio > 0 and not filled:
        return "▏" + _EMPTY * (width - 1)  # something is not nothing
    return _FULL * filled + _EMPTY * (width - filled)


def length_bar(part: float, width: int) -> str:
    """Return a bar as long as a part of a width, to an eighth of a character; anything above 0 shows.

    Args:
        part: 0..1.

        width: Characters at 1.
    """
    eighths = round(min(max(part, 0.0), 1.0) * width * 8)
    if part > 0:
        eighths = max(1, eighths)
    whole, rest = divmod(eighths, 8)
    return _FULL * whole + (_EIGHTHS[rest] if rest else "")
