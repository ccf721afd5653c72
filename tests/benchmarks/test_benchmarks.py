from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import start_up
from tests.benchmarks.cases import CASES, Case
from tests.benchmarks.sides import Side

ROOT = Path(__file__).parents[2]
NAMES = [case.name for case in CASES]


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def results(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_every_benchmark_prints_a_row_and_ends_with_its_json_line() -> None:
    done = run_benchmarks("--rounds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    found = results(lines[-len(NAMES) :])
    assert [one["benchmark"] for one in found] == NAMES
    for one in found:
        assert set(one) == {"benchmark", "ratio", "base_ns", "with_ns", "min", "max"}
        assert one["min"] <= one["ratio"] <= one["max"]
        assert one["base_ns"] > 0
        assert one["with_ns"] > 0
    rows = [line.split()[0] for line in lines[: -len(NAMES)] if line and line.split()[0] in NAMES]
    assert rows == NAMES


def test_names_that_others_read_are_measured() -> None:
    promised = {
        "empty_span",
        "unpriced_span",
        "server_client_pair",
        "botocore_span",
        "llm_span",
        "flask_request",
        "fastapi_request",
    }
    assert promised <= set(NAMES)


def test_json_only_prints_nothing_but_the_chosen_results() -> None:
    done = run_benchmarks("--rounds", "2", "--json-only", "--only", "empty_span", "--only", "unpriced_span")
    assert (done.returncode, done.stderr) == (0, "")
    found = results(done.stdout.splitlines())
    assert [one["benchmark"] for one in found] == ["empty_span", "unpriced_span"]


@pytest.mark.parametrize("arguments", [("--rounds", "0"), ("--only", "no_such_benchmark")])
def test_wrong_arguments_are_refused_with_usage(arguments: tuple[str, str]) -> None:
    done = run_benchmarks(*arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_what_is_timed_books_every_span_and_call_once(case: Case) -> None:
    side = Side(case.config, case.scope, case.patch, case.sampler)
    try:
        side.check(case.make(side), 3, case.calls)
    finally:
        side.close()


def test_a_result_that_is_wrong_stops_the_benchmark_before_it_is_timed() -> None:
    case = CASES[0]
    side = Side(case.config, case.scope)
    try:
        with pytest.raises(AssertionError, match="charges booked"):
            side.check(case.make(side), 3, {"aws": 1})
    finally:
        side.close()


def test_the_start_of_a_program_is_measured_beside_what_opentelemetry_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert start_up.main(["1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[:-3] for row in rows] == [["no", "settings"], ["machine", "and", "region"]]
    assert all(float(number) > 0 for row in rows for number in row[-3:])
