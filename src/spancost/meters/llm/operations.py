"""Which LLM spans are calls that cost money, and which only repeat the usage of calls inside them.

Priced: one request to a model. Never priced: agents, workflows, chains, tools, retrievers and whatever else is not in
the table, for they may carry the sum of their children's usage. A Vercel AI SDK call has an outer span with the sum
and an inner `do...` span for each request: the inner ones are priced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

CHAT: Final = "chat"
TEXT_COMPLETION: Final = "text_completion"
GENERATE_CONTENT: Final = "generate_content"
EMBEDDINGS: Final = "embeddings"
RERANK: Final = "rerank"
IMAGE: Final = "image_generation"
VIDEO: Final = "video_generation"
SPEECH: Final = "speech"
TRANSCRIPTION: Final = "transcription"
MODERATION: Final = "moderation"

_OPERATIONS: Final[Mapping[str, str]] = {
    "chat": CHAT,
    "chat.completions": CHAT,
    "chat_completion": CHAT,
    "messages": CHAT,
    "responses": CHAT,
    "text_completion": TEXT_COMPLETION,
    "text_completions": TEXT_COMPLETION,
    "completion": TEXT_COMPLETION,
    "generate_content": GENERATE_CONTENT,
    "embeddings": EMBEDDINGS,
    "embedding": EMBEDDINGS,
    "embed": EMBEDDINGS,
    "embed_content": EMBEDDINGS,
    "rerank": RERANK,
    "image": IMAGE,
    "image_generation": IMAGE,
    "generate_images": IMAGE,
    "video": VIDEO,
    "video_generation": VIDEO,
    "audio": SPEECH,
    "speech": SPEECH,
    "text_to_speech": SPEECH,
    "transcription": TRANSCRIPTION,
    "speech_to_text": TRANSCRIPTION,
    "speech_to_text_translate": TRANSCRIPTION,
    "moderation": MODERATION,
    "litellm.moderation": MODERATION,
}
"""Values of `gen_ai.operation.name` and of OpenLLMetry's `llm.request.type`, and what the operation is called here."""

PRICED_OPERATIONS: Final = frozenset(_OPERATIONS)
"""Operation names, in any spelling, of spans that are priced."""

_OPENINFERENCE: Final[Mapping[str, str]] = {"LLM": CHAT, "EMBEDDING": EMBEDDINGS, "RERANKER": RERANK}
_VERCEL: Final[Mapping[str, str]] = {
    "ai.generateText.doGenerate": CHAT,
    "ai.streamText.doStream": CHAT,
    "ai.generateObject.doGenerate": CHAT,
    "ai.streamObject.doStream": CHAT,
    "ai.embed.doEmbed": EMBEDDINGS,
    "ai.embedMany.doEmbed": EMBEDDINGS,
    "ai.rerank.doRerank": RERANK,
}


def is_llm(attributes: Mapping[str, Any]) -> bool:
    """True if the attributes are those of an LLM span, priced or not."""
    return (
        "gen_ai.operation.name" in attributes
        or "gen_ai.provider.name" in attributes
        or "gen_ai.system" in attributes
        or "openinference.span.kind" in attributes
        or "llm.request.type" in attributes
        or "ai.operationId" in attributes
    )


def operation_of(attributes: Mapping[str, Any]) -> str:
    """Return the priced operation of an LLM span, or empty for agents, tools and everything else."""
    get = attributes.get
    kind = get("openinference.span.kind")
    if kind is not None:
        return _OPENINFERENCE.get(kind.upper(), "") if isinstance(kind, str) else ""
    operation = get("gen_ai.operation.name")
    if operation is None:
        operation = get("llm.request.type")
    if operation is not None:
        # Attributes may be of any type, also one without a hash.
        return _OPERATIONS.get(operation, "") if isinstance(operation, str) else ""
    operation = get("ai.operationId")
    if operation is not None:
        return _VERCEL.get(operation, "") if isinstance(operation, str) else ""
    # Before 1.27 the conventions had no operation; such spans carry the model and its usage.
    return CHAT if "gen_ai.request.model" in attributes and "gen_ai.system" in attributes else ""
