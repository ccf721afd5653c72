from __future__ import annotations

import pytest
from opentelemetry.trace import SpanKind

from spancost.testing import priced_provider

MTOK = 1e-6


def test_llm_call_that_an_inference_server_reports_as_server_span_is_priced() -> None:
    with priced_provider() as world:
        usage = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.usage.input_tokens": 1_000,
            "gen_ai.usage.output_tokens": 10,
        }
        world.tracer.start_span("llm_request", kind=SpanKind.SERVER, attributes=usage).end()
        expected_usd = 0.25 * MTOK * 1_000 + 2.0 * MTOK * 10
        assert world.attributes("llm_request")["spancost.llm.usd"] == pytest.approx(expected_usd, rel=1e-9)
