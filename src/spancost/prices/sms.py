"""How many SMS a text is billed as (3GPP TS 23.038, GSM 7-bit default alphabet, else UCS-2)."""

from __future__ import annotations

from typing import Final

_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED: Final = frozenset("\f^{}\\[~]|€")
"""Characters that take two places."""

_GSM_ONE: Final = 160
_GSM_MANY: Final = 153
_UCS2_ONE: Final = 70
_UCS2_MANY: Final = 67


def segments(text: str) -> int:
    """Return the number of segments of a text: 160 GSM-7 places, or 153 each of several; 70 and 67 in UCS-2.

    A character of two places (an escaped one, or one beyond the basic plane) is never cut in two. An empty text is
    one message.
    """
    characters = set(text)
    if characters <= _GSM:
        return _packed(len(text), _GSM_ONE, _GSM_MANY)
    if characters <= _GSM | _GSM_ESCAPED:
        widths = [2 if character in _GSM_ESCAPED else 1 for character in text]
        return _packed_widths(widths, _GSM_ONE, _GSM_MANY)
    if max(characters) <= "\uffff":
        return _packed(len(text), _UCS2_ONE, _UCS2_MANY)
    return _packed_widths([2 if character > "\uffff" else 1 for character in text], _UCS2_ONE, _UCS2_MANY)


def _packed(places: int, one: int, many: int) -> int:
    return 1 if places <= one else -(-places // many)


def _packed_widths(widths: list[int], one: int, many: int) -> int:
    if sum(widths) <= one:
        return 1
    count, free = 1, many
    for width in widths:
        if width > free:
            count, free = count + 1, many
        free -= width
    return count
