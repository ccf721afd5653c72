"""An LLM call as its instrumentation would record it: a span of known price, without a server to ask."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import SpanKind

MODEL = "gpt-4o-mini"
INPUT_TOKENS = 1200
OUTPUT_TOKENS = 300

_tracer = trace.get_tracer("e2e.llm")


def call_llm() -> None:
    """Record one chat completion below the current span."""
    with _tracer.start_as_current_span(
        f"chat {MODEL}",
        kind=SpanKind.CLIENT,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": MODEL,
            "gen_ai.response.model": MODEL,
        },
    ) as span:
        span.set_attribute("gen_ai.usage.input_tokens", INPUT_TOKENS)
        span.set_attribute("gen_ai.usage.output_tokens", OUTPUT_TOKENS)
