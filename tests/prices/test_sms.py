"""How many segments a text is billed as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.prices.sms import segments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 459, 3),
        ("a" * 460, 4),
        ("é" * 160, 1),
        ("ç" * 70, 1),  # small ç is not in the GSM alphabet, capital Ç is
        ("ç" * 71, 2),
        ("Ç" * 160, 1),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("a" * 69 + "\u2019", 1),  # a typographic apostrophe
        ("a" * 70 + "\u2019", 2),
        ("€" * 80, 1),
        ("€" * 80 + "a", 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_a_text_is_cut_at_160_and_153_or_at_70_and_67(text: str, expected: int) -> None:
    assert segments(text) == expected


def test_an_escaped_character_is_not_cut_in_two() -> None:
    assert segments("a" * 152 + "€" + "a" * 152) == 3  # 306 places, and the € does not fit the first segment
    assert segments("a" * 151 + "€" + "a" * 153) == 2


def test_a_character_beyond_the_basic_plane_is_not_cut_in_two() -> None:
    assert segments("ж" * 66 + "😀" + "ж" * 66) == 3
    assert segments("ж" * 65 + "😀" + "ж" * 67) == 2


@given(st.text(max_size=700))
def test_a_longer_text_never_has_fewer_segments(text: str) -> None:
    assert 1 <= segments(text) <= segments(text + "a")
    assert segments(text) <= max(1, len(text))
