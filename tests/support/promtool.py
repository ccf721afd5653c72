"""The real promtool as an evaluator: rules and series in, what an expression or an alert says at some moments out.

`promtool test rules` compares with what is expected and shows what it found where that differs. So every question is
asked with nothing expected, and the difference is the answer; a question whose answer is known goes along, so that
silence means "nothing" and not that promtool has not answered.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from tests.support.backends import program

Labels = Mapping[str, str]
Samples = Sequence[tuple[float, float | None]]
"""Unix seconds, counted from 0, and values; None is a staleness marker: the process is gone."""

_KNOWN: Final = "vector(42)"
_HEADING: Final = re.compile(r'expr: ("(?:[^"\\]|\\.)*"), time: (\S+),\s+exp: .*?\n\s+got: ')
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SERIES: Final = re.compile(r'\{((?:\w+="(?:[^"\\]|\\.)*"(?:, )?)*)\} (\S+?)(?:, (?=\{)|\s*$)')


class Sample(NamedTuple):
    """One series of an answer."""

    labels: Labels
    value: float


def run_promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def check_rules(rules: str, folder: Path) -> None:
    """Assert that `promtool check rules` accepts a rule file."""
    (folder / "checked.yaml").write_text(rules, encoding="utf-8")
    done = run_promtool("check", "rules", "--lint-fatal", "checked.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def quoted(text: str) -> str:
    """Return text as a string of Go and PromQL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def series(name: str, labels: Labels, samples: Samples, step_s: float) -> dict[str, str]:
    """Return one input series of a test.

    Args:
        name: Of the metric.

        labels: Its other labels.

        samples: Their times are whole multiples of the step; in between there is nothing.

        step_s: Between two samples, seconds.
    """
    values: list[str] = []
    for at, value in samples:
        place = round(at / step_s)
        assert abs(place * step_s - at) < 1e-6, f"{at} is no multiple of {step_s}"
        assert place >= len(values), f"{at} comes after a later sample"
        values.extend("_" for _ in range(place - len(values)))
        values.append("stale" if value is None else repr(float(value)))
    inner = ",".join(f"{label}={quoted(text)}" for label, text in labels.items())
    return {"series": f"{name}{{{inner}}}", "values": " ".join(values)}


def evaluate(
    rules: str,
    inputs: Sequence[Mapping[str, str]],
    questions: Sequence[tuple[str, float]],
    folder: Path,
    *,
    interval_s: float = 60.0,
    step_s: float | None = None,
) -> list[list[Sample]]:
    """Return what expressions are at moments, when rules have been evaluated from 0 up to then.

    Args:
        rules: A rule file.

        inputs: Input series, see `series`.

        questions: Expressions with the moment at which they are asked, seconds from 0.

        folder: For the files.

        interval_s: Between two evaluations; groups with an interval of their own should have the same.

        step_s: Of the input series; the interval if not given.
    """
    (folder / "rules.yaml").write_text(rules, encoding="utf-8")
    asked = [(_KNOWN, 0.0), *questions]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": _duration(interval_s),
        "tests": [
            {
                "interval": _duration(step_s or interval_s),
                "input_series": [dict(one) for one in inputs],
                "promql_expr_test": [{"expr": expr, "eval_time": _duration(at)} for expr, at in asked],
            }
        ],
    }
    (folder / "questions.yaml").write_text(yaml.safe_dump(test, allow_unicode=True, width=10**6), encoding="utf-8")
    done = run_promtool("test", "rules", "questions.yaml", cwd=folder)
    said = done.stdout + done.stderr
    answers = {(expr, at): samples for expr, at, samples in _answers(said)}
    assert [one.value for one in answers.pop((_KNOWN, "0s"), [])] == [42.0], f"promtool did not answer:\n{said}"
    found = [answers.get((expr, _go_duration(at)), []) for expr, at in questions]
    left = answers.keys() - {(expr, _go_duration(at)) for expr, at in questions}
    assert not left, f"not understood: {left}\n{said}"
    return found


def firing(
    rules: str,
    inputs: Sequence[Mapping[str, str]],
    times: Sequence[float],
    folder: Path,
    *,
    interval_s: float = 60.0,
    step_s: float | None = None,
) -> dict[float, list[Labels]]:
    """Return which alerts fire at which moments, by their labels; times that are no evaluation see the one before.

    Args:
        rules: A rule file.

        inputs: Input series, see `series`.

        times: Seconds from 0.

        folder: For the files.

        interval_s: Between two evaluations.

        step_s: Of the input series; the interval if not given.
    """
    questions = [('ALERTS{alertstate="firing"}', at) for at in times]
    found = evaluate(rules, inputs, questions, folder, interval_s=interval_s, step_s=step_s)
    hidden = ("__name__", "alertstate")
    return {
        at: [{name: text for name, text in one.labels.items() if name not in hidden} for one in samples]
        for at, samples in zip(times, found, strict=True)
    }


def _answers(said: str) -> list[tuple[str, str, list[Sample]]]:
    found: list[tuple[str, str, list[Sample]]] = []
    for heading in _HEADING.finditer(said):
        line = said[heading.end() :].split("\n", 1)[0]
        place, samples = 0, list[Sample]()
        while place < len(line):
            one = _SERIES.match(line, place)
            assert one is not None, f"not understood: {line[place:]}"
            labels = {label: json.loads(f'"{text}"') for label, text in _LABEL.findall(one[1])}
            samples.append(Sample(labels, float(one[2])))
            place = one.end()
        found.append((json.loads(heading[1]), heading[2], samples))
    return found


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds % 1 else f"{round(seconds)}s"


def _go_duration(seconds: float) -> str:
    """Return a duration as promtool prints it: `1h30m`, `5m`, `0s`."""
    rest, parts = round(seconds * 1000), list[str]()
    for unit, length in (
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ):
        if unit == "w" and rest % length:  # weeks are written only where nothing smaller is left of them
            continue
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
