"""Measure how near the two models of compute come to the truth: `python -m tests.benchmarks.cpu_model [EACH]`.

A mixed load (spin, sleep, fan-out, thread pools) measures itself what each request uses of the CPU. Printed are, for
each server and kind of request, the true time and what the CPU model has measured, and the largest error of a single
request; then whether what was attributed and what was idle add up to the rate times the uptime, for both models.

EACH: requests of each kind (4 by default).
"""

from __future__ import annotations

import logging
import platform
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version

from spancost import names
from tests.cpu_load import SERVERS, Outcome, loaded

_SPIN_S = 0.15


def main(arguments: Sequence[str]) -> int:
    """Send the load, and print what came of it."""
    each = int(arguments[0]) if arguments else 4
    logging.disable(logging.CRITICAL)
    sdk = version("opentelemetry-sdk")
    print(
        f"\nPython {platform.python_version()}, opentelemetry-sdk {sdk}, {platform.machine()}: {each} requests a kind\n"
    )
    print(f"{'CPU MODEL':<22}{'REQUESTS':>9}{'TRUE ms':>10}{'MEASURED ms':>13}{'RATIO':>8}{'WORST':>8}")
    balances: list[str] = []
    for server, serve in SERVERS.items():
        with loaded(spin_s=_SPIN_S) as load:
            serve(load, each)
            outcomes = load.outcomes()
            balances.append(_balance(f"cpu, {server}", *load.books()))
        kinds: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            kinds[outcome.kind].append(outcome)
        for kind, some in kinds.items():
            _print_row(f"{server} {kind}", some)
        _print_row(f"{server} total", outcomes, is_total=True)
    with loaded(names.OCCUPANCY_MODEL, spin_s=_SPIN_S) as load:
        SERVERS["asyncio"](load, each)
        balances.append(_balance("occupancy, asyncio", *load.books()))
    print(f"\n{'RATE x UPTIME':<22}{'ATTRIBUTED s':>13}{'IDLE s':>10}{'UPTIME s':>10}{'DIFFERENCE':>12}")
    print("\n".join(balances))
    return 0


def _print_row(name: str, outcomes: Sequence[Outcome], *, is_total: bool = False) -> None:
    true_s = [outcome.true_s for outcome in outcomes]
    measured_s = [outcome.measured_s for outcome in outcomes]
    ratio = sum(measured_s) / sum(true_s)
    worst = max((outcome.ratio for outcome in outcomes), key=lambda one: abs(one - 1.0))
    per = sum if is_total else statistics.fmean
    times = f"{per(true_s) * 1e3:>10.2f}{per(measured_s) * 1e3:>13.2f}"
    print(f"{name:<22}{len(outcomes):>9}{times}{ratio:>8.3f}{worst:>8.3f}")


def _balance(name: str, attributed_s: float, idle_s: float, uptime_s: float) -> str:
    difference = (attributed_s + idle_s) / uptime_s - 1.0
    return f"{name:<22}{attributed_s:>13.4f}{idle_s:>10.4f}{uptime_s:>10.4f}{difference:>12.1e}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
