"""The time that each target of fuzzing gets, and the seed it begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis.strategies import SearchStrategy

from tests.conftest import FUZZ_SECONDS, FUZZ_SEED, SHOWN_AT_THE_END
from tests.fuzz.running import fuzz

Fuzz = Callable[[SearchStrategy[Any], Callable[[Any], None]], int]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fuzzing runs as long as it is let to."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.long)


@pytest.fixture
def fuzzed(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Fuzz:
    """Checks examples of a strategy until the time is up; see `tests.fuzz.running.fuzz`."""
    seconds = float(str(request.config.getoption(FUZZ_SECONDS)))
    seed = request.config.getoption(FUZZ_SEED)
    name = request.node.name

    def run(examples: SearchStrategy[Any], check: Callable[[Any], None]) -> int:
        return fuzz(
            examples,
            check,
            seconds=seconds,
            first_seed=None if seed is None else int(seed),
            say=lambda text: record_property(SHOWN_AT_THE_END, f"{name}: {text}"),
        )

    return run
