"""A process that is frozen right after its answer, as on AWS Lambda, has lost nothing of what it has cost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spancost import flush_before_return, names
from spancost._install import install
from tests.e2e import zero_code
from tests.e2e.zero_code import LLM_CALL_USD, ROOT, Books, by_component_of_roots, local_roots, otlp_by_component
from tests.support.otlp_receiver import OtlpReceiver

_CALLS = 3
_MODULE = "tests.entrypoints.apps.frozen_function"


@pytest.mark.e2e
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="no way to see that a process has stopped")
@pytest.mark.parametrize("handler", ["handle", "handle_alone", "handle_async"])
def test_process_frozen_right_after_its_answer_has_handed_everything_over(tmp_path: Path, handler: str) -> None:
    with OtlpReceiver() as receiver:
        environ = zero_code.environment(
            tmp_path,
            otlp=receiver.url,
            instrumentations=frozenset({"aws-lambda"}) if handler == "handle" else frozenset(),
            PYTHONPATH=str(ROOT),
            AWS_LAMBDA_FUNCTION_NAME="frozen",
            AWS_LAMBDA_FUNCTION_MEMORY_SIZE="512",
            AWS_EXECUTION_ENV="AWS_Lambda_python3.13",
            AWS_REGION="us-east-1",
            _HANDLER=f"{_MODULE}.handle",
            # Nothing is sent by itself.
            SPANCOST_FLUSH_INTERVAL="600",
            OTEL_BSP_SCHEDULE_DELAY="600000",
            OTEL_METRIC_EXPORT_INTERVAL="600000",
        )
        environ.pop("SPANCOST_COMPUTE")
        environ.pop("SPANCOST_FIRST_VALUE_HOLD")  # new series are held back for a minute, but not by a flush
        command = zero_code.under_zero_code(Path(sys.executable).name, "-m", _MODULE, handler, str(_CALLS))
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT)
        try:
            ended = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert ended is not None
            assert ended.si_code == os.CLD_STOPPED, log.read_text()
            books = Books(tmp_path / "ledger.sqlite")
            ledger = books.by_component()
            assert books.served() == _CALLS
            assert ledger[names.LLM] == pytest.approx(_CALLS * LLM_CALL_USD, rel=1e-9)
            assert ledger[names.COMPUTE] > _CALLS * 0.0000002  # the fee for each request, and its duration
            assert len(local_roots(receiver.spans)) == _CALLS
            assert by_component_of_roots(receiver.spans) == pytest.approx(ledger, rel=1e-9)
            assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger, rel=1e-9)
            assert sum(point.count for point in receiver.newest(names.METRIC_REQUEST_COST)) == _CALLS
        finally:
            process.kill()
            process.wait()


class _Provider:
    """Fails when it is flushed."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def force_flush(self, timeout_millis: int) -> bool:
        self.asked.append(timeout_millis)
        raise RuntimeError("collector is gone")


def test_answers_and_errors_of_a_handler_stay_as_they_are_when_the_flush_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = _Provider()
    monkeypatch.setattr("spancost._install.priced_providers", lambda: [provider])

    @flush_before_return(timeout=1.5)
    def handle(event: dict[str, Any]) -> str:
        """Handle it."""
        if event:
            raise KeyError("event")
        return "done"

    @flush_before_return
    async def handle_async() -> str:
        return "done"

    assert handle({}) == "done"
    with pytest.raises(KeyError, match="event"):
        handle({"a": 1})
    assert asyncio.run(handle_async()) == "done"
    assert [round(millis, -2) for millis in provider.asked] == [1500, 1500, 2000]
    assert (handle.__name__, handle.__doc__) == ("handle", "Handle it.")


def test_all_providers_that_are_priced_are_flushed() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=600_000))
    engine = install(provider)
    try:

        @flush_before_return
        def handle() -> None:
            provider.get_tracer("app").start_span("frozen").end()

        handle()
        assert [span.name for span in exporter.get_finished_spans()] == ["frozen"]
        assert engine.last_flush_ok
    finally:
        provider.shutdown()
