"""Measure what spancost adds to the start of a program under zero-code: `python -m tests.benchmarks.start_up [EACH]`.

Printed are milliseconds of `pre_instrument` with its imports, and their ratio to what OpenTelemetry itself takes before
that: the best of EACH processes (9 by default), which neighbours on the machine disturb least.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

AIM_MS: Final = 50.0
_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "no settings": {},
    "machine and region": {"SPANCOST_COMPUTE": "aws:m6i.large", "SPANCOST_REGION": "us-east-1"},
}
_OTHERS: Final = ("SPANCOST_", "OTEL_", "AWS_")
_PROGRAM: Final = """
import time
began = time.perf_counter()
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._importlib_metadata import entry_points
import opentelemetry.instrumentation.auto_instrumentation
tuple(entry_points(group="opentelemetry_distro"))  # as its start does
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
before = time.perf_counter()
from spancost._auto import pre_instrument
pre_instrument()
print((time.perf_counter() - before) * 1000, (before - began) * 1000)
"""


class StartUp(NamedTuple):
    """Best times of several starts, milliseconds."""

    ours_ms: float
    theirs_ms: float


def measure(settings: Mapping[str, str], each: int) -> StartUp:
    """Start so many processes, one after the other.

    Args:
        settings: Variables beside those of this process, of which ours and OpenTelemetry's are left out.

        each: Processes.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    with TemporaryDirectory() as folder:
        environ = {**kept, "SPANCOST_LEDGER": os.path.join(folder, "ledger.sqlite"), **settings}
        said = [
            subprocess.run(
                [sys.executable, "-c", _PROGRAM], cwd=folder, env=environ, capture_output=True, text=True, check=True
            ).stdout.split()
            for _ in range(each)
        ]
    return StartUp(min(float(ours) for ours, _ in said), min(float(theirs) for _, theirs in said))


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table."""
    each = int(arguments[0]) if arguments else 9
    sdk = version("opentelemetry-sdk")
    print(
        f"\nPython {platform.python_version()}, opentelemetry-sdk {sdk}, {platform.machine()}: best of {each} starts\n"
    )
    print(f"{'PRE_INSTRUMENT':<22}{'ms':>8}{'OPENTELEMETRY ms':>18}{'RATIO':>8}   aim: {AIM_MS:g} ms")
    for name, settings in _SETTINGS.items():
        found = measure(settings, each)
        print(f"{name:<22}{found.ours_ms:>8.1f}{found.theirs_ms:>18.1f}{found.ours_ms / found.theirs_ms:>8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
