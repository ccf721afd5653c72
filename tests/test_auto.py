"""The entry point under opentelemetry-instrument: never raises, and says once why it is off."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider

from spancost import _auto

_ROOT = Path(__file__).parent.parent


def test_entry_point_is_registered_for_the_moment_before_instrumentations_run() -> None:
    (found,) = [point for point in entry_points(group="opentelemetry_pre_instrument") if point.name == "spancost"]
    assert found.load() is _auto.pre_instrument


@pytest.mark.parametrize("provider", [NoOpTracerProvider(), ProxyTracerProvider()])
def test_without_an_sdk_it_stays_idle_without_a_word(
    provider: trace.TracerProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    _auto.pre_instrument()
    assert caplog.records == []


@pytest.mark.parametrize("value", ["false", "0", "OFF", " no "])
def test_switched_off_it_touches_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    sampler = provider.sampler
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setenv("SPANCOST_ENABLED", value)
    _auto.pre_instrument()
    assert provider.sampler is sampler


def test_any_defect_of_ours_is_logged_and_does_not_leave(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> TracerProvider:
        raise RuntimeError("no")

    monkeypatch.setattr(trace, "get_tracer_provider", broken)
    _auto.pre_instrument()
    (record,) = caplog.records
    assert record.getMessage() == "spancost is off: it could not be set up"


_STARTS = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
from spancost._auto import pre_instrument
pre_instrument()
heavy = ("yaml", "sqlite3", "zoneinfo", "prometheus_client", "genai_prices", "requests", "urllib.request")
ours = ("budgets.rules", "config.budgets", "sinks.ledger", "cli", "offline")
print([name for name in (*heavy, *(f"spancost.{name}" for name in ours)) if name in sys.modules])
"""


def test_a_start_without_settings_imports_nothing_of_what_is_not_asked_for(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SPANCOST_")}
    done = subprocess.run(
        [sys.executable, "-c", _STARTS], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


_PROGRAM = """
import os, signal
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, BatchSpanProcessor
provider = TracerProvider()
console = ConsoleSpanExporter(formatter=lambda span: span.name + repr(dict(span.attributes)))
provider.add_span_processor(BatchSpanProcessor(console))
trace.set_tracer_provider(provider)
from spancost._auto import pre_instrument
pre_instrument()
with trace.get_tracer("app").start_as_current_span("work"):
    pass
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_that_nobody_handles_flushes_before_the_process_ends_by_it(tmp_path: Path) -> None:
    environment = {"SPANCOST_LEASE": "off", "SPANCOST_COMPUTE": "36usd/h", "SPANCOST_LEDGER": str(tmp_path / "l.db")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -15, done.stderr
    assert "work{" in done.stdout
    assert "'spancost.total.usd'" in done.stdout
    assert (tmp_path / "l.db").exists()
