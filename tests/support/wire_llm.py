"""The LLM wire server for tests: the one of the demo, see `examples/shop/llm_server.py`."""

from __future__ import annotations

from examples.shop.llm_server import (
    ChatUsage,
    EmbeddingUsage,
    LlmServer,
    MessageUsage,
    chat_usage,
    embedding_usage,
    message_usage,
)

__all__ = [
    "ChatUsage",
    "EmbeddingUsage",
    "LlmServer",
    "MessageUsage",
    "chat_usage",
    "embedding_usage",
    "message_usage",
]
