"""uWSGI with the settings of `examples/deploy/uwsgi/uwsgi.ini`: the money of its workers is whole in every sink."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spancost import names
from tests.deploy import DEPLOY
from tests.e2e import zero_code
from tests.e2e.by_worker import assert_answers_charged_once, calls, in_counters, in_ledger, in_spans
from tests.e2e.load import CountedLoad
from tests.e2e.zero_code import ROOT, Books, Program, wait_until
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.stack

_CLIENTS = 4
_REQUESTS = 120
_FORK_HOOKS = "py-call-uwsgi-fork-hooks = true"
_SAID = "forked without Python's fork hooks"


def _program(
    folder: Path, receiver: OtlpReceiver, change: Callable[[str], str] = lambda text: text
) -> tuple[Program, Path]:
    """Return the program of the example with the application of the tests, and the file that renews its workers."""
    text = (DEPLOY / "uwsgi" / "uwsgi.ini").read_text(encoding="utf-8")
    ours = change(text).replace("module = shop:app", "module = tests.e2e.apps.flask_app:app")
    ini, touched = folder / "uwsgi.ini", folder / "reload"
    ini.write_text(ours, encoding="utf-8")
    touched.touch()
    environ = zero_code.environment(
        folder,
        otlp=receiver.url,
        instrumentations=frozenset({"flask", "threading"}),
        PYTHONPATH=str(ROOT),
        RELOAD_FILE=str(touched),
    )
    return _AtItsPort(folder, ("uwsgi", "--ini", str(ini)), environ), touched


class _AtItsPort(Program):
    """A program that is told its address by the variable `BIND`."""

    def __init__(self, directory: Path, command: tuple[str, ...], environ: Mapping[str, str]) -> None:
        super().__init__(directory, command, environ)
        self._environ = {**environ, "BIND": self.url.removeprefix("http://")}


def _assert_whole(load: CountedLoad, receiver: OtlpReceiver, program: Program) -> None:
    books = Books(program.ledger)
    ledger = in_ledger(books)
    others = {"counters": in_counters(receiver), "spans": in_spans(receiver)}
    assert_answers_charged_once(load, ledger, others, program.process.output())
    charged = calls(ledger).total()
    assert books.served() == charged
    assert sum(point.count for point in receiver.newest(names.METRIC_REQUEST_COST)) == charged


_WAYS: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "with threads": lambda text: f"{text}threads = 4\n",
    "with kept connections": lambda text: text.replace("http-socket", "http11-socket"),
}


@pytest.mark.parametrize("change", _WAYS.values(), ids=list(_WAYS))
def test_workers_that_are_stopped_in_mid_load_have_sent_all_they_charged(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    with OtlpReceiver() as receiver:
        program, _ = _program(tmp_path, receiver, change)
        with program, CountedLoad(program, "/tenant", clients=_CLIENTS) as load:
            load.wait_for(_REQUESTS)
            wait_until(lambda: len(load.counts) >= 2, "both workers have answered")
            assert program.process.stop(timeout_s=30) == 0
            load.stop()
        _assert_whole(load, receiver, program)
        assert _SAID not in program.process.output()


def test_workers_that_are_renewed_one_by_one_have_sent_all_they_charged(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        program, touched = _program(tmp_path, receiver)
        with program, CountedLoad(program, "/tenant", clients=_CLIENTS) as load:
            load.wait_for(_REQUESTS // 2)
            wait_until(lambda: len(load.counts) >= 2, "both workers have answered")
            before = set(load.counts)
            later = touched.stat().st_mtime + 2  # uWSGI looks at whole seconds
            os.utime(touched, (later, later))
            wait_until(lambda: len(set(load.counts) - before) >= 2, "two new workers have answered", timeout_s=40)
            load.stop()
            assert program.process.stop(timeout_s=30) == 0
        _assert_whole(load, receiver, program)


def test_without_pythons_fork_hooks_the_log_says_what_to_set(tmp_path: Path) -> None:
    def without(text: str) -> str:
        assert _FORK_HOOKS in text
        return text.replace(_FORK_HOOKS, "")

    with OtlpReceiver() as receiver:
        program, _ = _program(tmp_path, receiver, without)
        with program:
            program.get("/tenant")
            wait_until(lambda: _SAID in program.process.output(), "the log says it")
            assert _FORK_HOOKS in program.process.output()
            program.process.kill()  # OpenTelemetry waits for half a minute for a thread that is not there
