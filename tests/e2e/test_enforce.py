"""Under `opentelemetry-instrument`, `SPANCOST_ENFORCE=llm` stops the calls of an application that was not changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import Books, Program
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.wire_llm import LlmServer

pytestmark = pytest.mark.e2e

_COMMAND = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2", "tests.e2e.apps.enforced_app:app")
_PARTS = frozenset({"fastapi", "openai"})
_CALL_USD = 75 * 0.15e-6 + 100 * 0.60e-6
"""300 characters are 75 tokens for the server; the answer is as long as it may be."""
_CALLS = 40


def _ask(tmp_path: Path, receiver: OtlpReceiver, enforce: str) -> tuple[list[bytes], int, float]:
    """Return the answers, how many calls were sent, and what they have cost in the end."""
    file = tmp_path / "spancost.yaml"
    file.write_text(
        f"""
budgets:
  store: sqlite:{tmp_path / "budgets.sqlite"}
  rules:
    - name: llm
      budget: {{limit_usd: {10 * _CALL_USD:.12f}, window: total, when_unavailable: closed}}
      match: {{component: llm}}
""",
        encoding="utf-8",
    )
    with LlmServer() as server:
        environ = zero_code.environment(
            tmp_path,
            otlp=receiver.url,
            instrumentations=_PARTS,
            SPANCOST_CONFIG=str(file),
            SPANCOST_ENFORCE=enforce,
            LLM_URL=server.openai_url,
        )
        with Program(tmp_path, _COMMAND, environ) as program, ThreadPoolExecutor(8) as pool:
            answers = [answer.body for answer in pool.map(program.get, [f"/ask/{n}" for n in range(_CALLS)])]
            receiver.wait_for(lambda got: sum(span.kind == zero_code.SERVER_KIND for span in got.spans) >= _CALLS)
            program.process.stop()
        spent = Books(program.ledger).by_component().get(names.LLM, 0.0)
        return answers, len(server.usages), spent


def test_the_limit_holds_over_all_workers_and_refused_calls_are_seen_on_their_spans(
    tmp_path: Path, receiver: OtlpReceiver
) -> None:
    answers, sent, spent = _ask(tmp_path, receiver, "llm")
    assert sent == answers.count(b"answered")
    assert spent == pytest.approx(sent * _CALL_USD, rel=1e-9)
    assert 0 < spent <= 10 * _CALL_USD * (1 + 1e-9)
    refused = [span.attributes for span in receiver.spans if names.GUARD_ACTION in span.attributes]
    assert len(refused) == _CALLS - sent > 0
    assert {attributes[names.GUARD_RULE] for attributes in refused} == {"llm"}
    assert {attributes["gen_ai.operation.name"] for attributes in refused} == {"chat"}


def test_without_the_switch_nothing_is_stopped(tmp_path: Path, receiver: OtlpReceiver) -> None:
    answers, sent, spent = _ask(tmp_path, receiver, "")
    assert answers == [b"answered"] * _CALLS
    assert sent == _CALLS
    assert spent == pytest.approx(_CALLS * _CALL_USD, rel=1e-9)
