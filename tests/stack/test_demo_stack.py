"""`make demo-stack` as a user runs it: the same money everywhere, and nothing left running."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from examples.shop import demo as shop_demo
from examples.shop.processes import answers
from examples.shop.stack import ROOT
from examples.stack import demo
from examples.stack.binaries import ENV_CACHE
from spancost import names
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.stack

_MINUTES: Final = "0.3"
_EXACT: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Run:
    """A demo that has ended."""

    directory: Path
    code: int
    out: str
    err: str

    def usd(self, pattern: str) -> float:
        """An amount on the line whose beginning fits."""
        found = re.search(rf"^  {pattern}\s+(\d+\.\d+) USD$", self.out, re.MULTILINE)
        assert found is not None, f"no line {pattern}:\n{self.out}\n{self.err}"
        return float(found[1])

    @property
    def urls(self) -> list[str]:
        return re.findall(r"http://127\.0\.0\.1:\d+", self.out)


def _command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "examples.stack", "--minutes", _MINUTES, "--directory", str(directory), *arguments]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("demo")
    ended = subprocess.run(_command(directory), capture_output=True, text=True, check=False, cwd=ROOT)
    return Run(directory, ended.returncode, ended.stdout, ended.stderr)


def _processes_of(directory: Path) -> list[str]:
    """Command lines of living processes that name a folder."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line and path.parent.name != str(os.getpid()):
            found.append(line)
    return found


def test_the_demo_says_that_all_sums_are_the_same(run: Run) -> None:
    assert "The same, to a billionth." in run.out, run.out + run.err
    assert run.code == 0, run.out + run.err


def test_prometheus_behind_three_collectors_has_the_money_of_the_ledger(run: Run) -> None:
    with closing(sqlite3.connect(run.directory / "shop" / "spancost.sqlite")) as ledger:
        (usd,) = ledger.execute("SELECT SUM(usd) FROM ledger_rows WHERE position <> 'idle'").fetchone()
    # What the apps charge while they stop comes after the last look at Prometheus, and is idle time only.
    assert usd > 0
    assert run.usd("Prometheus, over all Collectors") == pytest.approx(usd, rel=_EXACT)


def test_the_trace_ui_has_every_span_with_its_cost(run: Run) -> None:
    with closing(sqlite3.connect(run.directory / "shop" / "spancost.sqlite")) as ledger:
        (usd,) = ledger.execute(
            "SELECT SUM(usd) FROM ledger_rows WHERE position IN ('entry', 'inner', 'late_inner')"
        ).fetchone()
    assert run.usd(r"\d+ spans in the trace UI") == pytest.approx(usd, rel=_EXACT)


def test_routes_of_all_three_apps_are_shown_with_the_amounts_of_the_ledger(run: Run) -> None:
    rows = re.findall(r"^  (storefront|assistant|office) .*?(\d+\.\d{9})\s+(\d+\.\d{9})$", run.out, re.MULTILINE)
    assert {service for service, _, _ in rows} == {"storefront", "assistant", "office"}
    assert all(prometheus == ledger for _, prometheus, ledger in rows)


def test_the_dashboards_are_drawn_on_one_page(run: Run) -> None:
    page = run.directory / "dashboards.html"
    assert page.as_uri() in run.out
    assert "<svg" in page.read_text(encoding="utf-8")


def test_nothing_is_left_running(run: Run) -> None:
    assert run.urls
    assert [url for url in run.urls if answers(url)] == []
    assert _processes_of(run.directory) == []


def test_after_ctrl_c_nothing_is_left_running(tmp_path: Path) -> None:
    with subprocess.Popen(
        _command(tmp_path, "--no-trace-ui", "--keep"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    ) as started:
        assert started.stdout is not None
        said: list[str] = []
        for line in started.stdout:
            said.append(line)
            if "logs and data" in line:
                break
        assert _processes_of(tmp_path), "".join(said)
        started.send_signal(signal.SIGINT)
        rest, _ = started.communicate(timeout=120)
    assert started.returncode == 130, "".join(said) + rest
    assert "nothing is left running" in rest
    # The shop's apps do not name the folder; their addresses are on the list.
    assert [url for url in re.findall(r"http://127\.0\.0\.1:\d+", "".join(said)) if answers(url)] == []
    assert _processes_of(tmp_path) == []


def test_without_the_programs_the_demo_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ENV_CACHE, str(tmp_path))
    assert demo.main([]) == 2
    said = capsys.readouterr().err
    for name in ("otelcol", "otelcol-router", "prometheus", "alertmanager", "phoenix"):
        assert f"program {name} " in said


def test_the_shop_sends_its_costs_to_the_receiver_that_is_named(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        assert shop_demo.main(["--requests", "1", "--otlp", receiver.url, "--directory", str(tmp_path)]) == 0
        assert any(names.DIRECT_USD in span.attributes for span in receiver.spans)
