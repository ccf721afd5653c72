"""The runner finds what is wrong, and says how to find it again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated, mutated_bytes, names_in
from tests.fuzz.running import Hangs, fuzz, time_limit


def _refuse_large(number: int) -> None:
    assert number < 1_000


def test_what_is_wrong_is_found_with_its_seed_and_found_again_by_it() -> None:
    for _ in range(2):
        with pytest.raises(AssertionError) as caught:
            fuzz(st.integers(0, 2_000), _refuse_large, seconds=5, first_seed=7, say=print)
        assert "repeat with SPANCOST_FUZZ_SEED=7" in caught.value.__notes__


def test_examples_are_counted_and_the_time_is_kept() -> None:
    said: list[str] = []
    seen: list[int] = []
    count = fuzz(st.integers(), seen.append, seconds=0.0, first_seed=3, say=said.append)
    assert count == len(seen) == 250
    assert said[0].startswith("250 examples in ")
    assert said[0].endswith("seeds 3 to 3")


def test_what_does_not_end_is_given_up() -> None:
    with pytest.raises(Hangs, match="no answer after 1 s"), time_limit(1):
        time.sleep(20)


def test_documents_and_bytes_are_changed_in_many_ways() -> None:
    document: Any = {"a": [1, {"b": "c"}], "d": {}}
    trees: set[str] = set()
    texts: set[bytes] = set()
    fuzz(mutated([document], st.none()), lambda tree: trees.add(repr(tree)), seconds=0, first_seed=1, say=print)
    fuzz(mutated_bytes([b'{"a": 1}']), texts.add, seconds=0, first_seed=1, say=print)
    assert document == {"a": [1, {"b": "c"}], "d": {}}
    assert min(len(trees), len(texts)) > 100
    assert names_in(document) == {"a", "b", "d"}
