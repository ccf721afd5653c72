"""What spancost adds to the start of a program under zero-code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import zero_code

pytestmark = pytest.mark.e2e

_REPEATS = 7
_AIM_MS = 50.0
_LIMIT = 1.0
"""Part of what OpenTelemetry itself takes to be imported; about 0.3 where the aim is met. Not milliseconds: a shared
build machine must not fail on its neighbours."""
_MEASURE = """
import time
began = time.perf_counter()
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
import opentelemetry.instrumentation.auto_instrumentation
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
before = time.perf_counter()
from spancost._auto import pre_instrument
pre_instrument()
print((time.perf_counter() - before) * 1000, (before - began) * 1000)
"""


@pytest.mark.parametrize("compute", ["", "aws:m6i.large"], ids=["no settings", "machine and region"])
def test_pre_instrument_takes_less_than_the_import_of_opentelemetry(tmp_path: Path, compute: str) -> None:
    environ = zero_code.environment(tmp_path)
    environ.pop("SPANCOST_COMPUTE")
    if compute:
        environ["SPANCOST_COMPUTE"] = compute
    else:
        environ.pop("SPANCOST_REGION")
    took_ms = [
        tuple(
            map(
                float,
                subprocess.run(
                    [sys.executable, "-c", _MEASURE],
                    cwd=tmp_path,
                    env=environ,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.split(),
            )
        )
        for _ in range(_REPEATS)
    ]
    ours_ms, theirs_ms = (min(times) for times in zip(*took_ms, strict=True))
    print(
        f"pre_instrument and its imports: {ours_ms:.1f} ms (best of {_REPEATS}; aim {_AIM_MS:g} ms), "
        f"{ours_ms / theirs_ms:.2f} of OpenTelemetry's"
    )
    assert ours_ms < _LIMIT * theirs_ms
