"""`two_providers.py JOBS` does each job once under the global provider and once under one that has an exporter only."""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from spancost import CostSpanExporter
from tests.e2e.apps.llm_call import INPUT_TOKENS, MODEL, OUTPUT_TOKENS


def main(jobs: int) -> None:
    """Do the jobs one after the other."""
    exported = TracerProvider()
    exported.add_span_processor(BatchSpanProcessor(CostSpanExporter()))
    for _ in range(jobs):
        for provider in (trace.get_tracer_provider(), exported):
            tracer = provider.get_tracer("e2e.two")
            with tracer.start_as_current_span("job"):
                _chat(tracer)
        exported.force_flush()


def _chat(tracer: trace.Tracer) -> None:
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": INPUT_TOKENS,
        "gen_ai.usage.output_tokens": OUTPUT_TOKENS,
    }
    with tracer.start_as_current_span("chat", kind=SpanKind.CLIENT, attributes=call):
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
