"""`OTEL_TRACES_EXPORTER=otlp,spancost` in real processes: alone, beside the processor, forked, switched off."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import LLM_CALL_USD, ROOT, SERVER_KIND, Books, Load, Program, local_roots, otlp_by_component
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_GUNICORN = ("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "-w", "2", "--preload")
_PARTS = frozenset({"flask", "threading"})
_PATHS = ["/work/a", "/tenant"] * 10
_HALF = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
_BOTH = {"OTEL_TRACES_EXPORTER": "otlp,spancost"}


def _unpriced(books: Books) -> Counter[str]:
    """Unpriced compute by reason, without idle time."""
    return Counter(
        {
            reason: count
            for reason, count in books.rows(
                "SELECT reason, SUM(count) FROM ledger_rows "
                "WHERE component = 'compute' AND position != 'idle' AND status = 'unpriced' GROUP BY reason"
            )
        }
    )


def test_alone_in_forked_workers_it_charges_what_was_sampled_and_says_so(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    environ = zero_code.environment(tmp_path, otlp=receiver.url, instrumentations=_PARTS, **_BOTH, **_HALF)
    load = Load()
    command = (*_GUNICORN, "tests.e2e.apps.configured_flask_app:app")
    with Program(tmp_path, command, environ, plain=True) as program:
        load.send(program, _PATHS, workers=2)
        program.process.stop()
        log = program.process.output()
    sampled = [span for span in receiver.spans if span.kind == SERVER_KIND]
    calls = sum(span.scope == "e2e.llm" for span in receiver.spans)
    assert 0 < len(sampled) < load.requests
    assert len(sampled) == calls
    assert not any(name.startswith("spancost") for span in receiver.spans for name in span.attributes)
    books = Books(program.ledger)
    assert books.by_component() == {names.LLM: pytest.approx(calls * LLM_CALL_USD, rel=1e-9)}
    assert books.served() == len(sampled)
    assert _unpriced(books) == {names.EXPORTER: len(sampled)}
    assert otlp_by_component(receiver, names.METRIC_COST) == {names.LLM: pytest.approx(calls * LLM_CALL_USD, rel=1e-9)}
    routes = books.rows("SELECT http_route, SUM(usd) FROM ledger_rows WHERE component = 'llm' GROUP BY http_route")
    assert {route for route, _ in routes} == {"/work/<name>", "/tenant"}
    assert log.count("only sampled spans are metered") == 2  # one in each worker
    assert "compute is not priced" not in log


@pytest.mark.parametrize("exporters", ["otlp,spancost", "spancost,otlp"])
def test_beside_the_processor_of_zero_code_nothing_is_counted_twice(
    tmp_path: Path, receiver: OtlpReceiver, exporters: str
) -> None:
    environ = zero_code.environment(
        tmp_path, otlp=receiver.url, instrumentations=_PARTS, OTEL_TRACES_EXPORTER=exporters, **_HALF
    )
    load = Load()
    with Program(tmp_path, (*_GUNICORN, "tests.e2e.apps.flask_app:app"), environ) as program:
        load.send(program, _PATHS, workers=2)
        program.process.stop()
        log = program.process.output()
    books = Books(program.ledger)
    assert 0 < len(local_roots(receiver.spans)) < load.requests
    assert books.served() == load.requests
    assert books.by_component()[names.LLM] == pytest.approx(load.requests * LLM_CALL_USD, rel=1e-9)
    metered = otlp_by_component(receiver, names.METRIC_COST)
    assert metered[names.LLM] == pytest.approx(load.requests * LLM_CALL_USD, rel=1e-9)
    assert _unpriced(books) == {}
    assert "spancost" not in log


def test_of_two_providers_of_a_process_each_span_is_charged_once(tmp_path: Path) -> None:
    environ = zero_code.environment(tmp_path)
    program = [*zero_code.under_zero_code("python", "-m", "tests.e2e.apps.two_providers", "20")]
    done = subprocess.run(program, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    books = Books(tmp_path / "ledger.sqlite")
    assert books.by_component()[names.LLM] == pytest.approx(40 * LLM_CALL_USD, rel=1e-9)
    assert _unpriced(books) == {names.EXPORTER: 20}
    assert books.rows("SELECT SUM(count) FROM requests_minute") == [(40,)]


def test_a_process_that_ends_before_its_first_batch_loses_nothing(tmp_path: Path, receiver: OtlpReceiver) -> None:
    environ = zero_code.environment(
        tmp_path, otlp=receiver.url, OTEL_TRACES_EXPORTER="spancost", OTEL_BSP_SCHEDULE_DELAY="600000"
    )
    program = (
        "from opentelemetry.sdk._configuration import _OTelSDKConfigurator\n"
        "_OTelSDKConfigurator().configure()\n"
        "from tests.e2e.apps import script\n"
        "script.main(7)\n"
    )
    command = zero_code.installed("python", "-c", program)
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    books = Books(tmp_path / "ledger.sqlite")
    charged = {names.LLM: pytest.approx(7 * LLM_CALL_USD, rel=1e-9)}
    assert books.by_component() == otlp_by_component(receiver, names.METRIC_COST) == charged
    assert _unpriced(books) == {names.EXPORTER: 7}


def test_switched_off_it_is_inert_without_a_word(tmp_path: Path, receiver: OtlpReceiver) -> None:
    environ = zero_code.environment(
        tmp_path, otlp=receiver.url, instrumentations=_PARTS, SPANCOST_ENABLED="false", **_BOTH
    )
    command = (*_GUNICORN, "tests.e2e.apps.configured_flask_app:app")
    with Program(tmp_path, command, environ, plain=True) as program:
        assert program.get("/work/a").body
        receiver.wait_for(lambda got: any(span.kind == SERVER_KIND for span in got.spans))
        program.process.stop()
        assert "spancost" not in program.process.output()
    assert not any(point.metric.startswith("spancost") for point in receiver.points)
    assert not program.ledger.exists()
