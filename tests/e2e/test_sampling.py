"""Metrics and ledger see every request, exporters what was sampled, however the sampler was chosen."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import LLM_CALL_USD, Books, Program, local_roots, otlp_by_component
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_COMMAND = ("flask", "--app", "tests.e2e.apps.flask_app:app", "run", "--host", "127.0.0.1", "--port", "{port}")
_PARTS = frozenset({"flask", "threading"})
_REQUESTS = 40
_UNSAMPLED = "00-{trace:032x}-00f067aa0ba902b7-00"
_SAMPLED = "00-{trace:032x}-00f067aa0ba902b7-01"


def _ask(program: Program, traceparent: str) -> None:
    request = urllib.request.Request(
        f"{program.url}/work/a", headers={"traceparent": traceparent} if traceparent else {}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.read()


@pytest.mark.parametrize(
    ("sampler", "argument", "traceparents", "exported"),
    [
        ("always_off", "", [""] * _REQUESTS, 0),
        ("traceidratio", "0.0", [""] * _REQUESTS, 0),
        ("parentbased_traceidratio", "0.0", [_SAMPLED.format(trace=n + 1) for n in range(_REQUESTS)], _REQUESTS),
        # The default sampler, and a caller that has not sampled.
        ("", "", [_UNSAMPLED.format(trace=n + 1) for n in range(_REQUESTS)], 0),
    ],
    ids=["off", "ratio", "sampled parents", "unsampled remote parents"],
)
def test_every_request_is_charged_and_the_sampled_ones_are_exported(
    tmp_path: Path, receiver: OtlpReceiver, sampler: str, argument: str, traceparents: list[str], exported: int
) -> None:
    chosen = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument} if sampler else {}
    environ = zero_code.environment(tmp_path, otlp=receiver.url, instrumentations=_PARTS, **chosen)
    with Program(tmp_path, _COMMAND, environ) as program:
        for traceparent in traceparents:
            _ask(program, traceparent)
        program.process.stop()
        assert "sampled" not in program.process.output()
    books = Books(program.ledger)
    assert books.served() == _REQUESTS
    assert books.by_component()[names.LLM] == pytest.approx(_REQUESTS * LLM_CALL_USD, rel=1e-9)
    assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(books.by_component(), rel=1e-9)
    assert len(local_roots(receiver.spans)) == exported


def test_switched_off_only_sampled_requests_are_charged_and_it_is_said(tmp_path: Path, receiver: OtlpReceiver) -> None:
    environ = zero_code.environment(
        tmp_path,
        otlp=receiver.url,
        instrumentations=_PARTS,
        SPANCOST_METER_ALL="false",
        OTEL_TRACES_SAMPLER="parentbased_always_on",
    )
    with Program(tmp_path, _COMMAND, environ) as program:
        for number in range(_REQUESTS):
            _ask(program, (_SAMPLED if number % 4 == 0 else _UNSAMPLED).format(trace=number + 1))
        program.process.stop()
        assert program.process.output().count("only sampled spans are metered") == 1
    assert Books(program.ledger).served() == _REQUESTS // 4 == len(local_roots(receiver.spans))
