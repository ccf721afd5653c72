"""Times both sides of every case by turns, and prints what spancost adds."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import platform
import random
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

from tests.benchmarks.arguments import positive
from tests.benchmarks.cases import CASES, Case, Run
from tests.benchmarks.sides import Side

_CHECKED = 20
_WARM_UP = 150


class Result(NamedTuple):
    """One benchmark's outcome; times are for one operation."""

    benchmark: str
    ratio: float
    """Median over rounds of time with spancost / time without; in `..._over_...` both sides have it."""
    base_ns: float
    with_ns: float
    min: float
    """Smallest ratio of a round."""
    max: float


class _Timed:
    """Both sides of a case and what they took, nanoseconds an operation."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.base = Side(
            None if case.base is None else case.base_config or case.config, case.scope, sampler=case.sampler
        )
        self.priced = Side(case.config, case.scope, case.patch, case.sampler)
        self.runs: dict[Side, Run] = {
            self.base: (case.base or case.make)(self.base),
            self.priced: case.make(self.priced),
        }
        self.taken_ns: dict[Side, list[float]] = {self.base: [], self.priced: []}

    def check(self) -> None:
        self.priced.check(self.runs[self.priced], _CHECKED, self.case.calls)

    def warm_up(self) -> None:
        for side, run in self.runs.items():
            side.prepare()
            run(min(_WARM_UP, self.case.block))
            side.settle()

    def round(self) -> None:
        sides = [self.base, self.priced]
        random.shuffle(sides)
        for side in sides:
            run, block = self.runs[side], self.case.block
            side.prepare()
            begun = time.thread_time_ns()
            run(block)
            self.taken_ns[side].append((time.thread_time_ns() - begun) / block)
            side.settle()

    def result(self) -> Result:
        base, priced = self.taken_ns[self.base], self.taken_ns[self.priced]
        ratios = [with_ns / base_ns for with_ns, base_ns in zip(priced, base, strict=True)]
        return Result(
            self.case.name,
            round(statistics.median(ratios), 4),
            round(statistics.median(base), 1),
            round(statistics.median(priced), 1),
            round(min(ratios), 4),
            round(max(ratios), 4),
        )

    def close(self) -> None:
        self.base.close()
        self.priced.close()


def measure(cases: Sequence[Case], rounds: int) -> list[Result]:
    """Check and time some cases by turns.

    Args:
        cases: What to measure.

        rounds: How often each side is timed.
    """
    timed: list[_Timed] = []
    try:
        for case in cases:
            timed.append(_Timed(case))
            timed[-1].check()
        for one in timed:
            one.warm_up()
        gc.collect()
        gc.disable()
        for _ in range(rounds):
            for one in random.sample(timed, len(timed)):
                one.round()
            gc.collect()
        return [one.result() for one in timed]
    finally:
        gc.enable()
        for one in timed:
            one.close()


def _print_table(results: Sequence[Result], rounds: int) -> None:
    sdk = version("opentelemetry-sdk")
    print(f"Python {platform.python_version()}, opentelemetry-sdk {sdk}, {platform.machine()}, {rounds} rounds\n")
    print(f"{'BENCHMARK':<24}{'BASE ns':>12}{'WITH ns':>12}{'ADDED ns':>12}{'RATIO':>9}{'MIN':>9}{'MAX':>9}")
    for one in results:
        print(
            f"{one.benchmark:<24}{one.base_ns:>12,.0f}{one.with_ns:>12,.0f}{one.with_ns - one.base_ns:>12,.0f}"
            f"{one.ratio:>9.3f}{one.min:>9.3f}{one.max:>9.3f}"
        )
    print()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks named on the command line and print a table and JSON lines."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=31, help="how often each side is timed (default: 31)")
    parser.add_argument("--json-only", action="store_true", help="leave the table out")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    chosen: list[Case] = []
    for case in CASES:
        if options.only and case.name not in options.only:
            continue
        missing = [module for module in case.needs if not _is_there(module)]
        if missing:
            print(f"{case.name} is left out: {', '.join(missing)} not installed", file=sys.stderr)
            continue
        chosen.append(case)
    results = measure(chosen, options.rounds)
    if not options.json_only:
        _print_table(results, options.rounds)
    for result in results:
        print(json.dumps(result._asdict()))
    return 0


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
