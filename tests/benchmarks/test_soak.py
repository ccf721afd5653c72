"""A short soak, and what its verdict looks at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.soak import Sample, faults, growth_mib
from tests.conftest import SHOWN_AT_THE_END

_ROOT = Path(__file__).parents[2]
_MINUTES = 1.25
_MAX_GROWTH_MIB = 24.0
"""A minute is too short for caches to be full: they grow by half of this. Spans that were kept would be far more."""


def _course(rss_mib: Callable[[int], float], *, threads: int = 4, series: int = 1500) -> list[Sample]:
    """Return thirty samples; the number of threads is that of the last one."""
    return [
        Sample(30.0 * n, 1000 * n, rss_mib(n), 0, threads if n == 29 else 4, series, open_roots=100) for n in range(30)
    ]


def test_memory_that_grows_only_while_it_warms_up_is_no_fault() -> None:
    course = _course(lambda n: 50.0 + min(n, 10) * 10 + (n % 3) * 0.5)
    assert growth_mib(course) == pytest.approx(0.0, abs=0.5)
    assert faults(course) == []


def test_memory_that_goes_on_growing_is_a_fault() -> None:
    assert faults(_course(lambda n: 150.0 + n * 0.2)) == [
        "memory has grown by 3.2 MiB in the last two thirds (at most 2)"
    ]
    assert faults(_course(lambda n: 150.0 + n * 0.2), max_growth_mib=5.0) == []


def test_threads_that_are_left_over_and_too_many_series_are_faults() -> None:
    flat: Callable[[int], float] = lambda _: 150.0  # noqa: E731
    assert faults(_course(flat, threads=6)) == ["2 threads are left over"]
    assert faults(_course(flat, series=2001)) == ["2001 series in one metric (at most 2000)"]


@pytest.mark.long
def test_soak_of_a_minute_loses_nothing_and_stays_within_its_bounds(
    record_property: Callable[[str, object], None],
) -> None:
    bounds = ("--minutes", str(_MINUTES), "--max-growth", str(_MAX_GROWTH_MIB))
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.soak", *bounds],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"\d+ requests in \d+ s; memory .*; \d+ threads; \d+ series at most", last)
    record_property(SHOWN_AT_THE_END, f"soak: {last}")


@pytest.mark.parametrize("arguments", [("--minutes", "0"), ("--max-growth", "-1")])
def test_wrong_arguments_of_the_soak_are_refused(arguments: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.soak", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert arguments[0] in done.stderr
