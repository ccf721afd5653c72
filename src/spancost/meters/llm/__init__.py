"""Price LLM calls by their tokens.

Reads the `gen_ai.*` attributes of the OpenTelemetry instrumentations and of the SDKs themselves, OpenInference's
`llm.*`, and what OpenLLMetry, OpenLIT, Pydantic AI, LiteLLM, the Vercel AI SDK and others write, see `dialects`. Prices
come from genai-prices (MIT), USD per million tokens, chosen by the span's start. Cached, cache-write (5 minutes and
1 hour), audio, image and reasoning counts are parts of input or output and are never added to them. Spans that only
repeat the usage of others (agents, workflows, tools) are not priced. Left out: tool calls and web searches, which no
instrumentation counts today.
"""

from spancost.meters.llm.meter import LlmMeter
from spancost.meters.llm.operations import PRICED_OPERATIONS, is_llm, operation_of
from spancost.meters.llm.reported import ReportedCost
from spancost.meters.llm.usage import LlmUsage, read_usage

__all__ = ["PRICED_OPERATIONS", "LlmMeter", "LlmUsage", "ReportedCost", "is_llm", "operation_of", "read_usage"]
