"""The demo of the whole way: three apps, Collectors, Prometheus, Alertmanager, a trace UI, and a load of some minutes.

    make demo-stack      or   python -m examples.stack [--minutes N] [--keep] [--no-trace-ui] [--directory DIR]

At its end the money in Prometheus, the money on the spans in the trace UI and the apps' ledger are compared.

Exit codes: 0 fine, 1 a request failed or the sums differ, 2 something is missing (a package, a program, a port), 130
after Ctrl-C.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from examples.shop.demo import missing_parts
from examples.shop.ending import Ended, signals_as_exceptions
from examples.shop.processes import StackError
from examples.stack.binaries import program

if TYPE_CHECKING:
    from examples.stack.chain import Chain

_PROGRAMS: Final = ("otelcol", "otelcol-router", "prometheus", "alertmanager")
_DEFAULT_MINUTES: Final = 3.0
_PER_ROUTE: Final = 4
"""Requests of each kind in one round of the load."""
_ROUND_S: Final = 5.0
"""A round is begun so often, or when the one before has ended."""
_LINE_S: Final = 15.0
_ROUTES_SHOWN: Final = 12
_SHOWN: Final = "15m"
"""Of time on the dashboards."""
_EXACT: Final = 1e-9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.stack", description="Show what a shop costs, in Prometheus and in a trace UI."
    )
    parser.add_argument("--minutes", type=float, default=_DEFAULT_MINUTES, help="how long the load lasts (%(default)g)")
    parser.add_argument("--keep", action="store_true", help="then go on, with load, until Ctrl-C")
    parser.add_argument("--no-trace-ui", action="store_true", help="without Phoenix, which takes 1 GB of disk")
    parser.add_argument("--directory", type=Path, help="for data and logs (a new one in the temporary directory)")
    options = parser.parse_args(arguments)
    missing = _missing(with_trace_ui=not options.no_trace_ui)
    if missing:
        print("The demo cannot start. Missing:", *(f"  {line}" for line in missing), sep="\n", file=sys.stderr)
        print("`make demo-stack` installs and builds all of it.", file=sys.stderr)
        return 2
    directory: Path = (options.directory or Path(tempfile.mkdtemp(prefix="spancost-stack-"))).resolve()
    try:
        with signals_as_exceptions():
            return _run(directory, options.minutes * 60, keep=options.keep, trace_ui=not options.no_trace_ui)
    except StackError as error:
        print(f"The demo could not go on: {error}", file=sys.stderr)
        return 2
    except Ended as ended:
        print("Stopped; nothing is left running.", file=sys.stderr)
        return ended.exit_code


def _missing(*, with_trace_ui: bool) -> list[str]:
    lines = missing_parts()
    for name in (*_PROGRAMS, *(["phoenix"] if with_trace_ui else [])):
        try:
            program(name)
        except StackError as error:
            lines.append(f"program {error}")
    return lines


def _run(directory: Path, seconds: float, *, keep: bool, trace_ui: bool) -> int:
    # It needs the packages that `_missing` has looked for.
    from examples.stack.chain import Chain

    _say("Everything runs on this machine: no account, no key, no real bill. Prices are the real ones.")
    with Chain(directory, trace_ui=trace_ui, on_progress=_say) as chain:
        _show_places(chain, directory)
        good = _load(chain, seconds, directory) and _show(chain, directory)
        if keep and good:
            _say("The load goes on until Ctrl-C.")
            good = _load(chain, math.inf, directory)
        _say("stopping everything")
    return 0 if good else 1


def _show(chain: Chain, directory: Path) -> bool:
    """Show what all of it has come to; say whether it is as it should be."""
    same = _compare(chain)
    _show_rates(chain)
    return _write_page(chain, directory / "dashboards.html") and same


def _show_places(chain: Chain, directory: Path) -> None:
    _heading("While it runs")
    for what, where in chain.places().items():
        print(f"  {what:<18}{where}")
    print(f"  {'logs and data':<18}{directory}", flush=True)


def _load(chain: Chain, seconds: float, directory: Path) -> bool:
    """Send rounds of requests for a while; say whether all were answered, and stop at a round with failures."""
    from examples.shop.load import run_load

    began = monotonic()
    told = began
    sent = 0
    number = 0
    while (now := monotonic()) < began + seconds:
        result = run_load(chain.shop.urls, per_route=_PER_ROUTE, seed=number)
        sent += result.sent
        number += 1
        if result.failures:
            print("Requests failed:", *result.failures[:10], f"Logs: {directory}", sep="\n", file=sys.stderr)
            return False
        if monotonic() - told >= _LINE_S:
            told = monotonic()
            of = f" of {seconds:.0f}" if seconds < math.inf else ""
            _say(f"  {told - began:.0f}{of} s: {sent} requests, ${chain.spent():.6f} in Prometheus")
        sleep(max(0.0, now + _ROUND_S - monotonic()))
    _say(f"{sent} requests, all answered as expected")
    return True


def _compare(chain: Chain) -> bool:
    """Show the same money from several sides; say whether it is the same."""
    chain.wait_settled()
    routes = chain.by_route()
    ledger = chain.ledger_by_route()
    _heading("What each route costs: Prometheus beside the apps' ledger, USD")
    names = sorted(routes.keys() | ledger.keys(), key=lambda name: -ledger.get(name, 0.0))
    print(f"  {'service':<12}{'route':<36}{'Prometheus':>16}{'ledger':>16}")
    for service, route in names[:_ROUTES_SHOWN]:
        amounts = f"{routes.get((service, route), 0.0):>16.9f}{ledger.get((service, route), 0.0):>16.9f}"
        print(f"  {service:<12}{route:<36}{amounts}")
    if len(names) > _ROUTES_SHOWN:
        print(f"  and {len(names) - _ROUTES_SHOWN} more")
    sums = {"ledger of the apps": math.fsum(ledger.values()), "Prometheus, over all Collectors": chain.spent()}
    same = _are_same(routes, ledger)
    if chain.trace_ui is not None:
        count, usd, expected = chain.on_spans()
        same = same and math.isclose(usd, expected, rel_tol=_EXACT)
        sums[f"{count} spans in the trace UI"] = usd
        sums["ledger, what spans could show"] = expected
    _heading("The same money")
    for name, usd in sums.items():
        print(f"  {name:<34}{usd:.12f} USD")
    print(f"  {'The same, to a billionth.' if same else 'They DIFFER.'}")
    return same


def _are_same(left: Mapping[tuple[str, str], float], right: Mapping[tuple[str, str], float]) -> bool:
    return left.keys() == right.keys() and all(math.isclose(left[key], right[key], rel_tol=_EXACT) for key in left)


def _show_rates(chain: Chain) -> None:
    _heading("What the recording rules and alerts say")
    for component, usd in chain.usd_per_day().items():
        print(f"  {component:<12}{usd:>10.4f} USD a day at the rate of the last 5 minutes")
    for name, state in chain.alerts():
        print(f"  alert {name}: {state}")


def _write_page(chain: Chain, page: Path) -> bool:
    """Draw the dashboards from this Prometheus on one page; say whether that went well.

    A panel may have nothing to show after so short a time; it says so on the page.
    """
    from examples.shop.stack import executable
    from examples.stack.chain import DASHBOARDS, EXPECTED_EMPTY, EXPORT_INTERVAL_S

    command = [str(executable("spancost")), "dashboards", "check", str(DASHBOARDS)]
    command += ["--prometheus", chain.prometheus.url, "--html", str(page), "--expect-empty", str(EXPECTED_EMPTY)]
    command += ["--range", _SHOWN, "--scrape-interval", f"{EXPORT_INTERVAL_S}s"]
    _heading("The dashboards, drawn from this Prometheus")
    subprocess.run(command, check=False)
    print(f"  {page.as_uri()}" if page.exists() else "  no page was written")
    return page.exists()


def _heading(text: str) -> None:
    print(f"\n── {text}\n", flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
