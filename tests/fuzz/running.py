"""Runs a check on made-up input until its time is up, and names the seed when it fails."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

_BATCH: Final = 250
"""Examples per seed: a failing seed is repeated in seconds."""
_ALL_CHECKS: Final = cast("list[HealthCheck]", list(HealthCheck))
_EXAMPLE_LIMIT_S: Final = 30
"""An example that takes longer hangs."""

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E", bound=Exception)


class Hangs(BaseException):
    """An example did not come to an end. No `Exception`: guards must not swallow it."""


@contextmanager
def time_limit(seconds: int = _EXAMPLE_LIMIT_S) -> Generator[None]:
    """Raise `Hangs` in the main thread after some seconds."""

    def give_up(*_: object) -> None:
        raise Hangs(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def result_or_error(call: Callable[[], R], expected: type[E]) -> tuple[R | None, E | None]:
    """Return what a call returns, or the error of ours that it raises; any other one is a finding."""
    try:
        return call(), None
    except expected as error:
        return None, error


def fuzz(
    examples: SearchStrategy[T],
    check: Callable[[T], None],
    *,
    seconds: float,
    first_seed: int | None,
    say: Callable[[str], None],
) -> int:
    """Check examples until the time is up.

    Args:
        examples: What to draw them from.

        check: Raises where something is wrong.

        seconds: How long, at least one batch.

        first_seed: Seed of the first batch; None for one of chance.

        say: Receives how many examples there were.

    Returns:
        The number of examples.
    """
    number = random.SystemRandom().randrange(2**31) if first_seed is None else first_seed
    first, count, end = number, 0, time.monotonic() + seconds
    while True:

        def one_batch(example: Any) -> None:
            nonlocal count
            count += 1
            with time_limit():
                check(example)

        run = settings(
            max_examples=_BATCH,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=_ALL_CHECKS,
            print_blob=False,
            report_multiple_bugs=False,
        )(seed(number)(given(examples)(one_batch)))
        try:
            run()
        except BaseException as error:
            error.add_note(f"repeat with SPANCOST_FUZZ_SEED={number}")
            raise
        if time.monotonic() >= end:
            say(f"{count:,} examples in {seconds + time.monotonic() - end:.0f} s, seeds {first} to {number}")
            return count
        number += 1
