"""Costs that other tools got wrong, in public, with the quantities: what they showed and what the provider charges.

The true amount is worked out here from quantities and the provider's list prices of that day (USD per million
tokens, or USD per unit), never with our code. Two more published cases (latitude-dev/latitude-llm#4051,
BerriAI/litellm#39850) give no quantities in their text and are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

OPENAI: Final = "opentelemetry.instrumentation.genai.openai"
ANTHROPIC: Final = "opentelemetry.instrumentation.genai.anthropic"
OPENINFERENCE_BEDROCK: Final = "openinference.instrumentation.bedrock"


@dataclass(frozen=True, slots=True)
class LlmCase:
    """One call, as its span shows it."""

    title: str
    report: str
    """Public report: owner/repository#number."""
    day: str
    scope: str
    provider: str
    model: str
    usage: Mapping[str, int]
    """Token attributes of the span, without their prefix `gen_ai.usage.`."""
    shown_usd: str
    """What the other tool showed, USD, as reported."""
    bill: tuple[tuple[int, str], ...]
    """(tokens, USD per million) of each line of the provider's bill."""
    agent_repeats_usage: bool = False
    """An agent's span around the call carries the same usage again."""

    @property
    def true_usd(self) -> Decimal:
        """What the provider charges, USD."""
        return sum((tokens * Decimal(rate) / 1_000_000 for tokens, rate in self.bill), Decimal(0))

    @property
    def at_ns(self) -> int:
        """Start of the call."""
        return int(datetime.fromisoformat(self.day).replace(hour=12, tzinfo=UTC).timestamp()) * 1_000_000_000

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the span."""
        if self.scope.startswith("openinference"):
            return {
                "openinference.span.kind": "LLM",
                "llm.provider": self.provider,
                "llm.model_name": self.model,
                **{f"llm.token_count.{key}": count for key, count in self.usage.items()},
            }
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "gen_ai.response.model": self.model,
            **{f"gen_ai.usage.{key}": count for key, count in self.usage.items()},
        }


LLM_CASES: Final = (
    LlmCase(
        "cached input at full price",
        "pydantic/logfire#2156",
        "2026-07-28",
        ANTHROPIC,
        "anthropic",
        "claude-opus-4-1",
        {"input_tokens": 100_000, "cache_read.input_tokens": 90_000, "output_tokens": 1000},
        "1.575",
        ((10_000, "15"), (90_000, "1.5"), (1000, "75")),
    ),
    LlmCase(
        "cached input left out",
        "pydantic/logfire#1316",
        "2025-08-13",
        OPENAI,
        "openai",
        "gpt-5-mini",
        {"input_tokens": 2746, "cache_read.input_tokens": 2208, "output_tokens": 197, "reasoning.output_tokens": 64},
        "0.000528",
        ((538, "0.25"), (2208, "0.025"), (197, "2")),
    ),
    LlmCase(
        "cached input taken for output",
        "Arize-ai/phoenix#10783",
        "2026-01-05",
        OPENINFERENCE_BEDROCK,
        "amazon_bedrock",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"prompt": 3, "prompt_details.cache_read": 7917, "prompt_details.cache_write": 350, "completion": 442},
        "0.1306",
        ((3, "3"), (7917, "0.3"), (350, "3.75"), (442, "15")),
    ),
    LlmCase(
        "cache reads taken for output, regional profile",
        "Arize-ai/phoenix#10036",
        "2025-10-28",
        OPENINFERENCE_BEDROCK,
        "amazon_bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"prompt": 3, "prompt_details.cache_read": 13_216, "prompt_details.cache_write": 25, "completion": 12},
        "0.20",
        ((3, "3.3"), (13_216, "0.33"), (25, "4.125"), (12, "16.5")),
    ),
    LlmCase(
        "cache writes left out",
        "langfuse/langfuse#14249",
        "2026-06-15",
        ANTHROPIC,
        "anthropic",
        "claude-sonnet-4-6",
        {"input_tokens": 35_270, "cache_creation.input_tokens": 19_810, "output_tokens": 10_370},
        "0.201951",
        ((15_460, "3"), (19_810, "3.75"), (10_370, "15")),
    ),
    LlmCase(
        "an agent's span repeats the usage of its call",
        "langfuse/langfuse#14754",
        "2026-07-03",
        OPENAI,
        "openai",
        "gpt-5.5",
        {"input_tokens": 14_426, "output_tokens": 771},
        "0.19052",
        ((14_426, "5"), (771, "30")),
        agent_repeats_usage=True,
    ),
    LlmCase(
        "input left out of a streamed call",
        "BerriAI/litellm#8514",
        "2025-02-13",
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        "aws.bedrock",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        {"input_tokens": 56_100, "output_tokens": 4900},
        "0.0735",
        ((56_100, "3"), (4900, "15")),
    ),
    LlmCase(
        "long context at rates of another day",
        "lmnr-ai/lmnr#2307",
        "2026-09-08",
        OPENAI,
        "openai",
        "gpt-5.6-sol",
        {"input_tokens": 563_883, "cache_read.input_tokens": 48_914, "output_tokens": 1532},
        "5.267544",
        ((514_969, "8"), (48_914, "0.8"), (1532, "30")),
    ),
    LlmCase(
        "cached input twice, above the long-context edge",
        "BerriAI/litellm#14849",
        "2025-09-24",
        OPENAI,
        "gcp.gemini",
        "gemini-2.5-pro",
        {"input_tokens": 262_960, "cache_read.input_tokens": 257_955, "output_tokens": 1744},
        "0.7642",
        ((5005, "2.5"), (257_955, "0.25"), (1744, "15")),
    ),
    LlmCase(
        "reasoning tokens twice",
        "anomalyco/opencode#17566",
        "2026-03-15",
        OPENAI,
        "openai",
        "gpt-5.4-pro",
        {"input_tokens": 14_746, "output_tokens": 1944, "reasoning.output_tokens": 1360},
        "1.04",
        ((14_746, "30"), (1944, "180")),
    ),
    LlmCase(
        "only the reasoning tokens",
        "BerriAI/litellm#18599",
        "2026-01-03",
        OPENAI,
        "openai",
        "gpt-5-nano",
        {"input_tokens": 17, "output_tokens": 482, "reasoning.output_tokens": 448},
        "0.00018",
        ((17, "0.05"), (482, "0.4")),
    ),
    LlmCase(
        "a price per request, of another model",
        "spendtrace",
        "2026-09-08",
        OPENAI,
        "openai",
        "gpt-4o-mini",
        {"input_tokens": 1000, "cache_read.input_tokens": 800, "output_tokens": 100},
        "0.023",
        ((200, "0.15"), (800, "0.075"), (100, "0.6")),
    ),
    LlmCase(
        "cache reads and writes left out",
        "spendtrace",
        "2025-06-01",
        "com.anthropic.sdk.python",
        "anthropic",
        "claude-3-5-haiku-20241022",
        {
            "input_tokens": 6100,
            "cache_read.input_tokens": 5000,
            "cache_write.input_tokens": 1000,
            "output_tokens": 10,
        },
        "0.00029",
        ((100, "0.8"), (5000, "0.08"), (1000, "1"), (10, "4")),
    ),
)


@dataclass(frozen=True, slots=True)
class AwsCase:
    """One real call of boto3, by its name in `aws_calls`."""

    title: str
    call: str
    shown_usd: str
    """What spendtrace showed, USD."""
    bill: tuple[tuple[str, str], ...] = field(default=())
    """(billed units, USD per unit) of each line of the bill."""

    @property
    def true_usd(self) -> Decimal:
        """What AWS charges, USD."""
        return sum((Decimal(units) * Decimal(rate) for units, rate in self.bill), Decimal(0))


WRU: Final = "0.000000625"
RRU: Final = "0.000000125"

AWS_CASES: Final = (
    AwsCase("DynamoDB put of a 300 KB item", "put_300_kb", "0.00000125", (("301", WRU),)),
    AwsCase("DynamoDB consistent get of it", "get_300_kb", "0.00000025", (("76", RRU),)),
    AwsCase("DynamoDB batch write of 25 small items", "batch_of_25", "0.00000125", (("25", WRU),)),
    AwsCase("DynamoDB transaction of 2 small writes", "transaction_of_2", "0.00000125", (("4", WRU),)),
    AwsCase("DynamoDB put of a small item", "put_small", "0.00000125", (("1", WRU),)),
    AwsCase("DynamoDB get of a small item", "get_small", "0.00000025", (("0.5", RRU),)),
    AwsCase("S3 delete", "delete_object", "0.000005"),
    AwsCase("S3 upload in 4 parts", "upload_4_parts", "0", (("6", "0.000005"),)),
    AwsCase("SQS send of 200 KB", "send_200_kb", "0.0000004", (("4", "0.0000004"),)),
)
