"""The demo: start the shop, send it a load, show what each route costs.

    make demo                      or   python -m examples.shop [--requests N] [--otlp URL] [--directory DIR]

Exit codes: 0 fine, 1 a request or a command failed, 2 something is missing (a package, a command, a port),
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from examples.shop.ending import Ended, signals_as_exceptions
from examples.shop.processes import ReservedPort, StackError

if TYPE_CHECKING:
    from examples.shop.stack import Stack

_PACKAGES: Final[Mapping[str, str]] = {
    "anthropic": "anthropic",
    "boto3": "boto3",
    "django": "django",
    "fastapi": "fastapi",
    "flask": "flask",
    "gunicorn": "gunicorn",
    "httpx": "httpx",
    "moto.server": "moto[s3,dynamodb,sqs,sns,server]",
    "openai": "openai",
    "opentelemetry.distro": "opentelemetry-distro",
    "opentelemetry.instrumentation.botocore": "opentelemetry-instrumentation-botocore",
    "opentelemetry.instrumentation.django": "opentelemetry-instrumentation-django",
    "opentelemetry.instrumentation.fastapi": "opentelemetry-instrumentation-fastapi",
    "opentelemetry.instrumentation.flask": "opentelemetry-instrumentation-flask",
    "opentelemetry.instrumentation.genai.anthropic": "opentelemetry-instrumentation-genai-anthropic",
    "opentelemetry.instrumentation.genai.openai": "opentelemetry-instrumentation-genai-openai",
    "opentelemetry.instrumentation.httpx": "opentelemetry-instrumentation-httpx",
    "opentelemetry.instrumentation.requests": "opentelemetry-instrumentation-requests",
    "prometheus_client": "prometheus-client",
    "requests": "requests",
    "rich": "rich",
    "spancost": "spancost",
    "uvicorn": "uvicorn",
}
"""Module that is needed -> what to install for it."""

_COMMANDS: Final = ("gunicorn", "opentelemetry-instrument", "spancost", "uvicorn")
_DEFAULT_PER_ROUTE: Final = 12
_SCRAPE_DEADLINE_S: Final = 15.0
_SCRAPE_LINES: Final = 4
_COST_SERIES: Final = "spancost_cost_usd_total"


def missing_parts() -> list[str]:
    """Say what this Python environment lacks, one line each; empty when the demo can start."""
    lines = [f"package {package}" for module, package in _PACKAGES.items() if not _is_importable(module)]
    commands = Path(sys.executable).parent
    lines += [f"command {commands / name}" for name in _COMMANDS if not (commands / name).exists()]
    try:
        ReservedPort().release()
    except StackError as error:
        lines.append(f"port: {error}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.shop", description="Show what each route of a shop costs."
    )
    parser.add_argument("--requests", type=int, default=_DEFAULT_PER_ROUTE, help="requests per route (%(default)s)")
    parser.add_argument("--otlp", metavar="URL", help="OTLP/HTTP receiver for traces and metrics (none)")
    parser.add_argument("--directory", type=Path, help="for ledger and logs (a new one in the temporary directory)")
    options = parser.parse_args(arguments)
    missing = missing_parts()
    if missing:
        print("The demo cannot start. Missing:", *(f"  {line}" for line in missing), sep="\n", file=sys.stderr)
        print("`make demo` installs all of it into .venv.", file=sys.stderr)
        return 2
    directory: Path = options.directory or Path(tempfile.mkdtemp(prefix="spancost-demo-"))
    try:
        with signals_as_exceptions():
            return _show(directory.resolve(), max(1, options.requests), options.otlp)
    except StackError as error:
        print(f"The demo could not start: {error}", file=sys.stderr)
        return 2
    except Ended as ended:
        print("Stopped; nothing is left running.", file=sys.stderr)
        return ended.exit_code


def _show(directory: Path, per_route: int, otlp: str | None) -> int:
    # These need the packages that `missing_parts` has looked for.
    from examples.shop.load import request_count, run_load, show_progress
    from examples.shop.stack import APPS, Stack

    began = monotonic()
    _say("Everything runs on this machine: no account, no key, no real bill. Prices are the real ones.")
    with Stack(directory, otlp_endpoint=otlp, on_progress=_say) as stack:
        total = request_count(per_route)
        _say(f"sending {total} requests to {len(APPS)} apps")
        with show_progress(total) as progress:
            result = run_load(stack.urls, per_route=per_route, progress=progress)
        _say(f"{result.answered} of {result.sent} requests answered as expected")
        scrapes = _settled_scrapes(stack)
        _say("stopping the apps; the ledger gets its last entries")
    if result.failures:
        print("Requests failed:", *result.failures[:10], f"Logs: {directory / 'logs'}", sep="\n", file=sys.stderr)
        return 1
    ledger = str(stack.ledger)
    codes = [
        _run("What each route costs", ["report", "--ledger", ledger, "--by", "service,entrypoint"]),
        _run("The costliest request, call by call", ["tree", "--costliest", "--ledger", ledger]),
    ]
    _heading("What Prometheus reads from the apps' own /metrics: the costliest series of each")
    shown = [_show_scrape(app, text) for app, text in scrapes.items()]
    _heading("Ask further")
    for question in (
        ["report", "--ledger", ledger, "--by", "feature,tenant"],
        ["report", "--ledger", ledger, "--by", "provider,operation,model"],
        ["report", "--ledger", ledger, "--by", "component", "--format", "json"],
        ["doctor", "--ledger", ledger],
    ):
        print(f"  {shlex.join([_spancost_as_typed(), *question])}")
    print(f"\nLedger: {ledger}   logs: {directory / 'logs'}   took {monotonic() - began:.0f} s")
    if not all(shown):
        print("Some apps show no costs: is spancost loaded in them? See the logs.", file=sys.stderr)
    return 0 if not any(codes) and all(shown) else 1


def _settled_scrapes(stack: Stack) -> dict[str, str]:
    """Scrape each app when its counters stand still: the last requests reach them with the next flush."""
    from examples.shop.stack import APPS

    ends = monotonic() + _SCRAPE_DEADLINE_S
    pause = threading.Event()
    before: dict[str, float] = {}
    while True:
        scrapes = {app: stack.scrape(app) for app in APPS}
        now = {app: sum(value for _, value in _series(text)) for app, text in scrapes.items()}
        if (now == before and all(now.values())) or monotonic() > ends:
            return scrapes
        before = now
        pause.wait(stack.flush_interval_s * 1.2)


def _series(text: str) -> list[tuple[str, float]]:
    """Series of the cost counter with their values, costliest first."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(_COST_SERIES)]
    return sorted(((series, float(value)) for series, _, value in lines), key=lambda pair: -pair[1])


def _show_scrape(app: str, text: str) -> bool:
    series = _series(text)
    print(f"# {app}: {len(series)} series of {_COST_SERIES}")
    for name, value in series[:_SCRAPE_LINES]:
        print(f"{_without_empty_labels(name)} {value:.6g}")
    return bool(series)


def _without_empty_labels(series: str) -> str:
    """An empty label is no label to Prometheus."""
    return re.sub(r'\w+="",?', "", series).replace(",}", "}")


def _run(title: str, arguments: list[str]) -> int:
    """Run a spancost command as a user would, its output straight to ours."""
    _heading(title)
    print(f"$ {shlex.join([_spancost_as_typed(), *arguments])}", flush=True)
    code = subprocess.run([str(Path(sys.executable).parent / "spancost"), *arguments], check=False).returncode
    if code:
        print(f"spancost {arguments[0]} ended with exit code {code}", file=sys.stderr)
    return code


def _spancost_as_typed() -> str:
    path = Path(sys.executable).parent / "spancost"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _heading(text: str) -> None:
    print(f"\n── {text}\n", flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
