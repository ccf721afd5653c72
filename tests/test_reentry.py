"""Hooks re-entered on their own thread, by the garbage collector and by signal handlers: no deadlock, no loss."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reentry_app import USED_USD
from tests.spans import PUT_USD

_ROOT = Path(__file__).parent.parent
_LIMIT_S = 60
_MODELS = pytest.mark.parametrize("model", ["occupancy", pytest.param("cpu", marks=pytest.mark.long)])


def _run(mode: str, model: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reentry_app", mode, model],
        cwd=_ROOT,
        timeout=_LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _nothing_is_lost(result: dict[str, Any], exported: str = "roots_usd") -> None:
    assert set(result["errors"]) <= {"flush"}  # a push that a signal cut off after its 0.2 s
    assert result["flushed"] is True
    assert result["used"] > 0
    assert result["custom_usd"] == pytest.approx(result["used"] * USED_USD, rel=1e-9)
    assert result["aws_usd"] == pytest.approx(result["calls"] * PUT_USD, rel=1e-9)
    assert result[exported] + result["late_usd"] == pytest.approx(result["charged_usd"], rel=1e-9)


@_MODELS
def test_spans_of_abandoned_generators_that_end_inside_our_hooks_are_all_charged(model: str) -> None:
    result = _run("abandoned", model)
    _nothing_is_lost(result)
    assert result["errors"] == {}
    assert result["reentered"] > 100
    assert result["spans"] == 4 * result["calls"] // 3


@_MODELS
def test_signal_handler_that_flushes_during_load_neither_hangs_nor_loses_anything(model: str) -> None:
    result = _run("signals", model)
    _nothing_is_lost(result)
    assert result["spans"] == 2 * result["calls"]


@_MODELS
@pytest.mark.parametrize("mode", ["handlers", "shutdown"])
def test_signal_handler_that_works_itself_and_ends_spans_of_others_hangs_nobody_and_loses_nothing(
    mode: str, model: str
) -> None:
    result = _run(mode, model)
    _nothing_is_lost(result, "batched_roots_usd")
    assert result["errors"] == {}
    assert result["spans"] == 2 * result["calls"]
    assert result["reentered"] > 0
