"""Every test starts without spancost settings, without a lease file, and without an engine of the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import spancost._install as spancost_install
from spancost import usage
from spancost.capture import facts

try:
    from hypothesis import settings
except ImportError:  # where tests/tracers run there are few packages
    pass
else:
    # A third of the usual number, so that all tests fit into the time that people wait. A test may say its own.
    # Always the same examples, so that a change is judged by what it changes; with `--hypothesis-profile explore`
    # it is judged by others.
    settings.register_profile("explore", max_examples=35)
    settings.register_profile("quick", settings.get_profile("explore"), derandomize=True)
    settings.load_profile("quick")

FUZZ_SECONDS = "fuzz_seconds"
FUZZ_SEED = "fuzz_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/fuzz: how long each target runs, and with which seed it begins."""
    seconds, seed = os.environ.get("SPANCOST_FUZZ_SECONDS", "10"), os.environ.get("SPANCOST_FUZZ_SEED")
    parser.addoption("--fuzz-seconds", dest=FUZZ_SECONDS, default=seconds, help="seconds for each target of tests/fuzz")
    parser.addoption(
        "--fuzz-seed", dest=FUZZ_SEED, default=seed, help="seed that each target of tests/fuzz begins with"
    )


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if name.startswith(("SPANCOST_", "OTEL_")) or name.lower() == "prometheus_multiproc_dir":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SPANCOST_LEASE", "off")
    monkeypatch.setenv("SPANCOST_DETECT", "off")
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path_factory.getbasetemp() / "state"))


def _collectors() -> set[Any]:
    """What is registered with prometheus_client, where that is imported at all."""
    client = sys.modules.get("prometheus_client")
    return set() if client is None else set(client.REGISTRY._collector_to_names)


@pytest.fixture(autouse=True)
def isolated_globals() -> Iterator[None]:
    """What `install` and capture hooks keep per process is put back."""
    engine = spancost_install._default  # pyright: ignore[reportPrivateUsage]
    reports = (facts._late_report, facts._failure_report)  # pyright: ignore[reportPrivateUsage]
    collectors = _collectors()
    connected = usage.connect(None)
    usage.connect(connected)
    yield
    usage.connect(connected)
    for collector in _collectors() - collectors:
        sys.modules["prometheus_client"].REGISTRY.unregister(collector)
    spancost_install._default = engine  # pyright: ignore[reportPrivateUsage]
    facts.connect(*reports)


SHOWN_AT_THE_END = "shown at the end"
"""Property of a test (`record_property`) whose text the run prints, also where workers ran it."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to say besides passing."""
    for report in terminalreporter.getreports("passed"):
        for name, text in getattr(report, "user_properties", ()):
            if name == SHOWN_AT_THE_END:
                terminalreporter.write_line(str(text))
