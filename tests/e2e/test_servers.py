"""The same money in spans, OTLP counters, ledger and lease file, under every way to serve an application."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.apps import script
from tests.e2e.zero_code import (
    EGRESS_USD_PER_GB,
    LLM_CALL_USD,
    ROOT,
    SERVER_KIND,
    USD_PER_S,
    Books,
    Load,
    Program,
    added,
    by_component_of_roots,
    lease_members,
    local_roots,
    otlp_by_component,
)
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_PATHS = ["/work/a", "/work/b", "/work/c", "/stream/d"] * 5
_JOBS = 30
_EXACT = 1e-9
_FLASK = "tests.e2e.apps.flask_app:app"
_ASGI = "tests.e2e.apps.asgi_app:app"
_GUNICORN = ("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}")
_UVICORN = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}")


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run an application."""

    command: tuple[str, ...]
    instrumentations: frozenset[str]
    workers: int = 1
    late: str = names.EGRESS
    """Component that is charged after the answer: streamed WSGI bytes, or an LLM call of a task."""
    exit_code: int = 0


_WSGI_PARTS = frozenset({"flask", "threading"})
_ASGI_PARTS = frozenset({"fastapi", "threading"})
_BY_SIGNAL = -15
_NO_INTERVALS = {
    "SPANCOST_FLUSH_INTERVAL": "600",
    "OTEL_BSP_SCHEDULE_DELAY": "600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "600000",
}
"""Whatever arrives with these was sent by the end of its process."""
CASES = {
    "flask run": Case(
        ("flask", "--app", _FLASK, "run", "--host", "127.0.0.1", "--port", "{port}"), _WSGI_PARTS, exit_code=_BY_SIGNAL
    ),
    "gunicorn -w 2": Case((*_GUNICORN, "-w", "2", _FLASK), _WSGI_PARTS, workers=2),
    "gunicorn -w 2 --preload": Case((*_GUNICORN, "-w", "2", "--preload", _FLASK), _WSGI_PARTS, workers=2),
    "gunicorn --threads 4": Case((*_GUNICORN, "-w", "1", "--threads", "4", _FLASK), _WSGI_PARTS),
    "gunicorn UvicornWorker": Case(
        (*_GUNICORN, "-w", "2", "-k", "uvicorn.workers.UvicornWorker", _ASGI), _ASGI_PARTS, workers=2, late=names.LLM
    ),
    "uvicorn": Case((*_UVICORN, _ASGI), _ASGI_PARTS, late=names.LLM, exit_code=_BY_SIGNAL),
    "uvicorn --workers 2": Case((*_UVICORN, "--workers", "2", _ASGI), _ASGI_PARTS, workers=2, late=names.LLM),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A served application after its graceful end."""

    case: Case
    load: Load
    receiver: OtlpReceiver
    books: Books
    lease: Path
    exit_code: int
    log: str


@pytest.fixture(scope="module", params=CASES.values(), ids=list(CASES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    case: Case = request.param
    directory = tmp_path_factory.mktemp("server")
    with OtlpReceiver() as receiver:
        environ = zero_code.environment(directory, otlp=receiver.url, instrumentations=case.instrumentations)
        load = Load()
        with Program(directory, case.command, environ) as program:
            load.send(program, _PATHS, workers=case.workers)
            calls = load.requests if case.late == names.LLM else load.requests - load.by_path["/stream/d"]
            receiver.wait_for(lambda got: _llm_spans(got) >= calls)
            exit_code = program.process.stop()
        books = Books(program.ledger)
        yield Run(case, load, receiver, books, directory / "lease.json", exit_code, program.process.output())


def _llm_spans(receiver: OtlpReceiver) -> int:
    return sum(span.scope == "e2e.llm" for span in receiver.spans)


def test_server_ends_as_it_would_without_spancost(run: Run) -> None:
    assert run.exit_code == run.case.exit_code
    assert "spancost" not in run.log


def test_every_request_is_one_priced_server_span(run: Run) -> None:
    roots = local_roots(run.receiver.spans)
    assert len(roots) == run.load.requests
    assert {root.kind for root in roots} == {SERVER_KIND}
    for root in roots:
        attributes = root.attributes
        parts = [attributes[name] for name in names.COMPONENT_USD.values() if name in attributes]
        assert attributes[names.TOTAL_USD] == pytest.approx(sum(parts), rel=_EXACT)
        assert attributes[names.TOTAL_NANO_USD] == round(attributes[names.TOTAL_USD] * 1e9)
        assert attributes[names.DIRECT_USD] <= attributes[names.TOTAL_USD]
        assert attributes[names.STATUS] in names.STATUSES
        assert attributes[names.SOURCE]
    for span in run.receiver.spans:
        assert names.TOTAL_USD in span.attributes
        if span.scope == "e2e.llm":
            assert span.attributes[names.STATUS] == names.PRICED
            assert span.attributes[names.GEN_AI_USAGE_COST] == pytest.approx(LLM_CALL_USD, rel=_EXACT)


def test_request_counts_agree(run: Run) -> None:
    assert run.books.served() == run.load.requests
    assert sum(point.count for point in run.receiver.newest(names.METRIC_REQUEST_COST)) == run.load.requests


def test_root_spans_and_late_cost_counters_and_ledger_agree(run: Run) -> None:
    ledger = run.books.by_component()
    late = otlp_by_component(run.receiver, names.METRIC_LATE)
    assert set(ledger) == {names.COMPUTE, names.EGRESS, names.LLM}
    assert otlp_by_component(run.receiver, names.METRIC_COST) == pytest.approx(ledger, rel=_EXACT)
    assert otlp_by_component(run.receiver, names.METRIC_ATTRIBUTED) == pytest.approx(ledger, rel=_EXACT)
    assert added(by_component_of_roots(run.receiver.spans), late) == pytest.approx(ledger, rel=_EXACT)
    assert run.case.late in late
    assert late == pytest.approx(run.books.by_component("position IN ('late_entry', 'late_inner')"), rel=_EXACT)


def test_direct_costs_of_all_spans_agree_with_the_ledger(run: Run) -> None:
    direct = sum(float(span.attributes[names.DIRECT_USD]) for span in run.receiver.spans)
    booked = run.books.by_component("position NOT IN ('idle', 'late_entry')")
    assert direct == pytest.approx(sum(booked.values()), rel=_EXACT)


def test_llm_and_egress_are_quantity_times_rate(run: Run) -> None:
    ledger = run.books.by_component()
    assert ledger[names.LLM] == pytest.approx(_llm_spans(run.receiver) * LLM_CALL_USD, rel=_EXACT)
    assert ledger[names.EGRESS] == pytest.approx(run.load.body_bytes / 2**30 * EGRESS_USD_PER_GB, rel=_EXACT)


def test_attributed_and_idle_compute_are_the_whole_machine(run: Run) -> None:
    _assert_whole_machine(run.lease, run.books, run.case.workers)


def _assert_whole_machine(lease: Path, books: Books, workers: int) -> None:
    members = lease_members(lease)
    assert len(members) == workers
    assert all(member["until"] is not None for member in members)
    seconds = max(member["until"] for member in members) - min(member["from"] for member in members)
    whole = books.by_component("component = 'compute'")
    assert whole[names.COMPUTE] == pytest.approx(seconds * USD_PER_S, rel=_EXACT)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_nothing_is_lost_at_a_graceful_stop_right_after_the_load(case: Case, tmp_path: Path) -> None:
    """No interval ends in between: spans, counters and ledger rows all come from the end of each process."""
    with OtlpReceiver() as receiver:
        environ = zero_code.environment(
            tmp_path,
            otlp=receiver.url,
            instrumentations=case.instrumentations,
            **_NO_INTERVALS,
        )
        load = Load()
        with Program(tmp_path, case.command, environ) as program:
            load.send(program, [path for path in _PATHS if path.startswith("/work")], workers=case.workers)
            assert not receiver.requests
            program.process.stop()
        ledger = Books(program.ledger)
        assert ledger.served() == load.requests
        assert len(local_roots(receiver.spans)) == load.requests
        assert by_component_of_roots(receiver.spans) == pytest.approx(ledger.by_component(), rel=_EXACT)
        assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger.by_component(), rel=_EXACT)
        _assert_whole_machine(tmp_path / "lease.json", ledger, case.workers)


def test_plain_script_is_priced(tmp_path: Path, receiver: OtlpReceiver) -> None:
    environ = zero_code.environment(tmp_path, otlp=receiver.url)
    command = zero_code.under_zero_code(Path(sys.executable).name, "-m", "tests.e2e.apps.script", str(_JOBS))
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert "spancost" not in done.stderr

    books = Books(tmp_path / "ledger.sqlite")
    ledger = books.by_component()
    roots = local_roots(receiver.spans)
    assert [root.name for root in roots] == ["job"] * _JOBS
    assert by_component_of_roots(receiver.spans) == pytest.approx(ledger, rel=_EXACT)
    assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger, rel=_EXACT)
    assert ledger[names.LLM] == pytest.approx(_JOBS * LLM_CALL_USD, rel=_EXACT)
    assert ledger[names.COMPUTE] >= _JOBS * script.WORK_S * USD_PER_S
    (member,) = lease_members(tmp_path / "lease.json")
    whole = books.by_component("component = 'compute'")
    assert whole[names.COMPUTE] == pytest.approx((member["until"] - member["from"]) * USD_PER_S, rel=_EXACT)


def test_script_ended_by_sigterm_loses_nothing(tmp_path: Path, receiver: OtlpReceiver) -> None:
    environ = zero_code.environment(tmp_path, otlp=receiver.url, instrumentations=frozenset(), **_NO_INTERVALS)
    command = zero_code.under_zero_code(
        Path(sys.executable).name, "-m", "tests.e2e.apps.script", str(_JOBS), "and wait"
    )
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
            assert not receiver.requests
            process.terminate()
            assert process.wait(timeout=20) == _BY_SIGNAL
        finally:
            process.kill()
    ledger = Books(tmp_path / "ledger.sqlite").by_component()
    assert ledger[names.LLM] == pytest.approx(_JOBS * LLM_CALL_USD, rel=_EXACT)
    assert by_component_of_roots(receiver.spans) == pytest.approx(ledger, rel=_EXACT)
    assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger, rel=_EXACT)
